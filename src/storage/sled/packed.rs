//! Entries of one commit packed into few rows: every row costs sled about as much as everything else about a delivery.
//!
//! Entries have contiguous numbers; a row is found by the number of its first. Its content is a byte of marks of all its entries,
//! the latest of their times in 8 bytes, then each entry behind its length in 4 bytes. All numbers have their least byte first.

use sled::IVec;

use super::rows::{OVERHEAD_BYTES, VALUE_BYTES_MAX};
use crate::directory::Timestamp;

const HEAD_BYTES: usize = 1 + 8;

/// One entry to be packed.
pub(super) struct Entry {
    pub(super) content: Vec<u8>,
    pub(super) mark: u8,
    pub(super) at: Timestamp,
}

/// One packed row.
pub(super) struct Packed {
    /// The number of its first entry.
    pub(super) first: u64,
    /// The marks of all its entries, joined.
    pub(super) marks: u8,
    /// The latest of its entries' times.
    pub(super) latest: Timestamp,
    content: IVec,
}

/// Packs `entries`, the first of which has the number `first`: each row's first number and content. A row is filled before the
/// next is begun; an entry too long for a row has one alone.
pub(super) fn pack(first: u64, entries: impl IntoIterator<Item = Entry>) -> Vec<(u64, Vec<u8>)> {
    let mut done = Vec::new();
    let mut open: Option<(u64, u8, Timestamp, Vec<u8>)> = None;
    for (number, entry) in (first..).zip(entries) {
        let needed = 4 + entry.content.len();
        let fits = |content: &Vec<u8>| OVERHEAD_BYTES + HEAD_BYTES + content.len() + needed <= VALUE_BYTES_MAX;
        if open.as_ref().is_some_and(|(.., content)| !fits(content)) {
            done.extend(open.take());
        }
        let (_, marks, latest, content) = open.get_or_insert_with(|| (number, 0, Timestamp::MIN, Vec::with_capacity(needed)));
        *marks |= entry.mark;
        *latest = entry.at.max(*latest);
        content.extend(u32::try_from(entry.content.len()).unwrap_or(u32::MAX).to_le_bytes());
        content.extend(entry.content);
    }
    done.extend(open);
    done.into_iter().map(|(first, marks, latest, content)| (first, with_head(marks, latest, &content))).collect()
}

fn with_head(marks: u8, latest: Timestamp, content: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(HEAD_BYTES + content.len());
    row.push(marks);
    row.extend(latest.as_millis().to_le_bytes());
    row.extend_from_slice(content);
    row
}

impl Packed {
    /// Reads a row's head; `None` when it is too short to have one.
    pub(super) fn read(first: u64, content: IVec) -> Option<Self> {
        let (marks, rest) = content.split_first()?;
        let latest = Timestamp::from_millis(i64::from_le_bytes(*rest.first_chunk()?));
        Some(Self { first, marks: *marks, latest, content })
    }

    /// Its entries with their numbers, in order; they end early where a length is wrong.
    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = (u64, &[u8])> {
        let mut entries = Vec::new();
        let mut rest = self.content.get(HEAD_BYTES..).unwrap_or_default();
        while let Some((length, behind)) = rest.split_first_chunk::<4>()
            && let Some((entry, behind)) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)
        {
            entries.push((self.first.saturating_add(entries.len() as u64), entry));
            rest = behind;
        }
        entries.into_iter()
    }
}
