//! Forgetting: deliveries whose ids need no longer be remembered, and changes that the feed no longer reaches back to.

use super::durable::Durable;
use super::{Sled, keys, stored};
use crate::directory::Timestamp;
use crate::storage::Error;

/// Entries forgotten in one call, about.
const ENTRIES_MAX: usize = 1_000;
/// Packed rows looked at in one call.
const ROWS_MAX: usize = 1_000;

impl Sled {
    /// Forgets deliveries that need not be remembered at `deliveries` (the service's time now), and changes older than `changes`.
    ///
    /// A packed row goes when all in it may go. Deliveries from a sender whose clock runs ahead stay longer than those after
    /// them, so the walk steps over rows that have to stay, goes on from there in the next call, and begins anew once a
    /// call has found nothing to forget.
    pub(in crate::storage) fn expire(&self, deliveries: Timestamp, changes: Option<Timestamp>) -> Result<usize, Error> {
        let mut writer = self.writer.lock();
        self.healthy()?;
        let mut writes = sled::Batch::default();
        let (forgotten, next) = self.durable.read().forget_deliveries(&mut writes, deliveries, writer.expired_up_to)?;
        writer.expired_up_to = if forgotten == 0 { 0 } else { next };
        let mut changed = 0;
        if let Some(before) = changes {
            let kept_from;
            (changed, kept_from) = self.durable.read().forget_changes(&mut writes, before)?;
            self.durable.write().kept_from = kept_from;
        }
        if forgotten + changed > 0 {
            self.make_durable(&mut writer, writes)?;
        }
        Ok(forgotten + changed)
    }
}

impl Durable {
    /// Returns how many deliveries go, and the number to go on from.
    fn forget_deliveries(&self, writes: &mut sled::Batch, now: Timestamp, from: u64) -> Result<(usize, u64), Error> {
        let (mut forgotten, mut next) = (0, from);
        for row in self.rows.scan(keys::between(keys::DELIVERIES, from..u64::MAX), true).take(ROWS_MAX) {
            let (key, value) = row?;
            let row = self.unpack(&key, value)?;
            next = row.first.saturating_add(1);
            if row.latest >= now {
                continue;
            }
            for (number, content) in row.entries() {
                self.forget_delivery(writes, number, content)?;
                forgotten += 1;
            }
            self.rows.remove(writes, &key)?;
            if forgotten >= ENTRIES_MAX {
                break;
            }
        }
        Ok((forgotten, next))
    }

    fn forget_delivery(&self, writes: &mut sled::Batch, number: u64, content: &[u8]) -> Result<(), Error> {
        let delivery = self.decode_delivery(content)?;
        let seen = keys::seen(&delivery.source, &delivery.event_id);
        let newest = self.rows.get(&seen)?.and_then(|value| stored::decode_seen(&value));
        if newest.is_some_and(|newest| newest.number == number) {
            writes.remove(seen);
        }
        self.rows.remove(writes, &keys::numbered(keys::BODY, number))?;
        self.rows.remove(writes, &keys::numbered(keys::QUARANTINED, number))
    }

    /// From the oldest on, up to the first row that has to stay: what is kept of the feed has no holes. Returns how many go, and
    /// the first that stays.
    fn forget_changes(&self, writes: &mut sled::Batch, before: Timestamp) -> Result<(usize, u64), Error> {
        let (mut forgotten, mut kept_from) = (0, self.kept_from);
        for row in self.rows.scan(keys::all(keys::CHANGES), true).take(ROWS_MAX) {
            let (key, value) = row?;
            let row = self.unpack(&key, value)?;
            if row.latest >= before || forgotten >= ENTRIES_MAX {
                break;
            }
            let count = row.entries().count();
            forgotten += count;
            kept_from = row.first.saturating_add(count as u64);
            self.rows.remove(writes, &key)?;
        }
        Ok((forgotten, kept_from))
    }
}
