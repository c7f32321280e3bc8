//! What a delivery says: one of the five documented events about one user.

use serde::{Deserialize, Serialize};

use super::{Fields, Timestamp};

/// The five documented events, ordered so that within one second the safest state wins (`deleted` last).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventKind {
    /// `user.created`
    Created,
    /// `user.updated`
    Updated,
    /// `user.activated`
    Activated,
    /// `user.deactivated`
    Deactivated,
    /// `user.deleted`
    Deleted,
}

impl EventKind {
    /// Every kind, in the order of their rank.
    pub const ALL: [Self; 5] = [Self::Created, Self::Updated, Self::Activated, Self::Deactivated, Self::Deleted];

    /// The name on the wire: `user.created` and so on.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "user.created",
            Self::Updated => "user.updated",
            Self::Activated => "user.activated",
            Self::Deactivated => "user.deactivated",
            Self::Deleted => "user.deleted",
        }
    }

    /// The kind named `name` on the wire.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// One authentic, understood delivery about one user.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The event id (contract, section 3).
    pub id: String,
    /// Which of the five.
    pub kind: EventKind,
    /// Whom it is about; never empty.
    pub uid: String,
    /// Its `timestamp`, unchanged: it orders events among each other.
    pub stamp: Timestamp,
    /// When it arrived, in upstream's time.
    pub received: Timestamp,
    /// The fields that `changes` names.
    pub changes: Vec<String>,
    /// The snapshot `data.user`; empty when there was none.
    pub user: Fields,
    /// `data.deleted_at` as it was written, where it is a readable time.
    pub deleted_at: Option<String>,
    /// Breaks ties between two events of one second and one kind, the same way in any order of arrival.
    pub digest: u64,
}

impl Event {
    /// The time a read must have begun after (by more than the tolerance) to cover this event: a stamp from the future
    /// covers nothing.
    #[must_use]
    pub fn happened(&self) -> Timestamp {
        self.stamp.min(self.received)
    }
}

/// What became of a delivery (contract, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Its evidence was taken in: the user changed, or was confirmed.
    Applied,
    /// Its event id was seen before.
    Duplicate,
    /// Nothing visible changed, because newer evidence is held.
    Stale,
    /// Authentic, and not about users.
    Ignored,
    /// Authentic, and not understood: kept whole.
    Quarantined,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [Self::Applied, Self::Duplicate, Self::Stale, Self::Ignored, Self::Quarantined];

    /// The word in answers, lists and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Duplicate => "duplicate",
            Self::Stale => "stale",
            Self::Ignored => "ignored",
            Self::Quarantined => "quarantined",
        }
    }

    /// The outcome named `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }
}
