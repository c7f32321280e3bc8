//! The thread that writes and syncs the tree, so that commits do not wait for it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use super::gate::Gate;
use super::packed::Block;
use super::piece::Settling;
use crate::storage::Error;

type Ended = Result<Option<Settling>, Error>;
type Work = Box<dyn FnOnce(&mut Block) -> Ended + Send>;

/// One piece of work at a time, on a thread of its own.
pub(super) struct Syncer {
    work: SyncSender<Work>,
    ended: Receiver<Ended>,
    busy: bool,
    gate: Arc<Gate>,
}

impl Syncer {
    /// Starts the thread; it ends with what is returned.
    ///
    /// # Errors
    /// When no thread can be had, or no memory for the block that it joins rows in.
    pub(super) fn start() -> std::io::Result<Self> {
        let (work, orders) = sync_channel::<Work>(1);
        let (tell, ended) = sync_channel(1);
        let mut block = Block::new()?;
        let body = move || orders.iter().all(|work| tell.send(work(&mut block)).is_ok());
        std::thread::Builder::new().name("tree sync".to_owned()).spawn(body)?;
        Ok(Self { work, ended, busy: false, gate: Arc::default() })
    }

    /// Hands work over. What was handed over before must have ended.
    pub(super) fn begin(&mut self, work: impl FnOnce(&mut Block) -> Ended + Send + 'static) {
        self.busy = self.work.send(Box::new(work)).is_ok();
    }

    /// How the last work ended, and what has settled by it, the first time after it did; waits for it where told so. `None`: there is none, or it still goes on.
    pub(super) fn end(&mut self, waits: bool) -> Option<Ended> {
        if !self.busy {
            return None;
        }
        let wait = || self.gate.hold_open(|| self.ended.recv().map_err(|_| TryRecvError::Disconnected));
        let ended = if waits { wait() } else { self.ended.try_recv() };
        self.busy = matches!(ended, Err(TryRecvError::Empty));
        ended.ok()
    }

    /// Where it gives way to commits.
    pub(super) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// Whether work goes on, or nobody asked yet how it ended.
    pub(super) const fn is_busy(&self) -> bool {
        self.busy
    }
}
