//! Mending: after a failed commit the store is opened anew within the process.
//!
//! # Why by opening it anew
//! sled remembers a failed write for as long as it is open, and what it then holds in memory is neither the old nor the new state.
//! What counts is on the disk, and opening finds out what that is, with the same checks as at the start: the batch that failed is
//! there as a whole, and counts as committed in every respect, or not at all.

use std::time::{Duration, Instant};

use super::durable::Durable;
use super::{Sled, Writer, folder};
use crate::storage::Error;

const WAIT_MIN: Duration = Duration::from_millis(25);
const WAIT_MAX: Duration = Duration::from_secs(1);

/// Why nothing can be committed.
pub(super) struct Trouble {
    /// In words.
    pub(super) what: String,
    /// Whether the store has to be opened anew.
    pub(super) reopen: bool,
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
        if self.healthy().is_ok() {
            return Ok(false);
        }
        let mut writer = self.writer.lock();
        if !writer.pace.is_due() {
            return self.healthy().map(|()| false);
        }
        let reopen = self.trouble.read().as_ref().is_some_and(|trouble| trouble.reopen);
        let mended = if reopen { self.reopen(&mut writer) } else { Ok(()) };
        match mended {
            Ok(()) => {
                writer.pace = Pace::default();
                *self.trouble.write() = None;
                Ok(reopen)
            }
            Err(error) => {
                writer.pace.wait();
                self.refuse(words(error), reopen);
                self.healthy().map(|()| false)
            }
        }
    }

    /// Commits nothing from now on, because of `what`.
    pub(super) fn refuse(&self, what: String, reopen: bool) {
        *self.trouble.write() = Some(Trouble { what, reopen });
    }

    /// Whoever reads rows meanwhile is told that they are unavailable; indexes go on telling what was durable before.
    fn reopen(&self, writer: &mut Writer) -> Result<(), Error> {
        let unavailable = |error: std::io::Error| Error::Unavailable { folder: self.folder.clone(), what: error.to_string() };
        // sled opens a folder once: nobody may hold the former handle any more. Readers hold it only while they hold the lock.
        let former = self.durable.write().rows.detach();
        drop(former);
        self.faults.meet().and_then(|()| folder::settle(&self.folder)).map_err(unavailable)?;
        let folder::Open { rows, file, mark } = folder::open(&self.folder)?;
        let durable = Durable::load(rows, mark)?;
        let former = std::mem::replace(&mut *self.durable.write(), durable);
        drop(former);
        (writer.file, writer.mark, writer.expired_up_to) = (file, mark, 0);
        Ok(())
    }
}

/// What an error says of the store, its folder aside.
pub(super) fn words(error: Error) -> String {
    match error {
        Error::Unavailable { what, .. } => what,
        Error::Damaged { .. } | Error::InUse { .. } => error.to_string(),
    }
}
