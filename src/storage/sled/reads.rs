//! Reading: everything as of the last durable commit, whatever the writer is about.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use sled::IVec;

use super::durable::Durable;
use super::packed::{Entries, Packed};
use super::rows::Rows;
use super::{Sled, keys, stored};
use crate::directory::{Change, ClosedGap, Outcome, Record, Timestamp, code};
use crate::storage::entry::Numbers;
use crate::storage::{
    Absent, Call, Counts, Delivery, Due, Error, Listing, OpenGap, Page, Reconciliation, SeenDelivery, SourceGap, SourceState,
};

/// Users who are asked at once for how old their claims are.
const CLAIMS_MAX: u32 = 16_384;
/// Changes are forgotten from the oldest on only.
const HOLE: &str = "a change is missing among others";

impl Sled {
    pub(in crate::storage) fn record(&self, source: &str, uid: &str) -> Result<Option<Record>, Error> {
        let durable = self.durable.read();
        // The index knows everyone: for a stranger nothing has to be read.
        if durable.index(source).and_then(|index| index.written(uid)).is_none() {
            return Ok(None);
        }
        let value = durable.get(&keys::user(source, uid))?;
        value.map(|value| durable.record(&value)).transpose()
    }

    pub(in crate::storage) fn seen(&self, source: &str, event_id: &str) -> Result<Option<SeenDelivery>, Error> {
        let durable = self.durable.read();
        durable.find_seen(&keys::seen(source, event_id))
    }

    /// Records are decoded after the lock is gone, so that a page holds no commit up for longer than its rows take to find.
    pub(in crate::storage) fn list(&self, source: &str, listing: &Listing) -> Result<Page, Error> {
        let search = self.durable.read().index(source).and_then(|index| index.search(listing));
        // A search reads many names: no commit waits for that.
        let searched = search.map(|search| search.run());
        let durable = self.durable.read();
        let cursor = durable.numbers.cursor;
        let Some(index) = durable.index(source) else { return Ok(Page { users: Vec::new(), total: 0, cursor }) };
        let (uids, total) = index.page_after(listing, searched.as_ref());
        let mut rows = Vec::with_capacity(uids.len());
        for uid in uids {
            let value = durable.get(&keys::user(source, uid))?.ok_or_else(|| durable.rows.damaged("a user's record is missing"))?;
            rows.push((uid.to_owned(), value));
        }
        let damaged = durable.rows.damaged("a user's record cannot be read");
        drop(durable);
        let decode = |(uid, value): (String, IVec)| Some((uid, code::read_record(&value)?));
        let users: Option<Vec<(String, Record)>> = rows.into_iter().map(decode).collect();
        Ok(Page { users: users.ok_or(damaged)?, total, cursor })
    }

    pub(in crate::storage) fn by_email(&self, source: &str, email: &str) -> Result<Vec<String>, Error> {
        Ok(self.durable.read().index(source).map(|index| index.by_email(email)).unwrap_or_default())
    }

    pub(in crate::storage) fn counts(&self, source: &str) -> Counts {
        self.durable.read().index(source).map(super::index::Index::counts).unwrap_or_default()
    }

    pub(in crate::storage) fn changes(&self, after: u64, limit: usize) -> Result<Vec<Change>, Error> {
        let durable = self.durable.read();
        let (newest, mut changes) = (durable.numbers.cursor, Vec::new());
        let first = after.saturating_add(1).max(durable.kept_from);
        if first > newest || limit == 0 {
            return Ok(changes);
        }
        let begin = durable.packed(keys::CHANGES, first)?.map_or(first, |row| row.head.first);
        let mut next = first;
        for row in durable.scan(keys::between(keys::CHANGES, begin..newest.saturating_add(1)), true) {
            let (key, value) = row?;
            let row = durable.rows.unpack(&key, value)?;
            for (cursor, content) in durable.open(row)?.iter().skip_while(|(cursor, _)| *cursor < first) {
                if cursor != next {
                    return Err(durable.rows.damaged(HOLE));
                }
                next = next.saturating_add(1);
                changes.push(durable.change(cursor, content)?);
                if changes.len() >= limit {
                    return Ok(changes);
                }
            }
        }
        Ok(changes)
    }

    pub(in crate::storage) fn change(&self, cursor: u64) -> Result<Option<Change>, Error> {
        let durable = self.durable.read();
        if cursor == 0 || cursor < durable.kept_from || cursor > durable.numbers.cursor {
            return Ok(None);
        }
        let row = durable.packed(keys::CHANGES, cursor)?.map(|row| durable.open(row)).transpose()?;
        let content = row.as_ref().and_then(|row| row.iter().find(|(number, _)| *number == cursor));
        let (_, content) = content.ok_or_else(|| durable.rows.damaged(HOLE))?;
        durable.change(cursor, content).map(Some)
    }

    pub(in crate::storage) fn watermark(&self) -> u64 {
        self.durable.read().numbers.cursor
    }

    pub(in crate::storage) fn deliveries(&self, outcome: Option<Outcome>, before: u64, limit: usize) -> Result<Vec<Delivery>, Error> {
        let durable = self.durable.read();
        let before = before.min(durable.numbers.delivery.saturating_add(1));
        if outcome == Some(Outcome::Quarantined) {
            return durable.quarantined(before, limit);
        }
        let mut deliveries = Vec::new();
        for row in durable.scan(keys::between(keys::DELIVERIES, 0..before), false) {
            let (key, value) = row?;
            let row = durable.rows.unpack(&key, value)?;
            if outcome.is_some_and(|outcome| row.head.marks & stored::mark(outcome) == 0) {
                continue;
            }
            for (_, content) in durable.open(row)?.iter().rev().filter(|(number, _)| *number < before) {
                let delivery = durable.decode_delivery(content)?;
                if outcome.is_none_or(|outcome| outcome == delivery.outcome) {
                    deliveries.push(delivery);
                }
                if deliveries.len() >= limit {
                    return Ok(deliveries);
                }
            }
        }
        Ok(deliveries)
    }

    pub(in crate::storage) fn delivery(&self, number: u64) -> Result<Option<Delivery>, Error> {
        self.durable.read().delivery(number)
    }

    pub(in crate::storage) fn open_gaps(&self, before: u64, limit: usize) -> Result<Vec<OpenGap>, Error> {
        let durable = self.durable.read();
        let mut ids = Vec::new();
        for (source, index) in &durable.sources {
            ids.extend(index.open_gaps(before).take(limit).map(|(id, uid)| (id, source, uid)));
        }
        ids.sort_unstable_by_key(|(id, ..)| Reverse(*id));
        ids.truncate(limit);
        let mut gaps = Vec::with_capacity(ids.len());
        for (id, source, uid) in ids {
            gaps.extend(durable.open_gap(id, source, uid)?.map(|gap| OpenGap { source: source.clone(), gap }));
        }
        Ok(gaps)
    }

    pub(in crate::storage) fn closed_gaps(&self, before: u64, limit: usize) -> Result<Vec<ClosedGap>, Error> {
        let durable = self.durable.read();
        let closed = durable.newest_first(keys::GAP, before).take(limit);
        closed.map(|value| postcard::from_bytes(&value?).map_err(|_| durable.rows.damaged("a closed gap cannot be read"))).collect()
    }

    pub(in crate::storage) fn due(&self, source: &str, limit: usize, held: &[u64]) -> Vec<Due> {
        self.durable.read().index(source).map(|index| index.due(limit, held)).unwrap_or_default()
    }

    pub(in crate::storage) fn claimed_before(&self, source: &str, before: Timestamp) -> Vec<String> {
        let mut uids: Vec<String> = Vec::new();
        // After each pass: an order of its own would cost each delivery more than that. No commit waits for all of it.
        for begin in (0..).step_by(CLAIMS_MAX as usize) {
            let durable = self.durable.read();
            let Some(index) = durable.index(source).filter(|index| begin < index.users()) else { break };
            uids.extend(index.claimed_before(begin..index.users().min(begin + CLAIMS_MAX), before));
        }
        uids.sort_unstable();
        uids
    }

    pub(in crate::storage) fn stale_details(&self, source: &str, limit: usize) -> Vec<String> {
        self.durable.read().index(source).map(|index| index.stale_details(limit)).unwrap_or_default()
    }

    pub(in crate::storage) fn holds(&self, source: &str, uid: &str) -> bool {
        self.durable.read().index(source).is_some_and(|index| index.written(uid).is_some())
    }

    pub(in crate::storage) fn absent(&self, source: &str, listings: (u64, Option<u64>)) -> Absent {
        self.durable.read().index(source).map(|index| index.absent(listings)).unwrap_or_default()
    }

    pub(in crate::storage) fn candidates(&self, source: &str) -> BTreeMap<u64, u64> {
        self.durable.read().index(source).map(super::index::Index::candidates).unwrap_or_default()
    }

    pub(in crate::storage) fn candidates_of(&self, source: &str, found_by: u64, limit: usize) -> Vec<String> {
        self.durable.read().index(source).map(|index| index.candidates_of(found_by, limit)).unwrap_or_default()
    }

    pub(in crate::storage) fn someone(&self, source: &str, place: usize) -> Option<String> {
        self.durable.read().index(source).and_then(|index| index.someone(place))
    }

    pub(in crate::storage) fn source(&self, source: &str) -> Result<SourceState, Error> {
        Ok(self.durable.read().index(source).map(|index| index.state.clone()).unwrap_or_default())
    }

    pub(in crate::storage) fn calls(&self, source: &str) -> Result<Vec<Call>, Error> {
        Ok(self.durable.read().index(source).map(|index| index.calls.clone()).unwrap_or_default())
    }

    pub(in crate::storage) fn reconciliations(&self, before: u64, limit: usize) -> Result<Vec<Reconciliation>, Error> {
        let durable = self.durable.read();
        durable.newest_first(keys::RECONCILIATION, before).take(limit).map(|value| durable.reconciliation(&value?)).collect()
    }

    pub(in crate::storage) fn reconciliation(&self, id: u64) -> Result<Option<Reconciliation>, Error> {
        let durable = self.durable.read();
        let value = durable.get(&keys::numbered(keys::RECONCILIATION, id))?;
        value.map(|value| durable.reconciliation(&value)).transpose()
    }

    pub(in crate::storage) fn numbers(&self) -> Numbers {
        self.durable.read().numbers
    }
}

impl Rows {
    /// A row of the log.
    pub(super) fn unpack(&self, key: &[u8], value: IVec) -> Result<Packed, Error> {
        let row = keys::number_of(key).and_then(|first| Packed::read(first, value));
        row.ok_or_else(|| self.damaged("a row of the log cannot be read"))
    }
}

impl Durable {
    /// The packed row that would hold `number`: the last one that begins at or before it.
    pub(super) fn packed(&self, kind: u8, number: u64) -> Result<Option<Packed>, Error> {
        let row = self.last(keys::numbered(kind, 0)..=keys::numbered(kind, number))?;
        row.map(|(key, value)| self.rows.unpack(&key, value)).transpose()
    }

    /// The entries of a row of the log.
    pub(super) fn open(&self, row: Packed) -> Result<Entries, Error> {
        row.open().ok_or_else(|| self.rows.damaged("a row of the log cannot be read"))
    }

    /// Whether the delivery with this number is kept.
    pub(super) fn holds_delivery(&self, number: u64) -> bool {
        self.packed(keys::DELIVERIES, number).is_ok_and(|row| row.is_some_and(|row| number < row.head.end()))
    }

    pub(super) fn decode_delivery(&self, content: &[u8]) -> Result<Delivery, Error> {
        stored::decode_delivery(content).ok_or_else(|| self.rows.damaged("a delivery cannot be read"))
    }

    fn change(&self, cursor: u64, content: &[u8]) -> Result<Change, Error> {
        stored::decode_change(cursor, content).ok_or_else(|| self.rows.damaged("a change cannot be read"))
    }

    fn reconciliation(&self, value: &[u8]) -> Result<Reconciliation, Error> {
        serde_json::from_slice(value).map_err(|_| self.rows.damaged("a reconciliation cannot be read"))
    }

    fn delivery(&self, number: u64) -> Result<Option<Delivery>, Error> {
        if number == 0 || number > self.numbers.delivery {
            return Ok(None);
        }
        let Some(row) = self.packed(keys::DELIVERIES, number)? else { return Ok(None) };
        let entries = self.open(row)?;
        let Some((_, content)) = entries.iter().find(|(found, _)| *found == number) else { return Ok(None) };
        let body = self.get(&keys::numbered(keys::BODY, number))?.map(|body| body.to_vec());
        Ok(Some(Delivery { body, ..self.decode_delivery(content)? }))
    }

    fn quarantined(&self, before: u64, limit: usize) -> Result<Vec<Delivery>, Error> {
        let mut deliveries = Vec::new();
        for row in self.scan(keys::between(keys::QUARANTINED, 0..before), false).take(limit) {
            let number = keys::number_of(&row?.0).unwrap_or_default();
            deliveries.extend(self.delivery(number)?.map(|delivery| Delivery { body: None, ..delivery }));
        }
        Ok(deliveries)
    }

    /// Values below a number, the greatest first.
    fn newest_first(&self, kind: u8, before: u64) -> impl Iterator<Item = Result<IVec, Error>> {
        self.scan(keys::between(kind, 0..before), false).map(|row| row.map(|(_, value)| value))
    }

    fn open_gap(&self, id: u64, source: &str, uid: Option<&str>) -> Result<Option<SourceGap>, Error> {
        let Some(uid) = uid else {
            let mut gaps = self.index(source).into_iter().flat_map(|index| &index.state.gaps);
            return Ok(gaps.find(|gap| gap.gap.id == id).cloned());
        };
        let Some(value) = self.get(&keys::user(source, uid))? else { return Ok(None) };
        let gap = self.record(&value)?.gaps.into_iter().find(|(_, gap)| gap.id == id);
        Ok(gap.map(|(reason, gap)| SourceGap { reason, uid: Some(uid.to_owned()), gap }))
    }
}
