//! Lists: the laws that every engine keeps, and what is this index's own: its lists divide, its searches go on after the lock.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::json;

use super::batches::house;
use crate::directory::{Life, Record, merge};
use crate::storage::listing::laws::{self, Model, at, some_listing, some_record};
use crate::storage::sled::index::{Index, Projection, Written};
use crate::storage::{Listing, SortBy};

#[test]
fn the_store_keeps_the_laws_of_lists() {
    let (_folder, store) = house();
    laws::hold(&store);
}

fn projected(uid: &str, record: &Record) -> Projection {
    Projection::of(uid, record, merge::view(record).as_ref(), Written::default())
}

fn put(index: &mut Index, model: &mut Model, uid: &str, record: Record) {
    index.put(projected(uid, &record));
    model.put(uid, record);
}

fn owned((uids, total): (Vec<&str>, usize)) -> (Vec<String>, usize) {
    (uids.into_iter().map(str::to_owned).collect(), total)
}

/// A page, its search run just before.
fn page<'a>(index: &'a Index, listing: &Listing) -> (Vec<&'a str>, usize) {
    let searched = index.search(listing).map(|search| search.run());
    index.page_after(listing, searched.as_ref())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_filled_index_goes_on_as_one_that_grew(
        first in proptest::collection::btree_map("[a-e]{1,2}", some_record(), 0..25),
        then in proptest::collection::vec(("[a-f]{1,2}", some_record()), 0..40),
        listings in proptest::collection::vec(some_listing(), 12),
    ) {
        let (mut index, mut model) = (Index::default(), Model::default());
        first.iter().for_each(|(uid, record)| index.load(projected(uid, record)));
        index.arrange();
        first.into_iter().for_each(|(uid, record)| model.put(&uid, record));
        for (uid, record) in then {
            put(&mut index, &mut model, &uid, record);
        }
        for listing in &listings {
            prop_assert_eq!(owned(page(&index, listing)), model.page(listing), "{:?}", listing);
        }
        prop_assert_eq!(index.stale_details(5), model.stale_details(5));
        prop_assert_eq!(index.claimed_before(0..index.users(), at(4)), model.claimed_before(at(4)));
        prop_assert_eq!((index.counts(), index.candidates()), (model.counts(), model.candidates()));
        for listings in [(1, None), (2, Some(1)), (0, Some(2))] {
            prop_assert_eq!(index.absent(listings), model.absent(listings));
        }
    }

    #[test]
    fn a_search_counts_what_changed_while_it_ran(
        first in proptest::collection::vec(some_record(), 0..200),
        then in proptest::collection::vec((0..220_usize, some_record()), 0..9),
        listing in some_listing(),
    ) {
        let (mut index, mut model) = (Index::default(), Model::default());
        for (number, record) in first.into_iter().enumerate() {
            put(&mut index, &mut model, &number.to_string(), record);
        }
        let searched = index.search(&listing).map(|search| search.run());
        for (number, record) in then {
            put(&mut index, &mut model, &number.to_string(), record);
        }
        prop_assert_eq!(owned(index.page_after(&listing, searched.as_ref())), model.page(&listing), "{:?}", listing);
    }
}

/// Enough users for lists to be divided and joined again, and for pages to be found in every way.
#[test]
fn thousands_of_users_keep_their_order_while_all_of_them_move() {
    let mut random = proptest::test_runner::TestRunner::deterministic();
    let (mut index, mut model) = (Index::default(), Model::default());
    for round in 0..3 {
        for number in 0..1_500 {
            let mut record = some_record().new_tree(&mut random).unwrap().current();
            let row = record.listing.as_mut().unwrap();
            row.fields.insert("updated_at".to_owned(), json!(at(round * 2_000 + number).to_string()));
            if number % 10 != 3 {
                row.fields.insert("email".to_owned(), json!(format!("{}@Corp.example", number % 17)));
            }
            if number % 300 == 7 {
                row.fields.insert("department".to_owned(), json!("Rare"));
            }
            put(&mut index, &mut model, &format!("u{:04}", (number * 7) % 1_500), record);
        }
        for (sort_by, ascending) in [(SortBy::UpdatedAt, true), (SortBy::CreatedAt, false), (SortBy::Name, true)] {
            for offset in [0, 2, 90, 511, 512, 700, 1_100, 1_499, 1_501] {
                for include_deleted in [true, false] {
                    let updated_after = (offset % 2 == 0).then_some(at(round * 2_000 + 300));
                    let plain = Listing { offset, sort_by, ascending, include_deleted, updated_after, ..Listing::default() };
                    let rare = Listing { department: Some("Rare".to_owned()), ..plain.clone() };
                    let searched = Listing { search: Some("b".to_owned()), ..rare.clone() };
                    let by_domain = Listing { search: Some("corp".to_owned()), ..plain.clone() };
                    let wide = Listing { search: Some(format!("{}@cORP", offset % 17)), ..plain.clone() };
                    let active = Listing { active: Some(offset > 100), employment_status: Some("X".to_owned()), ..plain.clone() };
                    for listing in [plain, rare, searched, by_domain, wide, active] {
                        assert_eq!(owned(page(&index, &listing)), model.page(&listing), "{listing:?}");
                    }
                }
            }
        }
        assert_eq!(index.by_email("a"), model.by_email("a"));
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
    assert_eq!(index.claimed_before(0..index.users(), at(7)), ["a", "c"]);
    index.put(projected("c", &touched(9)));
    index.put(projected("a", &Record { life: Life { known: true, ..Life::default() }, ..Record::default() }));
    assert_eq!(
        (index.claimed_before(0..index.users(), at(7)), index.claimed_before(0..index.users(), at(8))),
        (vec![], vec!["b".to_owned()])
    );
}
