//! The actors and what the faces may ask of them: receiver, writer, reconciler, feed.

pub mod compactor;
pub mod group;
mod heartbeat;
pub mod job;
pub mod receiver;
pub mod recent;
pub mod reconciler;
mod refresher;
pub mod replies;
pub mod running;
pub mod tenant;
pub mod vigil;
pub mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::config;
use crate::directory::{Circumstances, EventKind, Outcome, Reason, Timestamp, gap};
use crate::storage::{self, Compaction, Endpoint, Mode, Reconciliation, RunState, Store};
use crate::telemetry::Metrics;

use job::{Job, Repair, Repaired, SourceEvidence};
use tenant::Tenant;

pub use running::{Parts, Running, Waiting};

/// What became of a delivery, once it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// What became of it.
    pub outcome: Outcome,
    /// Its event id.
    pub event_id: String,
    /// Which of the five events it was, for the metrics; `None` for any other.
    pub event: Option<EventKind>,
}

/// Why a delivery is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There was no signature.
    #[error("the header X-MangoApps-Signature is missing")]
    MissingSignature,
    /// The signature is not one of ours over these bytes.
    #[error("the signature does not match the body")]
    InvalidSignature,
    /// The store cannot take it, or the writer stayed busy for 8 s.
    #[error("the store cannot take deliveries at the moment")]
    Unavailable,
}

/// What someone asks of the reconciler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The source's name; must exist.
    pub source: String,
    /// What to ask upstream.
    pub mode: Mode,
    /// Whom to look up; `Some` exactly with [`Mode::Lookup`].
    pub uid: Option<String>,
    /// Only show what it would change.
    pub dry_run: bool,
}

/// Why a request about one thing cannot be met.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such thing.
    #[error("there is no such thing")]
    NotFound,
    /// It is over, or was never begun.
    #[error("it is {0} and cannot do that")]
    WrongState(&'static str),
    /// Too much waits already.
    #[error("too many reconciliations wait already: cancel some, or ask again later")]
    Busy,
    /// The source has no `base_url`: there is nobody to ask.
    #[error("sources.{0}.base_url is not set, so there is no upstream to ask")]
    NoUpstream(String),
    /// The writer did not take it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] storage::Error),
}

/// How far the service is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// It serves, and means to go on.
    Serving,
    /// It says that it will end, and still takes everything.
    Draining,
    /// It ends: whoever waits for something is answered.
    Ending,
}

/// What `/api/v1/sources` tells of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Authentic deliveries since the start of the process, by outcome.
    pub deliveries: BTreeMap<&'static str, u64>,
    /// When the last authentic delivery arrived, by the service's clock.
    pub last_delivery: Option<Timestamp>,
    /// Authentic deliveries answered 503 in a row.
    pub consecutive_failures: u32,
    /// Listings that the budget still holds now.
    pub bulk_remaining: u32,
    /// Lookups that the budget still holds now.
    pub lookup_remaining: u32,
    /// Listings that an hour may hold at present.
    pub bulk_cap: u32,
    /// Lookups that an hour may hold at present.
    pub lookup_cap: u32,
    /// Upstream's clock less ours, in milliseconds; `None` until an answer told it.
    pub clock_offset_millis: Option<i64>,
}

/// The running service: what the HTTP faces and the commands hold. Share it in an `Arc`.
#[derive(Debug)]
pub struct Service {
    /// The store, for reading.
    pub store: Arc<Store>,
    /// The clock.
    pub clock: Clock,
    /// The settings.
    pub config: Arc<config::Config>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    tenants: Arc<BTreeMap<String, Arc<Tenant>>>,
    jobs: ArcSwapOption<mpsc::Sender<Job>>,
    watermark: watch::Receiver<u64>,
    phase: watch::Sender<Phase>,
    writing: Arc<AtomicBool>,
    faults: Mutex<refresher::Faults>,
}

/// Reconciliations that may wait for one source because someone asked.
const ASKED_MAX: usize = 64;

impl Service {
    /// Whether there is a source with this name.
    #[must_use]
    pub fn has_source(&self, name: &str) -> bool {
        self.tenants.contains_key(name)
    }

    /// The only source's name; `None` when there are several.
    #[must_use]
    pub fn only_source(&self) -> Option<&str> {
        let mut names = self.tenants.keys();
        names.next().filter(|_| names.next().is_none()).map(String::as_str)
    }

    /// Asks for a reconciliation; answers the record of what already waits for the same, else a new one.
    ///
    /// # Errors
    /// [`Error::NoUpstream`]; [`Error::NotFound`] for an unknown source; [`Error::Busy`].
    pub async fn reconcile(&self, ask: Ask) -> Result<Reconciliation, Error> {
        let tenant = self.tenants.get(&ask.source).ok_or(Error::NotFound)?;
        let asked = tenant.asked.as_ref().ok_or_else(|| Error::NoUpstream(ask.source.clone()))?;
        let open: Vec<_> = self.unfinished(&ask.source)?;
        let same = |held: &&Reconciliation| {
            held.state == RunState::Waiting && (held.mode, &held.uid, held.dry_run) == (ask.mode, &ask.uid, ask.dry_run)
        };
        if let Some(held) = open.iter().find(same) {
            return Ok(held.clone());
        }
        let permit = asked.try_reserve().map_err(|_| Error::Busy)?;
        let mut record = reconciler::run::record(&ask.source, ask.mode, vec![Reason::Operator.name().to_owned()], self.clock.now());
        (record.uid, record.dry_run) = (ask.uid, ask.dry_run);
        let at = Circumstances { rules: tenant.rules, now: tenant.time.now(), wall: self.clock.now() };
        let gap = SourceEvidence { reason: Reason::Operator, uid: record.uid.clone(), gap: gap::open(None, at.now, &at) };
        let shown = if record.dry_run { Vec::new() } else { vec![gap] };
        let repaired = self.repair(tenant, |repair| (repair.run, repair.shown) = (Some(record), shown)).await?;
        let record = repaired.run.ok_or(Error::NotFound)?;
        permit.send(record.clone());
        Ok(record)
    }

    /// What is not over of one source, newest first.
    fn unfinished(&self, source: &str) -> Result<Vec<Reconciliation>, Error> {
        let newest = self.store.reconciliations(u64::MAX, 1000)?;
        Ok(newest.into_iter().filter(|held| held.source == source && !held.state.is_over()).collect())
    }

    /// Stops a reconciliation that waits or runs.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`].
    pub async fn cancel(&self, id: u64) -> Result<Reconciliation, Error> {
        let mut record = self.store.reconciliation(id)?.ok_or(Error::NotFound)?;
        if record.state.is_over() {
            return Err(Error::WrongState(record.state.name()));
        }
        let tenant = self.tenants.get(&record.source).ok_or(Error::NotFound)?;
        tenant.cancelled.lock().insert(id);
        (record.state, record.finished_at) = (RunState::Cancelled, Some(self.clock.now()));
        let repaired = self.repair(tenant, |repair| repair.run = Some(record)).await?;
        tenant.wake.notify_one();
        repaired.run.ok_or(Error::NotFound)
    }

    /// Lets the deletions that a reconciliation found go on, however many they are; each is confirmed all the same.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::WrongState`] unless it awaits that.
    pub async fn approve(&self, id: u64) -> Result<Reconciliation, Error> {
        let mut record = self.store.reconciliation(id)?.ok_or(Error::NotFound)?;
        if record.state != RunState::AwaitingApproval {
            return Err(Error::WrongState(record.state.name()));
        }
        let tenant = self.tenants.get(&record.source).ok_or(Error::NotFound)?;
        tenant.approved.lock().insert(id);
        (record.state, record.message) = (RunState::Confirming, None);
        let edit: job::Edit = Box::new(move |state| state.toll.retain(|held| held.found_by != id));
        let repaired = self.repair(tenant, |repair| (repair.run, repair.edit) = (Some(record), Some(edit))).await?;
        tenant.wake.notify_one();
        repaired.run.ok_or(Error::NotFound)
    }

    /// Hands a repair to the writer and waits until it is durable.
    async fn repair(&self, tenant: &Tenant, fill: impl FnOnce(&mut Repair)) -> Result<Repaired, Refusal> {
        let (reply, answer) = oneshot::channel();
        let source = Arc::clone(&tenant.name);
        let mut repair =
            Repair { source, run: None, evidence: Vec::new(), shown: Vec::new(), closes: Vec::new(), call: None, edit: None, reply };
        fill(&mut repair);
        let jobs = self.jobs.load_full().ok_or(Refusal::Unavailable)?;
        jobs.send(Job::Repair(Box::new(repair))).await.map_err(|_| Refusal::Unavailable)?;
        answer.await.map_err(|_| Refusal::Unavailable)?
    }

    /// Writes the store anew in as little room as it takes, unless the service ends meanwhile. Blocks, for a minute perhaps.
    ///
    /// # Errors
    /// As [`Store::compact`].
    pub fn compact(&self) -> Result<Compaction, storage::Error> {
        compactor::compact(&self.store, &self.metrics, &|| !self.is_draining())
    }

    /// Moves a user to the front of the background lookups; forgets it when the queue is full.
    pub fn want_details(&self, source: &str, uid: &str) {
        let Some(tenant) = self.tenants.get(source).filter(|tenant| tenant.asked.is_some()) else { return };
        tenant.wanted.push(uid);
        tenant.wake.notify_one();
    }

    /// What stands where for one source.
    #[must_use]
    pub fn standing(&self, source: &str) -> Standing {
        let Some(tenant) = self.tenants.get(source) else { return Standing::default() };
        Standing {
            deliveries: tenant.counters.outcomes(),
            last_delivery: tenant.counters.last_delivery(),
            consecutive_failures: tenant.counters.failures(),
            bulk_remaining: tenant.budgets.get(Endpoint::Bulk),
            lookup_remaining: tenant.budgets.get(Endpoint::Lookup),
            bulk_cap: tenant.budgets.cap(Endpoint::Bulk),
            lookup_cap: tenant.budgets.cap(Endpoint::Lookup),
            clock_offset_millis: tenant.time.offset_millis(),
        }
    }

    /// Waits until the feed has something after `cursor`, or the service ends.
    pub async fn changed_after(&self, cursor: u64) {
        let (mut watermark, mut phase) = (self.watermark.clone(), self.phase.subscribe());
        tokio::select! {
            _ = watermark.wait_for(|newest| *newest > cursor) => {}
            _ = phase.wait_for(|phase| *phase == Phase::Ending) => {}
        }
    }

    /// Whether the service was told to end; it may still take everything for a while.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    /// Whether it takes no new connections any more, and whoever waits for something is to be answered.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        *self.phase.borrow() == Phase::Ending
    }

    /// What `/readyz` tells: each check by name with `Ok` or what is wrong. Ready when all are `Ok`.
    #[must_use]
    pub fn checks(&self) -> Vec<(&'static str, Result<(), String>)> {
        let serving = if self.is_draining() { Err("the service is draining".to_owned()) } else { Ok(()) };
        let writer = if self.alive() { Ok(()) } else { Err("the writer has ended".to_owned()) };
        let store = self.store.healthy().map_err(|error| error.to_string());
        vec![("serving", serving), ("writer", writer), ("store", store)]
    }

    /// Whether the process makes progress, for `/livez`.
    #[must_use]
    pub fn alive(&self) -> bool {
        self.writing.load(Ordering::Relaxed) || self.is_draining()
    }
}
