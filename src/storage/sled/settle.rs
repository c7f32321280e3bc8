//! Settling: rows of the journal's older file go into the tree, a bounded piece after each commit, until the file can be used again.

use std::collections::btree_map::Iter;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use sled::IVec;

use super::durable::Durable;
use super::ids::{Id, hash_of};
use super::packed::Block;
use super::pending::{Generation, Held, Place};
use super::rows::Rows;
use super::stored::Settled;
use super::{Sled, Writer, keys, stored};
use crate::storage::Error;

/// Rows written to the tree in one piece, and their bytes, about. They become up to eight times as many bytes in sled's log, which must
/// not go through more than one end of a segment between two syncs: see [`super::folder`].
const PIECE_ROWS_MAX: usize = 96;
const PIECE_BYTES_MAX: usize = 192 * 1024;
/// Pieces that are waited for after one commit while the journal is too long: more rows than a commit has. Usually it is one, and nobody
/// waits.
const PIECES_MAX_LATE: usize = 2;
/// Pieces that settle at once where something is to be forgotten that is still pending.
const PIECES_MAX_HURRY: usize = 64;
/// Records that are written without a pause.
const RECORDS_MAX: usize = 8;
/// Ids of one row that are taken in at once.
const IDS_MAX: usize = 2_048;

/// A user's record: its key and its row.
pub(super) type Record = (Box<[u8]>, Vec<u8>);

/// A part of the older file's rows on its way into the tree.
struct Piece {
    /// What counts as a whole or not at all.
    writes: sled::Batch,
    /// Users' records, of which each stands alone: a batch costs sled two writes of its own and wakes all its threads.
    records: Vec<Record>,
    /// Rows of the tree that it writes, and their bytes.
    rows: usize,
    bytes: usize,
    /// Pending rows that it settles, the first ones.
    taken: usize,
    settled: Settled,
}

impl Piece {
    fn new(settled: Settled) -> Self {
        Self { writes: sled::Batch::default(), records: Vec::new(), rows: 0, bytes: 0, taken: 0, settled }
    }
}

/// What has settled once a piece is written.
pub(super) struct Settling {
    taken: usize,
    settled: Settled,
}

type Pending<'a> = Peekable<Iter<'a, IVec, Option<Place>>>;

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
            if !self.settled(&mut writer, late)? || !self.durable.read().pending.is_behind(wanted) {
                break;
            }
            self.settle(&mut writer)?;
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
                self.settle(writer)?;
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

    /// Begins to let one piece settle. What began before has ended.
    fn settle(&self, writer: &mut Writer) -> Result<(), Error> {
        let generation = writer.journal.young().generation.saturating_sub(1);
        let piece = {
            let Writer { block, forgotten, .. } = &mut *writer;
            let durable = self.durable.read();
            durable.piece((block, generation), |number| forgotten.keeps(number))?
        };
        let Piece { records, writes, rows, taken, settled, .. } = piece;
        let writes = (rows > records.len()).then_some(writes);
        if settled.generation == generation {
            // The young file's head is on disk before the tree says that this one is no longer needed.
            let synced = self.faults.meet().and_then(|()| writer.journal.sync());
            synced.map_err(|error| self.fail(writer, &error.to_string()))?;
        }
        writer.settling = Some(Settling { taken, settled });
        self.write_tree(writer, records, writes)
    }

    /// Has rows written to the tree and made durable, on another thread, which lets others run meanwhile: where it shares a core with
    /// them, deliveries would wait for all of it.
    pub(super) fn write_tree(&self, writer: &mut Writer, records: Vec<Record>, writes: Option<sled::Batch>) -> Result<(), Error> {
        let (rows, file, faults) = (self.durable.read().rows.clone(), Arc::clone(&writer.file), Arc::clone(&self.faults));
        writer.syncer.begin(move || {
            let unavailable = |error: std::io::Error| rows.unavailable(error);
            // First what sled moved of itself: no segment may be written anew before what was moved out of it is on disk.
            faults.meet().and_then(|()| file.sync_data()).map_err(unavailable)?;
            for records in records.chunks(RECORDS_MAX) {
                records.iter().try_for_each(|(key, row)| rows.put(key, row))?;
                std::thread::yield_now();
            }
            writes.map_or(Ok(()), |writes| rows.apply(writes))?;
            super::reclaim();
            faults.meet().map_err(unavailable).and_then(|()| rows.flush())?;
            faults.meet().and_then(|()| file.sync_data()).map_err(unavailable)
        });
        Ok(())
    }

    /// Whether nothing is about to be written to the tree. What has been is shown there from now on, and a file of the journal all of
    /// whose rows are on disk there may be written anew.
    pub(super) fn settled(&self, writer: &mut Writer, wait: bool) -> Result<bool, Error> {
        match writer.syncer.end(wait) {
            None => return Ok(!writer.syncer.is_busy()),
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(self.fail(writer, &super::mend::words(error))),
        }
        let Some(Settling { taken, settled }) = writer.settling.take() else { return Ok(true) };
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
        writer.syncer.begin(move || {
            let written = super::folder::write_mark(&folder, mark);
            written.map_err(|error| Error::Unavailable { folder, what: error.to_string() })
        });
        Ok(false)
    }
}

impl Durable {
    /// The next piece of the older file, whose generation it is.
    fn piece(&self, (block, generation): (&mut Block, u64), kept: impl Fn(u64) -> bool) -> Result<Piece, Error> {
        let mut piece = Piece::new(self.settled);
        let Some(old) = &self.pending.old else { return Ok(piece) };
        let mut rows = old.rows.iter().peekable();
        while let Some((key, place)) = rows.peek().copied()
            && piece.rows < PIECE_ROWS_MAX
            && piece.bytes < PIECE_BYTES_MAX
        {
            match keys::kind_of(key) {
                keys::SEEN => self.settle_ids(&mut piece, &mut rows, &kept)?,
                kind @ (keys::CHANGES | keys::DELIVERIES) => self.settle_log((&mut piece, block), (old, &mut rows), kind)?,
                _ => {
                    rows.next();
                    self.settle_row(&mut piece, key, old.held(*place))?;
                }
            }
        }
        if rows.peek().is_none() {
            piece.settled.generation = generation;
        }
        if piece.settled != self.settled {
            self.rows.insert(&mut piece.writes, keys::SETTLED, &piece.settled.encode());
            piece.rows += 1;
        }
        Ok(piece)
    }

    /// One row, unless a newer one is pending behind it.
    fn settle_row(&self, piece: &mut Piece, key: &[u8], held: Held) -> Result<(), Error> {
        piece.taken += 1;
        if self.pending.young.rows.contains_key(key) {
            return Ok(());
        }
        piece.rows += 1;
        let Some(value) = self.told(key, held)? else { return self.rows.remove(&mut piece.writes, key) };
        piece.bytes += key.len() + value.len();
        if keys::kind_of(key) != keys::USER {
            return self.rows.replace(&mut piece.writes, key, &value);
        }
        if self.is_cut(key) {
            return self.rows.replace(&mut piece.writes, key, &value);
        }
        piece.records.push((key.into(), Rows::whole(key, &value)));
        Ok(())
    }

    /// Whether a user's record may be cut into pieces, in the tree or in the journal.
    fn is_cut(&self, key: &[u8]) -> bool {
        let written = keys::user_of(key).and_then(|(source, uid)| self.index(source)?.written(uid));
        written.is_none_or(|written| written.cut)
    }

    /// The ids that belong into one row of the tree.
    fn settle_ids(&self, piece: &mut Piece, rows: &mut Pending<'_>, kept: impl Fn(u64) -> bool) -> Result<(), Error> {
        let Some((from, _)) = rows.peek().copied() else { return Ok(()) };
        let begin = keys::begin_of_ids(from);
        let next = self.rows.scan((Bound::Excluded(from.to_vec()), Bound::Unbounded), true).next().transpose()?;
        let mut new: Vec<Id> = Vec::new();
        while let Some((key, place)) = rows.peek().copied()
            && key.starts_with(&begin)
            && next.as_ref().is_none_or(|(next, _)| key.as_ref() < next.as_ref())
            && new.len() < IDS_MAX
        {
            rows.next();
            piece.taken += 1;
            let held = self.pending.old.as_ref().map(|old| old.held(*place));
            let value = held.map_or(Ok(None), |held| self.told(key, held))?;
            let id = value.and_then(|value| Some((hash_of(key)?, stored::decode_seen(&value)?)));
            new.push(id.ok_or_else(|| self.rows.damaged("the row of an event id cannot be read"))?);
        }
        for (key, content) in self.with_ids(from, &new, kept)? {
            piece.rows += 1;
            piece.bytes += key.len() + content.as_ref().map_or(0, Vec::len);
            match content {
                Some(content) => self.rows.insert(&mut piece.writes, &key, &content),
                None => self.rows.remove(&mut piece.writes, &key)?,
            }
        }
        Ok(())
    }

    /// Rows of commits, joined into one row of the tree.
    fn settle_log(
        &self,
        (piece, block): (&mut Piece, &mut Block),
        (old, rows): (&Generation, &mut Pending<'_>),
        kind: u8,
    ) -> Result<(), Error> {
        block.clear();
        while let Some((key, place)) = rows.peek().copied()
            && keys::kind_of(key) == kind
            && !block.is_full()
        {
            let value = self.told(key, old.held(*place))?.ok_or_else(|| self.rows.damaged("a row of the log is missing"))?;
            let row = self.unpack(key, value)?;
            if !block.fits(&row) {
                break;
            }
            block.add(&row).ok_or_else(|| self.rows.damaged("a row of the log cannot be read"))?;
            rows.next();
            piece.taken += 1;
        }
        let Some((head, content)) = block.end().map_err(|error| self.rows.unavailable(error))? else { return Ok(()) };
        piece.rows += content.len().div_ceil(super::rows::VALUE_BYTES_MAX);
        piece.bytes += content.len();
        self.rows.insert(&mut piece.writes, &keys::numbered(kind, head.first), &content);
        let last = head.end().saturating_sub(1);
        if kind == keys::CHANGES {
            piece.settled.cursor = last
        } else {
            piece.settled.delivery = last
        }
        Ok(())
    }
}
