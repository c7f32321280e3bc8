//! Lists against a plain sort of all views: any order, any filter, any page, after any changes.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::json;

use super::batches::{at, fields};
use crate::directory::{Deletion, Life, Read, Record, Sight, Timestamp, User, merge};
use crate::storage::sled::index::{Index, Projection};
use crate::storage::{Listing, SortBy};

fn some_time() -> impl Strategy<Value = Option<String>> {
    proptest::option::weighted(0.8, (0..6_i64).prop_map(|second| at(second).to_string()))
}

fn some_life() -> impl Strategy<Value = Life> {
    let sight = |alive: bool| Some(Sight { alive, began: at(9), call: 0, deleted_at: None });
    let deletion = Deletion { stamp: at(3), digest: 1, received: at(4), deleted_at: at(3).to_string(), event_id: "e".to_owned() };
    prop_oneof![
        5 => Just(Life { sight: sight(true), known: true, ..Life::default() }),
        2 => Just(Life { sight: sight(false), known: true, ..Life::default() }),
        1 => Just(Life { deletion: Some(deletion), known: true, ..Life::default() }),
        1 => Just(Life::default()),
    ]
}

prop_compose! {
    fn some_record()(
        name in proptest::option::weighted(0.8, "[aAbBäÄ]{0,2}"),
        email in proptest::option::weighted(0.8, "[abAB]"),
        created_at in some_time(),
        updated_at in some_time(),
        active in proptest::option::of(any::<bool>()),
        department in proptest::option::of("[XY]"),
        life in some_life(),
        detail in proptest::option::of(0..4_i64),
    ) -> Record {
        let row = json!({
            "full_name": name, "email": email, "created_at": created_at, "updated_at": updated_at, "active": active,
            "department": department, "employment_status": department,
        });
        let detail = detail.map(|second| Read { fields: fields(json!({"updated_at": at(second).to_string()})), began: at(second), call: 0 });
        Record { listing: Some(Read { fields: fields(row), began: at(9), call: 0 }), detail, life, ..Record::default() }
    }
}

prop_compose! {
    fn some_listing()(
        offset in 0..40_usize,
        limit in 1..12_usize,
        active in proptest::option::weighted(0.2, any::<bool>()),
        search in proptest::option::weighted(0.2, "[aBÄ]"),
        department in proptest::option::weighted(0.2, "[XYZ]"),
        employment_status in proptest::option::weighted(0.1, "[XYZ]"),
        updated_after in proptest::option::weighted(0.3, (-1..7_i64).prop_map(at)),
        include_deleted in any::<bool>(),
        sort_by in prop_oneof![Just(SortBy::CreatedAt), Just(SortBy::UpdatedAt), Just(SortBy::Name)],
        ascending in any::<bool>(),
    ) -> Listing {
        Listing { offset, limit, active, search, department, employment_status, updated_after, include_deleted, sort_by, ascending }
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

fn shown(records: &BTreeMap<String, Record>) -> Vec<(String, User)> {
    records.iter().filter_map(|(uid, record)| Some((uid.clone(), merge::view(record)?))).collect()
}

/// The law, plainly.
fn page(records: &BTreeMap<String, Record>, listing: &Listing) -> (Vec<String>, usize) {
    let mut users = shown(records);
    users.retain(|(_, user)| matches(listing, user));
    users.sort_by(|(uid, user), (other_uid, other)| {
        let upwards = compare(listing.sort_by, user, other).then_with(|| uid.cmp(other_uid));
        if listing.ascending { upwards } else { upwards.reverse() }
    });
    let total = users.len();
    (users.into_iter().map(|(uid, _)| uid).skip(listing.offset).take(listing.limit).collect(), total)
}

fn same(index: &Index, records: &BTreeMap<String, Record>, listings: &[Listing]) -> Result<(), TestCaseError> {
    for listing in listings {
        let (uids, total) = index.page(listing);
        let wanted = page(records, listing);
        prop_assert_eq!((uids.into_iter().map(str::to_owned).collect::<Vec<_>>(), total), wanted, "{:?}", listing);
    }
    let users = shown(records);
    for email in ["a", "B"] {
        let mut wanted: Vec<&(String, User)> =
            users.iter().filter(|(_, user)| lower(user, "email") == Some(email.to_lowercase())).collect();
        wanted.sort_by_key(|(uid, user)| (user.is_deleted(), uid));
        prop_assert_eq!(index.by_email(email), wanted.into_iter().map(|(uid, _)| uid.clone()).collect::<Vec<_>>());
    }
    let counts = index.counts();
    let count = |state: &dyn Fn(&User) -> bool| users.iter().filter(|(_, user)| state(user)).count() as u64;
    prop_assert_eq!(counts.active, count(&User::is_active));
    prop_assert_eq!(counts.deleted, count(&User::is_deleted));
    prop_assert_eq!(counts.inactive, users.len() as u64 - counts.active - counts.deleted);
    prop_assert_eq!(index.hidden().len(), records.len() - users.len());
    let mut stale: Vec<(&String, &Record)> = records.iter().filter(|(_, record)| merge::detail_stale(record)).collect();
    stale.sort_by_key(|(uid, record)| (record.detail.as_ref().map(|read| read.began), *uid));
    prop_assert_eq!(index.stale_details(5), stale.into_iter().take(5).map(|(uid, _)| uid.clone()).collect::<Vec<_>>());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_page_is_that_of_a_plain_sort(
        first in proptest::collection::btree_map("[a-e]{1,2}", some_record(), 0..25),
        then in proptest::collection::vec(("[a-f]{1,2}", some_record()), 0..40),
        listings in proptest::collection::vec(some_listing(), 12),
    ) {
        let mut records = first;
        let mut index = Index::default();
        index.fill(records.iter().map(|(uid, record)| projected(uid, record)));
        same(&index, &records, &listings)?;
        for (uid, record) in then {
            index.put(projected(&uid, &record));
            records.insert(uid, record);
        }
        same(&index, &records, &listings)?;
    }
}

/// Enough users for lists to be halved and joined again.
#[test]
fn thousands_of_users_keep_their_order_while_all_of_them_move() {
    let mut random = proptest::test_runner::TestRunner::deterministic();
    let mut some = || some_record().new_tree(&mut random).unwrap().current();
    let mut records = BTreeMap::new();
    let mut index = Index::default();
    for round in 0..3 {
        for number in 0..1_500 {
            let uid = format!("u{:04}", (number * 7) % 1_500);
            let mut record = some();
            let row = record.listing.as_mut().unwrap();
            row.fields.insert("updated_at".to_owned(), json!(at(round * 2_000 + number).to_string()));
            index.put(projected(&uid, &record));
            records.insert(uid, record);
        }
        for (sort_by, ascending) in [(SortBy::UpdatedAt, true), (SortBy::CreatedAt, false), (SortBy::Name, true)] {
            for offset in [0, 511, 512, 700, 1_100, 1_499, 1_501] {
                for include_deleted in [true, false] {
                    let updated_after = (offset % 2 == 0).then_some(at(round * 2_000 + 300));
                    let listing = Listing { offset, sort_by, ascending, include_deleted, updated_after, ..Listing::default() };
                    let (uids, total) = index.page(&listing);
                    assert_eq!((uids.into_iter().map(str::to_owned).collect(), total), page(&records, &listing), "{listing:?}");
                }
            }
        }
    }
}

#[test]
fn claims_count_by_the_newest_of_them() {
    let mut index = Index::default();
    let touched =
        |second| Record { life: Life { touched: Some((at(0), at(second))), known: true, ..Life::default() }, ..Record::default() };
    for (uid, second) in [("c", 5), ("a", 6), ("b", 7)] {
        index.put(projected(uid, &touched(second)));
    }
    assert_eq!(index.claimed_before(at(7)), ["a", "c"]);
    index.put(projected("c", &touched(9)));
    index.put(projected("a", &Record { life: Life { known: true, ..Life::default() }, ..Record::default() }));
    assert_eq!((index.claimed_before(at(7)), index.claimed_before(at(8))), (vec![], vec!["b".to_owned()]));
}

fn projected(uid: &str, record: &Record) -> Projection {
    Projection::of(uid, record, merge::view(record).as_ref())
}
