//! The format of a backup: what `GET /api/v1/backup` streams and `rollcall.backup` holds.
//!
//! ```text
//! head   "rollcall backup\n" · version u32 = 1 · checksum
//! row    'r' · length of key u32 · length of value u32 · key · value · checksum        as often as there are rows
//! end    'e' · rows u64 · users u64 · deliveries u64 · changes u64 · cursor u64 · SHA-256 · checksum
//! ```
//! Numbers have their least byte first. A checksum is the CRC-32C of everything before it in its piece; the SHA-256 is of all rows, without
//! their checksums, in order. Nothing follows the end. Whatever was cut lacks the end, and so is never taken for a whole backup.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

use super::{Contents, Row};
use crate::storage::Error;

/// A longer key is none.
pub const KEY_BYTES_MAX: usize = 64 * 1024;
/// A longer value is none: twice the largest body that can be configured.
pub const VALUE_BYTES_MAX: usize = 128 * 1024 * 1024;

const MAGIC: &[u8; 16] = b"rollcall backup\n";
const VERSION: u32 = 1;
const ROW: u8 = b'r';
const END: u8 = b'e';
const CHECKSUM_BYTES: usize = 4;
const LENGTHS_BYTES: usize = 4 + 4;
const NUMBERS: usize = 5;
const DIGEST_BYTES: usize = 32;

/// What the end of a backup says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Its rows.
    pub rows: u64,
    /// What they hold.
    pub contents: Contents,
    /// The SHA-256 of all rows.
    pub digest: [u8; DIGEST_BYTES],
}

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// It does not begin like one.
    #[error("this is no backup of rollcall's")]
    Stranger,
    /// Another version of the format.
    #[error("it is a backup of format {0}, and this rollcall reads format {VERSION}: use the version that made it")]
    Version(u32),
    /// A checksum is wrong, or something is where nothing should be.
    #[error("it is damaged: {what} after {rows} sound rows")]
    Damaged {
        /// What is wrong.
        what: &'static str,
        /// How many rows were sound.
        rows: u64,
    },
    /// It ends before its end.
    #[error("it was cut off: its end is missing after {rows} rows")]
    Cut {
        /// How many rows are there.
        rows: u64,
    },
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Writes a backup.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    piece: Vec<u8>,
    rows: u64,
    digest: Sha256,
}

impl<W: Write> Writer<W> {
    /// Begins a backup.
    ///
    /// # Errors
    /// As the system says, here and below.
    pub fn new(out: W) -> io::Result<Self> {
        let mut writer = Self { out, piece: MAGIC.to_vec(), rows: 0, digest: Sha256::new() };
        writer.piece.extend(VERSION.to_le_bytes());
        writer.put()?;
        Ok(writer)
    }

    /// Adds a row.
    ///
    /// # Errors
    /// `InvalidInput` for one that is too long.
    pub fn row(&mut self, row: &Row) -> io::Result<()> {
        let Row { key, value } = row;
        self.piece.push(ROW);
        for (bytes, most) in [(key, KEY_BYTES_MAX), (value, VALUE_BYTES_MAX)] {
            let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= most);
            let too_long = || io::Error::new(io::ErrorKind::InvalidInput, "a row is too long for a backup");
            self.piece.extend(length.ok_or_else(too_long)?.to_le_bytes());
        }
        self.piece.extend_from_slice(key);
        self.piece.extend_from_slice(value);
        self.digest.update(&self.piece);
        self.rows = self.rows.saturating_add(1);
        self.put()
    }

    /// Adds the end; `contents` is what the rows hold.
    ///
    /// # Errors
    /// As [`Writer::new`].
    pub fn end(mut self, contents: Contents) -> io::Result<Summary> {
        let summary = Summary { rows: self.rows, contents, digest: std::mem::take(&mut self.digest).finalize().into() };
        let Contents { users, deliveries, changes, cursor } = contents;
        self.piece.push(END);
        let numbers: [u64; NUMBERS] = [self.rows, users, deliveries, changes, cursor];
        numbers.iter().for_each(|number| self.piece.extend(number.to_le_bytes()));
        self.piece.extend(summary.digest);
        self.put()?;
        self.out.flush()?;
        Ok(summary)
    }

    /// Writes the piece and its checksum, and begins another.
    fn put(&mut self) -> io::Result<()> {
        let checksum = crc32c::crc32c(&self.piece).to_le_bytes();
        self.out.write_all(&self.piece)?;
        self.out.write_all(&checksum)?;
        self.piece.clear();
        Ok(())
    }
}

/// Reads a backup, row by row, and checks all that can be checked. Only once it has given `None` was it a whole one.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    piece: Vec<u8>,
    rows: u64,
    digest: Sha256,
    summary: Option<Summary>,
    over: bool,
}

impl<R: Read> Reader<R> {
    /// Begins to read. Reads in small bites: `from` had better be buffered.
    ///
    /// # Errors
    /// Any [`Fault`].
    pub fn new(from: R) -> Result<Self, Fault> {
        let mut reader = Self { from, piece: Vec::new(), rows: 0, digest: Sha256::new(), summary: None, over: false };
        // Something shorter is no backup either, unless it is the beginning of one.
        match reader.fill(MAGIC.len()) {
            Err(Fault::Cut { .. }) if !MAGIC.starts_with(&reader.piece) => return Err(Fault::Stranger),
            filled => filled?,
        }
        if reader.piece != MAGIC {
            return Err(Fault::Stranger);
        }
        let version = reader.number()?;
        reader.check("its head is wrong")?;
        if version == VERSION { Ok(reader) } else { Err(Fault::Version(version)) }
    }

    /// What its end says; `None` before that was reached.
    pub const fn summary(&self) -> Option<Summary> {
        self.summary
    }

    fn step(&mut self) -> Result<Option<Row>, Fault> {
        self.piece.clear();
        self.fill(1)?;
        match *self.piece.as_slice() {
            [ROW] => self.row().map(Some),
            [END] => self.end().map(|()| None),
            _ => Err(self.damaged("something unknown stands")),
        }
    }

    fn row(&mut self) -> Result<Row, Fault> {
        let (key, value) = (self.number()? as usize, self.number()? as usize);
        if key > KEY_BYTES_MAX || value > VALUE_BYTES_MAX {
            return Err(self.damaged("an impossible length stands"));
        }
        self.fill(key.saturating_add(value))?;
        self.digest.update(&self.piece);
        self.check("a wrong checksum stands")?;
        self.rows = self.rows.saturating_add(1);
        let value = self.piece.split_off(1 + LENGTHS_BYTES + key);
        Ok(Row { key: self.piece.split_off(1 + LENGTHS_BYTES), value })
    }

    fn end(&mut self) -> Result<(), Fault> {
        self.fill(NUMBERS * 8 + DIGEST_BYTES)?;
        self.check("a wrong end stands")?;
        let (numbers, digest) = self.piece.get(1..).unwrap_or_default().split_at(NUMBERS * 8);
        let numbers: Vec<u64> = numbers.as_chunks().0.iter().map(|number| u64::from_le_bytes(*number)).collect();
        let (&[rows, users, deliveries, changes, cursor], Ok(digest)) = (numbers.as_slice(), digest.try_into()) else {
            return Err(self.damaged("an unreadable end stands"));
        };
        let told = Summary { rows, contents: Contents { users, deliveries, changes, cursor }, digest };
        if (rows, digest) != (self.rows, std::mem::take(&mut self.digest).finalize().into()) {
            return Err(self.damaged("an end of other rows stands"));
        }
        if self.from.by_ref().take(1).read_to_end(&mut Vec::new())? > 0 {
            return Err(self.damaged("something behind the end stands"));
        }
        self.summary = Some(told);
        Ok(())
    }

    /// Reads so many bytes more of the piece.
    fn fill(&mut self, bytes: usize) -> Result<(), Fault> {
        let read = self.from.by_ref().take(bytes as u64).read_to_end(&mut self.piece)?;
        if read < bytes { Err(Fault::Cut { rows: self.rows }) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<u32, Fault> {
        self.fill(4)?;
        Ok(self.piece.last_chunk().map_or(0, |number| u32::from_le_bytes(*number)))
    }

    /// Reads the checksum of the piece and compares it.
    fn check(&mut self, otherwise: &'static str) -> Result<(), Fault> {
        let expected = crc32c::crc32c(&self.piece);
        let found = self.number()?;
        self.piece.truncate(self.piece.len().saturating_sub(CHECKSUM_BYTES));
        if found == expected { Ok(()) } else { Err(self.damaged(otherwise)) }
    }

    const fn damaged(&self, what: &'static str) -> Fault {
        Fault::Damaged { what, rows: self.rows }
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Row, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let step = self.step().transpose();
        self.over = !matches!(step, Some(Ok(_)));
        step
    }
}

#[cfg(test)]
mod tests;
