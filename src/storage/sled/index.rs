//! What is known of one source's users without reading a record: orders, filters, counts, gaps and claims.
//!
//! Built from the records when the store is opened, and moved on after each durable commit, so it tells what is durable.

mod entry;
mod gaps;
mod ranking;

use std::cmp::Ordering;
use std::collections::BTreeSet;

pub(super) use entry::Projection;
use entry::{Entry, Order, Standing, Word, Words};
use gaps::Gaps;
use memchr::memmem::Finder;
use ranking::{Member, Ranking};

use crate::directory::Timestamp;
use crate::storage::{Call, Counts, Due, Listing, SortBy, SourceState};

/// One source's index, and with it the small things that are kept of a source.
#[derive(Default)]
pub(super) struct Index {
    entries: Vec<Entry>,
    orders: Orders,
    words: Words,
    gaps: Gaps,
    claims: BTreeSet<(Timestamp, u32)>,
    hidden: BTreeSet<u32>,
    counts: Counts,
    /// The source's state.
    pub(super) state: SourceState,
    /// Its logged calls, in order of their numbers.
    pub(super) calls: Vec<Call>,
}

#[derive(Default)]
struct Orders {
    uid: Ranking,
    created_at: Ranking,
    updated_at: Ranking,
    name: Ranking,
    email: Ranking,
    detail: Ranking,
}

impl Orders {
    const fn get(&self, order: Order) -> &Ranking {
        match order {
            Order::Uid => &self.uid,
            Order::CreatedAt => &self.created_at,
            Order::UpdatedAt => &self.updated_at,
            Order::Name => &self.name,
            Order::Email => &self.email,
            Order::Detail => &self.detail,
        }
    }

    const fn get_mut(&mut self, order: Order) -> &mut Ranking {
        match order {
            Order::Uid => &mut self.uid,
            Order::CreatedAt => &mut self.created_at,
            Order::UpdatedAt => &mut self.updated_at,
            Order::Name => &mut self.name,
            Order::Email => &mut self.email,
            Order::Detail => &mut self.detail,
        }
    }
}

impl Index {
    /// Fills an empty index: sorting all users once is far cheaper than putting them in one by one.
    pub(super) fn fill(&mut self, users: impl IntoIterator<Item = Projection>) {
        for projection in users {
            let slot = self.next_slot();
            let entry = self.note(slot, projection);
            self.entries.push(entry);
        }
        self.entries.shrink_to_fit();
        for order in Order::ALL {
            let mut held: Vec<(u32, &Entry)> = (0..).zip(&self.entries).filter(|(_, entry)| order.holds(entry)).collect();
            held.sort_unstable_by(|(_, one), (_, other)| order.compare(one, other));
            let members: Vec<Member> = held.into_iter().map(|(slot, entry)| member(slot, entry)).collect();
            *self.orders.get_mut(order) = Ranking::from_sorted(&members);
        }
    }

    /// Takes one user in, or as the user now is.
    pub(super) fn put(&mut self, projection: Projection) {
        let slot = self.slot(&projection.entry.uid);
        let Some(slot) = slot else {
            let slot = self.next_slot();
            let entry = self.note(slot, projection);
            self.entries.push(entry);
            Order::ALL.into_iter().for_each(|order| self.enter(order, slot));
            return;
        };
        self.strike(slot);
        let new = self.note(slot, projection);
        let Some(old) = self.entries.get(slot as usize) else { return };
        let moved = Order::ALL.map(|order| {
            order.compare(old, &new).is_ne() || order.holds(old) != order.holds(&new) || member(slot, old) != member(slot, &new)
        });
        let moved = || Order::ALL.into_iter().zip(moved).filter_map(|(order, moved)| moved.then_some(order));
        for order in moved().filter(|order| order.holds(old)) {
            self.orders.get_mut(order).remove(slot, by(&self.entries, order, old));
        }
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            *entry = new;
        }
        moved().for_each(|order| self.enter(order, slot));
    }

    /// Takes a source's state in.
    pub(super) fn put_state(&mut self, state: SourceState) {
        self.gaps.put_source(&state);
        self.state = state;
    }

    /// The uids of a page, and how many users match on all pages.
    pub(super) fn page(&self, listing: &Listing) -> (Vec<&str>, usize) {
        let order = match listing.sort_by {
            SortBy::CreatedAt => Order::CreatedAt,
            SortBy::UpdatedAt => Order::UpdatedAt,
            SortBy::Name => Order::Name,
        };
        let (ranking, live_only) = (self.orders.get(order), !listing.include_deleted);
        let before = match listing.updated_after.filter(|_| order == Order::UpdatedAt) {
            Some(after) => ranking.rank(live_only, |slot| self.entry(slot).is_some_and(|entry| entry.updated_at <= after)),
            None => 0,
        };
        let within = ranking.len(live_only).saturating_sub(before);
        let skipped = if listing.ascending { before } else { 0 };
        let Some(filter) = Filter::of(listing, &self.words) else {
            let slots = ranking.walk(live_only, listing.ascending, skipped.saturating_add(listing.offset));
            let limit = listing.limit.min(within.saturating_sub(listing.offset));
            return (slots.take(limit).filter_map(|slot| self.uid(slot)).collect(), within);
        };
        let (mut uids, mut total) = (Vec::new(), 0);
        let entries = ranking.walk(live_only, listing.ascending, skipped).take(within).filter_map(|slot| self.entry(slot));
        for entry in entries.filter(|entry| filter.matches(entry)) {
            if total >= listing.offset && uids.len() < listing.limit {
                uids.push(entry.uid.as_ref());
            }
            total += 1;
        }
        (uids, total)
    }

    /// The uids of the users with this e-mail: live ones first, then by uid.
    pub(super) fn by_email(&self, email: &str) -> Vec<String> {
        let email = email.to_lowercase();
        let before = |slot| self.entry(slot).is_some_and(|entry| entry.email.as_deref() < Some(email.as_str()));
        let first = self.orders.email.rank(false, before);
        let slots = self.orders.email.walk(false, true, first).filter_map(|slot| self.entry(slot));
        let same = slots.take_while(|entry| entry.email.as_deref() == Some(email.as_str()));
        let (deleted, live): (Vec<&Entry>, Vec<&Entry>) = same.partition(|entry| entry.standing == Standing::Deleted);
        live.into_iter().chain(deleted).map(|entry| entry.uid.to_string()).collect()
    }

    /// How many users and gaps there are.
    pub(super) fn counts(&self) -> Counts {
        Counts { gaps_open: self.gaps.len(), oldest_gap: self.gaps.oldest(), ..self.counts }
    }

    /// Users with open gaps, those due first at the top.
    pub(super) fn due(&self, limit: usize) -> Vec<Due> {
        let due = self.gaps.due().filter_map(|(due, slot)| Some(Due { uid: self.uid(slot)?.to_owned(), due, gaps: self.gaps.of(slot) }));
        due.take(limit).collect()
    }

    /// Open gaps with an id below `before`, newest first: the id, and whose it is (`None`: the source's).
    pub(super) fn open_gaps(&self, before: u64) -> impl Iterator<Item = (u64, Option<&str>)> {
        self.gaps.below(before).map(|(id, slot)| (id, slot.and_then(|slot| self.uid(slot))))
    }

    /// Users with claims all of which arrived before `before`, by uid.
    pub(super) fn claimed_before(&self, before: Timestamp) -> Vec<String> {
        self.sorted(self.claims.range(..(before, 0)).map(|(_, slot)| *slot))
    }

    /// Live users whose details are missing or old, the oldest read first.
    pub(super) fn stale_details(&self, limit: usize) -> Vec<String> {
        let slots = self.orders.detail.walk(false, true, 0).take(limit);
        slots.filter_map(|slot| self.uid(slot)).map(str::to_owned).collect()
    }

    /// Users who are not shown yet, by uid.
    pub(super) fn hidden(&self) -> Vec<String> {
        self.sorted(self.hidden.iter().copied())
    }

    fn sorted(&self, slots: impl Iterator<Item = u32>) -> Vec<String> {
        let mut uids: Vec<String> = slots.filter_map(|slot| self.uid(slot)).map(str::to_owned).collect();
        uids.sort_unstable();
        uids
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)
    }

    fn uid(&self, slot: u32) -> Option<&str> {
        self.entry(slot).map(|entry| entry.uid.as_ref())
    }

    fn next_slot(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    fn slot(&self, uid: &str) -> Option<u32> {
        let rank = self.orders.uid.rank(false, |slot| self.uid(slot).is_some_and(|other| other < uid));
        self.orders.uid.walk(false, true, rank).next().filter(|slot| self.uid(*slot) == Some(uid))
    }

    fn enter(&mut self, order: Order, slot: u32) {
        let Some(entry) = self.entries.get(slot as usize).filter(|entry| order.holds(entry)) else { return };
        let compare = by(&self.entries, order, entry);
        self.orders.get_mut(order).insert(member(slot, entry), compare);
    }

    /// Counts a user in, everywhere but in the orders, and gives the entry its words.
    fn note(&mut self, slot: u32, projection: Projection) -> Entry {
        let Projection { mut entry, department, employment_status, gaps } = projection;
        entry.department = department.map(|text| self.words.intern(text));
        entry.employment_status = employment_status.map(|text| self.words.intern(text));
        if let Some(count) = count_of(&mut self.counts, entry.standing) {
            *count += 1;
        }
        if entry.standing == Standing::Hidden {
            self.hidden.insert(slot);
        }
        if entry.claimed > Timestamp::MIN {
            self.claims.insert((entry.claimed, slot));
        }
        self.gaps.put(slot, gaps);
        entry
    }

    /// Takes back what [`Index::note`] noted, gaps aside: those are replaced.
    fn strike(&mut self, slot: u32) {
        let Some(old) = self.entries.get(slot as usize) else { return };
        if let Some(count) = count_of(&mut self.counts, old.standing) {
            *count = count.saturating_sub(1);
        }
        self.hidden.remove(&slot);
        self.claims.remove(&(old.claimed, slot));
    }
}

fn member(slot: u32, entry: &Entry) -> Member {
    Member::new(slot, entry.standing == Standing::Deleted)
}

/// Compares any slot with one entry.
fn by(entries: &[Entry], order: Order, entry: &Entry) -> impl Fn(u32) -> Ordering {
    move |other| entries.get(other as usize).map_or(Ordering::Less, |other| order.compare(other, entry))
}

const fn count_of(counts: &mut Counts, standing: Standing) -> Option<&mut u64> {
    match standing {
        Standing::Hidden => None,
        Standing::Live(Some(true)) => Some(&mut counts.active),
        Standing::Live(_) => Some(&mut counts.inactive),
        Standing::Deleted => Some(&mut counts.deleted),
    }
}

/// What a listing asks for beyond its order; nothing matches a word that no user has.
struct Filter {
    active: Option<bool>,
    search: Option<Finder<'static>>,
    department: Option<Option<Word>>,
    employment_status: Option<Option<Word>>,
    updated_after: Option<Timestamp>,
}

impl Filter {
    /// `None` where every user matches.
    fn of(listing: &Listing, words: &Words) -> Option<Self> {
        let by_index = listing.sort_by == SortBy::UpdatedAt;
        let filter = Self {
            active: listing.active,
            search: listing.search.as_ref().map(|text| Finder::new(text.to_lowercase().as_bytes()).into_owned()),
            department: listing.department.as_ref().map(|text| words.get(text)),
            employment_status: listing.employment_status.as_ref().map(|text| words.get(text)),
            updated_after: listing.updated_after.filter(|_| !by_index),
        };
        let Self { active, search, department, employment_status, updated_after } = &filter;
        let any = active.is_some() || search.is_some() || department.is_some() || employment_status.is_some() || updated_after.is_some();
        any.then_some(filter)
    }

    fn matches(&self, entry: &Entry) -> bool {
        let Self { active, search, department, employment_status, updated_after } = self;
        let told = match entry.standing {
            Standing::Live(active) => active,
            Standing::Hidden | Standing::Deleted => Some(false),
        };
        let has = |text: &Option<Box<str>>, finder: &Finder<'_>| text.as_ref().is_some_and(|text| finder.find(text.as_bytes()).is_some());
        let word = |wanted: &Option<Option<Word>>, word: Option<Word>| wanted.is_none_or(|wanted| wanted.is_some() && wanted == word);
        active.is_none_or(|active| told == Some(active))
            && word(department, entry.department)
            && word(employment_status, entry.employment_status)
            && updated_after.is_none_or(|after| entry.updated_at > after)
            && search.as_ref().is_none_or(|finder| has(&entry.name, finder) || has(&entry.email, finder))
    }
}
