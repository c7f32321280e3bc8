//! What readers see: the rows and indexes as of the last durable commit.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::draft::Drafted;
use super::filter::Filter;
use super::folder::Mark;
use super::index::{Index, Projection, Written};
use super::journal::frame::checksum;
use super::pending::Pending;
use super::rows::Rows;
use super::stored::{Settled, Tally};
use super::{ids, keys, stored};
use crate::directory::{Record, code, merge};
use crate::storage::entry::Numbers;
use crate::storage::{Batch, Call, Error};

/// The durable state. Whoever reads rows holds this locked for reading: rows become pending, and settle, while nobody reads.
pub(super) struct Durable {
    /// The tree's rows.
    pub(super) rows: Rows,
    /// The rows before it.
    pub(super) pending: Pending,
    /// How far those have settled.
    pub(super) settled: Settled,
    /// Tells of ids that are nowhere.
    pub(super) filter: Filter,
    /// By source.
    pub(super) sources: BTreeMap<String, Index>,
    /// The greatest numbers that are durable.
    pub(super) numbers: Numbers,
    /// All records in one number.
    pub(super) tally: Tally,
    /// The oldest change that is kept; the next one's cursor where none is. Set before older ones go, so that nobody meets half of it.
    pub(super) kept_from: u64,
}

impl Durable {
    /// Reads what is there into indexes.
    ///
    /// # Errors
    /// [`Error::Damaged`] for anything that cannot be read.
    pub(super) fn load(rows: Rows, (pending, settled): (Pending, Settled), mark: Mark) -> Result<Self, Error> {
        let mut durable = Self {
            rows,
            pending,
            settled,
            filter: Filter::default(),
            sources: BTreeMap::new(),
            numbers: Numbers::default(),
            tally: Tally::default(),
            kept_from: 1,
        };
        if let Some(numbers) = durable.get(keys::NUMBERS)? {
            (durable.numbers, durable.tally) =
                stored::decode_numbers(&numbers).ok_or_else(|| durable.rows.damaged("the row of numbers cannot be read"))?;
        }
        durable.check_ends(mark)?;
        let oldest = durable.scan(keys::all(keys::CHANGES), true).next().transpose()?;
        durable.kept_from = oldest.and_then(|(key, _)| keys::number_of(&key)).unwrap_or(durable.numbers.cursor.saturating_add(1));
        durable.load_ids()?;
        durable.load_users()?;
        durable.load_states()?;
        Ok(durable)
    }

    /// The last delivery that has settled together with all that stands beside it; 0 while that is not known.
    pub(super) const fn whole(&self) -> u64 {
        if self.pending.old.is_none() { self.settled.delivery } else { 0 }
    }

    /// One source's index, if anything is known of that source.
    pub(super) fn index(&self, source: &str) -> Option<&Index> {
        self.sources.get(source)
    }

    /// Moves on to a commit that is on disk now, in a frame that stands at `begin`.
    pub(super) fn advance(&mut self, batch: &Batch, drafted: Drafted, begin: u64) -> Vec<u8> {
        let Drafted { frame, users, numbers, tally } = drafted;
        self.pending.take_in(&frame, begin);
        for (key, _) in frame.rows().filter(|(key, _)| keys::kind_of(key) == keys::SEEN) {
            self.filter.insert(keys::id_told(key));
        }
        for (source, projection) in users {
            self.source_mut(&source).put(projection);
        }
        for (source, state) in &batch.sources {
            self.source_mut(source).put_state(state.clone());
        }
        for call in &batch.calls {
            let calls = &mut self.source_mut(&call.source).calls;
            calls.retain(|old| !old.is_over(call));
            calls.push(call.clone());
        }
        (self.numbers, self.tally) = (numbers, tally);
        frame.into_buffer()
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
            let last = self.packed(kind, u64::MAX)?.map(|row| row.head.end());
            if last.is_some_and(|end| end != newest.saturating_add(1)) {
                return Err(self.rows.damaged(&format!("the log of {what} does not end at number {newest}")));
            }
        }
        Ok(())
    }

    fn load_ids(&mut self) -> Result<(), Error> {
        let all = keys::all(keys::SEEN);
        let all = (Bound::Included(all.start.as_slice()), Bound::Excluded(all.end.as_slice()));
        self.pending.range(all, true).for_each(|(key, _)| self.filter.insert(keys::id_told(key)));
        for row in self.rows.clone().scan(keys::all(keys::SEEN), true) {
            let (key, content) = row?;
            let told = ids::tell(&key, &content, |id| self.filter.insert(id));
            told.ok_or_else(|| self.rows.damaged("the row of an event id cannot be read"))?;
        }
        Ok(())
    }

    fn load_users(&mut self) -> Result<(), Error> {
        let (mut sources, mut tally) = (BTreeMap::<String, Index>::new(), Tally::default());
        for row in self.scan(keys::all(keys::USER), true) {
            let (key, value) = row?;
            let (source, uid) = keys::user_of(&key).ok_or_else(|| self.rows.damaged("a record has no readable key"))?;
            // While a row is pending, nobody knows how the tree's former one is written.
            let cut = Rows::cuts(value.len()) || self.pending.get(&key).is_some();
            let written = Written { checksum: checksum(&key, &value), cut };
            tally.add(written.checksum);
            let record = self.record(&value)?;
            let projection = Projection::of(uid, &record, merge::view(&record).as_ref(), written);
            match sources.get_mut(source) {
                Some(index) => index.load(projection),
                None => sources.entry(source.to_owned()).or_default().load(projection),
            }
        }
        if tally != self.tally {
            return Err(self.rows.damaged("users' records are missing or older than they were"));
        }
        sources.values_mut().for_each(Index::arrange);
        self.sources = sources;
        Ok(())
    }

    fn load_states(&mut self) -> Result<(), Error> {
        let (mut states, mut calls) = (Vec::new(), Vec::new());
        for row in self.scan(keys::all(keys::SOURCE), true) {
            let (key, value) = row?;
            let name = key.get(1..).and_then(|name| str::from_utf8(name).ok()).map(str::to_owned);
            let state = serde_json::from_slice(&value).ok();
            states.push(name.zip(state).ok_or_else(|| self.rows.damaged("a source's state cannot be read"))?);
        }
        for row in self.scan(keys::all(keys::CALL), true) {
            let call: Call = postcard::from_bytes(&row?.1).map_err(|_| self.rows.damaged("a call cannot be read"))?;
            calls.push(call);
        }
        for (name, state) in states {
            self.source_mut(&name).put_state(state);
        }
        for call in calls {
            self.source_mut(&call.source.clone()).calls.push(call);
        }
        Ok(())
    }

    /// A record from its row.
    pub(super) fn record(&self, value: &[u8]) -> Result<Record, Error> {
        code::read_record(value).ok_or_else(|| self.rows.damaged("a user's record cannot be read"))
    }
}
