//! A seam for tests: chosen operations on the disk fail. What is shipped knows none.

use std::io;

/// Which operations fail.
#[derive(Default)]
pub(super) struct Faults {
    /// Operations that still succeed, and how many fail after them.
    #[cfg(test)]
    pub(super) plan: parking_lot::Mutex<(usize, usize)>,
}

impl Faults {
    /// Called before each operation.
    ///
    /// # Errors
    /// Where a test wants one.
    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "tests have something to tell here")]
    pub(super) const fn meet(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn meet(&self) -> io::Result<()> {
        let mut plan = self.plan.lock();
        *plan = match *plan {
            (0, 0) => return Ok(()),
            (0, failing) => (0, failing - 1),
            (fine, failing) => {
                *plan = (fine - 1, failing);
                return Ok(());
            }
        };
        Err(io::Error::other("injected"))
    }
}
