//! What the directory holds of one user: the last reads, and what events say beyond them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ByName, EventKind, Fields, Gap, Reason, Timestamp};

/// One user's record: reads and claims apart, so that any order of the same evidence gives the same view.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The last row of a listing.
    #[serde(default, rename = "l", skip_serializing_if = "Option::is_none")]
    pub listing: Option<Read>,
    /// The last answer to a lookup.
    #[serde(default, rename = "d", skip_serializing_if = "Option::is_none")]
    pub detail: Option<Read>,
    /// The greatest claim of each field that no read covers.
    #[serde(default, rename = "c", skip_serializing_if = "ByName::is_empty", with = "by_event")]
    pub claims: ByName<Claim>,
    /// Whether the user lives, and how that is known.
    #[serde(default, rename = "f")]
    pub life: Life,
    /// Open gaps, one for each reason.
    #[serde(default, rename = "g", skip_serializing_if = "BTreeMap::is_empty")]
    pub gaps: BTreeMap<Reason, Gap>,
    /// The feed's cursor of this user's newest change; 0 when there is none. The change itself names the one before.
    #[serde(default, rename = "n", skip_serializing_if = "is_zero")]
    pub last_change: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if hands over a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_unswept(swept: &[u64; 2]) -> bool {
    *swept == [0; 2]
}

/// One REST answer about one user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Read {
    /// The row, every field that came, unknown ones too.
    #[serde(rename = "v")]
    pub fields: Fields,
    /// When the request began, in upstream's time.
    #[serde(rename = "r")]
    pub began: Timestamp,
    /// Its place in the ledger of requests: orders reads among each other, whatever upstream's clock does.
    #[serde(default, rename = "q")]
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

/// Claims by field, written down by event: an event names itself once, whatever it claims.
pub(super) mod by_event {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    use super::super::Name;
    use super::{ByName, Claim, Fields, Witness};

    #[derive(Serialize)]
    struct Told<'a> {
        s: super::Timestamp,
        k: super::EventKind,
        h: u64,
        r: super::Timestamp,
        e: &'a str,
        v: Values<'a>,
    }

    /// What one event claims, picked out of all claims: there are few events.
    struct Values<'a> {
        claims: &'a ByName<Claim>,
        by: &'a Arc<Witness>,
    }

    impl Serialize for Values<'_> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_map(claimed(self.claims, self.by))
        }
    }

    /// The events that stand behind claims, each once.
    pub(in super::super) fn events(claims: &ByName<Claim>) -> Vec<&Arc<Witness>> {
        let mut events: Vec<&Arc<Witness>> = Vec::new();
        for claim in claims.values() {
            if !events.contains(&&claim.by) {
                events.push(&claim.by);
            }
        }
        events
    }

    /// What of all claims one event claims.
    pub(in super::super) fn claimed<'a>(claims: &'a ByName<Claim>, by: &'a Arc<Witness>) -> impl Iterator<Item = (&'a Name, &'a Value)> {
        claims.iter().filter(move |(_, claim)| claim.by == *by).map(|(field, claim)| (field, &claim.value))
    }

    #[derive(serde::Deserialize)]
    struct Held {
        s: super::Timestamp,
        k: super::EventKind,
        h: u64,
        r: super::Timestamp,
        e: String,
        v: Fields,
    }

    pub(super) fn serialize<S: Serializer>(claims: &ByName<Claim>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(events(claims).into_iter().map(|by| {
            let Witness { stamp, rank, digest, received, event_id } = by.as_ref();
            Told { s: *stamp, k: *rank, h: *digest, r: *received, e: event_id, v: Values { claims, by } }
        }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByName<Claim>, D::Error> {
        let claimed = |Held { s: stamp, k: rank, h: digest, r: received, e: event_id, v }: Held| {
            let by = Arc::new(Witness { stamp, rank, digest, received, event_id });
            v.into_iter().map(move |(field, value)| (field, Claim { value, by: Arc::clone(&by) }))
        };
        Ok(Vec::<Held>::deserialize(deserializer)?.into_iter().flat_map(claimed).collect())
    }
}

/// What is known of a user's life, apart from the fields: rows without a deleted marker say nothing about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Life {
    /// The last read that told alive from deleted.
    #[serde(default, rename = "s", skip_serializing_if = "Option::is_none")]
    pub sight: Option<Sight>,
    /// The newest `deleted` event that no such read covers.
    #[serde(default, rename = "d", skip_serializing_if = "Option::is_none")]
    pub deletion: Option<Deletion>,
    /// The newest `created` event: its time is the user's until one is read, and without an upstream it may revive.
    #[serde(default, rename = "b", skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// The newest applied event's stamp and arrival, until a read covers it: `updated_at` shows it while it is newer than the row's.
    #[serde(default, rename = "t", skip_serializing_if = "Option::is_none")]
    pub touched: Option<(Timestamp, Timestamp)>,
    /// Whether any event told of this user. A user known only from listings with deleted users is not shown until it is
    /// known whether they live.
    #[serde(default, rename = "k")]
    pub known: bool,
    /// What polling says against a user who is held as alive, until it is confirmed or refuted.
    #[serde(default, rename = "m", skip_serializing_if = "Option::is_none")]
    pub candidate: Option<Candidate>,
    /// The sweeps' listings that last showed the user, the live one and the one with deleted users: the places in the ledger of
    /// requests of their first pages.
    #[serde(default, rename = "w", skip_serializing_if = "is_unswept")]
    pub swept: [u64; 2],
}

/// Evidence of polling that a user was deleted (design, section 6): it deletes nobody before it is confirmed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// Whether two complete listings show it (E2); else upstream merely did not know the user (E3).
    #[serde(rename = "l")]
    pub listed: bool,
    /// When the first read that says so began, in upstream's time.
    #[serde(rename = "r")]
    pub began: Timestamp,
    /// The reconciliation that found it.
    #[serde(rename = "f")]
    pub found_by: u64,
}

/// A read that told alive from deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sight {
    /// What it told.
    #[serde(rename = "a")]
    pub alive: bool,
    /// When it began, in upstream's time.
    #[serde(rename = "r")]
    pub began: Timestamp,
    /// Its place in the ledger of requests.
    #[serde(default, rename = "q")]
    pub call: u64,
    /// For a deleted user the time that the mirror shows.
    #[serde(default, rename = "w", skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<String>,
}

/// What a `deleted` event says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deletion {
    /// The event's own timestamp.
    #[serde(rename = "s")]
    pub stamp: Timestamp,
    /// Decides between two of one second.
    #[serde(rename = "h")]
    pub digest: u64,
    /// When it arrived, in upstream's time.
    #[serde(rename = "r")]
    pub received: Timestamp,
    /// The time that the mirror shows: the event's `deleted_at`, else its timestamp.
    #[serde(rename = "w")]
    pub deleted_at: String,
    /// The event.
    #[serde(rename = "e")]
    pub event_id: String,
}
