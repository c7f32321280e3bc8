//! What is known of one source's users without reading a record: orders, filters, counts, gaps and claims.
//!
//! Built from the records when the store is opened, and moved on after each durable commit, so it tells what is durable.
//!
//! # Why it looks so
//! A million users must fit into memory many times over, and each delivery moves one of them. So a user is a slot: a fixed part
//! in a row ([`table`]), strings packed without an allocation each ([`texts`]), eight bytes in each order ([`ranking`]), and at most
//! four in each set that a filter asks for ([`sets`]). A filtered page crosses such sets ([`page`]). A search reads the names and
//! e-mails of those whose domain does not match already: an index of fragments would take as much room as all the rest.
//! `benches/mirror.rs` measures pages and memory.

mod absent;
mod bits;
mod column;
mod gaps;
mod page;
mod posting;
mod projection;
mod ranking;
mod row;
mod search;
mod sets;
mod slots;
mod table;
mod texts;

use absent::Absences;
use gaps::Gaps;
pub(in crate::storage) use projection::{Projection, Written};
use ranking::{Member, Ranking};
use row::{Entry, Key, Order, Row, Value};
use search::Recent;
use sets::Postings;
use slots::Slots;
use table::Table;

use std::collections::BTreeMap;
use std::ops::Range;

use crate::directory::Timestamp;
use crate::storage::{Absent, Call, Counts, Due, SourceState};

/// Domains that are told apart: a search that one of them matches need not look at its users.
const DOMAINS_MAX: usize = 1_000;

/// One source's index, and with it the small things that are kept of a source.
#[derive(Default)]
pub(in crate::storage) struct Index {
    table: Table,
    slots: Slots,
    orders: Orders,
    departments: Postings,
    statuses: Postings,
    /// Of e-mails.
    domains: Postings,
    recent: Recent,
    gaps: Gaps,
    absences: Absences,
    /// The source's state.
    pub(in crate::storage) state: SourceState,
    /// Its logged calls, in order of their numbers.
    pub(in crate::storage) calls: Vec<Call>,
}

#[derive(Default)]
struct Orders {
    created_at: Ranking,
    updated_at: Ranking,
    name: Ranking,
    email: Ranking,
    detail: Ranking,
}

impl Orders {
    const fn get(&self, order: Order) -> &Ranking {
        match order {
            Order::CreatedAt => &self.created_at,
            Order::UpdatedAt => &self.updated_at,
            Order::Name => &self.name,
            Order::Email => &self.email,
            Order::Detail => &self.detail,
        }
    }

    const fn get_mut(&mut self, order: Order) -> &mut Ranking {
        match order {
            Order::CreatedAt => &mut self.created_at,
            Order::UpdatedAt => &mut self.updated_at,
            Order::Name => &mut self.name,
            Order::Email => &mut self.email,
            Order::Detail => &mut self.detail,
        }
    }
}

impl Index {
    /// Takes in a user who is not there yet, without giving the user a place in any order: see [`Index::arrange`].
    pub(in crate::storage) fn load(&mut self, projection: Projection) {
        let entry = self.entry(&projection);
        let slot = self.add(&projection, entry);
        self.table.note_written(slot, projection.written);
        self.absences.put(slot, (&projection.swept, projection.candidate));
        self.gaps.put(slot, projection.gaps);
    }

    /// Gives everyone their places, once all are loaded: sorting all users once is far cheaper than putting them in one by one.
    pub(in crate::storage) fn arrange(&mut self) {
        for order in Order::ALL {
            *self.orders.get_mut(order) = Ranking::from_sorted(&self.table.sorted(order), |slot| self.table.key(order, slot));
        }
    }

    /// Takes one user in, or as the user now is.
    pub(in crate::storage) fn put(&mut self, projection: Projection) {
        let entry = self.entry(&projection);
        let slot = match self.slots.find(&projection.uid, &self.table.uids) {
            Some(slot) => {
                self.replace(slot, &projection, entry);
                slot
            }
            None => {
                let slot = self.add(&projection, entry);
                Order::ALL.into_iter().for_each(|order| self.enter(order, slot, &row(&projection, entry)));
                slot
            }
        };
        self.table.note_written(slot, projection.written);
        self.absences.put(slot, (&projection.swept, projection.candidate));
        self.gaps.put(slot, projection.gaps);
    }

    /// Takes a source's state in.
    pub(in crate::storage) fn put_state(&mut self, state: SourceState) {
        self.gaps.put_source(&state);
        self.state = state;
    }

    /// How a user's record is written down; `None` where there is none.
    pub(in crate::storage) fn written(&self, uid: &str) -> Option<Written> {
        self.slots.find(uid, &self.table.uids).and_then(|slot| self.table.written(slot))
    }

    /// The uids of the users with this e-mail: live ones first, then by uid.
    pub(in crate::storage) fn by_email(&self, email: &str) -> Vec<String> {
        let email = row::email(email);
        let (table, value) = (&self.table, Value::Text(&email));
        let behind = self.orders.email.behind(Key { value, uid: &[] }, |slot| table.key(Order::Email, slot));
        let same = behind.take_while(|slot| table.value(Order::Email, *slot) == value);
        let (deleted, live): (Vec<u32>, Vec<u32>) = same.partition(|slot| table.standings.deleted.contains(*slot));
        live.into_iter().chain(deleted).filter_map(|slot| table.uid(slot)).map(str::to_owned).collect()
    }

    /// How many users and gaps there are.
    pub(in crate::storage) fn counts(&self) -> Counts {
        Counts { gaps_open: self.gaps.len(), oldest_gap: self.gaps.oldest(), ..self.table.standings.counts() }
    }

    /// Users with open gaps, those due first at the top, without the candidates of the reconciliations `held`.
    pub(in crate::storage) fn due(&self, limit: usize, held: &[u64]) -> Vec<Due> {
        let is_held = |slot| self.absences.found_by(slot).is_some_and(|found_by| held.contains(&found_by));
        let uid = |slot| self.table.uid(slot).map(str::to_owned);
        let due = self
            .gaps
            .due()
            .filter(|(_, slot)| !is_held(*slot))
            .filter_map(|(due, slot)| Some(Due { uid: uid(slot)?, due, gaps: self.gaps.of(slot) }));
        due.take(limit).collect()
    }

    /// Open gaps with an id below `before`, newest first: the id, and whose it is (`None`: the source's).
    pub(in crate::storage) fn open_gaps(&self, before: u64) -> impl Iterator<Item = (u64, Option<&str>)> {
        self.gaps.below(before).map(|(id, slot)| (id, slot.and_then(|slot| self.table.uid(slot))))
    }

    /// How many users there are, shown or not.
    pub(in crate::storage) fn users(&self) -> u32 {
        self.table.slots()
    }

    /// Of the users at some places, those with claims all of which arrived before `before`; by uid.
    pub(in crate::storage) fn claimed_before(&self, places: Range<u32>, before: Timestamp) -> Vec<String> {
        self.by_uid(self.table.claimed_before(places, before))
    }

    /// Live users whose details are missing or old, the oldest read first.
    pub(in crate::storage) fn stale_details(&self, limit: usize) -> Vec<String> {
        let slots = self.orders.detail.walk(false, true, 0).take(limit);
        slots.filter_map(|slot| self.table.uid(slot)).map(str::to_owned).collect()
    }

    /// Whom a sweep's listings did not show, see [`Absences::absent`]; by uid.
    pub(in crate::storage) fn absent(&self, listings: (u64, Option<u64>)) -> Absent {
        let Absent { only_deleted, nowhere } = self.absences.absent(&self.table.standings, listings);
        Absent { only_deleted: self.by_uid(only_deleted.into_iter()), nowhere: self.by_uid(nowhere.into_iter()) }
    }

    /// How many candidates for deletion each reconciliation found.
    pub(in crate::storage) fn candidates(&self) -> BTreeMap<u64, u64> {
        self.absences.found().clone()
    }

    /// The candidates that one reconciliation found, by uid.
    pub(in crate::storage) fn candidates_of(&self, found_by: u64, limit: usize) -> Vec<String> {
        self.by_uid(self.absences.found_in(found_by).take(limit))
    }

    /// Some active user who is no candidate for deletion, the `place`-th or one behind it.
    pub(in crate::storage) fn someone(&self, place: usize) -> Option<String> {
        let (slots, start) = (self.table.slots(), u32::try_from(place).unwrap_or(0));
        let fits = |slot: &u32| self.table.standings.of(*slot) == projection::Standing::Active && self.absences.found_by(*slot).is_none();
        let slot = (0..slots).map(|slot| slot.wrapping_add(start) % slots).find(fits)?;
        self.table.uid(slot).map(str::to_owned)
    }

    fn by_uid(&self, slots: impl Iterator<Item = u32>) -> Vec<String> {
        let mut uids: Vec<String> = slots.filter_map(|slot| self.table.uid(slot)).map(str::to_owned).collect();
        uids.sort_unstable();
        uids
    }

    /// A new user, everywhere but in the orders.
    fn add(&mut self, projection: &Projection, entry: Entry) -> u32 {
        let slot = self.table.add(&projection.uid, &row(projection, entry));
        self.slots.insert(slot, &self.table.uids);
        self.departments.shift(slot, None, entry.department);
        self.statuses.shift(slot, None, entry.employment_status);
        let domain = row::domain(&projection.text).and_then(|domain| self.domains.intern_below(DOMAINS_MAX, domain));
        self.domains.shift(slot, None, domain);
        slot
    }

    /// A known user as the user now is; only orders in which the user moves are touched.
    fn replace(&mut self, slot: u32, projection: &Projection, entry: Entry) {
        let new = row(projection, entry);
        let Some(old) = self.table.row(slot) else { return };
        let moved = Order::ALL.map(|order| order.place(&old) != order.place(&new));
        let moved = || Order::ALL.into_iter().zip(moved).filter_map(|(order, moved)| moved.then_some(order));
        for order in moved().filter(|order| order.place(&old).is_some()) {
            self.orders.get_mut(order).remove(slot, |slot| self.table.key(order, slot));
        }
        self.departments.shift(slot, old.entry.department, entry.department);
        self.statuses.shift(slot, old.entry.employment_status, entry.employment_status);
        if old.text != new.text {
            let mut domain = |text| row::domain(text).and_then(|domain| self.domains.intern_below(DOMAINS_MAX, domain));
            let (from, to) = (domain(old.text), domain(new.text));
            self.domains.shift(slot, from, to);
        }
        self.table.set(slot, &new);
        moved().for_each(|order| self.enter(order, slot, &new));
    }

    /// Gives a user a place in an order, if it holds the user.
    fn enter(&mut self, order: Order, slot: u32, row: &Row<'_>) {
        let Some((_, deleted)) = order.place(row) else { return };
        self.orders.get_mut(order).insert(Member::new(slot, deleted), |slot| self.table.key(order, slot));
    }

    /// The fixed part of a user, its texts given numbers.
    fn entry(&mut self, projection: &Projection) -> Entry {
        let Projection { created_at, updated_at, detail_began, claimed, department, employment_status, .. } = projection;
        Entry {
            created_at: *created_at,
            updated_at: *updated_at,
            detail_began: *detail_began,
            claimed: *claimed,
            department: department.as_ref().and_then(|text| self.departments.intern(text)),
            employment_status: employment_status.as_ref().and_then(|text| self.statuses.intern(text)),
        }
    }
}

fn row(projection: &Projection, entry: Entry) -> Row<'_> {
    Row { entry, standing: projection.standing, detail_stale: projection.detail_stale, text: &projection.text }
}
