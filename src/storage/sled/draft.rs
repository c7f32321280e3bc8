//! What a batch becomes: rows in one frame of the journal, and what the index is to take in.

use std::sync::Arc;

use super::durable::Durable;
use super::index::{Projection, Written};
use super::journal::frame::{Frame, Unwritable, Value};
use super::packed::Packer;
use super::rows::Rows;
use super::stored::Tally;
use super::{keys, stored};
use crate::directory::{Gap, Outcome, code};
use crate::storage::entry::Numbers;
use crate::storage::{Batch, Delivery, Error, SeenDelivery, StoredUser};

/// A batch made ready for one atomic write. Nothing is written yet.
pub(super) struct Draft<'a> {
    durable: &'a Durable,
    frame: Frame,
    users: Vec<(Arc<str>, Projection)>,
    numbers: Numbers,
    tally: Tally,
}

/// What is written, and what becomes of indexes and numbers once that is durable.
pub(super) struct Drafted {
    /// The rows.
    pub(super) frame: Frame,
    /// The users of the batch, for the index.
    pub(super) users: Vec<(Arc<str>, Projection)>,
    /// The greatest numbers after the batch.
    pub(super) numbers: Numbers,
    /// The tally of all records after the batch.
    pub(super) tally: Tally,
}

impl<'a> Draft<'a> {
    /// Writes `batch` down behind what is durable, in the memory of a frame that is no longer needed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when its numbers do not follow those; as reads for what is replaced.
    pub(super) fn of(batch: &Batch, durable: &'a Durable, buffer: Vec<u8>) -> Result<Drafted, Error> {
        let users = Vec::with_capacity(batch.users.len());
        let mut draft = Self { durable, frame: Frame::new(buffer), users, numbers: durable.numbers, tally: durable.tally };
        draft.deliveries(batch)?;
        draft.changes(batch)?;
        batch.users.iter().try_for_each(|user| draft.user(user))?;
        draft.closed(batch)?;
        for (name, state) in &batch.sources {
            state.gaps.iter().for_each(|gap| draft.note_gap(&gap.gap));
            draft.json(&keys::named(keys::SOURCE, name), state, "a state")?;
        }
        for run in &batch.reconciliations {
            draft.numbers.reconciliation = draft.numbers.reconciliation.max(run.id);
            draft.json(&keys::numbered(keys::RECONCILIATION, run.id), run, "a reconciliation")?;
        }
        draft.calls(batch)?;
        let numbers = stored::encode_numbers(draft.numbers, draft.tally);
        draft.bytes(keys::NUMBERS, &numbers)?;
        let Self { frame, users, numbers, tally, .. } = draft;
        Ok(Drafted { frame, users, numbers, tally })
    }

    fn deliveries(&mut self, batch: &Batch) -> Result<(), Error> {
        let Some(first) = batch.deliveries.first() else { return Ok(()) };
        for delivery in &batch.deliveries {
            self.numbers.delivery = self.follow(self.numbers.delivery, delivery.number, "delivery")?;
            let Delivery { number, source, event_id, outcome, body, .. } = delivery;
            let seen = SeenDelivery { number: *number, outcome: *outcome };
            self.bytes(&keys::seen(source, event_id), &stored::encode_seen(&seen))?;
            if *outcome == Outcome::Quarantined {
                self.bytes(&keys::numbered(keys::QUARANTINED, *number), &[])?;
            }
            if let Some(body) = body {
                self.bytes(&keys::numbered(keys::BODY, *number), body)?;
            }
        }
        self.put(&keys::numbered(keys::DELIVERIES, first.number), "a delivery", |buffer| {
            let mut packer = Packer::new(buffer, first.number);
            for delivery in &batch.deliveries {
                let tags = (stored::mark(delivery.outcome), delivery.expires_at);
                packer.add(tags, |buffer| stored::encode_delivery(delivery, buffer))?;
            }
            packer.end()
        })
        .map(drop)
    }

    fn changes(&mut self, batch: &Batch) -> Result<(), Error> {
        let Some(first) = batch.changes.first() else { return Ok(()) };
        for change in &batch.changes {
            self.numbers.cursor = self.follow(self.numbers.cursor, change.cursor, "change")?;
        }
        self.put(&keys::numbered(keys::CHANGES, first.cursor), "a change", |buffer| {
            let mut packer = Packer::new(buffer, first.cursor);
            batch.changes.iter().try_for_each(|change| packer.add((0, change.at), |buffer| stored::encode_change(change, buffer)))?;
            packer.end()
        })
        .map(drop)
    }

    fn user(&mut self, user: &StoredUser) -> Result<(), Error> {
        let StoredUser { source, uid, known } = user;
        let record = &known.record;
        record.gaps.values().for_each(|gap| self.note_gap(gap));
        let key = keys::user(source, uid);
        if let Some(former) = self.durable.index(source).and_then(|index| index.written(uid)) {
            self.tally.take(former.checksum);
        }
        let value = self.put(&key, "a record", |mut buffer| {
            code::record(record, &mut buffer);
            Some(buffer)
        })?;
        self.tally.add(value.checksum);
        let written = Written { checksum: value.checksum, cut: Rows::cuts(value.len as usize) };
        self.users.push((Arc::clone(source), Projection::of(uid, record, known.view.as_deref(), written)));
        Ok(())
    }

    /// A row each: gaps close in any order, and are listed in the order of their ids.
    fn closed(&mut self, batch: &Batch) -> Result<(), Error> {
        for closed in &batch.closed {
            self.note_gap(&closed.gap);
            let key = keys::numbered(keys::GAP, closed.gap.id);
            self.put(&key, "a closed gap", |buffer| postcard::to_extend(closed, buffer).ok())?;
        }
        Ok(())
    }

    /// Logs calls, and drops those that no budget counts any more by the clock of the newest.
    fn calls(&mut self, batch: &Batch) -> Result<(), Error> {
        for call in &batch.calls {
            self.numbers.call = self.numbers.call.max(call.number);
            self.put(&keys::call(&call.source, call.number), "a call", |buffer| postcard::to_extend(call, buffer).ok())?;
            let logged = self.durable.index(&call.source).into_iter().flat_map(|index| &index.calls);
            for old in logged.filter(|old| old.is_over(call)) {
                self.frame.take(&keys::call(&old.source, old.number)).map_err(|Unwritable| self.unwritable("a call"))?;
            }
        }
        Ok(())
    }

    fn put(&mut self, key: &[u8], what: &str, write: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) -> Result<Value, Error> {
        self.frame.put(key, write).map_err(|Unwritable| self.unwritable(what))
    }

    fn bytes(&mut self, key: &[u8], value: &[u8]) -> Result<Value, Error> {
        self.put(key, "a row", |mut buffer| {
            buffer.extend_from_slice(value);
            Some(buffer)
        })
    }

    fn json(&mut self, key: &[u8], value: &impl serde::Serialize, what: &str) -> Result<Value, Error> {
        self.put(key, what, |mut buffer| serde_json::to_writer(&mut buffer, value).ok().map(|()| buffer))
    }

    const fn note_gap(&mut self, gap: &Gap) {
        if gap.id > self.numbers.gap {
            self.numbers.gap = gap.id;
        }
    }

    fn follow(&self, last: u64, next: u64, what: &str) -> Result<u64, Error> {
        if last.checked_add(1) == Some(next) {
            return Ok(next);
        }
        Err(self.durable.rows.unavailable(format!("{what} {next} cannot follow {last}: this is a fault of rollcall, please report it")))
    }

    fn unwritable(&self, what: &str) -> Error {
        self.durable.rows.unavailable(format!("{what} cannot be written down: this is a fault of rollcall, please report it"))
    }
}
