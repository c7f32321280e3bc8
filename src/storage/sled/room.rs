//! Room on the disk: commits are refused before none is left, and a ballast file is kept to be given back when none is.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::folder;
use crate::storage::Error;

/// A new store writes whole segments and frees them later: far more than any group needs.
const FLOOR_BYTES_MIN: u64 = 32 * MIB;
/// The share of the store's files that has to be free as well.
const FLOOR_SHARE: u64 = 50;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Opening writes a little before it can read: on a full disk it would fail.
pub(super) const BALLAST: &str = "ballast";
pub(super) const BALLAST_BYTES: u64 = 8 * MIB;
const MIB: u64 = 1024 * 1024;

/// Watches the free space around one store.
pub(super) struct Room {
    /// What has to be free at least.
    pub(super) floor_bytes_min: u64,
    looked: Option<Instant>,
}

impl Default for Room {
    fn default() -> Self {
        Self { floor_bytes_min: FLOOR_BYTES_MIN, looked: None }
    }
}

impl Room {
    /// Looks, unless it did within the last second.
    ///
    /// # Errors
    /// As [`Room::look`].
    pub(super) fn watch(&mut self, folder: &Path) -> Result<(), String> {
        match self.looked {
            Some(looked) if looked.elapsed() < LOOK_EVERY => Ok(()),
            _ => self.look(folder),
        }
    }

    /// Looks whether there is room for commits, and puts the ballast in its place where there is plenty.
    ///
    /// # Errors
    /// A sentence when there is too little.
    pub(super) fn look(&mut self, folder: &Path) -> Result<(), String> {
        self.looked = Some(Instant::now());
        // Where nobody tells what is free, the commit itself will find out.
        let Some(free) = free_bytes(folder) else { return Ok(()) };
        let floor = self.floor_bytes_min.max(folder::bytes(folder) / FLOOR_SHARE);
        if free < floor {
            return Err(format!("less than {} MiB are free on its file system: make room there", floor.div_ceil(MIB)));
        }
        if free >= floor.saturating_add(BALLAST_BYTES) {
            // A store without ballast is as good as another until the disk is full.
            drop(keep_ballast(folder));
        }
        Ok(())
    }
}

/// What is free for us on the folder's file system; `None` where it does not tell.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    let told = statvfs(folder).ok()?;
    Some(told.f_bavail.saturating_mul(told.f_frsize))
}

/// Gives the ballast back where it may be a full disk that `error` came from; returns whether that made room.
pub(super) fn make_room(folder: &Path, error: &Error) -> bool {
    let text = error.to_string();
    let told = ["No space left", "uota exceeded", "StorageFull", "QuotaExceeded"].iter().any(|words| text.contains(words));
    let full = told || free_bytes(folder).is_some_and(|free| free < BALLAST_BYTES);
    full && give_ballast_back(folder)
}

/// Returns whether there was any.
pub(super) fn give_ballast_back(folder: &Path) -> bool {
    let give_back = || {
        let file = File::options().write(true).open(folder.join(BALLAST))?;
        let held = file.metadata()?.len() > 0;
        file.set_len(0).map(|()| held)
    };
    give_back().unwrap_or(false)
}

fn keep_ballast(folder: &Path) -> io::Result<()> {
    let mut file = File::options().write(true).create(true).truncate(false).open(folder.join(BALLAST))?;
    if file.metadata()?.len() >= BALLAST_BYTES {
        return Ok(());
    }
    // Not every file system sets space aside without its being written.
    let kept = fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES).or_else(|_| fill(&mut file));
    kept.or_else(|error| file.set_len(0).and(Err(error)))
}

fn fill(file: &mut File) -> io::Result<()> {
    io::copy(&mut io::Read::take(io::repeat(0), BALLAST_BYTES), file)?;
    file.flush()
}
