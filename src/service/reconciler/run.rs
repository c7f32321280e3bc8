//! A reconciliation on its way: what it is about to ask, and how urgent it is.

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

use crate::directory::{Reason, Timestamp};
use crate::storage::{Endpoint, Mode, Progress, Reconciliation, RunState, Sweep};

use super::edge::Edge;
use super::search::Searches;
use super::totals::Total;
use super::walk::{Walk, Window};

/// Which runs go first. The order of the variants is the order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Someone asked for one user.
    AskedLookup,
    /// Someone asked for a pass.
    AskedPass,
    /// Gaps are due, and someone may wrongly be active, or wrongly be there.
    Repair,
    /// Gaps are due that can wait until the evenly spread budget has room.
    Soon,
    /// Someone asked for a sweep, or the source was never swept.
    Sweep,
    /// The schedule says so.
    Scheduled,
    /// Details that only a lookup carries.
    Background,
}

/// What a run does next.
#[derive(Debug)]
pub enum Work {
    /// Reads the whole listing.
    Sweep(Box<SweepWork>),
    /// Reads what was updated since the cursor.
    Pass(Box<Pass>),
    /// Looks single users up.
    Lookups(VecDeque<String>),
    /// Looks for single users among the live ones, where lookups show deleted users too.
    Searches(Searches),
}

/// A sweep on its way.
#[derive(Clone, Debug, Default)]
pub struct SweepWork {
    /// What is kept of it, for a restart.
    pub state: Sweep,
    /// Users seen, in a dry run, which leaves no trace in the store to count by.
    pub seen: HashSet<String>,
    /// Those of the live listing.
    pub live_seen: HashSet<String>,
    /// The step after a listing's last page.
    pub counting: bool,
}

/// An incremental pass on its way.
#[derive(Debug)]
pub struct Pass {
    /// When it began, in upstream's time.
    pub began: Timestamp,
    /// The window with deleted users.
    pub all: Walk,
    /// Whether the next call asks how many the same window holds without them.
    pub counting: bool,
    /// How many of the window are known to be gone.
    pub gone: u64,
    /// The same window without them, once it is needed.
    pub live: Option<Walk>,
    /// How often that showed nobody.
    pub empties: u32,
    /// Whether upstream's total is asked for at the end.
    pub total: Total,
    /// Whether it is asked at the end what `updated_after` means.
    pub edge: Edge,
    /// Whether the window was read as a whole.
    pub complete: bool,
    /// Whether rows wait behind the newest one read.
    pub more: bool,
    /// From this `updated_at` on the live window was not read, so that absence from it says nothing.
    pub horizon: Option<Timestamp>,
}

impl Pass {
    /// A pass that began then, over a window.
    #[must_use]
    pub fn new(began: Timestamp, window: Window) -> Self {
        Self {
            began,
            all: Walk::new(window, true),
            counting: false,
            gone: 0,
            live: None,
            empties: 0,
            total: Total::Unasked,
            edge: Edge::Unasked,
            complete: true,
            more: false,
            horizon: None,
        }
    }
}

/// One reconciliation that is not over.
#[derive(Debug)]
pub struct Run {
    /// What the world sees of it.
    pub record: Reconciliation,
    /// What it does.
    pub work: Work,
    /// When it goes.
    pub urgency: Urgency,
    /// Calls that brought nothing, in a row.
    pub failures: u32,
    /// Not before this, by the service's monotonic clock.
    pub not_before: Duration,
    /// Until when it was said to wait for its budget, by the same clock.
    pub waits_until: Option<Duration>,
    /// How it ends, and why, once the store takes that.
    pub end: Option<(RunState, Option<String>)>,
}

impl Run {
    /// A run for a record that is about to start.
    #[must_use]
    pub const fn new(record: Reconciliation, work: Work, urgency: Urgency) -> Self {
        Self { record, work, urgency, failures: 0, not_before: Duration::ZERO, waits_until: None, end: None }
    }

    /// Which budget its next call counts against.
    #[must_use]
    pub const fn endpoint(&self) -> Endpoint {
        match self.work {
            Work::Sweep(_) | Work::Pass(_) | Work::Searches(_) => Endpoint::Bulk,
            Work::Lookups(_) => Endpoint::Lookup,
        }
    }

    /// Whether someone asked for it.
    #[must_use]
    pub fn was_asked(&self) -> bool {
        self.record.reasons.iter().any(|reason| reason == Reason::Operator.name())
    }
}

/// A new record, without a number yet.
#[must_use]
pub fn record(source: &str, mode: Mode, reasons: Vec<String>, at: Timestamp) -> Reconciliation {
    Reconciliation {
        id: 0,
        source: source.to_owned(),
        mode,
        uid: None,
        dry_run: false,
        reasons,
        state: RunState::Waiting,
        requested_at: at,
        started_at: None,
        finished_at: None,
        progress: Progress::default(),
        message: None,
        differences: Vec::new(),
    }
}
