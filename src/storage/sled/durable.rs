//! What readers see: the rows and indexes as of the last durable commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use sled::IVec;

use super::draft::{Draft, Former, is_over};
use super::folder::Mark;
use super::index::{Index, Projection};
use super::rows::Rows;
use super::stored::Tally;
use super::{keys, stored};
use crate::directory::{Record, merge};
use crate::storage::entry::Numbers;
use crate::storage::{Batch, Call, Error};

/// The durable state. Whoever reads rows holds this locked for reading: a commit that begins meanwhile has to wait before it
/// writes its first row, so no reader meets half of it.
pub(super) struct Durable {
    /// The rows, those of a commit under way among them.
    pub(super) rows: Rows,
    /// By source.
    pub(super) sources: BTreeMap<String, Index>,
    /// The greatest numbers that are durable.
    pub(super) numbers: Numbers,
    tally: Tally,
    /// The oldest change that is kept; the next one's cursor where none is. Set before older ones go, so that nobody meets half of it.
    pub(super) kept_from: u64,
    /// What the rows of the commit under way hid, or of one that failed, until the store is opened anew.
    pub(super) former: Former,
}

impl Durable {
    /// Reads what is there into indexes.
    ///
    /// # Errors
    /// [`Error::Damaged`] for anything that cannot be read.
    pub(super) fn load(rows: Rows, mark: Mark) -> Result<Self, Error> {
        let mut durable = Self {
            sources: BTreeMap::new(),
            numbers: Numbers::default(),
            tally: Tally::default(),
            kept_from: 1,
            former: Former::new(),
            rows: rows.clone(),
        };
        if let Some(numbers) = rows.get(keys::NUMBERS)? {
            (durable.numbers, durable.tally) =
                stored::decode_numbers(&numbers).ok_or_else(|| rows.damaged("the row of numbers cannot be read"))?;
        }
        durable.check_ends(mark)?;
        let oldest = rows.scan(keys::all(keys::CHANGES), true).next().transpose()?;
        durable.kept_from = oldest.and_then(|(key, _)| keys::number_of(&key)).unwrap_or(durable.numbers.cursor.saturating_add(1));
        durable.load_users()?;
        durable.load_states()?;
        Ok(durable)
    }

    /// The value at `key` as of the last durable commit.
    pub(super) fn get(&self, key: &[u8]) -> Result<Option<IVec>, Error> {
        match self.former.get(key) {
            Some(former) => Ok(former.clone()),
            None => self.rows.get(key),
        }
    }

    /// One source's index, if anything is known of that source.
    pub(super) fn index(&self, source: &str) -> Option<&Index> {
        self.sources.get(source)
    }

    /// Moves on to a commit that is on disk now.
    pub(super) fn advance(&mut self, batch: &Batch, users: Vec<(Arc<str>, Projection)>, ends: (Numbers, Tally)) {
        for (source, projection) in users {
            self.source_mut(&source).put(projection);
        }
        for (source, state) in &batch.sources {
            self.source_mut(source).put_state(state.clone());
        }
        for call in &batch.calls {
            let calls = &mut self.source_mut(&call.source).calls;
            calls.retain(|old| !is_over(old, call));
            calls.push(call.clone());
        }
        (self.numbers, self.tally) = ends;
    }

    /// Writes a batch down for one atomic step behind what is durable.
    pub(super) fn draft<'a>(&self, batch: &Batch, rows: &'a Rows) -> Result<Draft<'a>, Error> {
        let logged: Vec<&Call> = self.sources.values().flat_map(|index| &index.calls).collect();
        Draft::of(batch, rows, (self.numbers, self.tally), &logged)
    }

    fn source_mut(&mut self, source: &str) -> &mut Index {
        self.sources.entry(source.to_owned()).or_default()
    }

    /// Both logs must end where the row of numbers says, and not before the mark.
    fn check_ends(&self, mark: Mark) -> Result<(), Error> {
        let Numbers { delivery, cursor, .. } = self.numbers;
        for (kind, newest, marked, what) in
            [(keys::DELIVERIES, delivery, mark.delivery, "deliveries"), (keys::CHANGES, cursor, mark.cursor, "changes")]
        {
            if newest < marked {
                return Err(self.rows.damaged(&format!("{what} after number {newest} are gone, at least up to {marked}")));
            }
            let last = self.packed(kind, u64::MAX)?.map(|row| row.entries().last().map_or(0, |(number, _)| number));
            if last.is_some_and(|last| last != newest) {
                return Err(self.rows.damaged(&format!("the log of {what} does not end at number {newest}")));
            }
        }
        Ok(())
    }

    fn load_users(&mut self) -> Result<(), Error> {
        let mut users: BTreeMap<String, Vec<Projection>> = BTreeMap::new();
        let mut tally = Tally::default();
        for row in self.rows.scan(keys::all(keys::USER), true) {
            let (key, value) = row?;
            let (source, uid) = keys::user_of(&key).ok_or_else(|| self.rows.damaged("a record has no readable key"))?;
            tally.add(&key, &value);
            let record = self.record(&value)?;
            let projection = Projection::of(uid, &record, merge::view(&record).as_ref());
            match users.get_mut(source) {
                Some(users) => users.push(projection),
                None => drop(users.insert(source.to_owned(), vec![projection])),
            }
        }
        if tally != self.tally {
            return Err(self.rows.damaged("users' records are missing or older than they were"));
        }
        for (source, users) in users {
            self.source_mut(&source).fill(users);
        }
        Ok(())
    }

    fn load_states(&mut self) -> Result<(), Error> {
        let rows = self.rows.clone();
        for row in rows.scan(keys::all(keys::SOURCE), true) {
            let (key, value) = row?;
            let name = key.get(1..).and_then(|name| str::from_utf8(name).ok());
            let state = serde_json::from_slice(&value).ok();
            let (Some(name), Some(state)) = (name, state) else { return Err(rows.damaged("a source's state cannot be read")) };
            self.source_mut(name).put_state(state);
        }
        for row in rows.scan(keys::all(keys::CALL), true) {
            let call: Call = postcard::from_bytes(&row?.1).map_err(|_| rows.damaged("a call cannot be read"))?;
            self.source_mut(&call.source.clone()).calls.push(call);
        }
        Ok(())
    }

    /// A record from its row.
    pub(super) fn record(&self, value: &[u8]) -> Result<Record, Error> {
        serde_json::from_slice(value).map_err(|_| self.rows.damaged("a user's record cannot be read"))
    }
}
