//! Pages: which users match, how many they are, and which of them stand where the page begins.
//!
//! Each filter is a set of bits, found by an index; crossed, they tell the total. Then either the order is walked from its nearer
//! end until the page is full, or, where only few match, those are sorted.

use std::time::Duration;

use memchr::memmem::Finder;

use super::Index;
use super::bits::Bits;
use super::row::{Key, Order, Value};
use super::search::{Search, Searched};
use crate::directory::Timestamp;
use crate::storage::{Listing, SortBy};

/// A search looks at the texts of those who match otherwise where they are fewer than one in so many.
const SCAN_SHARE: usize = 12;
/// Steps of a walk that cost as much as sorting in one match by time.
const STEPS_A_TIME: usize = 24;
/// The same by name.
const STEPS_A_NAME: usize = 160;

impl Index {
    /// The search that a listing needs through the texts of all users. It shares them, so it is to be run while nothing is locked.
    pub(in crate::storage) fn search(&self, listing: &Listing) -> Option<Search> {
        let finder = finder(listing.search.as_ref()?);
        let is_wide = self.told(listing).is_none_or(|told| self.is_wide(&told));
        is_wide.then(|| {
            let marked = self.domains.of_any(|domain| finder.find(domain.as_bytes()).is_some());
            self.recent.search(&self.table.texts, finder, marked)
        })
    }

    /// The uids of a page as of now, and how many users match on all pages, given what a search found at an earlier time: only what
    /// changed since is searched again.
    pub(in crate::storage) fn page_after(&self, listing: &Listing, searched: Option<&Searched>) -> (Vec<&str>, usize) {
        let order = order_of(listing);
        let Some(matches) = self.matches(listing, searched) else { return self.plain(order, listing) };
        let total = matches.len();
        let end = listing.offset.saturating_add(listing.limit).min(total);
        let slots = self.pick(order, listing.ascending, &matches, (listing.offset.min(end), end, total));
        (slots.into_iter().filter_map(|slot| self.table.uid(slot)).collect(), total)
    }

    /// A page without any filter but the one that its own order serves.
    fn plain(&self, order: Order, listing: &Listing) -> (Vec<&str>, usize) {
        let (ranking, live_only) = (self.orders.get(order), !listing.include_deleted);
        let before = listing.updated_after.map_or(0, |after| self.until(live_only, after));
        let within = ranking.len(live_only).saturating_sub(before);
        let skipped = if listing.ascending { before } else { 0 };
        let slots = ranking.walk(live_only, listing.ascending, skipped.saturating_add(listing.offset));
        let limit = listing.limit.min(within.saturating_sub(listing.offset));
        (slots.take(limit).filter_map(|slot| self.table.uid(slot)).collect(), within)
    }

    /// Who matches; `None` where everyone does whom the order tells.
    fn matches(&self, listing: &Listing, searched: Option<&Searched>) -> Option<Bits> {
        let mut found = self.told(listing);
        let by_order = found.is_none() && listing.search.is_none() && listing.sort_by == SortBy::UpdatedAt;
        if let Some(after) = listing.updated_after.filter(|_| !by_order) {
            found = Some(self.updated_after(after, found));
        }
        if let Some(text) = &listing.search {
            found = Some(self.containing(&finder(text), found, searched));
        }
        if let Some(found) = found.as_mut().filter(|_| !listing.include_deleted) {
            found.subtract(&self.table.standings.deleted);
        }
        found
    }

    /// Who matches by what postings and standings tell; `None` where these are not asked.
    fn told(&self, listing: &Listing) -> Option<Bits> {
        let department = listing.department.as_ref().map(|text| self.departments.of(text));
        let employment_status = listing.employment_status.as_ref().map(|text| self.statuses.of(text));
        let words = match (department, employment_status) {
            (Some(mut one), Some(other)) => {
                one.cross(&other);
                Some(one)
            }
            (one, other) => one.or(other),
        };
        let standings = &self.table.standings;
        let Some(active) = listing.active else { return words };
        let mut told = if active { standings.active.clone() } else { standings.inactive.clone() };
        if !active && listing.include_deleted {
            told.unite(&standings.deleted);
        }
        if let Some(words) = words {
            told.cross(&words);
        }
        Some(told)
    }

    /// Whom of `found`, or of all, was updated after a time.
    fn updated_after(&self, after: Timestamp, mut found: Option<Bits>) -> Bits {
        let ranking = self.orders.get(Order::UpdatedAt);
        let before = self.until(false, after);
        let behind = ranking.len(false).saturating_sub(before);
        let few = found.as_ref().is_some_and(|found| found.len() <= before.min(behind));
        let mut updated = match &mut found {
            Some(found) if few => {
                found.retain(|slot| self.table.updated_at(slot) > after);
                return std::mem::take(found);
            }
            _ if behind <= before => ranking.walk(false, false, 0).take(behind).collect(),
            _ => {
                let mut shown = self.table.standings.shown();
                ranking.walk(false, true, 0).take(before).for_each(|slot| shown.remove(slot));
                shown
            }
        };
        if let Some(found) = found {
            updated.cross(&found);
        }
        updated
    }

    /// Whose name or e-mail, of `found` or of all, contains what is sought.
    fn containing(&self, finder: &Finder<'_>, found: Option<Bits>, searched: Option<&Searched>) -> Bits {
        let texts = &self.table.texts;
        match found {
            Some(mut found) if !self.is_wide(&found) => {
                found.retain(|slot| texts.has(slot, finder));
                found
            }
            found => {
                let mut containing = self.recent.found(texts, finder, searched);
                if let Some(found) = found {
                    containing.cross(&found);
                }
                containing
            }
        }
    }

    fn is_wide(&self, found: &Bits) -> bool {
        found.len().saturating_mul(SCAN_SHARE) >= self.table.slots() as usize
    }

    /// The matches from `begin` to `end` in an order, of `total`.
    fn pick(&self, order: Order, ascending: bool, matches: &Bits, (begin, end, total): (usize, usize, usize)) -> Vec<u32> {
        let (count, from_end) = (end - begin, total - end);
        let ranking = self.orders.get(order);
        let nearer = end.min(total - begin);
        let steps = nearer.saturating_mul(ranking.len(false)) / total.max(1);
        let sorting = total.saturating_mul(if order.is_by_text() { STEPS_A_NAME } else { STEPS_A_TIME });
        if count == 0 {
            Vec::new()
        } else if sorting < steps {
            self.sorted_part(order, ascending, matches, begin..end)
        } else if end <= total - begin {
            ranking.pick(ascending, |slot| matches.contains(slot), begin, count)
        } else {
            let mut slots = ranking.pick(!ascending, |slot| matches.contains(slot), from_end, count);
            slots.reverse();
            slots
        }
    }

    fn sorted_part(&self, order: Order, ascending: bool, matches: &Bits, part: std::ops::Range<usize>) -> Vec<u32> {
        let mut slots: Vec<(Key<'_>, u32)> = matches.iter().map(|slot| (self.table.key(order, slot), slot)).collect();
        let compare = |(key, _): &(Key<'_>, u32), (other, _): &(Key<'_>, u32)| if ascending { key.cmp(other) } else { other.cmp(key) };
        if part.end < slots.len() {
            slots.select_nth_unstable_by(part.end, compare);
            slots.truncate(part.end);
        }
        if part.start > 0 {
            slots.select_nth_unstable_by(part.start, compare);
            slots.drain(..part.start);
        }
        slots.sort_unstable_by(compare);
        slots.into_iter().map(|(_, slot)| slot).collect()
    }

    /// How many stand before those who were updated after a time.
    fn until(&self, live_only: bool, after: Timestamp) -> usize {
        let first = Key { value: Value::Time(after + Duration::from_millis(1)), uid: &[] };
        self.orders.updated_at.rank(live_only, first, |slot| self.table.key(Order::UpdatedAt, slot))
    }
}

const fn order_of(listing: &Listing) -> Order {
    match listing.sort_by {
        SortBy::CreatedAt => Order::CreatedAt,
        SortBy::UpdatedAt => Order::UpdatedAt,
        SortBy::Name => Order::Name,
    }
}

fn finder(text: &str) -> Finder<'static> {
    Finder::new(text.to_lowercase().as_bytes()).into_owned()
}
