//! The embedded engine: sled 0.34.7 behind its guard rails.
//!
//! # What a commit does
//! It writes the batch down as rows ([`draft`]), shows readers the values that those rows are about to hide ([`durable`]), applies
//! all rows in one step, hands them to the system, syncs the file, and only then moves indexes and numbers on. Whoever
//! reads meanwhile sees the state before; after a failure they go on seeing it, until the store has been opened anew
//! ([`mend`]). Commits are refused before the disk is full ([`room`]).
//!
//! # Why rows look as they do
//! sled's cost goes by rows, not by bytes. So a delivery has two of its own, its event id and its user's record, and what only
//! grows (deliveries, changes) is packed, many entries a row, for each commit ([`packed`]). Gaps live in the record; a change
//! names the user's one before, so a history needs no index. `benches/store.rs` measures it against a row for each
//! thing. Rows stay below 4,000 bytes, because sled moves larger values into files that it never syncs ([`rows`]).
//!
//! # Why we sync ourselves
//! sled's `flush` asks Linux to begin writing and syncs nothing: after a power cut, what it acknowledged is gone. Our own handle of
//! the database file syncs it before a commit returns.

mod copy;
mod draft;
mod durable;
mod expiry;
mod faults;
mod folder;
mod guard;
mod index;
mod keys;
mod mend;
mod packed;
mod reads;
mod room;
mod rows;
mod stored;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};

use self::copy::Copying;
use self::durable::Durable;
use self::faults::Faults;
pub(super) use self::folder::MARK;
use self::folder::Mark;
use self::mend::{Pace, Trouble};
use self::room::Room;
use super::entry::Numbers;
use super::{Batch, Error};

/// Rounds of reclamation after a commit: what a large batch leaves behind is freed a few bags at a time.
const RECLAIM_ROUNDS: usize = 4;
/// Deliveries or changes after which the mark is moved on.
const MARK_EVERY: u64 = 10_000;

/// The embedded store.
pub struct Sled {
    folder: PathBuf,
    durable: RwLock<Durable>,
    writer: Mutex<Writer>,
    trouble: RwLock<Option<Trouble>>,
    faults: Faults,
    copying: Copying,
}

/// What only the one who commits needs.
struct Writer {
    file: File,
    /// How far the mark says we are.
    mark: Mark,
    /// Deliveries below this number were looked at by the walk that forgets.
    expired_up_to: u64,
    /// When to try to mend what is in trouble.
    pace: Pace,
    room: Room,
}

impl Sled {
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let (durable, file, mark) = mend::open(folder)?;
        let writer = Writer { file, mark, expired_up_to: 0, pace: Pace::default(), room: Room::default() };
        let (folder, durable, writer) = (folder.to_owned(), RwLock::new(durable), Mutex::new(writer));
        let (trouble, faults, copying) = (RwLock::default(), Faults::default(), Copying::default());
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
        let rows = self.durable.read().rows.clone();
        let draft::Draft { writes, former, users, numbers, tally, .. } = self.durable.read().draft(batch, &rows)?;
        self.durable.write().former = former;
        self.make_durable(&mut writer, writes)?;
        let mut durable = self.durable.write();
        durable.advance(batch, users, (numbers, tally));
        let former = std::mem::take(&mut durable.former);
        drop(durable);
        drop(former);
        (0..RECLAIM_ROUNDS).for_each(|_| crossbeam_epoch::pin().flush());
        if numbers.delivery.max(numbers.cursor) >= writer.mark.delivery.max(writer.mark.cursor).saturating_add(MARK_EVERY) {
            self.mark(&mut writer, numbers);
        }
        Ok(())
    }

    pub(super) fn bytes(&self) -> u64 {
        std::fs::metadata(self.folder.join("db")).map_or(0, |file| file.len())
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

    /// Writes down how far we are. Where that is not possible, the former mark is as true as before.
    fn mark(&self, writer: &mut Writer, numbers: Numbers) {
        let mark = Mark { delivery: numbers.delivery, cursor: numbers.cursor };
        match folder::write_mark(&self.folder, mark) {
            Ok(()) => writer.mark = mark,
            Err(error) => tracing::warn!(%error, "the store's mark could not be written"),
        }
    }

    /// Applies rows and waits until they are on disk. After a failure nobody knows whether they are: the store has to be opened anew.
    fn make_durable(&self, writer: &mut Writer, writes: sled::Batch) -> Result<(), Error> {
        let rows = self.durable.read().rows.clone();
        let meet = || self.faults.meet().map_err(|error| rows.unavailable(error));
        let applied = meet().and_then(|()| rows.apply(writes));
        let flushed = applied.and_then(|()| meet()).and_then(|()| rows.flush());
        let synced = flushed.and_then(|()| meet()).and_then(|()| writer.file.sync_data().map_err(|error| rows.unavailable(error)));
        synced.or_else(|error| {
            writer.pace = Pace::default();
            self.refuse(format!("a commit failed ({}); it is going to be opened anew", mend::words(error)), true);
            self.healthy()
        })
    }
}

impl Drop for Sled {
    /// Every commit is on disk already; this leaves the rest of sled's own bookkeeping there too, and the mark where we are.
    fn drop(&mut self) {
        if self.healthy().is_err() {
            return;
        }
        let (rows, numbers) = (self.durable.get_mut().rows.clone(), self.durable.get_mut().numbers);
        let mut writer = self.writer.lock();
        if rows.flush().is_err() || writer.file.sync_data().is_err() {
            tracing::warn!("the store could not be flushed at its end; every commit is on disk nevertheless");
        }
        self.mark(&mut writer, numbers);
    }
}

/// sled would print every row.
impl fmt::Debug for Sled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sled").field("folder", &self.folder).finish_non_exhaustive()
    }
}
