//! The actor that repairs gaps: chooses what to ask upstream, asks within the budgets, and hands what it learns to the writer.
//!
//! It makes one call a step, for the most urgent run whose budget has room, so that a sweep of hours never keeps a leaver's
//! lookup waiting.

pub mod calls;
pub mod edge;
pub mod endings;
pub mod ledgers;
pub mod lookups;
pub mod outlook;
pub mod pass;
pub mod plan;
pub mod rows;
pub mod run;
pub mod search;
pub mod silence;
pub mod sweep;
pub mod toll;
pub mod totals;
pub mod turns;
pub mod walk;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc;

use super::Refusal;
use super::job::{Edit, Job};
use super::tenant::Tenant;
use crate::clock::Clock;
use crate::config::Reconcile;
use crate::directory::{Broken, Circumstances, Timestamp};
use crate::storage::{Endpoint, Reconciliation, RunState, Store};
use crate::telemetry::Metrics;
use crate::upstream::budget::Ledger;
use crate::upstream::mangoapps::client::{Client, Failure};

use calls::{Sent, Step};
use run::{Run, Work};

/// After a sweep was given up or cancelled, how long until the next one is planned.
const SWEEP_AGAIN_AFTER: Duration = Duration::from_secs(300);
/// How long an idle reconciler waits before it looks again, by the system's clock.
const IDLE: Duration = Duration::from_millis(250);
/// The shortest rest, by the service's clock.
const REST_MIN: Duration = Duration::from_secs(1);
/// The rest while something is due that cannot be asked for yet.
const REST_BLOCKED: Duration = Duration::from_secs(5);
/// The longest rest, by the service's clock: schedules need not be kept to the second.
const REST_MAX: Duration = Duration::from_secs(15);
/// Evidence in one job, at most: a page's worth.
const EVIDENCE_MAX: usize = 100;

/// What a step asks of whoever steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is more to do at once.
    Again,
    /// Nothing to do for this long, by the service's clock.
    Wait(Duration),
}

/// Why a run cannot go on just now.
#[derive(Debug)]
pub enum Trouble {
    /// The writer did not take it: the store is in trouble, or the service ends.
    Refused,
    /// Upstream gave no evidence.
    Upstream(Failure),
    /// Someone cancelled it.
    Cancelled,
    /// The store cannot be read.
    Store(crate::storage::Error),
}

impl From<Refusal> for Trouble {
    fn from(_: Refusal) -> Self {
        Self::Refused
    }
}

impl From<crate::storage::Error> for Trouble {
    fn from(error: crate::storage::Error) -> Self {
        Self::Store(error)
    }
}

/// What the reconciler works with.
#[derive(Debug)]
pub struct Means {
    /// The source.
    pub tenant: Arc<Tenant>,
    /// Its settings.
    pub settings: Reconcile,
    /// The store, for reading.
    pub store: Arc<Store>,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The way to the writer.
    pub jobs: mpsc::Sender<Job>,
    /// The upstream.
    pub client: Client,
}

/// The reconciler of one source.
#[derive(Debug)]
pub struct Reconciler {
    means: Means,
    asked: mpsc::Receiver<Reconciliation>,
    bulk: Ledger,
    lookup: Ledger,
    /// Whether it was judged if the wall clock tells the ages of earlier processes' calls.
    ages_judged: bool,
    runs: Vec<Run>,
    attempts: HashMap<String, lookups::Attempt>,
    /// Reconciliations whose candidates for deletion are neither confirmed nor cleared.
    staged: BTreeSet<u64>,
    /// Whether lookups find anyone.
    witness: lookups::Witness,
    /// When the newest complete pass began, in upstream's time.
    passed: Option<Timestamp>,
    /// When a pass of this process last ended, by the monotonic clock.
    pass_ended: Option<Duration>,
    /// Nothing new is planned before this, by the monotonic clock: upstream refused for good.
    rest_until: Duration,
    /// No sweep is planned before this, by the monotonic clock: the last one was given up or cancelled.
    sweep_after: Duration,
    /// No pass is planned for gaps of the whole source before this, by the monotonic clock: the last one never added up.
    pass_after: Duration,
    /// How often in a row upstream refused the token.
    refusals: u32,
    /// Silence is not shown again before this, by the monotonic clock.
    silent_again: Duration,
    /// When upstream's total was last asked for, by the monotonic clock.
    totalled: Option<Duration>,
    /// Whether the store may hold a beginning of which it was not known that it does.
    orphaned: bool,
}

impl Reconciler {
    /// A reconciler with the given budgets; `asked` brings what people ask for.
    #[must_use]
    pub fn new(means: Means, asked: mpsc::Receiver<Reconciliation>, (bulk, lookup): (Ledger, Ledger)) -> Self {
        let (rest_until, sweep_after, silent_again) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        Self {
            means,
            asked,
            bulk,
            lookup,
            ages_judged: false,
            runs: Vec::new(),
            attempts: HashMap::new(),
            staged: BTreeSet::new(),
            witness: lookups::Witness::default(),
            passed: None,
            pass_ended: None,
            rest_until,
            sweep_after,
            pass_after: Duration::ZERO,
            refusals: 0,
            silent_again,
            totalled: None,
            orphaned: false,
        }
    }

    /// Steps until the service ends.
    pub async fn run(mut self) {
        self.resume();
        loop {
            let wait = match self.step().await {
                Next::Again => continue,
                Next::Wait(span) => span,
            };
            let (wake, clock) = (Arc::clone(&self.means.tenant.wake), self.means.clock.clone());
            tokio::select! {
                // In this order, so that a simulation of one seed always goes alike.
                biased;
                () = wake.notified() => {}
                () = clock.pause(wait, IDLE) => {}
                asked = self.asked.recv() => match asked {
                    Some(record) => self.accept(record),
                    None => return,
                },
            }
        }
    }

    /// Plans, then makes at most one call.
    pub async fn step(&mut self) -> Next {
        while let Ok(record) = self.asked.try_recv() {
            self.accept(record);
        }
        if self.means.tenant.token_renewed.swap(false, Ordering::Relaxed) {
            (self.rest_until, self.refusals) = (Duration::ZERO, 0);
        }
        self.drop_cancelled().await;
        self.drop_orphans().await;
        self.listen().await;
        if let Err(trouble) = self.settle_candidates().await {
            tracing::warn!(source = %self.means.tenant.name, ?trouble, "candidates for deletion wait: the store does not take their state");
        }
        self.plan();
        self.tell_budgets();
        self.tell_waits().await;
        let now = self.means.clock.elapsed();
        let ready = |run: &Run| run.not_before <= now && (run.end.is_some() || self.may_call(run));
        let best = self.runs.iter().enumerate().filter(|(_, run)| ready(run)).min_by_key(|(_, run)| (run.urgency, run.record.requested_at));
        let Some(index) = best.map(|(index, _)| index) else { return Next::Wait(self.rest()) };
        let mut run = self.runs.swap_remove(index);
        run.waits_no_more();
        match self.advance(&mut run).await {
            Ok(()) if run.record.state.is_left() => {
                self.refusals = 0;
                self.log_end(&run);
            }
            Ok(()) => {
                (run.failures, self.refusals) = (0, 0);
                self.runs.push(run);
            }
            Err(trouble) => self.troubled(run, trouble).await,
        }
        self.tell_budgets();
        Next::Again
    }

    /// How long there is nothing to do, if nobody asks for anything and nothing is shown meanwhile: until a run may go on, or a gap is due.
    fn rest(&self) -> Duration {
        let now = self.means.clock.elapsed();
        let runs = self.runs.iter().map(|run| run.not_before.saturating_sub(now).max(self.wait_of(run)));
        let first = self.means.store.due(&self.means.tenant.name, 1, &self.held());
        let gap = first.first().map(|user| user.due.since(self.means.tenant.time.now()));
        // What is due and could not be planned waits for something else, for a pass or for a pause to be over.
        let gap = gap.map(|span| if span.is_zero() { REST_BLOCKED } else { span });
        runs.chain(gap).min().unwrap_or(REST_MAX).clamp(REST_MIN, REST_MAX)
    }

    /// One call of one run, and what follows from its answer.
    async fn advance(&mut self, run: &mut Run) -> Result<(), Trouble> {
        if run.end.is_some() {
            return self.end(run).await;
        }
        self.begin(run).await?;
        match &mut run.work {
            Work::Sweep(_) => self.sweep(run).await,
            Work::Pass(_) => self.pass(run).await,
            Work::Lookups(_) => self.look_up(run).await,
            Work::Searches(_) => self.search(run).await,
        }
    }

    async fn begin(&mut self, run: &mut Run) -> Result<(), Trouble> {
        if run.record.state == RunState::Running {
            return Ok(());
        }
        self.pause_others().await?;
        run.record.state = RunState::Running;
        if run.record.started_at.is_none()
            && let Work::Pass(pass) = &mut run.work
        {
            // It may have waited long for its budget.
            pass.began = self.means.tenant.time.now();
        }
        run.record.started_at = run.record.started_at.or_else(|| Some(self.means.clock.now()));
        self.commit(run, Step::default()).await?;
        tracing::info!(
            source = %self.means.tenant.name, id = run.record.id, mode = run.record.mode.name(), reasons = run.record.reasons.join(","),
            "reconciliation runs"
        );
        Ok(())
    }

    /// Someone asked for this: it is stored already.
    fn accept(&mut self, record: Reconciliation) {
        if record.state.is_over() || self.runs.iter().any(|run| run.record.id == record.id) {
            return;
        }
        self.runs.push(self.as_run(record));
    }

    /// How long until a call of this kind may be sent.
    fn wait(&self, endpoint: Endpoint) -> Duration {
        if self.means.tenant.rules.breaks(Broken::Ledger) {
            return Duration::ZERO;
        }
        self.ledger(endpoint).wait(self.means.clock.elapsed())
    }

    const fn ledger(&self, endpoint: Endpoint) -> &Ledger {
        match endpoint {
            Endpoint::Bulk => &self.bulk,
            Endpoint::Lookup => &self.lookup,
        }
    }

    const fn ledger_mut(&mut self, endpoint: Endpoint) -> &mut Ledger {
        match endpoint {
            Endpoint::Bulk => &mut self.bulk,
            Endpoint::Lookup => &mut self.lookup,
        }
    }

    fn tell_budgets(&self) {
        let now = self.means.clock.elapsed();
        for endpoint in Endpoint::ALL {
            let left = (self.ledger(endpoint).remaining(now), self.ledger(endpoint).cap(now));
            self.means.tenant.budgets.set(endpoint, left);
            self.means.metrics.set_budget(&self.means.tenant.name, endpoint, left);
        }
    }

    fn at(&self) -> Circumstances {
        Circumstances { rules: self.means.tenant.rules, now: self.means.tenant.time.now(), wall: self.means.clock.now() }
    }
}
