//! Entries of one commit packed into few rows: every row costs sled about as much as everything else about a delivery.
//!
//! Entries have contiguous numbers; a row is found by the number of its first. Its content is a byte of marks of all its entries,
//! the latest of their times in 8 bytes, then each entry behind its length in 4 bytes. All numbers have their least byte first.

use sled::IVec;

use super::rows::{OVERHEAD_BYTES, VALUE_BYTES_MAX};
use crate::directory::Timestamp;

const HEAD_BYTES: usize = 1 + 8;

/// Puts entries into rows. A row is filled before the next is begun; an entry too long for a row has one alone.
pub(super) struct Packer {
    next: u64,
    done: Vec<(u64, Vec<u8>)>,
    open: Option<Open>,
}

/// The row that is being filled.
struct Open {
    first: u64,
    marks: u8,
    latest: Timestamp,
    content: Vec<u8>,
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

impl Packer {
    /// The first entry will have the number `first`.
    pub(super) const fn new(first: u64) -> Self {
        Self { next: first, done: Vec::new(), open: None }
    }

    /// Adds the next entry.
    pub(super) fn add(&mut self, content: &[u8], mark: u8, at: Timestamp) {
        let needed = 4 + content.len();
        let fits = |open: &mut Open| OVERHEAD_BYTES + open.content.len() + needed <= VALUE_BYTES_MAX;
        let full = self.open.take_if(|open| !fits(open));
        self.done.extend(full.map(Open::close));
        let open = self.open.get_or_insert_with(|| Open::new(self.next, HEAD_BYTES + needed));
        open.marks |= mark;
        open.latest = open.latest.max(at);
        open.content.extend(u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
        open.content.extend_from_slice(content);
        self.next = self.next.saturating_add(1);
    }

    /// Each row's first number and content.
    pub(super) fn rows(mut self) -> Vec<(u64, Vec<u8>)> {
        self.done.extend(self.open.map(Open::close));
        self.done
    }
}

impl Open {
    fn new(first: u64, needed: usize) -> Self {
        let mut content = Vec::with_capacity(needed.max(VALUE_BYTES_MAX));
        content.extend([0; HEAD_BYTES]);
        Self { first, marks: 0, latest: Timestamp::MIN, content }
    }

    /// Writes the head, now that it is known.
    fn close(mut self) -> (u64, Vec<u8>) {
        if let Some((marks, rest)) = self.content.split_first_mut()
            && let Some(latest) = rest.first_chunk_mut()
        {
            *marks = self.marks;
            *latest = self.latest.as_millis().to_le_bytes();
        }
        (self.first, self.content)
    }
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
