//! The laws of lists, tried on generated directories: against any engine, and against any index of one.
//!
//! The model is a plain sort of all views. An engine is bound to it by handing its store to [`hold`].

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;

use super::{Counts, Listing, SortBy};
use crate::directory::{Candidate, Deletion, Fields, Life, Read, Record, Sight, Timestamp, User, merge};
use crate::storage::{Absent, Batch, Store, StoredUser};

/// Directories that [`hold`] tries.
const CASES: u32 = 60;

pub(in crate::storage) fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_763_479_800_000 + second * 1000)
}

/// Some text or null. Upper and lower case of other lengths, letters whose lower case hangs on their neighbours, texts that differ
/// late only, the empty one, and what no name should have.
fn some_text(short: &'static str) -> impl Strategy<Value = Option<String>> {
    let text = prop_oneof![
        6 => short,
        2 => "[aAbBäÄßẞİıΣσς]{0,3}",
        1 => "(Alexandra )[aAbB]{0,2}",
        1 => "[\0\u{7f}a\u{ffff}\u{10ffff}]{1,2}",
    ];
    proptest::option::weighted(0.8, text)
}

fn some_time() -> impl Strategy<Value = Option<String>> {
    let time = prop_oneof![
        8 => (0..6_i64).prop_map(|second| at(second).to_string()),
        1 => (0..3_i64).prop_map(|milli| Timestamp::from_millis(at(2).as_millis() + milli).to_string()),
        1 => prop_oneof![Just("0001-01-01T00:00:00Z"), Just("9999-12-31T23:59:59Z"), Just("soon"), Just("")].prop_map(str::to_owned),
    ];
    proptest::option::weighted(0.8, time)
}

fn some_life() -> impl Strategy<Value = Life> {
    let sight = |alive: bool| Some(Sight { alive, began: at(9), call: 0, deleted_at: None });
    let deletion = Deletion { stamp: at(3), digest: 1, received: at(4), deleted_at: at(3).to_string(), event_id: "e".to_owned() };
    let touched = (0..7_i64, 0..7_i64).prop_map(|(stamp, received)| Some((at(stamp), at(received))));
    let life = prop_oneof![
        5 => Just(Life { sight: sight(true), known: true, ..Life::default() }),
        2 => Just(Life { sight: sight(false), known: true, ..Life::default() }),
        1 => Just(Life { deletion: Some(deletion), known: true, ..Life::default() }),
        1 => Just(Life::default()),
    ];
    let candidate =
        proptest::option::weighted(0.2, (0..3_u64).prop_map(|found_by| Candidate { listed: true, began: at(5), missed: None, found_by }));
    let absence = (proptest::array::uniform2(0..3_u64), candidate);
    (life, prop_oneof![3 => Just(None), 1 => touched], absence).prop_map(|(life, touched, (swept, candidate))| Life {
        touched,
        swept,
        candidate,
        ..life
    })
}

prop_compose! {
    pub(in crate::storage) fn some_record()(
        name in some_text("[abAB]{1,2}"),
        email in some_text("[abAB]|[ab]{1,2}@[aXx]\\.(org|com)|@|a@b@x"),
        created_at in some_time(),
        updated_at in some_time(),
        active in proptest::option::of(any::<bool>()),
        department in proptest::option::of("[XYx]"),
        employment_status in proptest::option::weighted(0.9, "[XY]|Z{0,1}"),
        life in some_life(),
        detail in proptest::option::of(0..4_i64),
    ) -> Record {
        let row = json!({
            "full_name": name, "email": email, "created_at": created_at, "updated_at": updated_at, "active": active,
            "department": department, "employment_status": employment_status,
        });
        let fields = |row: serde_json::Value| -> Fields { row.as_object().cloned().unwrap().into() };
        let detail = detail.map(|second| Read { fields: fields(json!({"updated_at": at(second).to_string()})), began: at(second), call: 0 });
        Record { listing: Some(Read { fields: fields(row), began: at(9), call: 0 }), detail, life, ..Record::default() }
    }
}

prop_compose! {
    pub(in crate::storage) fn some_listing()(
        offset in 0..40_usize,
        limit in 1..12_usize,
        active in proptest::option::weighted(0.2, any::<bool>()),
        search in proptest::option::weighted(0.3, "[aBÄß]|[İıΣσ]|alexandra |ab|@|b@|@x|x\\.OR|\\.com|a@a\\.com|"),
        department in proptest::option::weighted(0.2, "[XYZ]"),
        employment_status in proptest::option::weighted(0.1, "[XYZ]|"),
        updated_after in proptest::option::weighted(0.3, (-1..7_i64).prop_map(at)),
        include_deleted in any::<bool>(),
        sort_by in prop_oneof![Just(SortBy::CreatedAt), Just(SortBy::UpdatedAt), Just(SortBy::Name)],
        ascending in any::<bool>(),
    ) -> Listing {
        Listing { offset, limit, active, search, department, employment_status, updated_after, include_deleted, sort_by, ascending }
    }
}

/// What every engine must answer, told by sorting.
#[derive(Clone, Debug, Default)]
pub(in crate::storage) struct Model {
    records: BTreeMap<String, Record>,
    shown: BTreeMap<String, User>,
}

impl Model {
    pub(in crate::storage) fn put(&mut self, uid: &str, record: Record) {
        match merge::view(&record) {
            Some(user) => drop(self.shown.insert(uid.to_owned(), user)),
            None => drop(self.shown.remove(uid)),
        }
        self.records.insert(uid.to_owned(), record);
    }

    pub(in crate::storage) fn page(&self, listing: &Listing) -> (Vec<String>, usize) {
        let mut users: Vec<(&String, &User)> = self.shown.iter().filter(|(_, user)| matches(listing, user)).collect();
        users.sort_by(|(uid, user), (other_uid, other)| {
            let upwards = compare(listing.sort_by, user, other).then_with(|| uid.cmp(other_uid));
            if listing.ascending { upwards } else { upwards.reverse() }
        });
        let total = users.len();
        (users.into_iter().map(|(uid, _)| uid.clone()).skip(listing.offset).take(listing.limit).collect(), total)
    }

    pub(in crate::storage) fn by_email(&self, email: &str) -> Vec<String> {
        let same = |user: &User| lower(user, "email") == Some(email.to_lowercase());
        let mut users: Vec<(&String, &User)> = self.shown.iter().filter(|(_, user)| same(user)).collect();
        users.sort_by_key(|(uid, user)| (user.is_deleted(), *uid));
        users.into_iter().map(|(uid, _)| uid.clone()).collect()
    }

    pub(in crate::storage) fn counts(&self) -> Counts {
        let count = |state: &dyn Fn(&User) -> bool| self.shown.values().filter(|user| state(user)).count() as u64;
        let (active, deleted) = (count(&User::is_active), count(&User::is_deleted));
        Counts { active, deleted, inactive: self.shown.len() as u64 - active - deleted, ..Counts::default() }
    }

    pub(in crate::storage) fn absent(&self, (live, all): (u64, Option<u64>)) -> Absent {
        let mut absent = Absent::default();
        for (uid, record) in self.records.iter().filter(|(_, record)| record.life.swept[0] != live) {
            if all == Some(record.life.swept[1]) {
                absent.only_deleted.push(uid.clone());
            } else if self.shown.get(uid).is_some_and(|user| !user.is_deleted()) {
                absent.nowhere.push(uid.clone());
            }
        }
        absent
    }

    pub(in crate::storage) fn candidates(&self) -> BTreeMap<u64, u64> {
        let mut found = BTreeMap::new();
        for candidate in self.records.values().filter_map(|record| record.life.candidate.as_ref()) {
            *found.entry(candidate.found_by).or_default() += 1;
        }
        found
    }

    pub(in crate::storage) fn stale_details(&self, limit: usize) -> Vec<String> {
        let mut stale: Vec<(&String, &Record)> = self.records.iter().filter(|(_, record)| merge::detail_stale(record)).collect();
        stale.sort_by_key(|(uid, record)| (record.detail.as_ref().map(|read| read.began), *uid));
        stale.into_iter().take(limit).map(|(uid, _)| uid.clone()).collect()
    }

    pub(in crate::storage) fn claimed_before(&self, before: Timestamp) -> Vec<String> {
        let claimed = |record: &Record| {
            let deletion = record.life.deletion.as_ref().map(|deletion| deletion.received);
            deletion.max(record.life.touched.map(|(_, received)| received)).is_some_and(|newest| newest < before)
        };
        self.records.iter().filter(|(_, record)| claimed(record)).map(|(uid, _)| uid.clone()).collect()
    }
}

fn time(user: &User, field: &str) -> Option<Timestamp> {
    merge::time(&user.fields, field)
}

fn lower(user: &User, field: &str) -> Option<String> {
    user.text(field).map(str::to_lowercase)
}

fn compare(sort_by: SortBy, one: &User, other: &User) -> Ordering {
    match sort_by {
        SortBy::CreatedAt => time(one, "created_at").cmp(&time(other, "created_at")),
        SortBy::UpdatedAt => time(one, "updated_at").cmp(&time(other, "updated_at")),
        SortBy::Name => lower(one, "full_name").cmp(&lower(other, "full_name")),
    }
}

fn matches(listing: &Listing, user: &User) -> bool {
    let is = |field, wanted: &Option<String>| wanted.is_none() || user.text(field) == wanted.as_deref();
    let needle = listing.search.as_ref().map(|text| text.to_lowercase());
    let has = |field, needle: &str| lower(user, field).is_some_and(|text| text.contains(needle));
    (listing.include_deleted || !user.is_deleted())
        && listing.active.is_none_or(|active| user.fields.get("active") == Some(&json!(active)))
        && is("department", &listing.department)
        && is("employment_status", &listing.employment_status)
        && listing.updated_after.is_none_or(|after| time(user, "updated_at") > Some(after))
        && needle.is_none_or(|needle| has("full_name", &needle) || has("email", &needle))
}

/// Tries the laws on an open store, in sources of their own.
pub(in crate::storage) fn hold(store: &Store) {
    let mut runner = TestRunner::new(Config { cases: CASES, failure_persistence: None, ..Config::default() });
    let first = proptest::collection::btree_map("[a-e]{1,2}|ä", some_record(), 0..25);
    let then = proptest::collection::btree_map("[a-f]{1,2}", some_record(), 0..25);
    let listings = proptest::collection::vec(some_listing(), 12);
    let source = std::cell::Cell::new(0);
    let tried = runner.run(&(first, then, listings), |(first, then, listings)| {
        source.set(source.get() + 1);
        let (source, mut model) = (format!("source {}", source.get()), Model::default());
        for users in [first, then] {
            commit(store, &source, &users);
            users.into_iter().for_each(|(uid, record)| model.put(&uid, record));
            same(store, &source, &model, &listings)?;
        }
        whole(store, &source, &model)
    });
    tried.unwrap_or_else(|failure| panic!("{failure}"));
}

fn commit(store: &Store, source: &str, users: &BTreeMap<String, Record>) {
    let stored = |(uid, record): (&String, &Record)| {
        let known = Arc::new(record.clone().into());
        StoredUser { source: source.into(), uid: uid.clone(), known }
    };
    store.commit(&Batch { users: users.iter().map(stored).collect(), ..Batch::default() }).unwrap();
}

fn same(store: &Store, source: &str, model: &Model, listings: &[Listing]) -> Result<(), TestCaseError> {
    for listing in listings {
        let page = store.list(source, listing).unwrap();
        let uids: Vec<String> = page.users.iter().map(|(uid, _)| uid.clone()).collect();
        prop_assert_eq!((uids, page.total), model.page(listing), "{:?}", listing);
        for (uid, record) in &page.users {
            prop_assert_eq!(Some(record), model.records.get(uid));
        }
    }
    for email in ["a", "B", "äß", "Σ", ""] {
        prop_assert_eq!(store.by_email(source, email).unwrap(), model.by_email(email));
    }
    prop_assert_eq!(store.counts(source), model.counts());
    for listings in [(1, None), (2, Some(1))] {
        prop_assert_eq!(store.absent(source, listings), model.absent(listings));
    }
    prop_assert_eq!(store.candidates(source), model.candidates());
    prop_assert_eq!(store.stale_details(source, 5), model.stale_details(5));
    prop_assert_eq!(store.claimed_before(source, at(4)), model.claimed_before(at(4)));
    Ok(())
}

/// Whatever the order, its pages hold everyone once, and downwards is upwards backwards.
fn whole(store: &Store, source: &str, model: &Model) -> Result<(), TestCaseError> {
    for sort_by in [SortBy::CreatedAt, SortBy::UpdatedAt, SortBy::Name] {
        let mut walks = [true, false].map(|ascending| {
            let page =
                |offset| store.list(source, &Listing { offset, limit: 7, include_deleted: true, sort_by, ascending, ..Listing::default() });
            let pages = (0..).step_by(7).map(|offset| page(offset).unwrap().users).take_while(|users| !users.is_empty());
            pages.flatten().map(|(uid, _)| uid).collect::<Vec<_>>()
        });
        walks[1].reverse();
        prop_assert_eq!(&walks[0], &walks[1], "{:?}", sort_by);
        walks[0].sort();
        prop_assert_eq!(&walks[0], &model.shown.keys().cloned().collect::<Vec<_>>(), "{:?}", sort_by);
    }
    Ok(())
}
