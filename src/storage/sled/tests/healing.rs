//! After a failed commit the store mends itself: what was acknowledged is there, and what failed is there as a whole or not at all.

use std::time::{Duration, Instant};

use super::batches::{SOURCE, edit, gap, group, house, open, record};
use crate::directory::{Reason, Record};
use crate::storage::entry::Numbers;
use crate::storage::{Batch, Error, Listing, Store};

const COMMITS: usize = 12;
const PATIENCE: Duration = Duration::from_secs(10);

/// Lets `failing` operations fail after the next `fine` ones.
fn plan(store: &Store, fine: usize, failing: usize) {
    let Store::Sled(sled) = store else { panic!("another engine") };
    *sled.faults.plan.lock() = (fine, failing);
}

/// Mends the store, as often as it takes; returns how many attempts failed.
pub(super) fn mend(store: &Store) -> usize {
    let (began, mut failed) = (Instant::now(), 0);
    loop {
        match store.mend() {
            Ok(anew) => {
                assert!(anew, "it was opened anew");
                return failed;
            }
            Err(error) => assert!(matches!(error, Error::Unavailable { .. }), "{error}"),
        }
        failed += 1;
        assert!(began.elapsed() < PATIENCE, "it was never mended: {:?}", store.healthy());
        std::thread::yield_now();
    }
}

/// A group about its own users and one whom all groups are about.
pub(super) fn touching(numbers: Numbers) -> Batch {
    let mut batch = group(numbers, 3);
    let cursor = numbers.cursor + 1;
    batch.users[0].uid = "shared".to_owned();
    edit(&mut batch.users[0], |known| {
        *known = Record { last_change: cursor, ..record("shared", &"t".repeat(cursor as usize * 97 % 9_000)) };
        known.gaps.insert(Reason::Operator, gap(cursor, 10));
    });
    batch
}

/// Everything of the deliveries up to the store's last number is there, and nothing beyond.
pub(super) fn check(store: &Store) {
    let Numbers { delivery: end, cursor, .. } = store.numbers();
    assert_eq!((end, end % 3), (cursor, 0), "a group is torn");
    for number in 1..=end + 3 {
        let (delivery, change) = (store.delivery(number).unwrap(), store.change(number).unwrap());
        let seen = store.seen(SOURCE, &format!("event-{number}")).unwrap().map(|seen| seen.number);
        let there = number <= end;
        assert_eq!((delivery.is_some(), change.is_some(), seen), (there, there, there.then_some(number)), "delivery {number} of {end}");
        if number % 3 != 1 {
            assert_eq!(store.record(SOURCE, &format!("u{number}")).unwrap().is_some(), there);
        }
    }
    let shared = store.record(SOURCE, "shared").unwrap();
    assert_eq!(shared.as_ref().map_or(0, |shared| shared.last_change), end.saturating_sub(2));
    assert_eq!(store.open_gaps(u64::MAX, 9).unwrap().iter().map(|open| open.gap.gap.id).max().unwrap_or(0), end.saturating_sub(2));
    let groups = end / 3;
    let listed = if groups == 0 { 0 } else { 1 + 2 * groups };
    assert_eq!(store.list(SOURCE, &Listing { limit: 1_000, ..Listing::default() }).unwrap().users.len() as u64, listed);
    assert_eq!((store.changes(0, 1_000).unwrap().len() as u64, store.counts(SOURCE).active), (end, listed));
}

/// Commits groups and lets them settle, while one operation on the disk fails; whether any did.
fn weather(fine: usize) -> bool {
    let (folder, store) = house();
    let Store::Sled(sled) = &store else { panic!("another engine") };
    let keep_short = || sled.writer.lock().journal.file_bytes = (4 * 1024, 4 * 1024);
    keep_short();
    plan(&store, fine, 1);
    let mut failed = false;
    let mut overcome = |error: Error| {
        assert!(error.to_string().contains("injected") && !failed, "{error}");
        failed = true;
        assert!(store.healthy().is_err());
        mend(&store);
        keep_short();
        check(&store);
    };
    for _ in 0..COMMITS {
        let before = store.numbers();
        let batch = touching(before);
        if let Err(error) = store.commit(&batch) {
            assert_eq!(store.numbers(), before);
            overcome(error);
            let after = store.numbers();
            assert!([before.delivery, before.delivery + 3].contains(&after.delivery), "{before:?} {after:?}");
            if after == before {
                store.commit(&batch).unwrap();
            }
        }
        if let Err(error) = store.tidy() {
            overcome(error);
        }
        check(&store);
    }
    assert_eq!(store.numbers().delivery, 3 * COMMITS as u64);
    assert!(store.numbers().delivery > 0 && sled.durable.read().settled.generation > 0, "something settled");
    drop(store);
    check(&open(&folder));
    failed
}

#[test]
fn wherever_an_operation_fails_nothing_acknowledged_is_lost_and_nothing_is_torn() {
    let operations = (0..).take_while(|fine| weather(*fine)).count();
    assert!(operations > 3 * COMMITS, "only {operations} operations were tried");
    println!("each of {operations} operations failed once");
}

#[test]
fn while_it_cannot_be_opened_reads_are_unavailable_and_it_is_tried_again() {
    let (_folder, store) = house();
    store.commit(&touching(store.numbers())).unwrap();
    plan(&store, 0, 3);
    assert!(store.commit(&touching(store.numbers())).is_err());
    assert_eq!(store.delivery(1).unwrap().unwrap().number, 1, "the former handle still tells what is durable");
    assert!(store.mend().is_err());
    assert!(matches!(store.delivery(1), Err(Error::Unavailable { .. })));
    assert!(matches!(store.deliveries(None, u64::MAX, 9), Err(Error::Unavailable { .. })));
    assert!(matches!(store.list(SOURCE, &Listing::default()), Err(Error::Unavailable { .. })));
    assert!(matches!(store.commit(&touching(store.numbers())), Err(Error::Unavailable { .. })));
    assert_eq!((store.counts(SOURCE).active, store.watermark()), (3, 3), "what is known without a row is known");
    assert!(mend(&store) > 0, "attempts are spaced");
    check(&store);
    store.commit(&touching(store.numbers())).unwrap();
    check(&store);
}

#[test]
fn forgetting_that_fails_is_mended_too() {
    let (_folder, store) = house();
    store.commit(&group(store.numbers(), 6)).unwrap();
    plan(&store, 0, 1);
    let late = super::batches::at(1_000_000);
    assert!(store.expire(late, Some(late)).is_err());
    mend(&store);
    while store.expire(late, Some(late)).unwrap() > 0 {}
    assert_eq!((store.deliveries(None, u64::MAX, 9).unwrap().len(), store.changes(0, 9).unwrap().len()), (0, 0));
}
