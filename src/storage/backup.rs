//! What a backup is made of: the engine's own rows, opaque to everyone else, and a summary of what they hold.
//!
//! # Why rows and not the engine's files
//! Files are only consistent while nobody writes, and say nothing of their own damage. Rows can be taken as of one commit while others
//! go on, each with a checksum, and whoever restores them gets files without the room that the old ones wasted.

pub mod building;
pub mod format;

use std::fmt;
use std::io::{self, Write};

pub use building::Restored;
pub use format::{Fault, Reader, Summary, Writer};

use super::Error;

/// A row: `key` and `value` are the engine's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// At most [`format::KEY_BYTES_MAX`].
    pub key: Vec<u8>,
    /// At most [`format::VALUE_BYTES_MAX`].
    pub value: Vec<u8>,
}

/// What rows hold, in words that mean the same for every engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Records of users, deleted ones among them.
    pub users: u64,
    /// Deliveries that are remembered.
    pub deliveries: u64,
    /// Changes that the feed reaches back to.
    pub changes: u64,
    /// The newest change's cursor.
    pub cursor: u64,
}

/// Adds to the contents what one row holds.
pub(super) type Count = fn(&Row, &mut Contents);

/// All rows as of one durable commit, in ascending order of their keys. While it is held nobody gets another one.
pub struct Snapshot {
    rows: Box<dyn Iterator<Item = Result<Row, Error>> + Send>,
    count: Count,
    contents: Contents,
}

/// Why a snapshot could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// Nobody takes what is written.
    #[error(transparent)]
    Out(#[from] io::Error),
}

impl Snapshot {
    pub(super) fn new(rows: impl Iterator<Item = Result<Row, Error>> + Send + 'static, count: Count) -> Self {
        Self { rows: Box::new(rows), count, contents: Contents::default() }
    }

    /// What the rows hold that were given so far.
    #[must_use]
    pub const fn contents(&self) -> Contents {
        self.contents
    }

    /// Writes all of it as a backup.
    ///
    /// # Errors
    /// [`Broken`]: then the end mark is missing, and what was written is not taken for a backup.
    pub fn write(mut self, out: impl Write) -> Result<Summary, Broken> {
        let mut writer = Writer::new(out)?;
        for row in self.by_ref() {
            writer.row(&row?)?;
        }
        Ok(writer.end(self.contents)?)
    }
}

impl Iterator for Snapshot {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let row = self.rows.next()?;
        if let Ok(row) = &row {
            (self.count)(row, &mut self.contents);
        }
        Some(row)
    }
}

/// Rows hold personal data.
impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("contents", &self.contents).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_failing_store_wrote_is_no_backup() {
        let row = |key: &[u8]| Ok(Row { key: key.to_vec(), value: b"value".to_vec() });
        let count: Count = |_, contents| contents.users += 1;
        let mut bytes = Vec::new();
        let whole = Snapshot::new([row(b"a"), row(b"b")].into_iter(), count).write(&mut bytes).unwrap();
        assert_eq!((whole.rows, whole.contents.users), (2, 2));
        bytes.clear();
        let failing = [row(b"a"), Err(Error::Busy), row(b"b")].into_iter();
        assert!(matches!(Snapshot::new(failing, count).write(&mut bytes), Err(Broken::Store(Error::Busy))));
        let found = Reader::new(bytes.as_slice()).unwrap().last().unwrap();
        assert!(matches!(found, Err(Fault::Cut { rows: 1 })));
    }
}
