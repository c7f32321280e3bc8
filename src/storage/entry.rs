//! What is stored: users, deliveries, changes, closed gaps, calls, reconciliations, and a state for each source.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Call, Pulse};
use crate::directory::{Change, ClosedGap, Gap, Known, Outcome, Reason, Timestamp};

/// One atomic step: everything in it becomes durable together, or nothing does.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Deliveries, in the order of their numbers; contiguous after the last one committed.
    pub deliveries: Vec<Delivery>,
    /// Users as they now stand, each at most once.
    pub users: Vec<StoredUser>,
    /// Changes, in the order of their cursors; contiguous after the last one committed.
    pub changes: Vec<Change>,
    /// Gaps that were closed.
    pub closed: Vec<ClosedGap>,
    /// States of whole sources, by name, each at most once.
    pub sources: Vec<(String, SourceState)>,
    /// Reconciliations as they now stand.
    pub reconciliations: Vec<Reconciliation>,
    /// Calls about to be made.
    pub calls: Vec<Call>,
}

impl Batch {
    /// Whether there is nothing to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let Self { deliveries, users, changes, closed, sources, reconciliations, calls } = self;
        deliveries.is_empty()
            && users.is_empty()
            && changes.is_empty()
            && closed.is_empty()
            && sources.is_empty()
            && reconciliations.is_empty()
            && calls.is_empty()
    }
}

/// A user's record and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredUser {
    /// The source's name.
    pub source: Arc<str>,
    /// Upstream's identifier.
    pub uid: String,
    /// The record, and what is shown of it.
    pub known: Arc<Known>,
}

/// What is kept of one delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its number: contiguous, from 1, over all sources.
    pub number: u64,
    /// The source's name.
    pub source: Arc<str>,
    /// The event id, at most 200 characters.
    pub event_id: String,
    /// The `event` of the body, where it was readable; at most 100 characters.
    pub event: Option<String>,
    /// `data.uid`, where it was readable.
    pub uid: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Why, for a quarantined one.
    pub reason: Option<String>,
    /// When it arrived, by the service's clock.
    pub received_at: Timestamp,
    /// Its id is remembered at least until then, by the service's clock: max(received, timestamp) + `remember_deliveries`.
    pub expires_at: Timestamp,
    /// The raw body; kept only of quarantined deliveries, up to `webhooks.max_body`.
    #[serde(skip)]
    pub body: Option<Vec<u8>>,
}

/// What an event id that was seen leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenDelivery {
    /// The delivery's number.
    pub number: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// Which of upstream's two budgets a call counts against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `GET /api/v1/users`
    Bulk,
    /// `GET /api/v1/users/{uid}` and `/by_email/{email}`
    Lookup,
}

impl Endpoint {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Bulk, Self::Lookup];

    /// The word in metrics and in `/api/v1/sources`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bulk => "bulk",
            Self::Lookup => "lookup",
        }
    }
}

/// What a reconciliation asks upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A sweep of the whole listing.
    Full,
    /// What was updated since the cursor.
    Incremental,
    /// Single users.
    Lookup,
}

impl Mode {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Full, Self::Incremental, Self::Lookup];

    /// The word in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Incremental => "incremental",
            Self::Lookup => "lookup",
        }
    }
}

/// Where a reconciliation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Another one runs, or its budget is spent.
    Waiting,
    /// It runs.
    Running,
    /// It ended well.
    Done,
    /// It ended without its result.
    Failed,
    /// Someone stopped it.
    Cancelled,
    /// It found more deletions than may be applied without someone's word.
    AwaitingApproval,
    /// It waits until the deletions that it found are confirmed or refuted.
    Confirming,
}

impl RunState {
    /// Whether it is over.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// Whether it has read what it wanted to: what is left is to confirm what it found.
    #[must_use]
    pub const fn has_read(self) -> bool {
        matches!(self, Self::Done | Self::AwaitingApproval | Self::Confirming)
    }

    /// Whether nothing more is asked on its behalf alone.
    #[must_use]
    pub const fn is_left(self) -> bool {
        self.is_over() || self.has_read()
    }

    /// The word in the API and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Confirming => "confirming",
        }
    }
}

/// How far a reconciliation is, and what it found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Calls made.
    pub calls: u64,
    /// Rows read, of listings and of lookups.
    pub rows: u64,
    /// Rows to be read in all, where known.
    pub expected: Option<u64>,
    /// Calls that it still needs, where known.
    #[serde(default)]
    pub calls_left: Option<u64>,
    /// When the budget lets the last of them be made, where known, by the service's clock and as upstream writes times.
    #[serde(default)]
    pub estimated_end: Option<String>,
    /// Users that changed.
    pub changed: u64,
    /// Gaps that it closed.
    pub gaps_closed: u64,
    /// Users whom it found missing, and whose deletion is neither confirmed nor refuted yet.
    #[serde(default)]
    pub candidates: u64,
    /// Users whose deletion it brought to light, and that was confirmed.
    #[serde(default)]
    pub deleted: u64,
}

/// One repair: what was asked, why, and how it went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Its number, increasing over all sources, from 1.
    pub id: u64,
    /// The source's name.
    pub source: String,
    /// What it asks.
    pub mode: Mode,
    /// Whom it asks for, where that is one user.
    pub uid: Option<String>,
    /// Whether it only shows what it would change.
    pub dry_run: bool,
    /// Why.
    pub reasons: Vec<String>,
    /// Where it stands.
    pub state: RunState,
    /// When it was asked for, by the service's clock; likewise the next two.
    pub requested_at: Timestamp,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// How far it is.
    pub progress: Progress,
    /// What went wrong or what it waits for, in one sentence.
    pub message: Option<String>,
    /// In a dry run the differences it would make: kind, uid and fields as in the feed, at most 1,000.
    pub differences: Vec<serde_json::Value>,
}

/// A gap of a whole source, or about someone of whom no record is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceGap {
    /// Why.
    pub reason: Reason,
    /// About whom, where it is about one user.
    pub uid: Option<String>,
    /// The gap.
    pub gap: Gap,
}

/// Whom a sweep did not show among the live users, in order of uid.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent<T = String> {
    /// Its listing with deleted users shows them.
    pub only_deleted: Vec<T>,
    /// No listing shows them, and they are held as alive.
    pub nowhere: Vec<T>,
}

/// Where a sweep is; kept so that it goes on after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sweep {
    /// The reconciliation that it belongs to.
    pub reconciliation: u64,
    /// When it began, in upstream's time.
    pub began: Timestamp,
    /// Which of the listings is read: first the live users, then with the deleted ones.
    pub with_deleted: bool,
    /// The place in the ledger of the request for this listing's first page; 0 before it.
    pub listing_call: u64,
    /// The same of the live listing, once that one is complete.
    #[serde(default)]
    pub live_call: u64,
    /// How often this listing was read from the first page on, this time included.
    pub round: u32,
    /// The page to be read next, from 1.
    pub page: u64,
    /// The smallest `total_count` that this listing told; `None` before its first page.
    pub total: Option<u64>,
    /// Distinct users seen in this listing.
    pub seen: u64,
    /// Users of the live listing, once it is complete.
    pub live: Option<u64>,
}

/// What is kept of a source as a whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceState {
    /// Open gaps that are not about a user whose record is held.
    pub gaps: Vec<SourceGap>,
    /// Incremental passes go on behind this `updated_at`; `None` before the first sweep is complete.
    pub cursor: Option<Timestamp>,
    /// When the last complete sweep began, by the service's clock.
    pub swept_at: Option<Timestamp>,
    /// When the last pass began, by the service's clock.
    pub passed_at: Option<Timestamp>,
    /// The sweep that is under way.
    pub sweep: Option<Sweep>,
    /// Whether lookups answer 404 for soft-deleted users; `None` until one was asked for.
    pub lookups_hide_deleted: Option<bool>,
    /// Someone who was seen to be deleted: whom to look up when it must be known whether lookups hide deleted users.
    pub seen_deleted: Option<String>,
    /// Upstream's clock less ours, in milliseconds; `None` until an answer carried a `Date`.
    pub clock_offset_millis: Option<i64>,
    /// Whether upstream's total differed from the directory's when it was last asked for.
    #[serde(default)]
    pub count_differs: bool,
    /// Whether rows of listings were ever seen to tell by themselves who was deleted.
    #[serde(default)]
    pub rows_mark_deleted: bool,
    /// Whether upstream honours what passes ask for; `None` until one was made.
    #[serde(default)]
    pub passes_usable: Option<bool>,
    /// Whether upstream's `updated_after` takes in the moment itself; `None` until a pass asked.
    #[serde(default)]
    pub updated_after_inclusive: Option<bool>,
    /// How the clock that logs the newest calls differs from upstream's; `None` until an answer carried a `Date`.
    #[serde(default)]
    pub calls_clock: Option<CallsClock>,
    /// Budgets whose newest call was made to ask upstream for the time.
    #[serde(default)]
    pub asked: BTreeSet<Endpoint>,
    /// Authentic deliveries answered 503 in a row, as far as the store could be told.
    #[serde(default)]
    pub failures: u32,
    /// Reconciliations that found candidates for deletion within the last hour; those that someone approved are not among them.
    #[serde(default)]
    pub toll: Vec<Toll>,
    /// What the next process has to know of this one.
    #[serde(default)]
    pub pulse: Pulse,
}

/// What is known of the wall clock by which calls are logged: it may be set at any time, also between two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallsClock {
    /// Upstream's clock less that one, in milliseconds.
    pub offset_millis: i64,
    /// The place of the first call that was logged by it; earlier ones were by another.
    pub from_call: u64,
}

/// How many candidates for deletion one reconciliation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toll {
    /// The reconciliation.
    pub found_by: u64,
    /// When it was judged, in upstream's time.
    pub at: Timestamp,
    /// How many they are.
    pub count: u64,
}

/// The greatest numbers given so far; the next ones follow without a hole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The newest delivery's.
    pub delivery: u64,
    /// The newest change's cursor.
    pub cursor: u64,
    /// The newest gap's id.
    pub gap: u64,
    /// The newest reconciliation's id.
    pub reconciliation: u64,
    /// The newest call's.
    pub call: u64,
}
