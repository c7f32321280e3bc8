//! Entries of the log packed into few rows: a row for each commit in the journal, many commits in one compressed row of the tree.
//!
//! Entries have contiguous numbers; a row is found by the number of its first. Its content is a form byte, a byte of marks of all its
//! entries, the number of its entries in 4 bytes, the latest of their times in 8, then each entry behind its length in 4 bytes. In
//! form 2 the entries are compressed (zstd), behind their length. All numbers have their least byte first.

use std::time::Duration;

use sled::IVec;

use crate::directory::Timestamp;

const PLAIN: u8 = 1;
const COMPRESSED: u8 = 2;
const HEAD_BYTES: usize = 1 + 1 + 4 + 8;
/// Entries in a row of the tree, about: more compress better, and cost more to read one of.
const BLOCK_BYTES: usize = 24 * 1024;
/// How far apart the times of what shares a row of the tree may be.
const APART_MAX: Duration = Duration::from_secs(3600);
/// What compressed entries may come to: a commit or two, and a broken length takes no more memory.
const BLOCK_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a row's head tells.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// The number of its first entry.
    pub(super) first: u64,
    /// How many entries it has.
    pub(super) count: u32,
    /// The marks of all its entries, joined.
    pub(super) marks: u8,
    /// The latest of its entries' times.
    pub(super) latest: Timestamp,
}

/// Puts one commit's entries into a row at the end of a buffer.
pub(super) struct Packer {
    buffer: Vec<u8>,
    begin: usize,
    head: Head,
}

/// One packed row.
pub(super) struct Packed {
    /// Its head.
    pub(super) head: Head,
    content: IVec,
}

/// The entries of a row.
pub(super) struct Entries {
    first: u64,
    bytes: IVec,
    begin: usize,
}

/// Joins rows of commits into a row of the tree.
pub(super) struct Block {
    compressor: zstd::bulk::Compressor<'static>,
    head: Option<Head>,
    entries: Vec<u8>,
}

impl Head {
    /// The number behind its last entry.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(self.count.into())
    }

    fn bytes(&self, form: u8) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        let content = [form, self.marks].into_iter().chain(self.count.to_le_bytes()).chain(self.latest.as_millis().to_le_bytes());
        bytes.iter_mut().zip(content).for_each(|(place, byte)| *place = byte);
        bytes
    }

    fn join(&mut self, next: &Self) {
        self.count = self.count.saturating_add(next.count);
        self.marks |= next.marks;
        self.latest = self.latest.max(next.latest);
    }
}

impl Packer {
    /// Begins a row whose first entry has the number `first`.
    pub(super) fn new(mut buffer: Vec<u8>, first: u64) -> Self {
        let begin = buffer.len();
        buffer.extend([0; HEAD_BYTES]);
        Self { buffer, begin, head: Head { first, count: 0, marks: 0, latest: Timestamp::MIN } }
    }

    /// Adds the next entry, which `write` appends; `None` when it does not.
    pub(super) fn add(&mut self, (mark, at): (u8, Timestamp), write: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) -> Option<()> {
        let begin = self.buffer.len();
        self.buffer.extend([0; 4]);
        self.buffer = write(std::mem::take(&mut self.buffer))?;
        let len = u32::try_from(self.buffer.len().checked_sub(begin + 4)?).ok()?;
        self.buffer.get_mut(begin..begin + 4)?.copy_from_slice(&len.to_le_bytes());
        self.head.join(&Head { first: 0, count: 1, marks: mark, latest: at });
        Some(())
    }

    /// The buffer with the whole row.
    pub(super) fn end(mut self) -> Option<Vec<u8>> {
        self.buffer.get_mut(self.begin..self.begin + HEAD_BYTES)?.copy_from_slice(&self.head.bytes(PLAIN));
        Some(self.buffer)
    }
}

impl Packed {
    /// Reads a row's head; `None` when it has none.
    pub(super) fn read(first: u64, content: IVec) -> Option<Self> {
        let (&[_, marks], rest) = content.split_first_chunk()?;
        let (count, rest) = rest.split_first_chunk()?;
        let latest = Timestamp::from_millis(i64::from_le_bytes(*rest.first_chunk()?));
        Some(Self { head: Head { first, count: u32::from_le_bytes(*count), marks, latest }, content })
    }

    /// Whether everything in it is over at `now`.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.head.latest < now
    }

    /// Its entries; `None` when they cannot be read, or are not as many as the head says.
    pub(super) fn open(self) -> Option<Entries> {
        let Self { head, content } = self;
        let entries = match *content.first()? {
            PLAIN => Entries { first: head.first, bytes: content, begin: HEAD_BYTES },
            COMPRESSED => {
                let (len, compressed) = content.get(HEAD_BYTES..)?.split_first_chunk()?;
                let len = (u32::from_le_bytes(*len) as usize).min(BLOCK_BYTES_MAX);
                Entries { first: head.first, bytes: zstd::bulk::decompress(compressed, len).ok()?.into(), begin: 0 }
            }
            _ => return None,
        };
        (entries.iter().count() == head.count as usize).then_some(entries)
    }
}

impl Entries {
    /// The entries with their numbers, in order; they end early where a length is wrong.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &[u8])> {
        let mut entries = Vec::new();
        let mut rest = self.bytes.get(self.begin..).unwrap_or_default();
        while let Some((length, behind)) = rest.split_first_chunk::<4>()
            && let Some((entry, behind)) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)
        {
            entries.push((self.first.saturating_add(entries.len() as u64), entry));
            rest = behind;
        }
        entries.into_iter()
    }
}

impl Block {
    /// An empty one.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { compressor: zstd::bulk::Compressor::new(1)?, head: None, entries: Vec::new() })
    }

    /// Forgets what was begun.
    pub(super) fn clear(&mut self) {
        self.head = None;
        self.entries.clear();
    }

    /// Adds the row of a commit, which follows the one before; `None` when it is none.
    pub(super) fn add(&mut self, row: &Packed) -> Option<()> {
        self.entries.extend_from_slice(row.content.get(HEAD_BYTES..).filter(|_| row.content.first() == Some(&PLAIN))?);
        match &mut self.head {
            Some(head) => head.join(&row.head),
            None => self.head = Some(row.head),
        }
        Some(())
    }

    /// Whether a row may join: what is forgotten at very different times stays apart, so that little is kept for the sake of another.
    pub(super) fn fits(&self, row: &Packed) -> bool {
        let apart = |head: &Head| head.latest.max(row.head.latest).since(head.latest.min(row.head.latest));
        self.head.as_ref().is_none_or(|head| apart(head) <= APART_MAX)
    }

    /// Whether it holds enough for a row.
    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= BLOCK_BYTES
    }

    /// The row that it has become; `None` when it is empty.
    ///
    /// # Errors
    /// When it cannot be compressed.
    pub(super) fn end(&mut self) -> std::io::Result<Option<(Head, Vec<u8>)>> {
        let Some(head) = self.head.take() else { return Ok(None) };
        let compressed = self.compressor.compress(&self.entries)?;
        let mut content = head.bytes(COMPRESSED).to_vec();
        content.extend(u32::try_from(self.entries.len()).unwrap_or(u32::MAX).to_le_bytes());
        content.extend(compressed);
        self.entries.clear();
        Ok(Some((head, content)))
    }
}
