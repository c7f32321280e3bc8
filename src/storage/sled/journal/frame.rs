//! One commit as it stands in the journal: its rows in one frame with a checksum.
//!
//! A frame is a CRC-32C, the length of its rows, its place in the file's order, and the rows. The CRC begins with the file's salt, so
//! that what an earlier use of the file left, or what somebody sent, is never taken for a frame. A row is the key's length in 2
//! bytes, the value's in 4 ([`GONE`] where the row is taken away), the key, the value. All numbers have their least byte first.

use std::ops::Range;

/// Before a frame's rows: CRC, length, order.
pub(in crate::storage::sled) const HEAD_BYTES: usize = 4 + 4 + 8;
/// Before a row's key: the lengths.
const ROW_HEAD_BYTES: usize = 2 + 4;
/// The length of a value that is none: the row is taken away.
const GONE: u32 = u32::MAX;

/// A frame that is being written.
pub(in crate::storage::sled) struct Frame {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

/// A row of a frame: where its key and its value stand in it.
pub(in crate::storage::sled) struct Row {
    key: Range<usize>,
    value: Option<Value>,
}

/// A value of a frame.
#[derive(Clone, Copy)]
pub(in crate::storage::sled) struct Value {
    /// From the frame's first byte on.
    pub(in crate::storage::sled) offset: usize,
    pub(in crate::storage::sled) len: u32,
    /// CRC-32C of the key and the value.
    pub(in crate::storage::sled) checksum: u32,
}

/// A row of a frame: its key, and its value's place and content where it has one.
pub(in crate::storage::sled) type Told<'a> = (&'a [u8], Option<(Value, &'a [u8])>);

/// What a row's value did not do.
pub(in crate::storage::sled) struct Unwritable;

impl Frame {
    /// A frame without rows, in the memory of one that is no longer needed.
    pub(in crate::storage::sled) fn new(mut bytes: Vec<u8>) -> Self {
        bytes.clear();
        bytes.resize(HEAD_BYTES, 0);
        Self { bytes, rows: Vec::new() }
    }

    /// Adds a row whose value `write` appends to the buffer; returns where the value stands.
    pub(in crate::storage::sled) fn put(
        &mut self,
        key: &[u8],
        write: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>,
    ) -> Result<Value, Unwritable> {
        let head = self.bytes.len();
        let key = self.open(key)?;
        let offset = key.end;
        self.bytes = write(std::mem::take(&mut self.bytes)).ok_or(Unwritable)?;
        let content = self.bytes.get(offset..).ok_or(Unwritable)?;
        let len = u32::try_from(content.len()).ok().filter(|len| *len < GONE).ok_or(Unwritable)?;
        let checksum = checksum(self.bytes.get(key.clone()).unwrap_or_default(), content);
        if let Some(place) = self.bytes.get_mut(head + 2..head + ROW_HEAD_BYTES) {
            place.copy_from_slice(&len.to_le_bytes());
        }
        let value = Value { offset, len, checksum };
        self.rows.push(Row { key, value: Some(value) });
        Ok(value)
    }

    /// Adds that the row at `key` is taken away.
    pub(in crate::storage::sled) fn take(&mut self, key: &[u8]) -> Result<(), Unwritable> {
        let key = self.open(key)?;
        self.rows.push(Row { key, value: None });
        Ok(())
    }

    /// Writes a row's head, for a value that is none yet, and its key.
    fn open(&mut self, key: &[u8]) -> Result<Range<usize>, Unwritable> {
        let len = u16::try_from(key.len()).map_err(|_| Unwritable)?;
        self.bytes.extend(len.to_le_bytes());
        self.bytes.extend(GONE.to_le_bytes());
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(key);
        Ok(begin..self.bytes.len())
    }

    /// The frame's bytes, once its place in the order is known.
    pub(super) fn seal(&mut self, salt: u64, order: u64) -> &[u8] {
        let len = u32::try_from(self.bytes.len() - HEAD_BYTES).unwrap_or(u32::MAX);
        if let Some((head, rows)) = self.bytes.split_at_mut_checked(HEAD_BYTES) {
            let crc = crc_of(salt, len, order, rows);
            let (crc_place, rest) = head.split_at_mut(4);
            let (len_place, order_place) = rest.split_at_mut(4);
            crc_place.copy_from_slice(&crc.to_le_bytes());
            len_place.copy_from_slice(&len.to_le_bytes());
            order_place.copy_from_slice(&order.to_le_bytes());
        }
        &self.bytes
    }

    /// Its rows.
    pub(in crate::storage::sled) fn rows(&self) -> impl Iterator<Item = Told<'_>> {
        let content = |value: Value| self.bytes.get(value.offset..)?.get(..value.len as usize);
        let told = move |value: Value| (value, content(value).unwrap_or_default());
        self.rows.iter().map(move |row| (self.bytes.get(row.key.clone()).unwrap_or_default(), row.value.map(told)))
    }

    /// Its memory, for the next one.
    pub(in crate::storage::sled) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

/// A frame's head, read from its first bytes.
#[derive(Clone, Copy)]
pub(super) struct Head {
    crc: u32,
    pub(super) len: u32,
    pub(super) order: u64,
}

impl Head {
    /// `None` where there are too few bytes.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (crc, rest) = bytes.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let order = rest.first_chunk::<8>()?;
        Some(Self { crc: u32::from_le_bytes(*crc), len: u32::from_le_bytes(*len), order: u64::from_le_bytes(*order) })
    }

    /// Whether these are the rows that it was written for.
    pub(super) fn vouches_for(&self, salt: u64, rows: &[u8]) -> bool {
        rows.len() == self.len as usize && self.crc == crc_of(salt, self.len, self.order, rows)
    }
}

/// The rows of a frame whose head vouches for them; offsets count from the frame's first byte.
pub(super) fn rows_of(rows: &[u8]) -> impl Iterator<Item = Told<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = rows.get(at..)?;
        let (key_len, rest) = rest.split_first_chunk::<2>()?;
        let (value_len, rest) = rest.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_at_checked(u16::from_le_bytes(*key_len).into())?;
        let begin = at + ROW_HEAD_BYTES + key.len();
        let len = u32::from_le_bytes(*value_len);
        if len == GONE {
            at = begin;
            return Some((key, None));
        }
        let content = rest.get(..len as usize)?;
        at = begin + content.len();
        Some((key, Some((Value { offset: HEAD_BYTES + begin, len, checksum: checksum(key, content) }, content))))
    })
}

/// CRC-32C of a key and what stands there.
pub(in crate::storage::sled) fn checksum(key: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), content)
}

fn crc_of(salt: u64, len: u32, order: u64, rows: &[u8]) -> u32 {
    let head = [salt, u64::from(len), order].iter().fold(0, |crc, number| crc32c::crc32c_append(crc, &number.to_le_bytes()));
    crc32c::crc32c_append(head, rows)
}
