//! Copies: all rows as of one commit, and a store made of such rows.
//!
//! A snapshot is written into a nameless file while no commit is under way, and read from there. Commits wait for the writing and for nothing
//! else: not for whoever takes the rows.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::folder::{self, Open};
use super::packed::Packed;
use super::{Sled, keys, stored};
use crate::storage::Error;
use crate::storage::backup::{Broken, Contents, Reader, Row, Snapshot, Summary, Writer};

/// A copy must leave so much free for commits.
const ROOM_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// Rows are applied in steps of about this size.
const STEP_BYTES: usize = 256 * 1024;
/// sled's own threads may hold a closed database for a moment.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Whether someone holds a snapshot.
#[derive(Default)]
pub(super) struct Copying(Arc<AtomicBool>);

/// The right to hold one.
struct Turn(Arc<AtomicBool>);

impl Copying {
    fn turn(&self) -> Result<Turn, Error> {
        let taken = self.0.swap(true, Ordering::SeqCst);
        if taken { Err(Error::Busy) } else { Ok(Turn(Arc::clone(&self.0))) }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

impl Sled {
    pub(in crate::storage) fn snapshot(&self) -> Result<Snapshot, Error> {
        let turn = self.copying.turn()?;
        let unavailable = |what: String| Error::Unavailable { folder: self.folder.clone(), what };
        let mut file = self.spool().map_err(|broken| match broken {
            Broken::Store(error) => error,
            Broken::Out(error) => unavailable(format!("a copy of it cannot be written: {error}")),
        })?;
        file.rewind().map_err(|error| unavailable(error.to_string()))?;
        let folder = self.folder.clone();
        let unreadable =
            move |what: String| Error::Unavailable { folder: folder.clone(), what: format!("its copy cannot be read: {what}") };
        let rows = Reader::new(BufReader::new(file)).map_err(|fault| unreadable(fault.to_string()))?;
        let rows = rows.map(move |row| {
            let _held = &turn;
            row.map_err(|fault| unreadable(fault.to_string()))
        });
        Ok(Snapshot::new(rows, count))
    }

    /// Writes all rows into a file without a name, which goes when it is closed.
    fn spool(&self) -> Result<File, Broken> {
        let needed = self.bytes().saturating_add(ROOM_BYTES_MIN);
        if self.free_bytes().is_some_and(|free| free < needed) {
            return Err(io::Error::other("there is too little room for it on the store's file system").into());
        }
        let mut file = tempfile::tempfile_in(&self.folder)?;
        let _between_commits = self.writer.lock();
        self.healthy()?;
        self.write(BufWriter::new(&mut file))?;
        Ok(file)
    }

    /// Writes all rows as a backup. Nobody may commit meanwhile.
    fn write(&self, out: impl Write) -> Result<Summary, Broken> {
        let rows = self.durable.read().rows.clone();
        let (mut writer, mut contents) = (Writer::new(out)?, Contents::default());
        for row in rows.scan(keys::everything(), true) {
            let (key, value) = row?;
            let row = Row { key: key.to_vec(), value: value.to_vec() };
            count(&row, &mut contents);
            writer.row(&row)?;
        }
        Ok(writer.end(contents)?)
    }

    /// Makes a store of rows in an empty folder, and reads it back from the disk.
    pub(in crate::storage) fn restore<E: From<Error>>(folder: &Path, rows: impl Iterator<Item = Result<Row, E>>) -> Result<Summary, E> {
        let built = build(folder, rows);
        wait_until_closed(folder);
        let written = built?;
        let found = read_back(folder);
        wait_until_closed(folder);
        let found = found?;
        if (found.rows, found.digest) != (written.rows, written.digest) {
            return Err(Error::Unsound { what: "what was read back is not what was written".to_owned() }.into());
        }
        Ok(found)
    }
}

/// Opens what was built, with all checks, and reads every row.
fn read_back(folder: &Path) -> Result<Summary, Error> {
    let read = Sled::open(folder).map_err(Broken::from).and_then(|store| store.write(io::sink()));
    read.map_err(|broken| match broken {
        Broken::Store(Error::Damaged { what, .. }) => Error::Unsound { what },
        Broken::Store(error) => error,
        Broken::Out(error) => Error::Unavailable { folder: folder.to_owned(), what: error.to_string() },
    })
}

/// Returns what was written, its contents not counted.
fn build<E: From<Error>>(folder: &Path, rows: impl Iterator<Item = Result<Row, E>>) -> Result<Summary, E> {
    let Open { rows: store, file, .. } = folder::open(folder)?;
    let unavailable = |error: io::Error| store.unavailable(error);
    let mut written = Writer::new(io::sink()).map_err(unavailable)?;
    let (mut writes, mut bytes) = (sled::Batch::default(), 0);
    for row in rows {
        let row = row?;
        written.row(&row).map_err(unavailable)?;
        store.insert(&mut writes, &row.key, &row.value);
        bytes += row.key.len() + row.value.len();
        if bytes >= STEP_BYTES {
            store.apply(std::mem::take(&mut writes))?;
            bytes = 0;
            (0..super::RECLAIM_ROUNDS).for_each(|_| crossbeam_epoch::pin().flush());
        }
    }
    store.apply(writes)?;
    store.flush()?;
    file.sync_all().map_err(unavailable)?;
    Ok(written.end(Contents::default()).map_err(unavailable)?)
}

fn wait_until_closed(folder: &Path) {
    let began = Instant::now();
    let is_free = || File::open(folder.join(folder::DATABASE)).map_or(true, |file| file.try_lock().is_ok());
    while !is_free() && began.elapsed() < CLOSED_WITHIN {
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// What a row holds.
fn count(row: &Row, contents: &mut Contents) {
    let entries = || Packed::read(0, row.value.as_slice().into()).map_or(0, |row| row.entries().count() as u64);
    match row.key.first() {
        Some(&keys::USER) => contents.users += 1,
        Some(&keys::DELIVERIES) => contents.deliveries += entries(),
        Some(&keys::CHANGES) => contents.changes += entries(),
        _ if row.key == keys::NUMBERS => contents.cursor = stored::decode_numbers(&row.value).map_or(0, |(numbers, _)| numbers.cursor),
        _ => {}
    }
}
