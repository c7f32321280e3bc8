//! Rows with a checksum, none longer than sled keeps in its log: a longer value is cut into pieces.
//!
//! A row is a form byte, a CRC-32C over key, form and content, and the content. Form 1 holds a whole value; form 2 its first
//! piece, behind the number of all pieces; form 3 a further piece.

use std::ops::RangeBounds;
use std::path::{Path, PathBuf};

use sled::IVec;

use super::guard::quietly;
use super::keys;
use crate::storage::Error;

/// Longer values would leave sled's log for files of their own, which sled never syncs.
pub(super) const VALUE_BYTES_MAX: usize = 4_000;
/// What a row adds to its content.
pub(super) const OVERHEAD_BYTES: usize = 1 + 4;
/// A longer value is cut.
const ROOM_BYTES: usize = VALUE_BYTES_MAX - OVERHEAD_BYTES;

const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const FURTHER: u8 = 3;

/// The tree, and the only place that reads it.
#[derive(Clone)]
pub(super) struct Rows {
    /// `None` while the store is opened anew.
    tree: Option<sled::Db>,
    folder: PathBuf,
}

impl Rows {
    /// The rows of an open database.
    pub(super) fn new(tree: sled::Db, folder: &Path) -> Self {
        Self { tree: Some(tree), folder: folder.to_owned() }
    }

    /// Takes the tree away: without it everything here is unavailable. The database is closed once what is returned, and every
    /// clone made before, is dropped.
    pub(super) fn detach(&mut self) -> Self {
        Self { tree: self.tree.take(), folder: self.folder.clone() }
    }

    /// Whether a value of so many bytes is cut into pieces.
    pub(super) const fn cuts(value_bytes: usize) -> bool {
        value_bytes > ROOM_BYTES
    }

    /// Whether it was not taken away.
    pub(super) const fn is_open(&self) -> bool {
        self.tree.is_some()
    }

    /// The value at `key`.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, Error> {
        let Some(row) = self.raw(key)? else { return Ok(None) };
        let (pieces, first) = self.open_first(key, &row)?;
        if pieces == 1 { Ok(Some(first)) } else { self.join(key, pieces, &first).map(Some) }
    }

    /// Adds a value to `batch`, at a key that holds none, or one that is not cut into pieces.
    pub(super) fn insert(&self, batch: &mut sled::Batch, key: &[u8], value: &[u8]) {
        self.write(batch, key, value);
    }

    /// Adds a value to `batch`, at a key that may hold one.
    pub(super) fn replace(&self, batch: &mut sled::Batch, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let pieces = self.write(batch, key, value);
        self.shorten(batch, key, pieces)
    }

    /// Adds the removal of a value to `batch`.
    pub(super) fn remove(&self, batch: &mut sled::Batch, key: &[u8]) -> Result<(), Error> {
        (1..self.pieces(key)?).for_each(|place| batch.remove(keys::piece(key, place)));
        batch.remove(key);
        Ok(())
    }

    /// The rows in a range, upwards or downwards by key.
    pub(super) fn scan(&self, range: impl RangeBounds<Vec<u8>>, upwards: bool) -> Scan<'_> {
        let iter = self.tree.as_ref().map(|tree| tree.range(range));
        Scan { rows: self, unavailable: iter.is_none(), iter, upwards }
    }

    /// The last row in a range.
    pub(super) fn last(&self, range: impl RangeBounds<Vec<u8>>) -> Result<Option<(IVec, IVec)>, Error> {
        self.scan(range, false).next().transpose()
    }

    /// The row of a value that is not cut into pieces, for [`Rows::put`].
    pub(super) fn whole(key: &[u8], value: &[u8]) -> Vec<u8> {
        sealed(key, WHOLE, &[value])
    }

    /// The rows of a value, for [`Rows::put`] in this order: one that is cut is there with its last row.
    pub(super) fn cut(key: &[u8], value: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        if !Self::cuts(value.len()) {
            return vec![(key.to_vec(), Self::whole(key, value))];
        }
        let (first, rest) = value.split_at(ROOM_BYTES - 4);
        let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut pieces: u32 = 1;
        for piece in rest.chunks(ROOM_BYTES) {
            let key = keys::piece(key, pieces);
            let row = sealed(&key, FURTHER, &[piece]);
            rows.push((key, row));
            pieces = pieces.saturating_add(1);
        }
        rows.push((key.to_vec(), sealed(key, FIRST, &[&pieces.to_be_bytes(), first])));
        rows
    }

    /// The rows that the value at `key` has and one of `count` rows does not, taken away by `batch`.
    pub(super) fn shorten(&self, batch: &mut sled::Batch, key: &[u8], count: u32) -> Result<(), Error> {
        let former = self.pieces(key)?;
        (count..former).for_each(|place| batch.remove(keys::piece(key, place)));
        Ok(())
    }

    /// Writes one row, which stands alone, at a key that holds none, or one that is not cut into pieces. It is not on disk yet, nor
    /// with the system.
    pub(super) fn put(&self, key: &[u8], row: &[u8]) -> Result<(), Error> {
        self.guarded(|tree| tree.insert(key, row).map(drop))
    }

    /// Applies a batch in one step. It is not on disk yet, nor with the system.
    pub(super) fn apply(&self, batch: sled::Batch) -> Result<(), Error> {
        self.guarded(|tree| tree.apply_batch(batch))
    }

    /// Hands everything applied to the system; it is not on disk yet.
    pub(super) fn flush(&self) -> Result<(), Error> {
        self.guarded(|tree| tree.flush().map(|_| ()))
    }

    /// That what is on disk cannot be trusted.
    pub(super) fn damaged(&self, what: &str) -> Error {
        Error::Damaged { folder: self.folder.clone(), what: what.to_owned() }
    }

    /// That something is not possible now.
    pub(super) fn unavailable(&self, what: impl ToString) -> Error {
        Error::Unavailable { folder: self.folder.clone(), what: what.to_string() }
    }

    /// How many rows the value at `key` takes.
    fn pieces(&self, key: &[u8]) -> Result<u32, Error> {
        self.raw(key)?.map_or(Ok(0), |row| self.open_first(key, &row).map(|(pieces, _)| pieces))
    }

    fn join(&self, key: &[u8], pieces: u32, first: &IVec) -> Result<IVec, Error> {
        let mut value = first.to_vec();
        for place in 1..pieces {
            let key = keys::piece(key, place);
            let row = self.raw(&key)?.ok_or_else(|| self.damaged("a piece of a long value is missing"))?;
            let (form, content) = self.open(&key, &row)?;
            if form != FURTHER {
                return Err(self.damaged("a piece of a long value is none"));
            }
            value.extend_from_slice(&content);
        }
        Ok(value.into())
    }

    fn raw(&self, key: &[u8]) -> Result<Option<IVec>, Error> {
        self.guarded(|tree| tree.get(key))
    }

    /// How many pieces the value at `key` has, and the first.
    fn open_first(&self, key: &[u8], row: &IVec) -> Result<(u32, IVec), Error> {
        let (form, content) = self.open(key, row)?;
        match form {
            WHOLE => Ok((1, content)),
            FIRST => match content.first_chunk::<4>() {
                Some(pieces) => Ok((u32::from_be_bytes(*pieces), content.subslice(4, content.len().saturating_sub(4)))),
                None => Err(self.damaged("a row is too short")),
            },
            _ => Err(self.damaged("a row has an unknown form")),
        }
    }

    /// A row's form and content, once its checksum is right.
    fn open(&self, key: &[u8], row: &IVec) -> Result<(u8, IVec), Error> {
        let Some((&[form, ref checksum @ ..], content)) = row.split_first_chunk::<OVERHEAD_BYTES>() else {
            return Err(self.damaged("a row is too short"));
        };
        if checksum != checksum_of(key, form, content).to_le_bytes().as_slice() {
            return Err(self.damaged("a row's checksum is wrong"));
        }
        Ok((form, row.subslice(OVERHEAD_BYTES, content.len())))
    }

    /// Returns how many rows the value takes.
    fn write(&self, batch: &mut sled::Batch, key: &[u8], value: &[u8]) -> u32 {
        let rows = Self::cut(key, value);
        let pieces = rows.len();
        rows.into_iter().for_each(|(key, row)| batch.insert(key, row));
        u32::try_from(pieces).unwrap_or(u32::MAX)
    }

    fn guarded<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, Error> {
        let tree = self.tree.as_ref().ok_or_else(|| self.closed())?;
        self.told(quietly(|| work(tree)))
    }

    fn told<T>(&self, result: Result<sled::Result<T>, String>) -> Result<T, Error> {
        match result {
            Ok(result) => result.map_err(|error| self.translate(&error)),
            Err(panic) => Err(self.damaged(&panic)),
        }
    }

    /// That the tree was taken away.
    pub(super) fn closed(&self) -> Error {
        self.unavailable("it is being opened anew")
    }

    fn translate(&self, error: &sled::Error) -> Error {
        match error {
            sled::Error::Corruption { .. } | sled::Error::ReportableBug(_) => self.damaged(&error.to_string()),
            _ => self.unavailable(error),
        }
    }
}

impl Drop for Rows {
    /// Closing the database writes and syncs what is left, and sled panics where that fails.
    fn drop(&mut self) {
        let tree = self.tree.take();
        // Whatever was committed is on disk already.
        drop(quietly(|| drop(tree)));
    }
}

/// Rows of a range, one after the other, each with its whole value.
pub(super) struct Scan<'a> {
    rows: &'a Rows,
    iter: Option<sled::Iter>,
    /// Told once.
    unavailable: bool,
    upwards: bool,
}

impl Scan<'_> {
    fn step(&mut self) -> Result<Option<(IVec, IVec)>, Error> {
        if std::mem::take(&mut self.unavailable) {
            return Err(self.rows.closed());
        }
        let (Some(iter), upwards) = (&mut self.iter, self.upwards) else { return Ok(None) };
        let next = self.rows.told(quietly(|| if upwards { iter.next() } else { iter.next_back() }.transpose()))?;
        let Some((key, row)) = next else { return Ok(None) };
        let (pieces, first) = self.rows.open_first(&key, &row)?;
        let value = if pieces == 1 { first } else { self.rows.join(&key, pieces, &first)? };
        Ok(Some((key, value)))
    }
}

impl Iterator for Scan<'_> {
    type Item = Result<(IVec, IVec), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.step().transpose()
    }
}

fn sealed(key: &[u8], form: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content: usize = parts.iter().map(|part| part.len()).sum();
    let mut row = Vec::with_capacity(OVERHEAD_BYTES + content);
    row.extend([form, 0, 0, 0, 0]);
    parts.iter().for_each(|part| row.extend_from_slice(part));
    let checksum = row.get(OVERHEAD_BYTES..).map_or(0, |content| checksum_of(key, form, content));
    if let Some(place) = row.get_mut(1..OVERHEAD_BYTES) {
        place.copy_from_slice(&checksum.to_le_bytes());
    }
    row
}

/// The key is part of it, so that a value that turns up under another key is noticed.
fn checksum_of(key: &[u8], form: u8, content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(key), &[form]), content)
}
