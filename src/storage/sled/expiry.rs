//! Forgetting: deliveries whose ids need no longer be remembered, and changes that the feed no longer reaches back to.

use super::durable::Durable;
use super::packed::{Head, Packed};
use super::piece::Piece;
use super::{Sled, Writer, keys};
use crate::directory::Timestamp;
use crate::storage::Error;

/// Entries forgotten in one call, about.
const ENTRIES_MAX: usize = 1_000;
/// Rows in a row that have to stay, behind which nothing is looked for that may go.
const STAYING_MAX: usize = 16;

impl Sled {
    /// Forgets deliveries that need not be remembered at `deliveries` (the service's time now), and changes older than `changes`.
    ///
    /// A packed row goes when all in it may go. Deliveries from a sender whose clock runs ahead stay longer than those after
    /// them: the walk steps over their rows. Only what is in the tree is forgotten: what is over and still pending settles first.
    /// Returns how many entries went or settled.
    pub(in crate::storage) fn expire(&self, deliveries: Timestamp, changes: Option<Timestamp>) -> Result<usize, Error> {
        let mut writer = self.writer.lock();
        self.healthy()?;
        if self.copying.holds_up() {
            return Ok(0);
        }
        if std::mem::take(&mut writer.forgetting) {
            while !self.settled(&mut writer, true)? {}
        }
        let over = self.durable.read().is_over_while_pending(deliveries, changes)?;
        let settled = if over { self.hurry(&mut writer)? } else { 0 };
        let mut writes = sled::Batch::default();
        let forgotten = self.durable.read().forget_deliveries(&mut writes, deliveries, &mut writer)?;
        let mut changed = 0;
        if let Some(before) = changes {
            let kept_from;
            (changed, kept_from) = self.durable.read().forget_changes(&mut writes, before)?;
            self.durable.write().kept_from = kept_from;
        }
        if forgotten + changed > 0 {
            while !self.settled(&mut writer, true)? {}
            self.write_tree(&mut writer, |_, _| Ok((Piece::whole(writes), None)));
            writer.forgetting = true;
        }
        Ok(settled + forgotten + changed)
    }
}

impl Durable {
    /// Whether the first pending row of either log is over.
    fn is_over_while_pending(&self, deliveries: Timestamp, changes: Option<Timestamp>) -> Result<bool, Error> {
        let over = |kind: u8, before: Timestamp| {
            let (begin, end) = ([kind], [kind.saturating_add(1)]);
            let bounds = (std::ops::Bound::Included(begin.as_slice()), std::ops::Bound::Excluded(end.as_slice()));
            let Some((key, held)) = self.pending.range(bounds, true).next() else { return Ok(false) };
            let row = self.rows.pending(key, held)?.map(|value| self.rows.unpack(key, value)).transpose()?;
            Ok(row.is_some_and(|row: Packed| row.is_over(before)))
        };
        Ok(over(keys::DELIVERIES, deliveries)? || changes.map_or(Ok(false), |changes| over(keys::CHANGES, changes))?)
    }

    /// Returns how many deliveries go. Their ids go when the ids' rows are written anew.
    fn forget_deliveries(&self, writes: &mut sled::Batch, now: Timestamp, writer: &mut Writer) -> Result<usize, Error> {
        let mut gone = 0;
        let Writer { forgotten, forgettable, .. } = writer;
        for first in forgotten.now_over(now) {
            if let Some(row) = self.packed(keys::DELIVERIES, first)?.filter(|row| row.head.first == first) {
                gone += self.forget_row(writes, &row)?;
            }
        }
        // What stands beside a delivery settles with its file of the journal, or before.
        let begin = forgotten.below;
        let mut staying: Vec<Head> = Vec::new();
        for row in self.rows.scan(keys::between(keys::DELIVERIES, begin..forgettable.saturating_add(1)), true) {
            let (key, value) = row?;
            let row = self.rows.unpack(&key, value)?;
            if !row.is_over(now) {
                staying.push(row.head);
                if staying.len() > STAYING_MAX {
                    break;
                }
                continue;
            }
            forgotten.step_over(staying.drain(..));
            forgotten.below = row.head.end();
            gone += self.forget_row(writes, &row)?;
            if gone >= ENTRIES_MAX {
                break;
            }
        }
        Ok(gone)
    }

    fn forget_row(&self, writes: &mut sled::Batch, row: &Packed) -> Result<usize, Error> {
        self.forget_bodies(writes, row)?;
        self.rows.remove(writes, &keys::numbered(keys::DELIVERIES, row.head.first))?;
        Ok(row.head.count as usize)
    }

    /// What stands beside the quarantined deliveries of a row.
    fn forget_bodies(&self, writes: &mut sled::Batch, row: &Packed) -> Result<(), Error> {
        for kind in [keys::QUARANTINED, keys::BODY] {
            for beside in self.rows.scan(keys::between(kind, row.head.first..row.head.end()), true) {
                self.rows.remove(writes, &beside?.0)?;
            }
        }
        Ok(())
    }

    /// From the oldest on, up to the first row that has to stay: what is kept of the feed has no holes. Returns how many go, and
    /// the first that stays.
    fn forget_changes(&self, writes: &mut sled::Batch, before: Timestamp) -> Result<(usize, u64), Error> {
        let (mut forgotten, mut kept_from) = (0, self.kept_from);
        for row in self.rows.scan(keys::all(keys::CHANGES), true) {
            let (key, value) = row?;
            let row = self.rows.unpack(&key, value)?;
            if !row.is_over(before) || !self.settled.holds(&key) || forgotten >= ENTRIES_MAX {
                break;
            }
            forgotten += row.head.count as usize;
            kept_from = row.head.end();
            self.rows.remove(writes, &key)?;
        }
        Ok((forgotten, kept_from))
    }
}

/// Which deliveries were forgotten, as far as is known: their ids may go.
#[derive(Clone, Default)]
pub(super) struct Forgotten {
    /// All of those below this number, but for those in `stayed`.
    below: u64,
    /// Rows that had to stay while others behind them went.
    stayed: Vec<Head>,
}

impl Forgotten {
    /// Whether a delivery may still be kept.
    pub(super) fn keeps(&self, number: u64) -> bool {
        number >= self.below || self.stayed.iter().any(|head| (head.first..head.end()).contains(&number))
    }

    fn step_over(&mut self, rows: impl Iterator<Item = Head>) {
        self.stayed.extend(rows);
    }

    /// Takes out the rows that had to stay and no longer have to; their first numbers.
    fn now_over(&mut self, now: Timestamp) -> Vec<u64> {
        self.stayed.extract_if(.., |head| head.latest < now).map(|head| head.first).collect()
    }
}
