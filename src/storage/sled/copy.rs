//! Copies: all rows as of one commit, and a store made of such rows.
//!
//! While someone copies, nothing settles and nothing is forgotten: the tree and the older file of the journal stand still, and of the young
//! file's rows their places are noted. So commits go on, and the copy is taken in steps, each of which holds readers' lock for a moment.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;

use super::durable::Durable;
use super::folder::{self, Open};
use super::journal::frame::{Frame, Unwritable};
use super::packed::Packed;
use super::pending::{Generation, range_of};
use super::stored::Settled;
use super::{Sled, keys, stored};
use crate::storage::Error;
use crate::storage::backup::{Broken, Contents, Row, Snapshot, Summary, Writer};

/// Rows are taken, and applied, in steps of about this size.
pub(super) const STEP_BYTES: usize = 256 * 1024;
const STEP_ROWS: usize = 256;
/// sled's own threads may hold a closed database for a moment.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Whether someone copies.
#[derive(Default)]
pub(super) struct Copying(Arc<Flags>);

#[derive(Default)]
struct Flags {
    taken: AtomicBool,
    cancelled: AtomicBool,
}

/// The right to copy.
pub(super) struct Turn(Arc<Flags>);

impl Copying {
    /// Takes the right; nothing settles from now on. Only with the writer's lock held.
    pub(super) fn turn(&self) -> Result<Turn, Error> {
        if self.0.taken.swap(true, Ordering::SeqCst) {
            return Err(Error::Busy);
        }
        self.0.cancelled.store(false, Ordering::SeqCst);
        Ok(Turn(Arc::clone(&self.0)))
    }

    /// Whether someone copies.
    pub(super) fn is_taken(&self) -> bool {
        self.0.taken.load(Ordering::SeqCst)
    }

    /// Whoever copies is told to stop: what they copy no longer stands still.
    pub(super) fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::SeqCst);
    }

    /// Whether someone copies, and was not told to stop.
    pub(super) fn holds_up(&self) -> bool {
        self.is_taken() && !self.0.cancelled.load(Ordering::SeqCst)
    }
}

impl Turn {
    /// Whether its holder was told to stop.
    pub(super) fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::SeqCst)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.taken.store(false, Ordering::SeqCst);
    }
}

/// The rows of a snapshot, a step at a time.
struct Rows {
    durable: Arc<RwLock<Durable>>,
    young: Generation,
    turn: Turn,
    /// Where the next step begins; `None` behind the last one.
    from: Option<Bound<Vec<u8>>>,
    ready: VecDeque<Row>,
}

impl Rows {
    fn step(&mut self) -> Result<(), Error> {
        let Some(from) = self.from.take() else { return Ok(()) };
        let durable = self.durable.read();
        if self.turn.is_cancelled() {
            return Err(durable.rows.unavailable("it had to go on before its copy was whole: take it again"));
        }
        let old = durable.pending.old.as_ref();
        let range = (from, Bound::Excluded(keys::behind_everything()));
        let rows = durable.scan_behind(|bounds| range_of(&self.young, old, bounds, true), range, true);
        let mut bytes = 0;
        for row in rows {
            let (key, value) = row?;
            bytes += key.len() + value.len();
            let full = bytes >= STEP_BYTES || self.ready.len() >= STEP_ROWS;
            if full {
                self.from = Some(Bound::Excluded(key.to_vec()));
            }
            // It tells of the journal's files, not of the directory.
            if *key != *keys::SETTLED {
                self.ready.push_back(Row { key: key.to_vec(), value: value.to_vec() });
            }
            if full {
                break;
            }
        }
        Ok(())
    }
}

impl Iterator for Rows {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.from.is_some() {
            if let Err(error) = self.step() {
                return Some(Err(error));
            }
        }
        self.ready.pop_front().map(Ok)
    }
}

impl Sled {
    pub(in crate::storage) fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut writer = self.writer.lock();
        self.healthy()?;
        while !self.settled(&mut writer, true)? {}
        let turn = self.copying.turn()?;
        let young = self.durable.read().pending.young.clone();
        let from = Some(Bound::Unbounded);
        Ok(Snapshot::new(Rows { durable: Arc::clone(&self.durable), young, turn, from, ready: VecDeque::new() }, count))
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
    let read = Sled::open(folder).and_then(|store| store.snapshot()).map_err(Broken::from);
    read.and_then(|snapshot| snapshot.write(io::sink())).map_err(|broken| match broken {
        Broken::Store(Error::Damaged { what, .. }) => Error::Unsound { what },
        Broken::Store(error) => error,
        Broken::Out(error) => Error::Unavailable { folder: folder.to_owned(), what: error.to_string() },
    })
}

/// Returns what was written, its contents not counted.
fn build<E: From<Error>>(folder: &Path, rows: impl Iterator<Item = Result<Row, E>>) -> Result<Summary, E> {
    let Open { rows: tree, file, mut journal, .. } = folder::open(folder)?;
    let unavailable = |error: io::Error| tree.unavailable(error);
    let mut written = Writer::new(io::sink()).map_err(unavailable)?;
    let mut settled = Settled::default();
    let (mut writes, mut frame, mut bytes) = (sled::Batch::default(), Frame::new(Vec::new()), 0);
    for row in rows {
        let row = row?;
        written.row(&row).map_err(unavailable)?;
        bytes += row.key.len() + row.value.len();
        if stored::is_pending_id(&row.key, &row.value) {
            // In the tree ids share rows: this one has yet to settle.
            let put = frame.put(&row.key, |buffer| Some([buffer.as_slice(), &row.value].concat()));
            put.map_err(|Unwritable| tree.unavailable("an event id cannot be written down"))?;
        } else {
            tree.insert(&mut writes, &row.key, &row.value);
        }
        if let Some((numbers, _)) = stored::decode_numbers(&row.value).filter(|_| row.key == keys::NUMBERS) {
            (settled.delivery, settled.cursor) = (numbers.delivery, numbers.cursor);
        }
        if bytes >= STEP_BYTES {
            tree.apply(std::mem::take(&mut writes))?;
            journal.append(&mut std::mem::replace(&mut frame, Frame::new(Vec::new()))).map_err(unavailable)?;
            bytes = 0;
            super::reclaim();
        }
    }
    tree.insert(&mut writes, keys::SETTLED, &settled.encode());
    tree.apply(writes)?;
    tree.flush()?;
    file.sync_all().map_err(unavailable)?;
    journal.append(&mut frame).and_then(|_| journal.sync()).map_err(unavailable)?;
    Ok(written.end(Contents::default()).map_err(unavailable)?)
}

fn wait_until_closed(folder: &Path) {
    let began = Instant::now();
    let is_free = || File::open(folder::database_of(folder)).map_or(true, |file| file.try_lock().is_ok());
    while !is_free() && began.elapsed() < CLOSED_WITHIN {
        std::thread::park_timeout(LOOK_AGAIN);
    }
}

/// What a row holds.
fn count(row: &Row, contents: &mut Contents) {
    let entries = || Packed::read(0, row.value.as_slice().into()).map_or(0, |row| row.head.count.into());
    match row.key.first() {
        Some(&keys::USER) => contents.users += 1,
        Some(&keys::DELIVERIES) => contents.deliveries += entries(),
        Some(&keys::CHANGES) => contents.changes += entries(),
        _ if row.key == keys::NUMBERS => contents.cursor = stored::decode_numbers(&row.value).map_or(0, |(numbers, _)| numbers.cursor),
        _ => {}
    }
}
