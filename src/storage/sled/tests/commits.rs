//! What a commit makes durable and visible, and what is forgotten again.

use std::sync::Arc;

use serde_json::json;

use super::batches::{SOURCE, at, closed, delivery, edit, fields, gap, group, house, open, record, run, stored};
use crate::directory::{Fields, Outcome, Reason, Record, Timestamp};
use crate::storage::entry::Numbers;
use crate::storage::sled::Sled;
use crate::storage::{Batch, Call, Delivery, Endpoint, Error, Listing, RunState, SourceGap, SourceState, Store};

fn sled(store: &Store) -> &Sled {
    let Store::Sled(sled) = store else { panic!("another engine") };
    sled
}

fn cursors(store: &Store, after: u64, limit: usize) -> Vec<u64> {
    store.changes(after, limit).unwrap().iter().map(|change| change.cursor).collect()
}

fn numbers(deliveries: &[Delivery]) -> Vec<u64> {
    deliveries.iter().map(|delivery| delivery.number).collect()
}

#[test]
fn everything_of_a_commit_is_there_afterwards_and_after_opening_again() {
    let (folder, store) = house();
    let mut batch = group(Numbers::default(), 3);
    edit(&mut batch.users[0], |record| drop(record.gaps.insert(Reason::UnknownUser, gap(7, 100))));
    batch.closed = vec![closed(6), closed(5)];
    let lone = SourceGap { reason: Reason::Silence, uid: None, gap: gap(8, 50) };
    let state = SourceState { gaps: vec![lone.clone()], cursor: Some(at(9)), ..SourceState::default() };
    batch.sources = vec![(SOURCE.to_owned(), state.clone())];
    batch.reconciliations = vec![run(1, RunState::Done), run(2, RunState::Running)];
    let call = Call { source: SOURCE.to_owned(), endpoint: Endpoint::Bulk, number: 1, at: at(0) };
    batch.calls = vec![call.clone()];
    store.commit(&batch).unwrap();
    let check = |store: &Store| {
        for (place, user) in batch.users.iter().enumerate() {
            assert_eq!(store.record(SOURCE, &user.uid).unwrap().as_ref(), Some(&user.known.record));
            assert_eq!(store.delivery(place as u64 + 1).unwrap().as_ref(), batch.deliveries.get(place));
            assert_eq!(store.change(place as u64 + 1).unwrap().as_ref(), batch.changes.get(place));
        }
        assert_eq!(store.seen(SOURCE, "event-2").unwrap().map(|seen| (seen.number, seen.outcome)), Some((2, Outcome::Applied)));
        assert_eq!(store.seen("other", "event-2").unwrap(), None);
        assert_eq!(store.changes(0, 10).unwrap(), batch.changes);
        assert_eq!(numbers(&store.deliveries(None, u64::MAX, 2).unwrap()), [3, 2]);
        assert_eq!(store.closed_gaps(u64::MAX, 10).unwrap(), [closed(6), closed(5)]);
        let open = store.open_gaps(u64::MAX, 10).unwrap();
        assert_eq!(
            open.iter().map(|open| open.gap.clone()).map(|gap| (gap.gap.id, gap.uid)).collect::<Vec<_>>(),
            [(8, None), (7, Some("u1".to_owned()))]
        );
        assert_eq!(open[0].gap, lone);
        assert_eq!(store.source(SOURCE).unwrap(), state);
        assert_eq!(store.reconciliations(u64::MAX, 10).unwrap(), [run(2, RunState::Running), run(1, RunState::Done)]);
        assert_eq!(store.reconciliation(1).unwrap(), Some(run(1, RunState::Done)));
        assert_eq!(store.calls(SOURCE).unwrap(), vec![call.clone()]);
        assert_eq!(store.numbers(), Numbers { delivery: 3, cursor: 3, gap: 8, reconciliation: 2, call: 1 });
        let counts = store.counts(SOURCE);
        assert_eq!((counts.active, counts.inactive, counts.deleted, counts.gaps_open), (3, 0, 0, 2));
        assert_eq!(counts.oldest_gap, Some(at(40)));
        assert_eq!(store.list(SOURCE, &Listing::default()).unwrap().users.len(), 3);
        assert_eq!(store.by_email(SOURCE, "U2@example.COM").unwrap(), ["u2"]);
        let due = store.due(SOURCE, 9, &[]);
        assert_eq!(due.iter().map(|due| (due.uid.as_str(), due.due)).collect::<Vec<_>>(), [("u1", at(100))]);
    };
    check(&store);
    drop(store);
    check(&open(&folder));
}

#[test]
fn numbers_that_do_not_follow_are_refused_and_nothing_breaks() {
    let (_folder, store) = house();
    store.commit(&group(Numbers::default(), 2)).unwrap();
    let hole = group(Numbers { delivery: 3, cursor: 2, ..Numbers::default() }, 1);
    assert!(matches!(store.commit(&hole), Err(Error::Unavailable { .. })));
    let again = group(Numbers { delivery: 2, cursor: 1, ..Numbers::default() }, 1);
    assert!(matches!(store.commit(&again), Err(Error::Unavailable { .. })));
    store.commit(&group(store.numbers(), 1)).unwrap();
    assert_eq!(cursors(&store, 0, 10), [1, 2, 3]);
}

#[test]
fn values_of_any_length_come_back_whole_and_leave_nothing_when_they_shrink() {
    let (folder, store) = house();
    for bytes in [0, 3_000, 3_980, 3_990, 3_991, 4_000, 20_000, 900_000, 7_000, 10] {
        let long = Record { last_change: 0, ..record("u", &"x".repeat(bytes)) };
        store.commit(&Batch { users: vec![stored("u", long.clone())], ..Batch::default() }).unwrap();
        assert_eq!(store.record(SOURCE, "u").unwrap(), Some(long));
    }
    drop(store);
    let store = open(&folder);
    assert_eq!(store.record(SOURCE, "u").unwrap(), Some(record("u", &"x".repeat(10))));
    let rows = &sled(&store).durable.read().rows;
    assert_eq!(rows.scan(vec![b'z']..vec![b'z' + 1], true).count(), 0, "no piece is left behind");
}

#[test]
fn a_long_change_and_a_long_body_come_back_whole() {
    let (folder, store) = house();
    let mut batch = group(Numbers::default(), 3);
    Arc::make_mut(&mut batch.changes[1].user).fields = fields(json!({"uid": "u2", "note": "y".repeat(50_000)}));
    batch.deliveries[1].outcome = Outcome::Quarantined;
    batch.deliveries[1].reason = Some("not JSON".to_owned());
    batch.deliveries[1].body = Some(vec![7; 1 << 20]);
    store.commit(&batch).unwrap();
    drop(store);
    let store = open(&folder);
    assert_eq!(store.changes(0, 10).unwrap(), batch.changes);
    assert_eq!(store.delivery(2).unwrap().as_ref(), Some(&batch.deliveries[1]));
    assert_eq!(numbers(&store.deliveries(Some(Outcome::Quarantined), 9, 9).unwrap()), [2]);
}

#[test]
fn the_feed_goes_on_behind_any_cursor_across_rows() {
    let (_folder, store) = house();
    for count in [1, 7, 64, 3, 20] {
        store.commit(&group(store.numbers(), count)).unwrap();
    }
    assert_eq!(store.watermark(), 95);
    for after in 0..=96 {
        let wanted: Vec<u64> = (after + 1..=95).take(5).collect();
        assert_eq!(cursors(&store, after, 5), wanted);
        assert_eq!(store.change(after).unwrap().map(|change| change.cursor), (1..=95).contains(&after).then_some(after));
    }
    assert_eq!(cursors(&store, 0, usize::MAX).len(), 95);
    assert_eq!(cursors(&store, u64::MAX, 5), [0; 0]);
}

#[test]
fn deliveries_are_listed_newest_first_and_by_outcome() {
    let (_folder, store) = house();
    let outcomes = [Outcome::Applied, Outcome::Stale, Outcome::Ignored, Outcome::Quarantined];
    for start in (1..=40).step_by(4) {
        let deliveries = (start..start + 4).map(|number| delivery(number, outcomes[(number / 5) as usize % 4])).collect();
        store.commit(&Batch { deliveries, ..Batch::default() }).unwrap();
    }
    for outcome in outcomes {
        let wanted: Vec<u64> = (1..37).rev().filter(|number| outcomes[(number / 5) as usize % 4] == outcome).take(6).collect();
        assert_eq!(numbers(&store.deliveries(Some(outcome), 37, 6).unwrap()), wanted, "{}", outcome.name());
    }
    assert_eq!(numbers(&store.deliveries(None, 10, 4).unwrap()), [9, 8, 7, 6]);
    assert_eq!(numbers(&store.deliveries(None, 1, 4).unwrap()), [0; 0]);
}

#[test]
fn while_a_commit_is_not_durable_and_after_it_failed_readers_see_the_state_before() {
    let (folder, store) = house();
    let mut first = group(Numbers::default(), 2);
    first.reconciliations = vec![run(1, RunState::Running)];
    store.commit(&first).unwrap();
    *sled(&store).faults.plan.lock() = (1, 1);
    let mut second = group(store.numbers(), 2);
    second.users.push(stored("u1", record("u1", "Chief")));
    edit(&mut second.users[0], |record| drop(record.gaps.insert(Reason::SameSecond, gap(1, 5))));
    second.reconciliations = vec![run(1, RunState::Done), run(2, RunState::Waiting)];
    second.closed = vec![closed(1)];
    second.deliveries[1].outcome = Outcome::Quarantined;
    assert!(matches!(store.commit(&second), Err(Error::Unavailable { .. })), "the file cannot be synced");
    let check = |store: &Store| {
        assert_eq!(store.record(SOURCE, "u1").unwrap(), Some(first.users[0].known.record.clone()));
        assert_eq!(store.record(SOURCE, "u3").unwrap(), None);
        assert_eq!(store.list(SOURCE, &Listing::default()).unwrap().users.len(), 2);
        assert_eq!((cursors(store, 0, 9), store.watermark()), (vec![1, 2], 2));
        assert_eq!((store.change(3).unwrap(), store.delivery(3).unwrap()), (None, None));
        assert_eq!(store.seen(SOURCE, "event-3").unwrap(), None);
        assert_eq!(numbers(&store.deliveries(None, 9, 9).unwrap()), [2, 1]);
        assert_eq!(numbers(&store.deliveries(Some(Outcome::Quarantined), 9, 9).unwrap()), [0; 0]);
        assert_eq!(store.reconciliations(9, 9).unwrap(), [run(1, RunState::Running)]);
        assert_eq!(store.reconciliation(2).unwrap(), None);
        assert_eq!(store.closed_gaps(9, 9).unwrap(), []);
        assert!(store.open_gaps(9, 9).unwrap().is_empty());
        assert_eq!(store.numbers().delivery, 2);
    };
    check(&store);
    assert!(matches!(store.commit(&Batch::default()), Err(Error::Unavailable { .. })), "it stays so until it is mended");
    assert!(store.healthy().is_err());
    assert!(store.expire(at(9), None).is_err());
    check(&store);
    drop(store);
    let store = open(&folder);
    assert!(store.healthy().is_ok());
    assert!([2, 4].contains(&store.numbers().delivery), "all of it or nothing");
}

#[test]
fn forgotten_deliveries_and_changes_leave_nothing_and_numbers_go_on() {
    let (folder, store) = house();
    for number in 1..=5 {
        let mut batch = group(store.numbers(), 10);
        // What is over at very different times shares no row.
        batch.deliveries.iter_mut().for_each(|delivery| delivery.expires_at = at(number * 10_000));
        batch.changes.iter_mut().for_each(|change| change.at = at(number * 10_000));
        batch.deliveries[9].outcome = Outcome::Quarantined;
        batch.deliveries[9].body = Some(vec![1; 5_000]);
        store.commit(&batch).unwrap();
    }
    assert_eq!(store.expire(at(1000), Some(at(0))).unwrap(), 0, "none is over yet");
    while store.expire(at(10_001), Some(at(20_001))).unwrap() > 0 {}
    assert_eq!(numbers(&store.deliveries(None, 13, 9).unwrap()), [12, 11]);
    assert_eq!((store.seen(SOURCE, "event-10").unwrap(), store.delivery(10).unwrap()), (None, None));
    assert!(store.seen(SOURCE, "event-11").unwrap().is_some());
    assert_eq!(cursors(&store, 0, 3), [21, 22, 23]);
    let mut forgotten = 1;
    while forgotten > 0 {
        forgotten = store.expire(Timestamp::MAX, Some(Timestamp::MAX)).unwrap();
    }
    assert_eq!((store.deliveries(None, 99, 9).unwrap(), cursors(&store, 0, 9)), (vec![], vec![]));
    assert_eq!(numbers(&store.deliveries(Some(Outcome::Quarantined), 99, 9).unwrap()), [0; 0]);
    assert!((1..=50).all(|number| store.seen(SOURCE, &format!("event-{number}")).unwrap().is_none()));
    for kind in [b'h', b'v', b'w', b'x', b'z'] {
        assert_eq!(sled(&store).durable.read().rows.scan(vec![kind]..vec![kind + 1], true).count(), 0, "{}", kind as char);
    }
    drop(store);
    let store = open(&folder);
    assert_eq!(store.numbers(), Numbers { delivery: 50, cursor: 50, ..Numbers::default() });
    store.commit(&group(store.numbers(), 1)).unwrap();
    assert_eq!(cursors(&store, 0, 9), [51]);
}

#[test]
fn a_delivery_from_the_future_is_kept_and_keeps_none_behind_it() {
    let (_folder, store) = house();
    for number in 1..=20 {
        let mut late = delivery(number, Outcome::Stale);
        if number % 5 == 0 {
            late.expires_at = at(1_000_000);
        }
        store.commit(&Batch { deliveries: vec![late], ..Batch::default() }).unwrap();
    }
    while store.expire(at(5_000), None).unwrap() > 0 {}
    assert_eq!(numbers(&store.deliveries(None, 99, 99).unwrap()), [20, 15, 10, 5]);
    assert!(store.seen(SOURCE, "event-15").unwrap().is_some());
}

#[test]
fn an_event_id_that_came_again_is_forgotten_with_its_last_delivery() {
    let (_folder, store) = house();
    store.commit(&Batch { deliveries: vec![delivery(1, Outcome::Quarantined)], ..Batch::default() }).unwrap();
    let again = Delivery { event_id: "event-1".to_owned(), ..delivery(2, Outcome::Applied) };
    store.commit(&Batch { deliveries: vec![again], ..Batch::default() }).unwrap();
    while store.expire(at(1002), None).unwrap() > 0 {}
    assert_eq!(store.seen(SOURCE, "event-1").unwrap().map(|seen| seen.number), Some(2));
}

#[test]
fn calls_are_kept_for_two_hours_of_the_clock_that_logged_them_and_the_newest_in_any_case() {
    let (folder, store) = house();
    for (number, second) in [(1, 0), (2, 100), (5_003, 7_200), (5_004, 7_250), (5_005, 60), (5_006, 60_000)] {
        let call = Call { source: SOURCE.to_owned(), endpoint: Endpoint::Lookup, number, at: at(second) };
        let other = Call { source: "other".to_owned(), number: number + 10, ..call.clone() };
        store.commit(&Batch { calls: vec![call, other], ..Batch::default() }).unwrap();
    }
    let kept = |store: &Store| store.calls(SOURCE).unwrap().iter().map(|call| call.number).collect::<Vec<_>>();
    assert_eq!(kept(&store), [5_003, 5_004, 5_005, 5_006]);
    drop(store);
    let store = open(&folder);
    assert_eq!((kept(&store), store.calls("other").unwrap().len(), store.numbers().call), (vec![5_003, 5_004, 5_005, 5_006], 4, 5_016));
}

#[test]
fn sources_never_touch_each_other() {
    let (_folder, store) = house();
    let mut mine = stored("u", record("u", "Clerk"));
    store.commit(&Batch { users: vec![mine.clone()], ..Batch::default() }).unwrap();
    mine.source = "acme2".into();
    edit(&mut mine, |record| record.listing.as_mut().unwrap().fields = Fields::new());
    store.commit(&Batch { users: vec![mine], ..Batch::default() }).unwrap();
    assert_eq!(store.record(SOURCE, "u").unwrap(), Some(record("u", "Clerk")));
    assert_eq!(store.record("acm", "u").unwrap(), None);
    assert_eq!((store.counts(SOURCE).active, store.counts("acme2").inactive, store.counts("acm").active), (1, 1, 0));
}

#[test]
fn readers_meanwhile_see_one_commit_or_the_next_and_never_a_mixture() {
    let (_folder, store) = house();
    let commit = |round: u64| {
        let mut batch = group(store.numbers(), 8);
        for (place, user) in batch.users.iter_mut().enumerate() {
            let last_change = user.known.record.last_change;
            let title = "t".repeat(2_000 + round as usize % 3 * 2_000);
            *user = stored(&format!("u{place}"), Record { last_change, ..record("u", &title) });
        }
        store.commit(&batch).unwrap();
        store.expire(at(0), Some(at(store.watermark() as i64 - 40))).unwrap();
    };
    commit(0);
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| (1..150).for_each(commit));
        while !writer.is_finished() {
            let page = store.list(SOURCE, &Listing { ascending: true, ..Listing::default() }).unwrap();
            let changes: Vec<u64> = page.users.iter().map(|(_, record)| record.last_change).collect();
            assert_eq!(changes, (page.cursor - 7..=page.cursor).collect::<Vec<_>>());
            let cursors = cursors(&store, 0, usize::MAX);
            assert!(cursors.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{cursors:?}");
            assert!(cursors.last() >= Some(&page.cursor) && cursors.len().is_multiple_of(8), "{cursors:?}");
        }
    });
}
