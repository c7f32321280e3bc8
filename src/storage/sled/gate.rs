//! When the tree's thread works: a stretch with each commit, while that waits for the disk.
//!
//! # Why
//! Where deliveries and the tree share a core, all of the tree's work that falls between two commits holds up whoever waits for the second.
//! A piece at a stretch makes some commits take half as long again, a stretch with each makes all take a little longer; and while
//! a commit's bytes are on their way to the disk, the core is often free.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long a stretch is put off where no commit comes.
const NOTHING_COMES: Duration = Duration::from_millis(5);

/// Gives leave, a stretch at a time.
#[derive(Default)]
pub(super) struct Gate {
    leave: Mutex<Leave>,
    given: Condvar,
}

#[derive(Default)]
struct Leave {
    /// For one more stretch.
    once: bool,
    /// For all that come.
    always: bool,
}

impl Gate {
    /// Gives leave for one stretch. It is not added to one that was not used.
    pub(super) fn open(&self) {
        self.leave.lock().once = true;
        self.given.notify_one();
    }

    /// Gives leave for all that come while somebody waits for their end.
    pub(super) fn hold_open<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.leave.lock().always = true;
        self.given.notify_one();
        let result = wait();
        self.leave.lock().always = false;
        result
    }

    /// Waits for leave, or until it is likely that no commit will come.
    pub(super) fn enter(&self) {
        let mut leave = self.leave.lock();
        if !leave.once && !leave.always {
            // Whether it was given or took long: both are reasons to go on.
            self.given.wait_for(&mut leave, NOTHING_COMES);
        }
        leave.once = false;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn leave_is_for_one_stretch() {
        let gate = Gate::default();
        gate.open();
        gate.open();
        gate.enter();
        let began = Instant::now();
        gate.enter();
        assert!(began.elapsed() >= NOTHING_COMES, "the first one used it up");
    }

    #[test]
    fn whoever_is_waited_for_is_not_held_up() {
        let (gate, began) = (Gate::default(), Instant::now());
        gate.hold_open(|| (0..1_000).for_each(|_| gate.enter()));
        assert!(began.elapsed() < 100 * NOTHING_COMES);
    }
}
