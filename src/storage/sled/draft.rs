//! What a batch becomes: rows to write, the values they replace, and what the index is to take in.

use std::collections::HashMap;
use std::sync::Arc;

use sled::IVec;

use super::index::Projection;
use super::packed::Packer;
use super::rows::Rows;
use super::stored::Tally;
use super::{keys, stored};
use crate::directory::{Gap, json};
use crate::storage::entry::{CALLS_KEPT, Numbers};
use crate::storage::{Batch, Call, Error, StoredUser};

/// Values as they stood before a commit, by key; `None` where there was none.
pub(super) type Former = HashMap<Vec<u8>, Option<IVec>>;

/// A batch made ready for one atomic write. Nothing is written yet.
pub(super) struct Draft<'a> {
    rows: &'a Rows,
    /// What is being written down.
    buffer: Vec<u8>,
    /// The rows.
    pub(super) writes: sled::Batch,
    /// What readers go on seeing until the write is durable.
    pub(super) former: Former,
    /// The users of the batch, for the index.
    pub(super) users: Vec<(Arc<str>, Projection)>,
    /// The greatest numbers after the batch.
    pub(super) numbers: Numbers,
    /// The tally of all records after the batch.
    pub(super) tally: Tally,
}

impl<'a> Draft<'a> {
    /// Writes `batch` down behind what is durable; `logged` are the calls already logged.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when its numbers do not follow those; as reads for what is replaced.
    pub(super) fn of(batch: &Batch, rows: &'a Rows, durable: (Numbers, Tally), logged: &[&Call]) -> Result<Self, Error> {
        let (numbers, tally) = durable;
        let former = Former::with_capacity(batch.users.len());
        let users = Vec::with_capacity(batch.users.len());
        let mut draft = Self { rows, buffer: Vec::new(), writes: sled::Batch::default(), former, users, numbers, tally };
        draft.deliveries(batch)?;
        draft.changes(batch)?;
        batch.users.iter().try_for_each(|user| draft.user(user))?;
        draft.closed(batch)?;
        for (name, state) in &batch.sources {
            state.gaps.iter().for_each(|gap| draft.note_gap(&gap.gap));
            draft.json(&keys::named(keys::SOURCE, name), state)?;
        }
        for run in &batch.reconciliations {
            draft.numbers.reconciliation = draft.numbers.reconciliation.max(run.id);
            let key = keys::numbered(keys::RECONCILIATION, run.id);
            let former = draft.json(&key, run)?;
            draft.former.insert(key, former);
        }
        draft.calls(batch, logged)?;
        let numbers = stored::encode_numbers(draft.numbers, draft.tally);
        draft.rows.insert(&mut draft.writes, keys::NUMBERS, &numbers);
        Ok(draft)
    }

    fn deliveries(&mut self, batch: &Batch) -> Result<(), Error> {
        let Some(first) = batch.deliveries.first() else { return Ok(()) };
        let mut packer = Packer::new(first.number);
        for delivery in &batch.deliveries {
            self.numbers.delivery = self.follow(self.numbers.delivery, delivery.number, "delivery")?;
            let seen = keys::seen(&delivery.source, &delivery.event_id);
            self.rows.insert(&mut self.writes, &seen, &stored::encode_seen(delivery));
            if delivery.outcome == crate::directory::Outcome::Quarantined {
                self.rows.insert(&mut self.writes, &keys::numbered(keys::QUARANTINED, delivery.number), &[]);
            }
            if let Some(body) = &delivery.body {
                self.rows.insert(&mut self.writes, &keys::numbered(keys::BODY, delivery.number), body);
            }
            let content = stored::encode_delivery(delivery, self.emptied()).ok_or_else(|| self.unwritable("a delivery"))?;
            packer.add(&content, stored::mark(delivery.outcome), delivery.expires_at);
            self.buffer = content;
        }
        self.pack(keys::DELIVERIES, packer);
        Ok(())
    }

    fn changes(&mut self, batch: &Batch) -> Result<(), Error> {
        let Some(first) = batch.changes.first() else { return Ok(()) };
        let mut packer = Packer::new(first.cursor);
        for change in &batch.changes {
            self.numbers.cursor = self.follow(self.numbers.cursor, change.cursor, "change")?;
            let content = stored::encode_change(change, self.emptied()).ok_or_else(|| self.unwritable("a change"))?;
            packer.add(&content, 0, change.at);
            self.buffer = content;
        }
        self.pack(keys::CHANGES, packer);
        Ok(())
    }

    fn user(&mut self, user: &StoredUser) -> Result<(), Error> {
        let StoredUser { source, uid, known } = user;
        let record = &known.record;
        record.gaps.values().for_each(|gap| self.note_gap(gap));
        let key = keys::user(source, uid);
        let mut content = self.emptied();
        json::record(record, &mut content).map_err(|_| self.unwritable("a record"))?;
        let former = self.rows.replace(&mut self.writes, &key, &content)?;
        if let Some(former) = &former {
            self.tally.take(&key, former);
        }
        self.tally.add(&key, &content);
        self.buffer = content;
        self.former.insert(key, former);
        self.users.push((Arc::clone(source), Projection::of(uid, record, known.view.as_deref())));
        Ok(())
    }

    /// A row each: gaps close in any order, and are listed in the order of their ids.
    fn closed(&mut self, batch: &Batch) -> Result<(), Error> {
        for closed in &batch.closed {
            self.note_gap(&closed.gap);
            let content = postcard::to_allocvec(closed).map_err(|_| self.unwritable("a closed gap"))?;
            let key = keys::numbered(keys::GAP, closed.gap.id);
            let former = self.rows.replace(&mut self.writes, &key, &content)?;
            self.former.insert(key, former);
        }
        Ok(())
    }

    /// Logs calls, and drops those that no budget counts any more by the clock of the newest.
    fn calls(&mut self, batch: &Batch, logged: &[&Call]) -> Result<(), Error> {
        for call in &batch.calls {
            self.numbers.call = self.numbers.call.max(call.number);
            let content = postcard::to_allocvec(call).map_err(|_| self.unwritable("a call"))?;
            self.rows.insert(&mut self.writes, &keys::call(&call.source, call.number), &content);
            let old = logged.iter().filter(|old| old.source == call.source && is_over(old, call));
            old.for_each(|old| self.writes.remove(keys::call(&old.source, old.number)));
        }
        Ok(())
    }

    /// The buffer, without what was in it.
    fn emptied(&mut self) -> Vec<u8> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        buffer
    }

    fn pack(&mut self, kind: u8, packer: Packer) {
        for (first, content) in packer.rows() {
            self.rows.insert(&mut self.writes, &keys::numbered(kind, first), &content);
        }
    }

    fn json(&mut self, key: &[u8], value: &impl serde::Serialize) -> Result<Option<IVec>, Error> {
        let content = serde_json::to_vec(value).map_err(|_| self.unwritable("a state"))?;
        self.rows.replace(&mut self.writes, key, &content)
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
        Err(self.rows.unavailable(format!("{what} {next} cannot follow {last}: this is a fault of rollcall, please report it")))
    }

    fn unwritable(&self, what: &str) -> Error {
        self.rows.unavailable(format!("{what} cannot be written down: this is a fault of rollcall, please report it"))
    }
}

/// Whether `old` no longer counts, by the clock that logged `new`.
pub(super) fn is_over(old: &Call, new: &Call) -> bool {
    new.at.since(old.at) > CALLS_KEPT
}
