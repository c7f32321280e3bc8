//! Gaps: evidence that the directory may have missed something (contract, section 5).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Circumstances, Record, Timestamp};

macro_rules! reasons {
    ($($variant:ident $name:literal $text:literal,)*) => {
        /// Why the directory may have missed something.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason {
            $(#[doc = $text] #[serde(rename = $name)] $variant,)*
        }

        impl Reason {
            /// Every reason. Stored by its place: new ones are added at the end.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in lists and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

reasons! {
    InitialLoad "initial_load" "The source was never swept.",
    UnknownUser "unknown_user" "An event, not `created`, about a user the directory does not hold.",
    IncompleteRecord "incomplete_record" "The directory lacks fields that listings carry.",
    UncarriedChange "uncarried_change" "`changes` names a field that the payload's user lacks.",
    UnannouncedChange "unannounced_change" "The payload differs from the directory in a field that `changes` does not name.",
    StatusContradiction "status_contradiction" "Created but exists, activated but active, deactivated but inactive, by older evidence.",
    SameSecond "same_second" "Two events about one user in one second that would leave different views in different order.",
    EventAfterDelete "event_after_delete" "An event about a deleted user: only a read may bring a user back.",
    UnconfirmedEvent "unconfirmed_event" "An incremental pass that began later did not return a user whose event was applied.",
    MissedDelivery "missed_delivery" "A pass found a difference that no delivery announced.",
    Undecodable "undecodable" "Quarantined.",
    Silence "silence" "No authentic delivery for too long.",
    Operator "operator" "Someone asked for a reconciliation, which closes it.",
    LateDelivery "late_delivery" "A delivery arrived about one retry step late: others may have been lost.",
    RefusedDelivery "refused_delivery" "Authentic deliveries were answered 503.",
    BadSignatures "bad_signatures" "20 bad signatures within a minute after good ones: a rotated secret?",
    Downtime "downtime" "The service itself was down.",
    CountMismatch "count_mismatch" "Upstream's total differs from the directory's in two passes in a row.",
    IdentityCollision "identity_collision" "One e-mail on two users, or one uid with another id.",
    DanglingManager "dangling_manager" "A manager whom the directory does not hold.",
}

/// Which read closes a gap about one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// Any read: a listing's row or a lookup.
    Any,
    /// A row of a listing.
    Listing,
    /// A lookup: no listing carries what is missing, or none would tell.
    Lookup,
}

impl Need {
    /// Every need. Stored by its place.
    pub(super) const ALL: [Self; 3] = [Self::Any, Self::Listing, Self::Lookup];
}

/// An open gap: one for each source, user and reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// Its number, increasing; 0 until the writer gives one.
    #[serde(rename = "i")]
    pub id: u64,
    /// How often it was shown.
    #[serde(rename = "n")]
    pub count: u64,
    /// When it was first shown, by the service's clock.
    #[serde(rename = "a")]
    pub detected_at: Timestamp,
    /// The newest event that showed it.
    #[serde(rename = "e")]
    pub event_id: Option<String>,
    /// Which read closes it.
    #[serde(rename = "w")]
    pub need: Need,
    /// A read closes it only if it began after this by more than the tolerance, in upstream's time.
    #[serde(rename = "t")]
    pub happened: Timestamp,
    /// When to repair it at the earliest, in upstream's time. Moves only earlier, but for retries.
    #[serde(rename = "d")]
    pub due: Timestamp,
}

/// A gap that a reconciliation closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClosedGap {
    /// The source's name.
    pub source: String,
    /// Why.
    pub reason: Reason,
    /// About whom; `None` for a gap of the whole source.
    pub uid: Option<String>,
    /// The gap as it stood.
    pub gap: Gap,
    /// When it was closed, by the service's clock.
    pub closed_at: Timestamp,
    /// The reconciliation's id; 0 when a replay closed it.
    pub closed_by: u64,
}

/// Notes that `event` shows a gap: opens it, or counts it once more. Its due time only moves earlier.
pub(super) fn show(record: &mut Record, reason: Reason, need: Need, (happened, event_id): (Timestamp, Option<&str>), at: &Circumstances) {
    let due = due(happened, at);
    let gap = record.gaps.entry(reason).or_insert_with(|| Gap { due, ..open(None, happened, at) });
    gap.count = gap.count.saturating_add(1);
    gap.event_id = event_id.map(str::to_owned).or(gap.event_id.take());
    gap.need = gap.need.max(need);
    gap.happened = gap.happened.max(happened);
    gap.due = gap.due.min(due);
}

/// A gap that nothing has shown yet.
#[must_use]
pub fn open(event_id: Option<String>, happened: Timestamp, at: &Circumstances) -> Gap {
    Gap { id: 0, count: 0, detected_at: at.wall, event_id, need: Need::Any, happened, due: due(happened, at) }
}

/// A gap that the very read that shows it also closes.
pub(super) fn instant(happened: Timestamp, at: &Circumstances) -> Gap {
    Gap { count: 1, ..open(None, happened, at) }
}

/// When to read at the earliest so that the read covers what happened then.
#[must_use]
pub fn due(happened: Timestamp, at: &Circumstances) -> Timestamp {
    (at.now + at.rules.settle).max(happened + at.rules.tolerance + Duration::from_secs(1))
}
