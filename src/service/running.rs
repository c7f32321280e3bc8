//! Bringing the service up, and down again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::compactor::Compactor;
use super::group::Surroundings;
use super::job::{Job, SourceEvidence};
use super::reconciler::{Means, Reconciler};
use super::tenant::Tenant;
use super::writer::{QUEUE_JOBS_MAX, Writer};
use super::{ASKED_MAX, Phase, Service, heartbeat, refresher};
use crate::clock::Clock;
use crate::config::Config;
use crate::directory::{Broken, Circumstances, Reason, gap};
use crate::storage::{Endpoint, Reconciliation, Store};
use crate::telemetry::Metrics;
use crate::upstream::budget::{self, Ledger};
use crate::upstream::mangoapps::client::Client;
use crate::upstream::mangoapps::client::line::Wire;

/// Deliveries that are looked through for each source's last one.
const LAST_DELIVERIES_MAX: usize = 1000;

/// A service that runs: its actors, and the handle that the faces share.
#[derive(Debug)]
pub struct Running {
    /// What the faces hold.
    pub service: Arc<Service>,
    writer: std::thread::JoinHandle<()>,
    tasks: Vec<JoinHandle<()>>,
}

/// The actors and what they share, before anyone runs them: for whoever steps them.
#[derive(Debug)]
pub struct Parts {
    /// What the faces hold.
    pub service: Arc<Service>,
    /// The writer; nothing of the others gets on without it.
    pub writer: Writer,
    jobs: mpsc::Sender<Job>,
    asked: BTreeMap<String, mpsc::Receiver<Reconciliation>>,
}

/// What of them waits for the writer to run.
#[derive(Debug)]
pub struct Waiting {
    service: Arc<Service>,
    jobs: mpsc::Sender<Job>,
    asked: BTreeMap<String, mpsc::Receiver<Reconciliation>>,
}

impl Parts {
    /// The parts of a service with this store.
    #[must_use]
    pub fn new(config: Arc<Config>, store: Arc<Store>, clock: Clock) -> Self {
        Self::breaking(config, store, clock, None)
    }

    /// The same, for a simulation that breaks a rule.
    #[must_use]
    pub fn breaking(config: Arc<Config>, store: Arc<Store>, clock: Clock, rule: Option<Broken>) -> Self {
        let names: Vec<&str> = config.sources.keys().map(String::as_str).collect();
        let metrics = Arc::new(Metrics::new(&names).watching(&config));
        let (mut tenants, mut asked) = (BTreeMap::new(), BTreeMap::new());
        for (name, source) in &config.sources {
            let (sender, receiver) = mpsc::channel(ASKED_MAX);
            let sender = source.base_url.is_some().then_some(sender);
            tenants.insert(name.clone(), Arc::new(Tenant::new(name, &config, &clock, sender).breaking(rule)));
            asked.insert(name.clone(), receiver);
        }
        let tenants = Arc::new(tenants);
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let (newest, watermark) = watch::channel(store.watermark());
        let around =
            Surroundings { store: Arc::clone(&store), tenants: Arc::clone(&tenants), clock: clock.clone(), metrics: Arc::clone(&metrics) };
        let writer = Writer::new(around, queue, newest);
        let (phase, writing) = (watch::Sender::new(Phase::Serving), Arc::new(AtomicBool::new(true)));
        let sender = ArcSwapOption::from_pointee(jobs.clone());
        let service =
            Arc::new(Service { store, clock, config, metrics, tenants, jobs: sender, watermark, phase, writing, faults: Mutex::default() });
        Self { service, writer, jobs, asked }
    }

    /// The writer, to be run at once, and the rest.
    #[must_use]
    pub fn split(self) -> (Writer, Waiting) {
        let Self { service, writer, jobs, asked } = self;
        (writer, Waiting { service, jobs, asked })
    }
}

impl Waiting {
    /// Takes over what earlier processes learnt; returns one reconciler for each source with an upstream. Their requests travel by `wire`,
    /// where there is one. Awaits the writer.
    ///
    /// # Errors
    /// A sentence: an upstream's address or the TLS set-up is unusable, the store cannot be read.
    pub async fn reconcilers(self, wire: Option<Arc<dyn Wire>>) -> Result<Vec<Reconciler>, String> {
        self.service.restore().await.map_err(|error| error.to_string())?;
        let mut reconcilers = Vec::new();
        for (name, receiver) in self.asked {
            reconcilers.extend(self.service.reconciler(&name, receiver, (self.jobs.clone(), wire.clone()))?);
        }
        Ok(reconcilers)
    }
}

impl Running {
    /// Starts the writer and one reconciler for each source with an upstream. Needs a tokio runtime.
    ///
    /// # Errors
    /// A sentence: an upstream's address or the TLS set-up is unusable, the store cannot be read, no thread can be had.
    pub async fn start(config: Arc<Config>, store: Arc<Store>, clock: Clock) -> Result<Self, String> {
        let parts = Parts::new(config, store, clock);
        let service = Arc::clone(&parts.service);
        let (writer, waiting) = parts.split();
        let writer = spawn_writer(writer, Arc::clone(&service.writing))?;
        let reconcilers = waiting.reconcilers(None).await?;
        let compactor = Compactor::new(Arc::clone(&service.store), service.clock.clone(), Arc::clone(&service.metrics));
        let compactor = compactor.run(service.phase.subscribe());
        let mut tasks = vec![tokio::spawn(refresher::run(Arc::clone(&service))), tokio::spawn(compactor)];
        tasks.push(tokio::spawn(heartbeat::run(Arc::clone(&service))));
        tasks.extend(reconcilers.into_iter().map(|reconciler| tokio::spawn(reconciler.run())));
        Ok(Self { service, writer, tasks })
    }

    /// Tells everyone that the service is about to end: it is no longer ready, and still takes everything.
    pub fn drain(&self) {
        self.service.phase.send_if_modified(|phase| std::mem::replace(phase, Phase::Draining.max(*phase)) < Phase::Draining);
    }

    /// Has whoever waits for changes be answered, so that the faces can stop.
    pub fn end(&self) {
        self.service.phase.send_replace(Phase::Ending);
    }

    /// Ends the actors once the faces have stopped; what they had handed to the writer is still committed.
    pub async fn stop(self) {
        self.end();
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            // An aborted task is what was asked for.
            drop(task.await);
        }
        self.service.beat(true).await;
        self.service.jobs.store(None);
        let ended = tokio::task::spawn_blocking(move || self.writer.join()).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::error!("the writer did not end well");
        }
    }
}

fn spawn_writer(writer: Writer, flag: Arc<AtomicBool>) -> Result<std::thread::JoinHandle<()>, String> {
    let body = move || {
        // Lowers the flag however the thread ends, so that /livez tells.
        let _lower = Lower(flag);
        writer.run();
    };
    let thread = std::thread::Builder::new().name("writer".to_owned()).spawn(body);
    thread.map_err(|error| format!("no thread for the writer: {error}"))
}

struct Lower(Arc<AtomicBool>);

impl Drop for Lower {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Service {
    /// Takes over what earlier processes learnt, and opens `initial_load` for sources that were never swept.
    async fn restore(&self) -> Result<(), super::Error> {
        let newest = self.store.deliveries(None, u64::MAX, LAST_DELIVERIES_MAX)?;
        for delivery in newest {
            if let Some(tenant) = self.tenants.get(&*delivery.source) {
                tenant.counters.restore(delivery.received_at);
            }
        }
        for (name, tenant) in &*self.tenants {
            let state = self.store.source(name)?;
            tenant.time.restore(state.clock_offset_millis.unwrap_or(0));
            self.take_over(tenant, &state);
            if state.swept_at.is_none() && !state.gaps.iter().any(|gap| gap.reason == Reason::InitialLoad) {
                let at = Circumstances { rules: tenant.rules, now: tenant.time.now(), wall: self.clock.now() };
                let gap = SourceEvidence { reason: Reason::InitialLoad, uid: None, gap: gap::open(None, at.now, &at) };
                self.repair(tenant, |repair| repair.shown = vec![gap]).await?;
            }
        }
        self.beat(false).await;
        Ok(())
    }

    /// The reconciler of a source; `None` without an upstream.
    fn reconciler(
        &self,
        name: &str,
        asked: mpsc::Receiver<Reconciliation>,
        (jobs, wire): (mpsc::Sender<Job>, Option<Arc<dyn Wire>>),
    ) -> Result<Option<Reconciler>, String> {
        let (Some(source), Some(tenant)) = (self.config.sources.get(name), self.tenants.get(name)) else { return Ok(None) };
        let (Some(base_url), Some(token)) = (&source.base_url, &source.api_token) else { return Ok(None) };
        let token = Arc::clone(token);
        let client = match wire {
            Some(wire) => Client::wired(wire, base_url, token, self.clock.clone()),
            None => Client::new(base_url, token, self.clock.clone()),
        };
        let client = client.map_err(|error| format!("sources.{name}.base_url: {error}"))?;
        let calls = self.store.calls(name).map_err(|error| error.to_string())?;
        let state = self.store.source(name).map_err(|error| error.to_string())?;
        let (now, elapsed) = (self.clock.now(), self.clock.elapsed());
        let certain_from = state.calls_clock.map_or(u64::MAX, |clock| clock.from_call);
        let ledger = |endpoint: Endpoint, per_hour: u32| {
            let ours = calls.iter().filter(|call| call.endpoint == endpoint).map(|call| (call.number, call.at));
            let ledger = Ledger::new(per_hour, elapsed, &budget::ages(ours, certain_from, now), !state.asked.contains(&endpoint));
            if tenant.rules.breaks(Broken::Guard) { ledger.unguarded() } else { ledger }
        };
        let budgets = (ledger(Endpoint::Bulk, source.bulk_requests_per_hour), ledger(Endpoint::Lookup, source.lookup_requests_per_hour));
        let means = Means {
            tenant: Arc::clone(tenant),
            settings: source.reconcile.clone(),
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            metrics: Arc::clone(&self.metrics),
            jobs,
            client,
        };
        Ok(Some(Reconciler::new(means, asked, budgets)))
    }
}
