//! Reading what is kept in memory.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::Memory;
use crate::directory::{Change, ClosedGap, Outcome, Record, Timestamp};
use crate::storage::entry::Numbers;
use crate::storage::sled::index::Index;
use crate::storage::{
    Absent, Call, Counts, Delivery, Due, Error, Listing, OpenGap, Page, Reconciliation, SeenDelivery, SourceGap, SourceState,
};

impl Memory {
    /// What a source's index tells; the default where nothing is known of the source.
    fn of<T: Default>(&self, source: &str, tell: impl FnOnce(&Index) -> T) -> T {
        self.kept.read().sources.get(source).map(tell).unwrap_or_default()
    }

    pub(in crate::storage) fn record(&self, source: &str, uid: &str) -> Result<Option<Record>, Error> {
        Ok(self.kept.read().records.get(source).and_then(|records| records.get(uid)).cloned())
    }

    pub(in crate::storage) fn seen(&self, source: &str, event_id: &str) -> Result<Option<SeenDelivery>, Error> {
        Ok(self.kept.read().seen.get(source).and_then(|seen| seen.get(event_id)).copied())
    }

    pub(in crate::storage) fn list(&self, source: &str, listing: &Listing) -> Result<Page, Error> {
        let kept = self.kept.read();
        let cursor = kept.numbers.cursor;
        let (Some(index), Some(records)) = (kept.sources.get(source), kept.records.get(source)) else {
            return Ok(Page { users: Vec::new(), total: 0, cursor });
        };
        let (uids, total) = index.page_after(listing, None);
        let users = uids.into_iter().filter_map(|uid| Some((uid.to_owned(), records.get(uid)?.clone()))).collect();
        Ok(Page { users, total, cursor })
    }

    pub(in crate::storage) fn by_email(&self, source: &str, email: &str) -> Result<Vec<String>, Error> {
        Ok(self.of(source, |index| index.by_email(email)))
    }

    pub(in crate::storage) fn counts(&self, source: &str) -> Counts {
        self.of(source, Index::counts)
    }

    pub(in crate::storage) fn changes(&self, after: u64, limit: usize) -> Result<Vec<Change>, Error> {
        let kept = self.kept.read();
        Ok(kept.changes.range(after.saturating_add(1)..).take(limit).map(|(_, change)| change.clone()).collect())
    }

    pub(in crate::storage) fn change(&self, cursor: u64) -> Result<Option<Change>, Error> {
        Ok(self.kept.read().changes.get(&cursor).cloned())
    }

    pub(in crate::storage) fn watermark(&self) -> u64 {
        self.kept.read().numbers.cursor
    }

    pub(in crate::storage) fn deliveries(&self, outcome: Option<Outcome>, before: u64, limit: usize) -> Result<Vec<Delivery>, Error> {
        let kept = self.kept.read();
        let newest = kept.deliveries.range(..before).rev().map(|(_, delivery)| delivery);
        let wanted = newest.filter(|delivery| outcome.is_none_or(|outcome| delivery.outcome == outcome));
        Ok(wanted.take(limit).map(|delivery| Delivery { body: None, ..delivery.clone() }).collect())
    }

    pub(in crate::storage) fn delivery(&self, number: u64) -> Result<Option<Delivery>, Error> {
        Ok(self.kept.read().deliveries.get(&number).cloned())
    }

    pub(in crate::storage) fn open_gaps(&self, before: u64, limit: usize) -> Result<Vec<OpenGap>, Error> {
        let kept = self.kept.read();
        let mut gaps = Vec::new();
        for (source, index) in &kept.sources {
            let of_source = index.state.gaps.iter().filter(|gap| gap.gap.id < before).cloned();
            gaps.extend(of_source.map(|gap| OpenGap { source: source.clone(), gap }));
        }
        for (source, records) in &kept.records {
            for (uid, record) in records {
                let open = record.gaps.iter().filter(|(_, gap)| gap.id < before);
                let open = open.map(|(reason, gap)| SourceGap { reason: *reason, uid: Some(uid.clone()), gap: gap.clone() });
                gaps.extend(open.map(|gap| OpenGap { source: source.clone(), gap }));
            }
        }
        gaps.sort_unstable_by_key(|gap| Reverse(gap.gap.gap.id));
        gaps.truncate(limit);
        Ok(gaps)
    }

    pub(in crate::storage) fn closed_gaps(&self, before: u64, limit: usize) -> Result<Vec<ClosedGap>, Error> {
        Ok(self.kept.read().closed.range(..before).rev().take(limit).map(|(_, gap)| gap.clone()).collect())
    }

    pub(in crate::storage) fn due(&self, source: &str, limit: usize, held: &[u64]) -> Vec<Due> {
        self.of(source, |index| index.due(limit, held))
    }

    pub(in crate::storage) fn claimed_before(&self, source: &str, before: Timestamp) -> Vec<String> {
        self.of(source, |index| index.claimed_before(0..index.users(), before))
    }

    pub(in crate::storage) fn stale_details(&self, source: &str, limit: usize) -> Vec<String> {
        self.of(source, |index| index.stale_details(limit))
    }

    pub(in crate::storage) fn holds(&self, source: &str, uid: &str) -> bool {
        self.kept.read().records.get(source).is_some_and(|records| records.contains_key(uid))
    }

    pub(in crate::storage) fn absent(&self, source: &str, listings: (u64, Option<u64>)) -> Absent {
        self.of(source, |index| index.absent(listings))
    }

    pub(in crate::storage) fn candidates(&self, source: &str) -> BTreeMap<u64, u64> {
        self.of(source, Index::candidates)
    }

    pub(in crate::storage) fn candidates_of(&self, source: &str, found_by: u64, limit: usize) -> Vec<String> {
        self.of(source, |index| index.candidates_of(found_by, limit))
    }

    pub(in crate::storage) fn someone(&self, source: &str, place: usize) -> Option<String> {
        self.of(source, |index| index.someone(place))
    }

    pub(in crate::storage) fn source(&self, source: &str) -> Result<SourceState, Error> {
        Ok(self.of(source, |index| index.state.clone()))
    }

    pub(in crate::storage) fn calls(&self, source: &str) -> Result<Vec<Call>, Error> {
        Ok(self.of(source, |index| index.calls.clone()))
    }

    pub(in crate::storage) fn reconciliations(&self, before: u64, limit: usize) -> Result<Vec<Reconciliation>, Error> {
        Ok(self.kept.read().reconciliations.range(..before).rev().take(limit).map(|(_, run)| run.clone()).collect())
    }

    pub(in crate::storage) fn reconciliation(&self, id: u64) -> Result<Option<Reconciliation>, Error> {
        Ok(self.kept.read().reconciliations.get(&id).cloned())
    }

    pub(in crate::storage) fn numbers(&self) -> Numbers {
        self.kept.read().numbers
    }
}
