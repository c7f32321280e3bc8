//! When the tree's thread works: while a commit waits for the disk, and so leaves a core to others.
//!
//! # Why
//! Where deliveries and the tree share a core, each stretch of the tree's work between two commits makes all that wait for the next one
//! wait as much longer. While a commit's bytes are on their way to the disk nobody has anything to do.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long a stretch is put off where no commit comes.
const CLOSED_MAX: Duration = Duration::from_millis(2);

/// Open while somebody waits.
#[derive(Default)]
pub(super) struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// Waits for something, and lets the tree's thread work meanwhile.
    pub(super) fn during<T>(&self, wait: impl FnOnce() -> T) -> T {
        *self.open.lock() = true;
        self.opened.notify_one();
        let result = wait();
        *self.open.lock() = false;
        result
    }

    /// Waits until somebody waits, or until it is likely that nobody will soon.
    pub(super) fn enter(&self) {
        let mut open = self.open.lock();
        if !*open {
            // Whether it was opened or took long: both are reasons to go on.
            self.opened.wait_for(&mut open, CLOSED_MAX);
        }
    }
}
