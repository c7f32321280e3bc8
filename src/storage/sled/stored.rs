//! How entries are written down: users by [`code`], states and reconciliations as JSON, small fixed things as postcard.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::keys;
use crate::directory::{Cause, Change, ChangeKind, Outcome, Timestamp, User, code};
use crate::storage::entry::Numbers;
use crate::storage::{Delivery, SeenDelivery};

/// The version of this layout. Another one is refused: it is written by another rollcall.
pub(super) const LAYOUT: u8 = 3;

const SEEN_BYTES: usize = 8 + 1;

/// A change as it stands in the log, where its place is its cursor. Behind it come the former values of the fields that differ, and
/// all fields of the user.
#[derive(Serialize, Deserialize)]
struct StoredChange<'a> {
    at: Timestamp,
    source: &'a str,
    uid: &'a str,
    kind: ChangeKind,
    cause: Cause,
    previous: u64,
    deleted_at: Option<&'a str>,
}

/// Appends to `buffer`, as all encoding of what there is much of: one buffer serves a whole commit.
pub(super) fn encode_delivery(delivery: &Delivery, buffer: Vec<u8>) -> Option<Vec<u8>> {
    postcard::to_extend(delivery, buffer).ok()
}

pub(super) fn decode_delivery(content: &[u8]) -> Option<Delivery> {
    postcard::from_bytes(content).ok()
}

pub(super) fn encode_change(change: &Change, buffer: Vec<u8>) -> Option<Vec<u8>> {
    let stored = StoredChange {
        at: change.at,
        source: &change.source,
        uid: &change.uid,
        kind: change.kind,
        cause: change.cause.clone(),
        previous: change.previous,
        deleted_at: change.user.deleted_at.as_deref(),
    };
    let mut buffer = postcard::to_extend(&stored, buffer).ok()?;
    code::fields(&change.from, &mut buffer);
    code::fields(&change.user.fields, &mut buffer);
    Some(buffer)
}

pub(super) fn decode_change(cursor: u64, content: &[u8]) -> Option<Change> {
    let (stored, rest) = postcard::take_from_bytes(content).ok()?;
    let StoredChange { at, source, uid, kind, cause, previous, deleted_at } = stored;
    let (from, rest) = code::take_fields(rest)?;
    let (fields, _) = code::take_fields(rest).filter(|(_, rest)| rest.is_empty())?;
    let (source, uid) = (source.into(), uid.to_owned());
    let user = User { fields, deleted_at: deleted_at.map(str::to_owned) };
    Some(Change { cursor, at, source, uid, kind, from, cause, previous, user: Arc::new(user) })
}

/// 8 bytes of number, the least first, and the outcome.
pub(super) fn encode_seen(seen: &SeenDelivery) -> [u8; SEEN_BYTES] {
    let mut content = [mark(seen.outcome); SEEN_BYTES];
    if let Some(number) = content.first_chunk_mut() {
        *number = seen.number.to_le_bytes();
    }
    content
}

pub(super) fn decode_seen(content: &[u8]) -> Option<SeenDelivery> {
    let (number, rest) = content.split_first_chunk()?;
    let &[mark] = rest else { return None };
    Some(SeenDelivery { number: u64::from_le_bytes(*number), outcome: outcome_of(mark)? })
}

/// Whether a row is of one event id, as it stands in the journal until it has settled.
pub(super) fn is_pending_id(key: &[u8], content: &[u8]) -> bool {
    keys::kind_of(key) == keys::SEEN && content.len() == SEEN_BYTES
}

/// An outcome as one bit, so that a row of many deliveries tells in one byte which outcomes it holds.
pub(super) const fn mark(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Applied => 1,
        Outcome::Duplicate => 2,
        Outcome::Stale => 4,
        Outcome::Ignored => 8,
        Outcome::Quarantined => 16,
    }
}

/// The outcome with this mark.
pub(super) fn outcome_of(bit: u8) -> Option<Outcome> {
    Outcome::ALL.into_iter().find(|outcome| mark(*outcome) == bit)
}

/// All records in one number, so that one which is missing, or older than it was, is noticed when the store is opened: sled
/// drops single writes from a damaged file without a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    records: u64,
    checksums: u64,
}

impl Tally {
    /// Counts a record in, by the CRC-32C of its key and content. The order does not matter.
    pub(super) fn add(&mut self, checksum: u32) {
        self.records = self.records.wrapping_add(1);
        self.checksums = self.checksums.wrapping_add(checksum.into());
    }

    /// Counts a record out.
    pub(super) fn take(&mut self, checksum: u32) {
        self.records = self.records.wrapping_sub(1);
        self.checksums = self.checksums.wrapping_sub(checksum.into());
    }
}

/// Eight bytes each, the least first.
pub(super) fn encode_numbers(numbers: Numbers, tally: Tally) -> Vec<u8> {
    let Numbers { delivery, cursor, gap, reconciliation, call } = numbers;
    let Tally { records, checksums } = tally;
    [delivery, cursor, gap, reconciliation, call, records, checksums].iter().flat_map(|number| number.to_le_bytes()).collect()
}

pub(super) fn decode_numbers(content: &[u8]) -> Option<(Numbers, Tally)> {
    let (numbers, rest) = content.as_chunks::<8>();
    let &[delivery, cursor, gap, reconciliation, call, records, checksums] = numbers else { return None };
    let number = u64::from_le_bytes;
    let numbers = Numbers {
        delivery: number(delivery),
        cursor: number(cursor),
        gap: number(gap),
        reconciliation: number(reconciliation),
        call: number(call),
    };
    rest.is_empty().then_some((numbers, Tally { records: number(records), checksums: number(checksums) }))
}

/// How far rows of the journal have settled in the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// The last file of the journal all of whose rows have.
    pub(super) generation: u64,
    /// The last delivery, and the last change, of those that are in the tree's log.
    pub(super) delivery: u64,
    pub(super) cursor: u64,
}

impl Settled {
    /// Whether a row of the tree counts: one of the log does once what it was made of is no longer pending.
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        match (keys::kind_of(key), keys::number_of(key)) {
            (keys::DELIVERIES, Some(first)) => first <= self.delivery,
            (keys::CHANGES, Some(first)) => first <= self.cursor,
            _ => true,
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        [self.generation, self.delivery, self.cursor].iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    pub(super) fn decode(content: &[u8]) -> Option<Self> {
        let (numbers, rest) = content.as_chunks::<8>();
        let &[generation, delivery, cursor] = numbers else { return None };
        let number = u64::from_le_bytes;
        rest.is_empty().then_some(Self { generation: number(generation), delivery: number(delivery), cursor: number(cursor) })
    }
}
