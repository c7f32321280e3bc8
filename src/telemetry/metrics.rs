//! The metrics of the service (contract, section 4): closed label sets, every counter there from the start.

mod listener;
mod secrets;
mod snapshot;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::labels::{Build, ByCause, ByEnd, ByEndpoint, ByMode, ByOutcome, ByReason, ByResult, BySource, ByState, ByStatus, Status};
use crate::directory::{ChangeKind, EventKind, Outcome, Reason, Timestamp};
use crate::storage::{Endpoint, Mode, RunState};

pub use listener::{Cut, Listener};
pub use snapshot::{Snapshot, SourceSnapshot};

/// Why a delivery is refused, as `rollcall_deliveries_rejected_total` tells it.
const REFUSALS: [&str; 6] =
    ["missing_signature", "invalid_signature", "body_too_large", "invalid_request", "request_timeout", "unavailable"];
/// What made a change, as `rollcall_changes_total` tells it.
const CAUSES: [&str; 2] = ["delivery", "reconciliation"];
/// Ends of reconciliations.
const RESULTS: [RunState; 3] = [RunState::Done, RunState::Failed, RunState::Cancelled];
/// Ends of what is done or not: compactions, reading secrets anew.
const ENDS: [&str; 2] = ["done", "failed"];
/// Seconds, from half a millisecond to the longest that a delivery may wait and a little more.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Deliveries in one commit; the writer takes at most 64.
const BATCHES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

type Seconds = Gauge<f64, AtomicU64>;
type Total<L> = Family<L, Counter>;

/// How a backup ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backup {
    /// All of it was handed over.
    Done,
    /// The store failed.
    Failed,
    /// Nobody took it.
    Aborted,
}

impl Backup {
    const ALL: [Self; 3] = [Self::Done, Self::Failed, Self::Aborted];

    const fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Aborted => "aborted",
        }
    }
}

/// The metrics of the service. Cheap to update from any thread; what is told of an unknown source counts nowhere, so that
/// nobody outside can add label values.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    sources: BTreeSet<Arc<str>>,
    deliveries: Total<ByOutcome>,
    rejected: Total<ByReason>,
    delivery_duration: Histogram,
    batch_size: Histogram,
    commit_duration: Histogram,
    gaps_detected: Total<ByReason>,
    changes: Total<ByCause>,
    reconciliations: Total<ByResult>,
    last_reconciliation: Family<ByMode, Seconds>,
    upstream_requests: Total<ByStatus>,
    gaps_open: Family<BySource, Gauge>,
    pending: Family<ByState, Gauge>,
    oldest_gap: Family<BySource, Seconds>,
    budget: Family<ByEndpoint, Gauge>,
    cap: Family<ByEndpoint, Gauge>,
    users: Family<ByState, Gauge>,
    failures: Family<BySource, Gauge>,
    last_delivery: Family<BySource, Seconds>,
    draining: Gauge,
    ready: Gauge,
    store_bytes: Gauge,
    store_free_bytes: Gauge,
    store_reopened: Counter,
    backups: Total<ByEnd>,
    last_backup: Seconds,
    compactions: Total<ByEnd>,
    content_bytes: Gauge,
    secret_reloads: Total<ByEnd>,
    unusable_secret_files: Gauge,
    /// Of the public listener.
    pub listener: Listener,
}

impl Metrics {
    /// Metrics with every counter of these sources at 0.
    #[must_use]
    pub fn new(sources: &[&str]) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            sources: sources.iter().map(|source| Arc::from(*source)).collect(),
            deliveries: Family::default(),
            rejected: Family::default(),
            delivery_duration: Histogram::new(SECONDS),
            batch_size: Histogram::new(BATCHES),
            commit_duration: Histogram::new(SECONDS),
            gaps_detected: Family::default(),
            changes: Family::default(),
            reconciliations: Family::default(),
            last_reconciliation: Family::default(),
            upstream_requests: Family::default(),
            gaps_open: Family::default(),
            pending: Family::default(),
            oldest_gap: Family::default(),
            budget: Family::default(),
            cap: Family::default(),
            users: Family::default(),
            failures: Family::default(),
            last_delivery: Family::default(),
            draining: Gauge::default(),
            ready: Gauge::default(),
            store_bytes: Gauge::default(),
            store_free_bytes: Gauge::default(),
            store_reopened: Counter::default(),
            backups: Family::default(),
            last_backup: Seconds::default(),
            compactions: Family::default(),
            content_bytes: Gauge::default(),
            secret_reloads: Family::default(),
            unusable_secret_files: Gauge::default(),
            listener: Listener::default(),
        };
        metrics.register_deliveries();
        metrics.register_repairs();
        metrics.register_state();
        metrics.register_copies();
        metrics.register_secrets();
        metrics.listener.register(&mut metrics.registry);
        for source in &metrics.sources {
            metrics.start_at_zero(source);
        }
        metrics
    }

    fn register_deliveries(&mut self) {
        let registry = &mut self.registry;
        registry.register("rollcall_deliveries", "Authentic deliveries answered 200, by event and outcome", self.deliveries.clone());
        registry.register("rollcall_deliveries_rejected", "Deliveries refused, by reason", self.rejected.clone());
        registry.register(
            "rollcall_delivery_duration_seconds",
            "Time from a delivery's head to its answer 200",
            self.delivery_duration.clone(),
        );
        registry.register("rollcall_commit_batch_size", "Deliveries that shared one commit", self.batch_size.clone());
        registry.register(
            "rollcall_commit_duration_seconds",
            "Time that one commit took until it was durable",
            self.commit_duration.clone(),
        );
        registry.register(
            "rollcall_consecutive_failures",
            "Authentic deliveries refused in a row; at 5 the sender deactivates the webhook",
            self.failures.clone(),
        );
        registry.register(
            "rollcall_last_delivery_timestamp_seconds",
            "When the last authentic delivery came, 0 before the first",
            self.last_delivery.clone(),
        );
    }

    fn register_repairs(&mut self) {
        let registry = &mut self.registry;
        registry.register("rollcall_gaps_detected", "Times that a gap was shown, by reason", self.gaps_detected.clone());
        registry.register(
            "rollcall_deletions_pending",
            "Users whom polling found missing and who are not deleted yet",
            self.pending.clone(),
        );
        registry.register("rollcall_gaps_open", "Gaps that no read has closed yet", self.gaps_open.clone());
        registry.register("rollcall_oldest_gap_seconds", "Age of the oldest open gap, 0 without any", self.oldest_gap.clone());
        registry.register("rollcall_reconciliations", "Reconciliations that ended, by mode and result", self.reconciliations.clone());
        registry.register(
            "rollcall_last_reconciliation_timestamp_seconds",
            "When the last whole pass or sweep was committed, 0 before the first",
            self.last_reconciliation.clone(),
        );
        registry.register("rollcall_upstream_requests", "Requests to upstream, by endpoint and status", self.upstream_requests.clone());
        registry.register("rollcall_upstream_budget_remaining", "Requests that the hourly budget still holds", self.budget.clone());
        registry.register("rollcall_upstream_budget_cap", "Requests that an hour may hold at present", self.cap.clone());
    }

    fn register_state(&mut self) {
        let registry = &mut self.registry;
        registry.register("rollcall_directory_users", "Users in the directory, by state", self.users.clone());
        registry.register("rollcall_changes", "Changes told in the feed, by kind and cause", self.changes.clone());
        registry.register("rollcall_draining", "1 once the service was told to end, 0 before", self.draining.clone());
        registry.register("rollcall_ready", "Whether /readyz answers 200: 1 or 0", self.ready.clone());
        registry.register("rollcall_store_bytes", "Size of the store on disk", self.store_bytes.clone());
        registry.register("rollcall_store_free_bytes", "Free space on the store's file system", self.store_free_bytes.clone());
        registry.register(
            "rollcall_store_reopened",
            "Times that the store was opened anew after a failed commit",
            self.store_reopened.clone(),
        );
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("rollcall_build_info", "The running version; always 1", build);
    }

    fn register_copies(&mut self) {
        self.registry.register("rollcall_backups", "Backups that ended, by result", self.backups.clone());
        self.registry.register(
            "rollcall_last_backup_timestamp_seconds",
            "When the last whole backup was handed over, 0 when none was since the start",
            self.last_backup.clone(),
        );
        self.registry.register("rollcall_compactions", "Compactions of the store that ended, by result", self.compactions.clone());
        self.registry.register(
            "rollcall_store_content_bytes",
            "What the store's database file held when that was last measured, 0 before",
            self.content_bytes.clone(),
        );
        for result in Backup::ALL.map(Backup::name) {
            drop(self.backups.get_or_create(&ByEnd { result }));
        }
        for result in ENDS {
            drop(self.compactions.get_or_create(&ByEnd { result }));
        }
    }

    fn start_at_zero(&self, source: &Arc<str>) {
        for outcome in Outcome::ALL.map(Outcome::name) {
            for event in EventKind::ALL.into_iter().map(Some).chain([None]).map(event_name) {
                drop(self.deliveries.get_or_create(&ByOutcome { source: source.clone(), event, outcome }));
            }
        }
        for reason in REFUSALS {
            drop(self.rejected.get_or_create(&ByReason { source: source.clone(), reason }));
        }
        for reason in Reason::ALL.iter().map(|reason| reason.name()) {
            drop(self.gaps_detected.get_or_create(&ByReason { source: source.clone(), reason }));
        }
        for kind in ChangeKind::ALL.map(ChangeKind::name) {
            for cause in CAUSES {
                drop(self.changes.get_or_create(&ByCause { source: source.clone(), kind, cause }));
            }
        }
        for mode in Mode::ALL.map(Mode::name) {
            for result in RESULTS.map(RunState::name) {
                drop(self.reconciliations.get_or_create(&ByResult { source: source.clone(), mode, result }));
            }
        }
        for endpoint in Endpoint::ALL.map(Endpoint::name) {
            drop(self.upstream_requests.get_or_create(&ByStatus { source: source.clone(), endpoint, status: Status(Some(200)) }));
        }
    }

    /// One delivery was answered 200. `event` is `None` where it is none of the five.
    pub fn delivered(&self, source: &str, event: Option<EventKind>, outcome: Outcome, took: Duration) {
        let Some(source) = self.known(source) else { return };
        self.deliveries.get_or_create(&ByOutcome { source, event: event_name(event), outcome: outcome.name() }).inc();
        self.delivery_duration.observe(took.as_secs_f64());
    }

    /// One delivery was refused: `missing_signature`, `invalid_signature`, `body_too_large`, `invalid_request`, `request_timeout` or `unavailable`.
    pub fn rejected(&self, source: &str, reason: &'static str) {
        let Some(source) = self.known(source) else { return };
        self.rejected.get_or_create(&ByReason { source, reason }).inc();
    }

    /// The writer committed this many deliveries at once.
    pub fn committed(&self, deliveries: usize, took: Duration) {
        self.batch_size.observe(f64::from(u32::try_from(deliveries).unwrap_or(u32::MAX)));
        self.commit_duration.observe(took.as_secs_f64());
    }

    /// The store was opened anew after a commit had failed.
    pub fn store_reopened(&self) {
        self.store_reopened.inc();
    }

    /// A backup ended at `now`.
    pub fn backed_up(&self, ended: Backup, now: Timestamp) {
        self.backups.get_or_create(&ByEnd { result: ended.name() }).inc();
        if ended == Backup::Done {
            self.last_backup.set(now.since(Timestamp::from_millis(0)).as_secs_f64());
        }
    }

    /// A compaction ended.
    pub fn compacted(&self, done: bool) {
        self.compactions.get_or_create(&ended(done)).inc();
    }

    /// The store's file holds so many bytes.
    pub fn set_content(&self, bytes: u64) {
        self.content_bytes.set(signed(bytes));
    }

    /// A gap was shown so many times.
    pub fn gap_detected(&self, source: &str, reason: Reason, times: u64) {
        let Some(source) = self.known(source) else { return };
        self.gaps_detected.get_or_create(&ByReason { source, reason: reason.name() }).inc_by(times);
    }

    /// A change was made, by a delivery or by a reconciliation.
    pub fn changed(&self, source: &str, kind: ChangeKind, by_delivery: bool) {
        let Some(source) = self.known(source) else { return };
        let [delivery, reconciliation] = CAUSES;
        let cause = if by_delivery { delivery } else { reconciliation };
        self.changes.get_or_create(&ByCause { source, kind: kind.name(), cause }).inc();
    }

    /// A reconciliation ended.
    pub fn reconciled(&self, source: &str, mode: Mode, result: RunState) {
        let Some(source) = self.known(source) else { return };
        self.reconciliations.get_or_create(&ByResult { source, mode: mode.name(), result: result.name() }).inc();
    }

    /// Upstream answered with `status`; `None` is no answer (time-out, connection, cut or unreadable body).
    pub fn upstream_answered(&self, source: &str, endpoint: Endpoint, status: Option<u16>) {
        let Some(source) = self.known(source) else { return };
        self.upstream_requests.get_or_create(&ByStatus { source, endpoint: endpoint.name(), status: Status(status) }).inc();
    }

    /// How many calls the budget still holds now, and how many an hour may hold at present.
    pub fn set_budget(&self, source: &str, endpoint: Endpoint, (remaining, cap): (u32, u32)) {
        let Some(source) = self.known(source) else { return };
        let labels = ByEndpoint { source, endpoint: endpoint.name() };
        self.budget.get_or_create(&labels).set(remaining.into());
        self.cap.get_or_create(&labels).set(cap.into());
    }

    /// How many authentic deliveries were answered 503 in a row.
    pub fn set_consecutive_failures(&self, source: &str, failures: u32) {
        let Some(source) = self.known(source) else { return };
        self.failures.get_or_create(&BySource { source }).set(failures.into());
    }

    fn known(&self, source: &str) -> Option<Arc<str>> {
        self.sources.get(source).cloned()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(&[])
    }
}

fn ended(done: bool) -> ByEnd {
    let [well, failed] = ENDS;
    ByEnd { result: if done { well } else { failed } }
}

fn event_name(event: Option<EventKind>) -> &'static str {
    event.map_or("other", EventKind::name)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
