//! Event ids in the tree: many in a row, in order of their hashes.
//!
//! A row is found by the last key at or before an id's. Its content is one entry after the other: the first 12 bytes of the id's
//! hash, the delivery's number in 5 bytes, the least first, and the outcome's mark. 12 bytes tell ids apart for as long as nobody can do 2^48
//! work with the webhook's secret in hand.

use super::durable::Durable;
use super::keys;
use super::rows::Rows;
use super::stored;
use crate::storage::{Error, SeenDelivery};

const HASH_BYTES: usize = 12;
const ENTRY_BYTES: usize = HASH_BYTES + 5 + 1;
/// Entries in a row, at most: below what sled keeps in its log.
const ENTRIES_MAX: usize = 216;
/// A row that is longer is cut into rows of about this many.
const ENTRIES_CUT: usize = 144;

/// An id's hash, and what became of its delivery.
pub(super) type Id = ([u8; HASH_BYTES], SeenDelivery);

/// Rows to be written: key and content, `None` where the row goes.
pub(super) type Written = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl Durable {
    /// What became of the delivery with an id, by the id's key.
    pub(super) fn find_seen(&self, key: &[u8]) -> Result<Option<SeenDelivery>, Error> {
        let unreadable = || self.rows.damaged("the row of an event id cannot be read");
        if !self.filter.may_hold(keys::id_told(key)) {
            return Ok(None);
        }
        let pending = self.pending.get(key).map(|held| self.rows.pending(key, held)).transpose()?;
        if let Some(value) = pending.flatten() {
            return stored::decode_seen(&value).map(Some).ok_or_else(unreadable);
        }
        let Some(hash) = hash_of(key) else { return Ok(None) };
        let Some((_, content)) = self.rows.last(keys::begin_of_ids(key)..=key.to_vec())? else { return Ok(None) };
        let found = find(&content, hash).ok_or_else(unreadable)?;
        // Ids outlive their deliveries for a while: they go when their row is written anew.
        Ok(found.filter(|found| self.holds_delivery(found.number)))
    }
}

impl Rows {
    /// The rows that `new` ids of one source, all of them with keys from `from` on and before the next row's, become together with
    /// those that are there. Ids of deliveries that are not `kept` go.
    pub(super) fn with_ids(&self, from: &[u8], new: &[Id], kept: impl Fn(u64) -> bool) -> Result<Written, Error> {
        let found = self.last(keys::begin_of_ids(from)..=from.to_vec())?;
        let (row, content) = found.map_or_else(|| (from.to_vec(), None), |(key, content)| (key.to_vec(), Some(content)));
        let held = content.as_deref().map_or(Some(Vec::new()), entries);
        let held = held.ok_or_else(|| self.damaged("the row of an event id cannot be read"))?;
        let ids = joined(held.into_iter().filter(|(_, seen)| kept(seen.number)), new);
        let size = if ids.len() > ENTRIES_MAX { ENTRIES_CUT } else { ENTRIES_MAX };
        let mut written: Written = Vec::new();
        for (place, chunk) in ids.chunks(size).enumerate() {
            let first = chunk.first().map(|(hash, _)| keys::id_at(from, hash)).unwrap_or_default();
            // The first row stays where it was, so that ids before its first one still find it.
            let key = if place == 0 && content.is_some() { row.clone() } else { first };
            written.push((key, Some(chunk.iter().flat_map(encode).collect())));
        }
        if written.is_empty() && content.is_some() {
            written.push((row, None));
        }
        Ok(written)
    }
}

/// The hash in an id's key.
pub(super) fn hash_of(key: &[u8]) -> Option<[u8; HASH_BYTES]> {
    key.get(key.len().checked_sub(keys::ID_BYTES)?..)?.first_chunk().copied()
}

fn encode((hash, seen): &Id) -> [u8; ENTRY_BYTES] {
    let mut entry = [stored::mark(seen.outcome); ENTRY_BYTES];
    let content = hash.iter().copied().chain(seen.number.to_le_bytes().into_iter().take(5));
    entry.iter_mut().zip(content).for_each(|(place, byte)| *place = byte);
    entry
}

fn decode(entry: &[u8; ENTRY_BYTES]) -> Option<Id> {
    let (hash, rest) = entry.split_first_chunk()?;
    let (number, mark) = rest.split_first_chunk::<5>()?;
    let number = number.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte));
    Some((*hash, SeenDelivery { number, outcome: stored::outcome_of(*mark.first()?)? }))
}

/// All entries of a row; `None` when it holds anything else.
fn entries(content: &[u8]) -> Option<Vec<Id>> {
    let (entries, rest) = content.as_chunks();
    rest.is_empty().then(|| entries.iter().map(decode).collect())?
}

/// Both, in order; of one id the newer delivery.
fn joined(held: impl Iterator<Item = Id>, new: &[Id]) -> Vec<Id> {
    let (mut held, mut new) = (held.peekable(), new.iter().copied().peekable());
    let mut ids: Vec<Id> = Vec::new();
    loop {
        let next = match (held.peek(), new.peek()) {
            (Some((one, _)), Some((other, _))) if one <= other => held.next(),
            (_, Some(_)) => new.next(),
            (_, None) => held.next(),
        };
        let Some((hash, seen)) = next else { return ids };
        match ids.last_mut() {
            Some((last, newest)) if *last == hash => *newest = if newest.number < seen.number { seen } else { *newest },
            _ => ids.push((hash, seen)),
        }
    }
}

/// Tells of each id in a row, with its source; `None` when the row holds anything else.
pub(super) fn tell(key: &[u8], content: &[u8], mut each: impl FnMut(&[u8])) -> Option<()> {
    let (entries, rest) = content.as_chunks::<ENTRY_BYTES>();
    let mut id = keys::begin_of_ids(key);
    let begin = id.len();
    for entry in entries {
        id.truncate(begin);
        id.extend(entry.iter().take(HASH_BYTES));
        each(&id);
    }
    rest.is_empty().then_some(())
}

/// Looks for one entry without reading the others; `None` when the row holds anything else.
fn find(content: &[u8], hash: [u8; HASH_BYTES]) -> Option<Option<SeenDelivery>> {
    let (entries, rest) = content.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return None;
    }
    let Ok(place) = entries.binary_search_by(|entry| entry.get(..HASH_BYTES).cmp(&Some(hash.as_slice()))) else { return Some(None) };
    entries.get(place).map(|entry| decode(entry).map(|(_, seen)| seen))
}
