//! The thread that syncs the tree, so that commits do not wait for it.

use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use crate::storage::Error;

type Work = Box<dyn FnOnce() -> Result<(), Error> + Send>;

/// One piece of work at a time, on a thread of its own.
pub(super) struct Syncer {
    work: SyncSender<Work>,
    ended: Receiver<Result<(), Error>>,
    busy: bool,
}

impl Syncer {
    /// Starts the thread; it ends with what is returned.
    ///
    /// # Errors
    /// When no thread can be had.
    pub(super) fn start() -> std::io::Result<Self> {
        let (work, orders) = sync_channel::<Work>(1);
        let (tell, ended) = sync_channel(1);
        let body = move || orders.iter().all(|work| tell.send(work()).is_ok());
        std::thread::Builder::new().name("tree sync".to_owned()).spawn(body)?;
        Ok(Self { work, ended, busy: false })
    }

    /// Hands work over. What was handed over before must have ended.
    pub(super) fn begin(&mut self, work: impl FnOnce() -> Result<(), Error> + Send + 'static) {
        self.busy = self.work.send(Box::new(work)).is_ok();
    }

    /// How the last work ended, the first time after it did; waits for it where told so. `None`: there is none, or it still goes on.
    pub(super) fn end(&mut self, wait: bool) -> Option<Result<(), Error>> {
        if !self.busy {
            return None;
        }
        let ended = if wait { self.ended.recv().map_err(|_| TryRecvError::Disconnected) } else { self.ended.try_recv() };
        self.busy = matches!(ended, Err(TryRecvError::Empty));
        ended.ok()
    }

    /// Whether work goes on, or nobody asked yet how it ended.
    pub(super) const fn is_busy(&self) -> bool {
        self.busy
    }
}
