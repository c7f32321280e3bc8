//! What the directory holds of one user: the last reads, and what events say beyond them.

use std::sync::Arc;

use litemap::LiteMap;
use serde_json::Value;

use super::{ByName, EventKind, Fields, Gap, Name, Reason, Timestamp};

/// One user's record: reads and claims apart, so that any order of the same evidence gives the same view.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The last row of a listing.
    pub listing: Option<Read>,
    /// The last answer to a lookup.
    pub detail: Option<Read>,
    /// The greatest claim of each field that no read covers.
    pub claims: ByName<Claim>,
    /// Whether the user lives, and how that is known.
    pub life: Life,
    /// Open gaps, one for each reason. Mostly one or none: a tree would have room for eleven in each of the records in memory.
    pub gaps: LiteMap<Reason, Gap>,
    /// The feed's cursor of this user's newest change; 0 when there is none. The change itself names the one before.
    pub last_change: u64,
}

/// One REST answer about one user.
#[derive(Clone, Debug, PartialEq)]
pub struct Read {
    /// The row, every field that came, unknown ones too.
    pub fields: Fields,
    /// When the request began, in upstream's time.
    pub began: Timestamp,
    /// Its place in the ledger of requests: orders reads among each other, whatever upstream's clock does.
    pub call: u64,
}

impl Read {
    /// What decides which of two reads is the newer one.
    #[must_use]
    pub const fn order(&self) -> (u64, Timestamp) {
        (self.call, self.began)
    }
}

/// What one event says of one field.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The value.
    pub value: Value,
    /// The event, shared by all that it claims.
    pub by: Arc<Witness>,
}

/// What of an event stands behind its claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    /// The event's own timestamp: orders claims among each other.
    pub stamp: Timestamp,
    /// The event's kind: orders claims of one second.
    pub rank: EventKind,
    /// Orders what is left.
    pub digest: u64,
    /// When it arrived, in upstream's time.
    pub received: Timestamp,
    /// The event.
    pub event_id: String,
}

impl Witness {
    /// What decides between two claims: the greater one stands.
    #[must_use]
    pub const fn order(&self) -> (Timestamp, EventKind, u64) {
        (self.stamp, self.rank, self.digest)
    }

    /// The time a read must have begun after, by more than the tolerance, to cover what it claims.
    #[must_use]
    pub fn happened(&self) -> Timestamp {
        self.stamp.min(self.received)
    }
}

/// The events that stand behind claims, each once.
pub(super) fn events(claims: &ByName<Claim>) -> Vec<&Arc<Witness>> {
    let mut events: Vec<&Arc<Witness>> = Vec::new();
    for claim in claims.values() {
        if !events.contains(&&claim.by) {
            events.push(&claim.by);
        }
    }
    events
}

/// What of all claims one event claims: there are few events.
pub(super) fn claimed<'a>(claims: &'a ByName<Claim>, by: &'a Arc<Witness>) -> impl Iterator<Item = (&'a Name, &'a Value)> {
    claims.iter().filter(move |(_, claim)| claim.by == *by).map(|(field, claim)| (field, &claim.value))
}

/// What is known of a user's life, apart from the fields: rows without a deleted marker say nothing about it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Life {
    /// The last read that told alive from deleted.
    pub sight: Option<Sight>,
    /// The newest `deleted` event that no such read covers.
    pub deletion: Option<Deletion>,
    /// The newest `created` event: its time is the user's until one is read, and without an upstream it may revive.
    pub created: Option<Timestamp>,
    /// The newest applied event's stamp and arrival, until a read covers it: `updated_at` shows it while it is newer than the row's.
    pub touched: Option<(Timestamp, Timestamp)>,
    /// Whether any event told of this user. A user known only from listings with deleted users is not shown until it is
    /// known whether they live.
    pub known: bool,
    /// What polling says against a user who is held as alive, until it is confirmed or refuted.
    pub candidate: Option<Candidate>,
    /// The sweeps' listings that last showed the user, the live one and the one with deleted users: the places in the ledger of
    /// requests of their first pages.
    pub swept: [u64; 2],
}

/// Evidence of polling that a user was deleted (design, section 6): it deletes nobody before it is confirmed.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Whether two complete listings show it (E2); else upstream merely did not know the user (E3).
    pub listed: bool,
    /// When the first read that says so began, in upstream's time.
    pub began: Timestamp,
    /// When the first lookup that found nobody began; `None` before one did.
    pub missed: Option<Timestamp>,
    /// The reconciliation that found it.
    pub found_by: u64,
}

/// A read that told alive from deleted.
#[derive(Clone, Debug, PartialEq)]
pub struct Sight {
    /// What it told.
    pub alive: bool,
    /// When it began, in upstream's time.
    pub began: Timestamp,
    /// Its place in the ledger of requests.
    pub call: u64,
    /// For a deleted user the time that the mirror shows.
    pub deleted_at: Option<String>,
}

/// What a `deleted` event says.
#[derive(Clone, Debug, PartialEq)]
pub struct Deletion {
    /// The event's own timestamp.
    pub stamp: Timestamp,
    /// Decides between two of one second.
    pub digest: u64,
    /// When it arrived, in upstream's time.
    pub received: Timestamp,
    /// The time that the mirror shows: the event's `deleted_at`, else its timestamp.
    pub deleted_at: String,
    /// The event.
    pub event_id: String,
}
