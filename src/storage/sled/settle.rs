//! Settling: rows of the journal's older file go into the tree, a bounded piece after each commit, until the file can be used again.

use std::sync::Arc;

use super::packed::Block;
use super::piece::{Piece, Settling, Slice};
use super::rows::Rows;
use super::{Sled, Writer};
use crate::storage::Error;

/// Pieces that are waited for after one commit while the journal is too long: more rows than a commit has. Usually it is one, and nobody
/// waits.
const PIECES_MAX_LATE: usize = 2;
/// Pieces that settle at once where something is to be forgotten that is still pending.
const PIECES_MAX_HURRY: usize = 64;

/// A piece, and what has settled once it is written.
type Made = Result<(Piece, Option<Settling>), Error>;

impl Sled {
    /// Lets rows settle, as many as have to for the journal to stay short. Between commits, once after each.
    pub(in crate::storage) fn tidy(&self) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        self.healthy()?;
        if self.copying.holds_up() {
            if writer.journal.is_long() {
                self.copying.cancel();
            }
            return Ok(());
        }
        let tree_bytes = self.tree_bytes(&writer);
        let late = writer.journal.is_full(tree_bytes);
        for _ in 0..if late { PIECES_MAX_LATE } else { 1 } {
            let wanted = writer.journal.fill(tree_bytes);
            if !self.settled(&mut writer, late)? {
                break;
            }
            let lag = self.durable.read().pending.lag(wanted).filter(|lag| *lag >= 0.0);
            let Some(lag) = lag else { break };
            self.settle(&mut writer, lag)?;
        }
        if late && self.durable.read().pending.old.is_none() {
            self.turn(&mut writer)?;
        }
        Ok(())
    }

    /// Lets rows settle out of turn, a bounded piece; returns how many of the pending ones did.
    pub(super) fn hurry(&self, writer: &mut Writer) -> Result<usize, Error> {
        let before = self.durable.read().pending.len();
        for _ in 0..PIECES_MAX_HURRY {
            while !self.settled(writer, true)? {}
            if self.durable.read().pending.old.is_some() {
                self.settle(writer, 1.0)?;
            } else if self.durable.read().pending.len() > 0 {
                self.turn(writer)?;
            }
        }
        while !self.settled(writer, true)? {}
        Ok(before.saturating_sub(self.durable.read().pending.len()))
    }

    /// Begins a new file of the journal; the rows of the former one settle from now on.
    fn turn(&self, writer: &mut Writer) -> Result<(), Error> {
        let turned = self.faults.meet().and_then(|()| writer.journal.turn());
        turned.map_err(|error| self.fail(writer, &error.to_string()))?;
        self.durable.write().pending.turn(Arc::clone(&writer.journal.young().file));
        Ok(())
    }

    /// Begins to let one piece settle, which gives way the less the greater the `lag`, see [`super::pending::Pending::lag`]. What began
    /// before has ended.
    fn settle(&self, writer: &mut Writer, lag: f64) -> Result<(), Error> {
        let generation = writer.journal.young().generation.saturating_sub(1);
        let slice = Slice::of(lag, writer.syncer.gate());
        let Some(picked) = self.durable.read().pick(generation, slice, &writer.forgotten) else { return Ok(()) };
        if picked.last.is_some() {
            // The young file's head is on disk before the tree says that this one is no longer needed.
            let synced = self.faults.meet().and_then(|()| writer.journal.sync());
            synced.map_err(|error| self.fail(writer, &error.to_string()))?;
        }
        self.write_tree(writer, |rows, block| picked.piece(rows, block).map(|(piece, settling)| (piece, Some(settling))));
        Ok(())
    }

    /// Has a piece put together, written to the tree and made durable, on another thread, so that no commit waits for it.
    pub(super) fn write_tree(&self, writer: &mut Writer, piece: impl FnOnce(&Rows, &mut Block) -> Made + Send + 'static) {
        let (rows, file, faults) = (self.durable.read().rows.clone(), Arc::clone(&writer.file), Arc::clone(&self.faults));
        writer.syncer.begin(move |block| {
            let unavailable = |error: std::io::Error| rows.unavailable(error);
            let (piece, settling) = piece(&rows, block)?;
            // First what sled moved of itself: no segment may be written anew before what was moved out of it is on disk.
            faults.meet().and_then(|()| file.sync_data()).map_err(unavailable)?;
            piece.write(&rows)?;
            super::reclaim();
            faults.meet().map_err(unavailable).and_then(|()| rows.flush())?;
            faults.meet().and_then(|()| file.sync_data()).map_err(unavailable)?;
            Ok(settling)
        });
    }

    /// Whether nothing is about to be written to the tree. What has been is shown there from now on, and a file of the journal all of
    /// whose rows are on disk there may be written anew.
    pub(super) fn settled(&self, writer: &mut Writer, wait: bool) -> Result<bool, Error> {
        let Settling { taken, settled } = match writer.syncer.end(wait) {
            None => return Ok(!writer.syncer.is_busy()),
            Some(Ok(None)) => return Ok(true),
            Some(Ok(Some(settling))) => settling,
            Some(Err(error)) => return Err(self.fail(writer, &super::mend::words(error))),
        };
        let mut durable = self.durable.write();
        durable.pending.settle(taken);
        durable.settled = settled;
        if settled.generation + 1 < writer.journal.young().generation {
            return Ok(true);
        }
        durable.pending.old = None;
        drop(durable);
        writer.forgettable = settled.delivery;
        let (folder, mark) = (self.folder.clone(), self.mark(writer));
        writer.syncer.begin(move |_| {
            let written = super::folder::write_mark(&folder, mark);
            written.map(|()| None).map_err(|error| Error::Unavailable { folder, what: error.to_string() })
        });
        Ok(false)
    }
}
