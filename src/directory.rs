//! The pure core: what one event or one read means for one user.
//!
//! Nothing here does IO, reads a clock, logs, awaits or fails. The shell loads what a piece of evidence may touch, calls
//! [`decide`], and commits the [`Decision`] in one durable step.
//!
//! # Why reads and claims are kept apart
//! Deliveries and rows carry no common version, and nobody promised that their clocks agree. Had events been applied onto
//! rows in the order of arrival, a late event would undo a newer read; had their stamps been compared, a skewed clock would.
//! So a [`Record`] holds the last reads and, field by field, the greatest claim that no read covers; the view is computed
//! from both. The price is a larger record and a view computed on each decision. An upstream that numbered its versions
//! would change our mind.

pub mod absence;
pub mod broken;
pub mod change;
pub mod code;
pub mod event;
pub mod fields;
pub mod gap;
pub mod hearing;
pub mod late;
#[cfg(test)]
mod laws;
pub mod merge;
pub mod misfit;
pub mod name;
pub mod reading;
pub mod record;
pub mod timestamp;
pub mod user;

use std::sync::Arc;
use std::time::Duration;

pub use absence::{Missing, NotFound};
pub use broken::Broken;
pub use change::{Cause, Change, ChangeKind, Difference};
pub use event::{Event, EventKind, Outcome};
pub use fields::{ByName, Fields};
pub use gap::{ClosedGap, Gap, Need, Reason};
pub use misfit::Misfit;
pub use name::Name;
pub use record::{Candidate, Claim, Deletion, Life, Read, Record, Sight, Witness};
pub use timestamp::Timestamp;
pub use user::{Shape, User};

/// What the decisions about one source go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Allowance for clock differences and read lag between events and rows (`reconcile.tolerance`).
    pub tolerance: Duration,
    /// How long gaps are gathered before a repair (`reconcile.settle`).
    pub settle: Duration,
    /// The pause between two lookups that must both find nobody (`reconcile.confirm_deletes_after`).
    pub confirm: Duration,
    /// Whether there is an upstream to read from. Without one a `created` event newer than the deletion revives.
    pub reads: bool,
    /// The rule that a simulation breaks; `None` in every service.
    pub broken: Option<Broken>,
}

impl Rules {
    /// Whether this rule does not hold.
    #[must_use]
    pub fn breaks(&self, rule: Broken) -> bool {
        self.broken == Some(rule)
    }
}

/// When and by which rules a decision is made.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// The source's rules.
    pub rules: Rules,
    /// Now, in upstream's time.
    pub now: Timestamp,
    /// Now, by the service's clock: what people are told.
    pub wall: Timestamp,
}

/// What a read says about a user's life, apart from the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// Nothing: a row of a listing with deleted users.
    Silent,
    /// The user lives: a row of a listing without deleted users, or a lookup where those hide deleted users.
    Alive,
}

/// Which listing of which sweep shows a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swept {
    /// Whether it is the listing with deleted users.
    pub with_deleted: bool,
    /// The place in the ledger of requests of that listing's first page.
    pub listing: u64,
}

/// One user in one answer of upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// Which answer it was.
    pub shape: Shape,
    /// The row as it came.
    pub fields: Fields,
    /// When the request began, in upstream's time.
    pub began: Timestamp,
    /// Its place in the ledger of requests.
    pub call: u64,
    /// What it says about the user's life.
    pub sign: Sign,
    /// Whether differences are to be expected: the first sweep, or someone asked.
    pub expected: bool,
    /// The sweep's listing that it is a row of, if it is one.
    pub swept: Option<Swept>,
}

/// A piece of evidence about one user.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// An authentic event that was not seen before.
    Event(Box<Event>),
    /// An answer that shows the user.
    Sighting(Box<Sighting>),
    /// A complete listing does not show the user.
    Missing(Missing),
    /// A lookup answered 404 `user_not_found`.
    NotFound(NotFound),
    /// Someone decided that a candidate for deletion stays.
    Acquittal,
    /// What is known of someone else does not fit to what is held of this user.
    Misfit(Misfit),
    /// An incremental pass that began then did not return the user.
    Unconfirmed(Timestamp),
}

/// What is held of a user, and what is shown of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Known {
    /// The record.
    pub record: Record,
    /// What [`merge::view`] makes of it.
    pub view: Option<Arc<User>>,
}

impl From<Record> for Known {
    fn from(record: Record) -> Self {
        let view = merge::view(&record).map(Arc::new);
        Self { record, view }
    }
}

impl From<Option<Record>> for Known {
    fn from(record: Option<Record>) -> Self {
        record.map_or_else(Self::default, Self::from)
    }
}

/// What evidence led to.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What is now held and shown.
    pub known: Known,
    /// What became of an event; [`Outcome::Applied`] for other evidence.
    pub outcome: Outcome,
    /// The gaps that were shown, new ones and ones already open.
    pub shown: Vec<Reason>,
    /// The gaps that a read closed, as they stood.
    pub closed: Vec<(Reason, Gap)>,
    /// The effective difference, if there is one.
    pub difference: Option<Difference>,
}

/// Decides what `evidence` means for the user of whom `known` is held. Total: every input has an answer.
#[must_use]
pub fn decide(known: impl Into<Known>, evidence: &Evidence, at: &Circumstances) -> Decision {
    let Known { mut record, view: before } = known.into();
    let shown = before.as_deref();
    let mut verdict = match evidence {
        Evidence::Event(event) => hearing::hear(&mut record, shown, event, at),
        Evidence::Sighting(sighting) => reading::sight(&mut record, sighting, at),
        Evidence::Missing(missing) => absence::suspect(&mut record, shown, missing, at),
        Evidence::NotFound(missing) => absence::miss(&mut record, shown, missing, at),
        Evidence::Acquittal => absence::acquit(&mut record),
        Evidence::Misfit(misfit) => misfit::show(&mut record, misfit, at),
        Evidence::Unconfirmed(began) => reading::doubt(&mut record, *began, at),
    };
    let (view, difference) = match (before, &verdict.moved) {
        (Some(before), Some(moved)) => change::overlaid(before, &record, moved),
        (before, _) => {
            let view = merge::view(&record).map(Arc::new);
            let difference = change::between(before.as_deref(), view.as_ref());
            if let (Evidence::Sighting(sighting), Some(difference)) = (evidence, &difference)
                && reading::was_missed(before.as_deref(), sighting, difference, at)
                && verdict.unexplained
            {
                verdict.shown.push(Reason::MissedDelivery);
                verdict.closed.push((Reason::MissedDelivery, gap::instant(sighting.began, at)));
            }
            (view, difference)
        }
    };
    if difference.is_some() && verdict.outcome == Outcome::Stale {
        verdict.outcome = Outcome::Applied;
    }
    let Verdict { outcome, shown, closed, .. } = verdict;
    Decision { known: Known { record, view }, outcome, shown, closed, difference }
}

/// What one piece of evidence did to a record.
#[derive(Debug)]
pub struct Verdict {
    outcome: Outcome,
    shown: Vec<Reason>,
    closed: Vec<(Reason, Gap)>,
    /// Whether nothing known explains a difference: no open gap, no claim.
    unexplained: bool,
    /// The fields whose claims now say something else, where an event moved nothing of the view but these and its times.
    moved: Option<Vec<Name>>,
}

impl Verdict {
    /// One that did nothing but have an outcome.
    const fn of(outcome: Outcome) -> Self {
        Self { outcome, shown: Vec::new(), closed: Vec::new(), unexplained: false, moved: None }
    }
}
