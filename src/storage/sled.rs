//! The embedded engine: sled 0.34.7 behind its guard rails, and a journal before it.
//!
//! # What a commit does
//! It writes the batch down as rows in one frame ([`draft`]), appends that to the journal and syncs it ([`journal`]), and only then shows
//! it: the rows are pending ([`pending`]) before those of the tree, and indexes and numbers move on ([`durable`]). Whoever
//! reads meanwhile sees the state before; after a failure they go on seeing it, until the store has been opened anew
//! ([`mend`]). Between commits rows settle in the tree ([`settle`]). Commits are refused before the disk is full ([`room`]).
//!
//! # Why rows look as they do
//! sled's cost goes by rows and by the pages that they stand on. So what only grows (deliveries, changes) is packed, a commit a row in
//! the journal, and many commits, compressed, a row of the tree ([`packed`]); event ids share rows too ([`ids`]). Gaps live in the
//! record; a change names the user's one before, so a history needs no index. Rows stay below 4,000 bytes, because sled moves
//! larger values into files that it never syncs ([`rows`]).
//!
//! # Why we sync ourselves
//! sled's `flush` asks Linux to begin writing and syncs nothing: after a power cut, what it acknowledged is gone. Our own handle of
//! the database file syncs it before the journal may forget what has settled.

mod compact;
mod copy;
mod draft;
mod durable;
mod expiry;
mod faults;
mod filter;
mod folder;
mod gate;
mod guard;
mod ids;
pub(super) mod index;
mod journal;
mod keys;
mod mend;
mod merged;
mod packed;
mod pending;
mod piece;
mod reads;
mod room;
mod rows;
mod settle;
mod stored;
mod sync;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use self::copy::Copying;
use self::draft::Draft;
use self::durable::Durable;
use self::expiry::Forgotten;
use self::faults::Faults;
pub(super) use self::folder::MARK;
use self::folder::Mark;
use self::journal::Journal;
use self::journal::frame::Frame;
use self::mend::{Opened, Pace, Trouble};
use self::room::Room;
use self::sync::Syncer;
use super::{Batch, Error};

/// Rounds of reclamation after a piece has settled: what a large batch leaves behind is freed a few bags at a time.
const RECLAIM_ROUNDS: usize = 4;
/// A frame's memory is kept for the next one up to this.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;

/// The embedded store.
pub struct Sled {
    folder: PathBuf,
    durable: Arc<RwLock<Durable>>,
    writer: Mutex<Writer>,
    trouble: RwLock<Option<Trouble>>,
    faults: Arc<Faults>,
    copying: Copying,
}

/// What only the one who commits needs.
struct Writer {
    journal: Journal,
    /// The memory of the next frame.
    buffer: Vec<u8>,
    /// Our own handle of the tree's file.
    file: Arc<File>,
    /// Which of the folder's trees that is.
    tree: u64,
    /// Writes the tree.
    syncer: Syncer,
    /// Whether what was written last forgets something.
    forgetting: bool,
    /// Deliveries up to this number have settled, with all that stands beside them.
    forgettable: u64,
    forgotten: Forgotten,
    /// When to try to mend what is in trouble.
    pace: Pace,
    room: Room,
}

impl Sled {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let Opened { durable, journal, file, tree } = mend::open(folder)?;
        let syncer = Syncer::start().map_err(|error| Error::Unavailable { folder: folder.to_owned(), what: error.to_string() })?;
        let writer = Writer {
            journal,
            buffer: Vec::new(),
            file: Arc::new(file),
            tree,
            syncer,
            forgetting: false,
            forgettable: durable.whole(),
            forgotten: Forgotten::default(),
            pace: Pace::default(),
            room: Room::default(),
        };
        let (folder, durable, writer) = (folder.to_owned(), Arc::new(RwLock::new(durable)), Mutex::new(writer));
        let (trouble, faults, copying) = (RwLock::default(), Arc::<Faults>::default(), Copying::default());
        let sled = Self { folder, durable, writer, trouble, faults, copying };
        // Without room it can still be read.
        drop(sled.watch_room(&mut sled.writer.lock()));
        Ok(sled)
    }

    pub(super) fn commit(&self, batch: &Batch) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        self.healthy()?;
        if batch.is_empty() {
            return Ok(());
        }
        self.watch_room(&mut writer)?;
        let buffer = std::mem::take(&mut writer.buffer);
        let mut drafted = Draft::of(batch, &self.durable.read(), buffer)?;
        let begin = self.make_durable(&mut writer, &mut drafted.frame)?;
        let buffer = self.durable.write().advance(batch, drafted, begin);
        if buffer.capacity() <= BUFFER_BYTES_MAX {
            writer.buffer = buffer;
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        folder::bytes(&self.folder)
    }

    pub(super) fn free_bytes(&self) -> Option<u64> {
        room::free_bytes(&self.folder)
    }

    pub(super) fn healthy(&self) -> Result<(), Error> {
        match &*self.trouble.read() {
            Some(Trouble { what, .. }) => Err(Error::Unavailable { folder: self.folder.clone(), what: what.clone() }),
            None => Ok(()),
        }
    }

    /// Bytes of the tree's file.
    fn tree_bytes(&self, writer: &Writer) -> u64 {
        // Where that cannot be told, the next commit will find out why.
        writer.file.metadata().map_or(0, |file| file.len())
    }

    /// How far we are.
    fn mark(&self, writer: &Writer) -> Mark {
        let numbers = self.durable.read().numbers;
        let (generation, tree) = (writer.journal.young().generation, writer.tree);
        Mark { delivery: numbers.delivery, cursor: numbers.cursor, generation, tree }
    }

    /// Appends a frame to the journal and waits until it is on disk; returns its place. After a failure nobody knows whether it is: the
    /// store has to be opened anew.
    fn make_durable(&self, writer: &mut Writer, frame: &mut Frame) -> Result<u64, Error> {
        let appended = self.faults.meet().and_then(|()| writer.journal.append(frame));
        let synced = appended.and_then(|begin| {
            writer.syncer.gate().open();
            self.faults.meet().and_then(|()| writer.journal.sync()).map(|()| begin)
        });
        synced.map_err(|error| self.fail(writer, &error.to_string()))
    }

    /// Commits nothing from now on, until the store has been opened anew.
    fn fail(&self, writer: &mut Writer, what: &str) -> Error {
        writer.pace = Pace::default();
        let what = format!("a commit failed ({what}); it is going to be opened anew");
        self.refuse(what.clone(), true);
        Error::Unavailable { folder: self.folder.clone(), what }
    }
}

fn reclaim() {
    (0..RECLAIM_ROUNDS).for_each(|_| crossbeam_epoch::pin().flush());
}

impl Drop for Sled {
    /// Every commit is on disk already; this leaves the rest of sled's own bookkeeping there too, and the mark where we are.
    fn drop(&mut self) {
        if self.healthy().is_err() {
            return;
        }
        let rows = self.durable.read().rows.clone();
        let mut writer = self.writer.lock();
        // How it ended shows below.
        drop(writer.syncer.end(true));
        if rows.flush().is_err() || writer.file.sync_data().is_err() {
            tracing::warn!("the store could not be flushed at its end; every commit is on disk nevertheless");
        }
        if let Err(error) = folder::write_mark(&self.folder, self.mark(&writer)) {
            tracing::warn!(%error, "the store's mark could not be written");
        }
    }
}

/// sled would print every row.
impl fmt::Debug for Sled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sled").field("folder", &self.folder).finish_non_exhaustive()
    }
}
