//! A piece: some rows of the journal's older file, picked by the writer, and what becomes of them in the tree, on another thread.
//!
//! # Why on another thread
//! Reading, joining and compressing a piece takes 5 to 20 ms. On the writer's own thread every commit behind it waited for that. The
//! writer only picks keys and places, and what just it can tell: which rows are superseded, and which records may be cut.

use std::iter::Peekable;
use std::ops::Bound;
use std::time::{Duration, Instant};
use std::vec::IntoIter;

use sled::IVec;

use super::durable::Durable;
use super::expiry::Forgotten;
use super::ids::{Id, hash_of};
use super::packed::Block;
use super::pending::Held;
use super::rows::Rows;
use super::stored::Settled;
use super::{keys, stored};
use crate::storage::Error;

/// Rows that are picked at once: how long readers, and commits, are held up by that.
const PICKED_MAX: usize = 4_096;
/// Rows written to the tree in one piece, and their bytes, about. They become up to eight times as many bytes in sled's log, which must
/// not go through more than one end of a segment between two syncs: see [`super::folder`].
const ROWS_MAX: usize = 96;
const BYTES_MAX: usize = 192 * 1024;
/// Ids of one row that are taken in at once.
const IDS_MAX: usize = 2_048;
/// How long it works without letting others run: where it shares a core with deliveries, they would wait for all of a piece.
const SLICE: Duration = Duration::from_micros(500);

/// Rows that are to settle, in the order of their keys.
pub(super) struct Picked {
    rows: Peekable<IntoIter<(IVec, Way)>>,
    /// What has settled so far.
    settling: Settling,
    /// The file's generation, where these are its last ones.
    pub(super) last: Option<u64>,
    forgotten: Forgotten,
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
#[derive(Default)]
pub(super) struct Piece {
    /// What counts as a whole or not at all.
    writes: sled::Batch,
    /// Users' records, of which each stands alone, by key: a batch costs sled two writes of its own and wakes all its threads.
    records: Vec<(IVec, Vec<u8>)>,
    /// Rows of the tree that it writes, and their bytes.
    rows: usize,
    bytes: usize,
}

/// What has settled once a piece is written.
#[derive(Clone, Copy)]
pub(super) struct Settling {
    /// Pending rows, the first ones.
    pub(super) taken: usize,
    pub(super) settled: Settled,
}

/// A stretch of work.
struct Slice(Instant);

impl Slice {
    fn begin() -> Self {
        Self(Instant::now())
    }

    /// Lets others run, if it has gone on for long enough.
    fn pause(&mut self) {
        if self.0.elapsed() >= SLICE {
            std::thread::yield_now();
            *self = Self::begin();
        }
    }
}

impl Piece {
    /// One that counts as a whole or not at all.
    pub(super) fn whole(writes: sled::Batch) -> Self {
        Self { writes, rows: 1, ..Self::default() }
    }

    /// Writes it to the tree; it is not on disk yet.
    pub(super) fn write(self, rows: &Rows) -> Result<(), Error> {
        let batched = self.rows > self.records.len();
        let mut slice = Slice::begin();
        for (key, row) in &self.records {
            rows.put(key, row)?;
            slice.pause();
        }
        if batched { rows.apply(self.writes) } else { Ok(()) }
    }
}

impl Durable {
    /// The first rows of the older file, whose generation it is; `None` where there are none.
    pub(super) fn pick(&self, generation: u64, forgotten: &Forgotten) -> Option<Picked> {
        let old = self.pending.old.as_ref()?;
        let (mut rows, mut records) = (Vec::new(), 0);
        let mut pending = old.rows.iter().peekable();
        while rows.len() < PICKED_MAX
            && records < ROWS_MAX
            && let Some((key, place)) = pending.next()
        {
            let way = match keys::kind_of(key) {
                keys::SEEN | keys::CHANGES | keys::DELIVERIES => Way::Row(old.held(*place)),
                _ if self.pending.young.rows.contains_key(key) => Way::Superseded,
                keys::USER if place.is_some() && !self.is_cut(key) => Way::Record(old.held(*place)),
                _ => Way::Row(old.held(*place)),
            };
            records += usize::from(matches!(way, Way::Record(_)));
            rows.push((key.clone(), way));
        }
        let last = pending.peek().is_none().then_some(generation);
        let settling = Settling { taken: 0, settled: self.settled };
        Some(Picked { rows: rows.into_iter().peekable(), settling, last, forgotten: forgotten.clone() })
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
        let (mut piece, mut slice, before) = (Piece::default(), Slice::begin(), self.settling.settled);
        while let Some((key, _)) = self.rows.peek()
            && piece.rows < ROWS_MAX
            && piece.bytes < BYTES_MAX
        {
            match keys::kind_of(key) {
                keys::SEEN => self.ids(rows, &mut piece)?,
                kind @ (keys::CHANGES | keys::DELIVERIES) => self.log((rows, kind), block, &mut piece)?,
                _ => self.row(rows, &mut piece)?,
            }
            slice.pause();
        }
        let settled = &mut self.settling.settled;
        if let Some(generation) = self.last.filter(|_| self.rows.peek().is_none()) {
            settled.generation = generation;
        }
        if *settled != before {
            rows.insert(&mut piece.writes, keys::SETTLED, &settled.encode());
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
        let Some(value) = rows.pending(&key, held)? else { return rows.remove(&mut piece.writes, &key) };
        piece.bytes += key.len() + value.len();
        if !alone {
            return rows.replace(&mut piece.writes, &key, &value);
        }
        let row = Rows::whole(&key, &value);
        piece.records.push((key, row));
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
        }
        for (key, content) in rows.with_ids(&from, &new, |number| self.forgotten.keeps(number))? {
            piece.rows += 1;
            piece.bytes += key.len() + content.as_ref().map_or(0, Vec::len);
            match content {
                Some(content) => rows.insert(&mut piece.writes, &key, &content),
                None => rows.remove(&mut piece.writes, &key)?,
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
        }
        let Some((head, content)) = block.end().map_err(|error| rows.unavailable(error))? else { return Ok(()) };
        piece.rows += content.len().div_ceil(super::rows::VALUE_BYTES_MAX);
        piece.bytes += content.len();
        rows.insert(&mut piece.writes, &keys::numbered(kind, head.first), &content);
        let last = head.end().saturating_sub(1);
        let settled = &mut self.settling.settled;
        *(if kind == keys::CHANGES { &mut settled.cursor } else { &mut settled.delivery }) = last;
        Ok(())
    }
}
