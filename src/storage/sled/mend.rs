//! Mending: after a failed commit the store is opened anew within the process.
//!
//! # Why by opening it anew
//! sled remembers a failed write for as long as it is open, and what it then holds in memory is neither the old nor the new state.
//! What counts is on the disk, and opening finds out what that is, with the same checks as at the start: the batch that failed is
//! there as a whole, and counts as committed in every respect, or not at all.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::durable::Durable;
use super::expiry::Forgotten;
use super::folder::Open;
use super::journal::Journal;
use super::{Sled, Writer, folder, room};
use crate::storage::Error;

const WAIT_MIN: Duration = Duration::from_millis(25);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Why nothing can be committed.
pub(super) struct Trouble {
    /// In words.
    pub(super) what: String,
    /// Whether the store has to be opened anew.
    pub(super) reopen: bool,
    /// Whether it was, since the trouble began.
    reopened: bool,
}

/// When to try again: at once, then after ever longer waits.
#[derive(Default)]
pub(super) struct Pace {
    waited: Duration,
    next: Option<Instant>,
}

impl Pace {
    fn is_due(&self) -> bool {
        self.next.is_none_or(|next| next <= Instant::now())
    }

    fn wait(&mut self) {
        self.waited = self.waited.saturating_mul(2).clamp(WAIT_MIN, WAIT_MAX);
        self.next = Instant::now().checked_add(self.waited);
    }
}

impl Sled {
    /// Returns whether it was opened anew.
    pub(in crate::storage) fn mend(&self) -> Result<bool, Error> {
        let mut writer = self.writer.lock();
        let Some((mut reopen, mut reopened)) = self.trouble.read().as_ref().map(|trouble| (trouble.reopen, trouble.reopened)) else {
            return Ok(false);
        };
        if !writer.pace.is_due() {
            return self.healthy().map(|()| false);
        }
        let mut room = writer.room.look(&self.folder);
        // On a full disk the former handle is given up only where another can be had: it still tells much of what is durable.
        if reopen && (room.is_ok() || !self.durable.read().rows.is_open() || room::give_ballast_back(&self.folder)) {
            let opened = self.reopen(&mut writer).map_err(words);
            (reopen, reopened) = (opened.is_err(), reopened || opened.is_ok());
            room = opened.and(room);
        }
        let Err(what) = room else {
            writer.pace = Pace::default();
            *self.trouble.write() = None;
            return Ok(reopened);
        };
        writer.pace.wait();
        *self.trouble.write() = Some(Trouble { what, reopen, reopened });
        self.healthy().map(|()| false)
    }

    /// Refuses commits while there is too little room for them.
    pub(super) fn watch_room(&self, writer: &mut Writer) -> Result<(), Error> {
        writer.room.watch(&self.folder).or_else(|what| {
            writer.pace.wait();
            self.refuse(what, false);
            self.healthy()
        })
    }

    /// Commits nothing from now on, because of `what`.
    pub(super) fn refuse(&self, what: String, reopen: bool) {
        *self.trouble.write() = Some(Trouble { what, reopen, reopened: false });
    }

    /// Whoever reads rows meanwhile is told that they are unavailable; indexes go on telling what was durable before.
    fn reopen(&self, writer: &mut Writer) -> Result<(), Error> {
        let unavailable = |error: std::io::Error| Error::Unavailable { folder: self.folder.clone(), what: error.to_string() };
        self.copying.cancel();
        drop(writer.syncer.end(true));
        // sled opens a folder once: nobody may hold the former handle any more. Readers hold it only while they hold the lock.
        let former = self.durable.write().rows.detach();
        drop(former);
        self.faults.meet().and_then(|()| folder::recover(&self.folder, writer.tree)).map_err(unavailable)?;
        let Opened { durable, journal, file, tree } = open(&self.folder)?;
        (writer.forgettable, writer.forgotten) = (durable.whole(), Forgotten::default());
        (writer.journal, writer.file, writer.tree) = (journal, Arc::new(file), tree);
        let former = std::mem::replace(&mut *self.durable.write(), durable);
        drop(former);
        Ok(())
    }
}

/// A store that was opened, and what of it only the one who commits needs.
pub(super) struct Opened {
    pub(super) durable: Durable,
    pub(super) journal: Journal,
    pub(super) file: File,
    pub(super) tree: u64,
}

/// Opens the folder and reads what is there. A full disk cannot be opened: the ballast is given back then, and it is tried once more.
pub(super) fn open(folder: &Path) -> Result<Opened, Error> {
    let load = || {
        let Open { rows, file, journal, pending, settled, mark } = folder::open(folder)?;
        Ok(Opened { durable: Durable::load(rows, (pending, settled), mark)?, journal, file, tree: mark.tree })
    };
    load().or_else(|error| if room::make_room(folder, &error) { load() } else { Err(error) })
}

/// What an error says of the store, its folder aside.
pub(super) fn words(error: Error) -> String {
    match error {
        Error::Unavailable { what, .. } => what,
        error => error.to_string(),
    }
}
