//! A piece: some rows of the journal's older file, picked by the writer, and what becomes of them in the tree, on another thread.
//!
//! # Why on another thread
//! Reading, joining and compressing a piece takes 5 to 20 ms. On the writer's own thread every commit behind it waited for that. The
//! writer only picks keys and places, and what just it can tell: which rows are superseded, and which records may be cut.

use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use sled::IVec;

use super::durable::Durable;
use super::expiry::Forgotten;
use super::gate::Gate;
use super::ids::{Id, hash_of};
use super::packed::Block;
use super::pending::{Held, Row};
use super::rows::Rows;
use super::stored::Settled;
use super::{keys, stored};
use crate::storage::Error;

/// Rows that are picked at once: how long readers, and commits, are held up by that.
const PICKED_MAX: usize = 4_096;
/// Rows written to the tree in one piece, and their bytes, about. They become up to eight times as many bytes in sled's log, which must
/// not go through more than one end of a segment between two syncs: see [`super::folder`].
const ROWS_MAX: usize = 192;
const BYTES_MAX: usize = 192 * 1024;
/// Rows of ids that are divided in one batch.
const DIVIDED_MAX: usize = 12;
/// Ids of one row that are taken in at once.
const IDS_MAX: usize = 2_048;
/// How long it works at a stretch, when it is in time and when it is behind: see [`super::gate`].
const SLICE_MIN: Duration = Duration::from_micros(100);
const SLICE_MAX: Duration = Duration::from_micros(500);
/// So much more is left than should be when it no longer waits for commits. Its stretches are the longest then.
const LAG_MAX: f64 = 0.1;

/// Rows that are to settle, in the order of their keys.
pub(super) struct Picked {
    rows: Peekable<IntoIter<(IVec, Way)>>,
    /// What has settled so far.
    settling: Settling,
    /// The file's generation, where these are its last ones.
    pub(super) last: Option<u64>,
    forgotten: Forgotten,
    slice: Slice,
}

/// How a row settles.
enum Way {
    /// Not at all: a newer one is pending behind it.
    Superseded,
    /// Alone: a user's record that is in one piece, here and in the tree.
    Record(Held),
    /// With the others.
    Row(Held),
}

/// What is written to the tree, and synced, at once.
pub(super) struct Piece {
    /// Rows of which each stands alone, by key: a batch costs sled two writes of its own and wakes all its threads, and the larger it is, the
    /// longer nothing else runs.
    alone: Vec<(IVec, Vec<u8>)>,
    /// What counts as a whole or not at all, each.
    batches: Vec<sled::Batch>,
    /// The last of these, where how far rows have settled stands beside what that tells of.
    last: Option<sled::Batch>,
    /// Rows of the tree that it writes, and their bytes.
    rows: usize,
    bytes: usize,
    /// Rows of ids that were divided in the last batch.
    divided: usize,
    slice: Slice,
}

/// What has settled once a piece is written.
#[derive(Clone, Copy)]
pub(super) struct Settling {
    /// Pending rows, the first ones.
    pub(super) taken: usize,
    pub(super) settled: Settled,
}

/// A stretch of work.
#[derive(Clone)]
pub(super) struct Slice {
    began: Instant,
    length: Duration,
    /// Where it gives way; `None` where it must not be held up.
    gate: Option<Arc<Gate>>,
}

impl Slice {
    /// Stretches of the length that goes with a lag, see [`super::pending::Pending::lag`].
    pub(super) fn of(lag: f64, gate: &Arc<Gate>) -> Self {
        let length = SLICE_MIN + (SLICE_MAX - SLICE_MIN).mul_f64((lag / LAG_MAX).clamp(0.0, 1.0));
        let gate = (lag < LAG_MAX).then(|| Arc::clone(gate));
        Self { began: Instant::now(), length, gate }
    }

    /// For what others wait for.
    fn hurried() -> Self {
        Self { began: Instant::now(), length: SLICE_MAX, gate: None }
    }

    /// Begins the first one.
    fn begin(&mut self) {
        if let Some(gate) = &self.gate {
            gate.enter();
        }
        self.began = Instant::now();
    }

    /// Lets others run, if it has gone on for long enough.
    fn pause(&mut self) {
        if self.began.elapsed() >= self.length {
            if self.gate.is_none() {
                std::thread::yield_now();
            }
            self.begin();
        }
    }
}

impl Piece {
    fn new(slice: Slice) -> Self {
        Self { alone: Vec::new(), batches: Vec::new(), last: None, rows: 0, bytes: 0, divided: 0, slice }
    }

    /// One that counts as a whole or not at all.
    pub(super) fn whole(writes: sled::Batch) -> Self {
        Self { last: Some(writes), ..Self::new(Slice::hurried()) }
    }

    /// Writes it to the tree; it is not on disk yet.
    pub(super) fn write(mut self, rows: &Rows) -> Result<(), Error> {
        for (key, row) in &self.alone {
            rows.put(key, row)?;
            self.slice.pause();
        }
        self.batches.into_iter().chain(self.last).try_for_each(|batch| {
            self.slice.pause();
            rows.apply(batch)
        })
    }

    /// The last batch.
    fn last(&mut self) -> &mut sled::Batch {
        self.last.get_or_insert_default()
    }

    /// The batch for rows of ids that are divided: a new one where the last has enough of them.
    fn for_ids(&mut self) -> &mut sled::Batch {
        if self.divided >= DIVIDED_MAX {
            self.divided = 0;
            self.batches.extend(self.last.take());
        }
        self.divided += 1;
        self.last()
    }
}

impl Durable {
    /// The first rows of the older file, whose generation it is, to be put together in such stretches; `None` where there are none.
    pub(super) fn pick(&self, generation: u64, slice: Slice, forgotten: &Forgotten) -> Option<Picked> {
        let old = self.pending.old.as_ref()?;
        let (mut rows, mut records) = (Vec::new(), 0);
        let mut pending = old.rows.iter().peekable();
        while rows.len() < PICKED_MAX
            && records < ROWS_MAX
            && let Some((key, row)) = pending.next()
        {
            let way = match keys::kind_of(key) {
                keys::SEEN | keys::CHANGES | keys::DELIVERIES => Way::Row(old.held(*row)),
                _ if self.pending.young.rows.contains_key(key) => Way::Superseded,
                keys::USER if !matches!(row, Row::Gone) && !self.is_cut(key) => Way::Record(old.held(*row)),
                _ => Way::Row(old.held(*row)),
            };
            records += usize::from(matches!(way, Way::Record(_)));
            rows.push((key.clone(), way));
        }
        let last = pending.peek().is_none().then_some(generation);
        let settling = Settling { taken: 0, settled: self.settled };
        let (rows, forgotten) = (rows.into_iter().peekable(), forgotten.clone());
        Some(Picked { rows, settling, last, forgotten, slice })
    }

    /// Whether a user's record may be cut into pieces, in the tree or in the journal.
    fn is_cut(&self, key: &[u8]) -> bool {
        let written = keys::user_of(key).and_then(|(source, uid)| self.index(source)?.written(uid));
        written.is_none_or(|written| written.cut)
    }
}

impl Picked {
    /// Puts as many of them together as make a piece, and tells what has settled once that is written.
    ///
    /// # Errors
    /// As reads do.
    pub(super) fn piece(mut self, rows: &Rows, block: &mut Block) -> Result<(Piece, Settling), Error> {
        self.slice.begin();
        let (mut piece, before) = (Piece::new(self.slice.clone()), self.settling.settled);
        while let Some((key, _)) = self.rows.peek()
            && piece.rows < ROWS_MAX
            && piece.bytes < BYTES_MAX
        {
            match keys::kind_of(key) {
                keys::SEEN => self.ids(rows, &mut piece)?,
                kind @ (keys::CHANGES | keys::DELIVERIES) => self.log((rows, kind), block, &mut piece)?,
                _ => self.row(rows, &mut piece)?,
            }
            self.slice.pause();
        }
        let settled = &mut self.settling.settled;
        if let Some(generation) = self.last.filter(|_| self.rows.peek().is_none()) {
            settled.generation = generation;
        }
        if *settled != before {
            rows.insert(piece.last(), keys::SETTLED, &settled.encode());
            piece.rows += 1;
        }
        Ok((piece, self.settling))
    }

    /// One row, unless a newer one is pending behind it.
    fn row(&mut self, rows: &Rows, piece: &mut Piece) -> Result<(), Error> {
        let Some((key, way)) = self.rows.next() else { return Ok(()) };
        self.settling.taken += 1;
        let (held, alone) = match way {
            Way::Superseded => return Ok(()),
            Way::Record(held) => (held, true),
            Way::Row(held) => (held, false),
        };
        piece.rows += 1;
        let Some(value) = rows.pending(&key, held)? else { return rows.remove(piece.last(), &key) };
        piece.bytes += key.len() + value.len();
        if !alone {
            return rows.replace(piece.last(), &key, &value);
        }
        let row = Rows::whole(&key, &value);
        piece.alone.push((key, row));
        Ok(())
    }

    /// The next row, where it is such a one.
    fn next_if(&mut self, wanted: impl Fn(&[u8]) -> bool) -> Option<(IVec, Held)> {
        match self.rows.next_if(|(key, _)| wanted(key))? {
            (key, Way::Record(held) | Way::Row(held)) => Some((key, held)),
            (key, Way::Superseded) => Some((key, Held::Gone)),
        }
    }

    /// The ids that belong into one row of the tree.
    fn ids(&mut self, rows: &Rows, piece: &mut Piece) -> Result<(), Error> {
        let Some((from, _)) = self.rows.peek() else { return Ok(()) };
        let (from, begin) = (from.clone(), keys::begin_of_ids(from));
        let next = rows.scan((Bound::Excluded(from.to_vec()), Bound::Unbounded), true).next().transpose()?;
        let belongs = |key: &[u8]| key.starts_with(&begin) && next.as_ref().is_none_or(|(next, _)| key < next.as_ref());
        let mut new: Vec<Id> = Vec::new();
        while new.len() < IDS_MAX
            && let Some((key, held)) = self.next_if(belongs)
        {
            self.settling.taken += 1;
            let value = rows.pending(&key, held)?;
            let id = value.and_then(|value| Some((hash_of(&key)?, stored::decode_seen(&value)?)));
            new.push(id.ok_or_else(|| rows.damaged("the row of an event id cannot be read"))?);
            self.slice.pause();
        }
        let written = rows.with_ids(&from, &new, |number| self.forgotten.keeps(number))?;
        piece.rows += written.len();
        piece.bytes += written.iter().map(|(key, content)| key.len() + content.as_ref().map_or(0, Vec::len)).sum::<usize>();
        if let [(key, Some(content))] = written.as_slice() {
            piece.alone.push((key.as_slice().into(), Rows::whole(key, content)));
            return Ok(());
        }
        // Ids move from row to row: all of them or none.
        let batch = piece.for_ids();
        for (key, content) in &written {
            match content {
                Some(content) => rows.insert(batch, key, content),
                None => rows.remove(batch, key)?,
            }
        }
        Ok(())
    }

    /// Rows of commits, joined into one row of the tree.
    fn log(&mut self, (rows, kind): (&Rows, u8), block: &mut Block, piece: &mut Piece) -> Result<(), Error> {
        block.clear();
        while !block.is_full()
            && let Some((key, Way::Row(held))) = self.rows.peek()
            && keys::kind_of(key) == kind
        {
            let value = rows.pending(key, held.clone())?.ok_or_else(|| rows.damaged("a row of the log is missing"))?;
            let row = rows.unpack(key, value)?;
            if !block.fits(&row) {
                break;
            }
            block.add(&row).ok_or_else(|| rows.damaged("a row of the log cannot be read"))?;
            self.rows.next();
            self.settling.taken += 1;
            self.slice.pause();
        }
        let Some((head, content)) = block.end().map_err(|error| rows.unavailable(error))? else { return Ok(()) };
        // Each row alone: nobody reads it before the last batch of the piece tells that it counts. What was left by an attempt that did not
        // come so far may have been longer.
        let key = keys::numbered(kind, head.first);
        let cut = Rows::cut(&key, &content);
        piece.rows += cut.len();
        piece.bytes += content.len();
        rows.shorten(piece.last(), &key, u32::try_from(cut.len()).unwrap_or(u32::MAX))?;
        piece.alone.extend(cut.into_iter().map(|(key, row)| (key.into(), row)));
        let last = head.end().saturating_sub(1);
        let settled = &mut self.settling.settled;
        *(if kind == keys::CHANGES { &mut settled.cursor } else { &mut settled.delivery }) = last;
        Ok(())
    }
}
