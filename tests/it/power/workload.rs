//! What a store is filled with before its power is cut, and whether it holds that afterwards.
//!
//! Everything follows from the numbers of deliveries: delivery `n` makes change `n`, and opens and closes gap `n` of user `n % USERS`.
//! Where groups end follows from where they begin, so that a half group shows.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rollcall::directory::{
    Cause, Change, ChangeKind, ClosedGap, Fields, Gap, Life, Need, Outcome, Read, Reason, Record, Sight, Timestamp, User,
};
use rollcall::storage::entry::Numbers;
use rollcall::storage::{Batch, Call, Delivery, Endpoint, Error, Mode, Progress, Reconciliation, RunState, SourceState, Store, StoredUser};
use serde_json::{Value, json};

const SOURCE: &str = "main";
/// More than the largest group has deliveries: a batch holds a user once.
const USERS: u64 = 97;
const SECONDS_BETWEEN: i64 = 20;
/// Deliveries and changes that are kept, about.
const KEPT: u64 = 150;

/// What was said before the power was cut.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Said {
    /// The newest delivery whose commit had returned.
    pub(crate) acknowledged: u64,
    /// Deliveries and changes below this number were about to be forgotten.
    pub(crate) forgetting: u64,
}

fn at(number: u64) -> Timestamp {
    Timestamp::from_millis(1_763_479_800_000 + i64::try_from(number).unwrap() * SECONDS_BETWEEN * 1000)
}

/// Something that is spread, and always the same.
fn luck(number: u64) -> u64 {
    (number + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 33
}

/// The last delivery of the group that begins after `start`: 1 to 64 of them, small groups more often.
fn end_after(start: u64) -> u64 {
    start + 1 + luck(start) % [1, 16, 64, 64, 64][(luck(start + 7) % 5) as usize]
}

fn ends(up_to: u64) -> Vec<u64> {
    let mut ends = vec![0];
    while ends[ends.len() - 1] < up_to {
        ends.push(end_after(ends[ends.len() - 1]));
    }
    ends
}

fn uid(number: u64) -> String {
    format!("u{}", number % USERS)
}

fn body(number: u64) -> Option<Vec<u8>> {
    number.is_multiple_of(7).then(|| (0..luck(number) % 40_000).map(|place| (place % 251) as u8).collect())
}

fn fields(value: Value) -> Fields {
    value.as_object().cloned().unwrap().into()
}

fn gap(number: u64) -> Gap {
    let (detected_at, happened, due) = (at(number), at(number), at(number + 1));
    Gap { id: number, count: 1, detected_at, event_id: None, need: Need::Any, happened, due }
}

/// A user as delivery `number` leaves it; a fifth of the records take several rows.
fn record(number: u64) -> Record {
    let length = luck(number * 3) % if number.is_multiple_of(5) { 9_000 } else { 1_500 };
    let row = json!({
        "uid": uid(number), "full_name": format!("User {number}"), "active": true, "job_title": "t".repeat(length as usize),
        "created_at": at(0).to_string(), "updated_at": at(number).to_string(),
    });
    let life = Life { sight: Some(Sight { alive: true, began: at(5), call: 0, deleted_at: None }), known: true, ..Life::default() };
    let mut record =
        Record { listing: Some(Read { fields: fields(row), began: at(5), call: 0 }), life, last_change: number, ..Record::default() };
    record.gaps.insert(Reason::Operator, gap(number));
    record
}

fn delivery(number: u64, end: u64) -> Delivery {
    let body = body(number);
    Delivery {
        number,
        source: SOURCE.into(),
        event_id: format!("{number} of {end}"),
        event: Some("user.updated".to_owned()),
        uid: Some(uid(number)),
        outcome: if body.is_some() { Outcome::Quarantined } else { Outcome::Applied },
        reason: None,
        received_at: at(number),
        expires_at: at(number),
        body,
    }
}

fn change(cursor: u64) -> Change {
    Change {
        cursor,
        at: at(cursor),
        source: SOURCE.into(),
        uid: uid(cursor),
        kind: ChangeKind::Updated,
        from: fields(json!({"job_title": null})),
        cause: Cause::EventId(cursor.to_string()),
        previous: cursor.saturating_sub(USERS),
        user: User { fields: fields(json!({"uid": uid(cursor), "job_title": format!("Title {cursor}")})), deleted_at: None }.into(),
    }
}

fn run(end: u64) -> Reconciliation {
    Reconciliation {
        id: 1,
        source: SOURCE.into(),
        mode: Mode::Incremental,
        uid: None,
        dry_run: false,
        reasons: Vec::new(),
        state: RunState::Running,
        requested_at: at(0),
        started_at: None,
        finished_at: None,
        progress: Progress { rows: end, ..Progress::default() },
        message: None,
        differences: Vec::new(),
    }
}

/// The group that begins after `start`.
fn group(start: u64) -> Batch {
    let end = end_after(start);
    let mut batch = Batch::default();
    for number in start + 1..=end {
        batch.deliveries.push(delivery(number, end));
        batch.users.push(StoredUser { source: SOURCE.into(), uid: uid(number), known: Arc::new(record(number).into()) });
        batch.changes.push(change(number));
        let (source, uid) = (SOURCE.to_owned(), Some(uid(number)));
        batch.closed.push(ClosedGap { source, reason: Reason::UnknownUser, uid, gap: gap(number), closed_at: at(number), closed_by: 1 });
    }
    batch.sources.push((SOURCE.to_owned(), SourceState { cursor: Some(at(end)), ..SourceState::default() }));
    batch.reconciliations.push(run(end));
    batch.calls.push(Call { source: SOURCE.into(), endpoint: Endpoint::Bulk, number: end, at: at(end) });
    batch
}

/// Commits the next group, and forgets now and then; `say` hears of both.
pub(crate) fn step(store: &Store, say: impl Fn(&str, u64)) {
    let start = store.numbers().delivery;
    store.commit(&group(start)).unwrap();
    let end = store.numbers().delivery;
    say("acknowledged", end);
    store.tidy().unwrap();
    if luck(end).is_multiple_of(4) && end > KEPT {
        say("forgetting", end - KEPT);
        while store.expire(at(end - KEPT), Some(at(end - KEPT))).unwrap() > 0 {}
    }
}

/// Opens a store that a thread of the one before may still hold for a moment.
pub(crate) fn open(folder: &Path) -> Result<Store, Error> {
    let began = Instant::now();
    loop {
        match Store::open_sled(folder) {
            Err(Error::InUse { .. }) if began.elapsed() < Duration::from_secs(20) => std::thread::yield_now(),
            opened => return opened,
        }
    }
}

/// Panics unless the store holds all that was acknowledged, groups whole, and everything in agreement. Returns where it ends.
pub(crate) fn check(store: &Store, said: Said) -> u64 {
    let end = store.numbers().delivery;
    assert!(end >= said.acknowledged, "{} was acknowledged, {end} is there", said.acknowledged);
    let ends = ends(end);
    assert_eq!(ends.last(), Some(&end), "the last group is not whole");
    assert_eq!(
        store.numbers(),
        Numbers { delivery: end, cursor: end, gap: end, reconciliation: u64::from(end > 0), call: end },
        "numbers disagree"
    );
    check_logs(store, &ends, said);
    for number in (end + 1).saturating_sub(USERS).max(1)..=end {
        assert_eq!(store.record(SOURCE, &uid(number)).unwrap(), Some(record(number)), "the record of delivery {number}");
    }
    assert_eq!(store.counts(SOURCE).gaps_open, end.min(USERS));
    assert!(store.closed_gaps(u64::MAX, usize::MAX).unwrap().iter().map(|gap| gap.gap.id).eq((1..=end).rev()), "closed gaps");
    let calls: Vec<u64> = store.calls(SOURCE).unwrap().iter().map(|call| call.number).collect();
    // None is old enough to be forgotten: so many of the newest are kept in any case.
    let kept: Vec<u64> = ends.into_iter().filter(|call| *call > 0).collect();
    assert_eq!(calls, kept, "the ledger of calls");
    assert_eq!(store.source(SOURCE).unwrap().cursor, (end > 0).then(|| at(end)), "the source's state");
    assert_eq!(store.reconciliation(1).unwrap(), (end > 0).then(|| run(end)), "the reconciliation");
    end
}

/// Deliveries, their ids and bodies, and the feed: all that is kept is there, all that is forgotten is gone altogether.
fn check_logs(store: &Store, ends: &[u64], said: Said) {
    let end = ends[ends.len() - 1];
    for pair in ends.windows(2) {
        for number in pair[0] + 1..=pair[1] {
            let wanted = delivery(number, pair[1]);
            let (found, seen) = (store.delivery(number).unwrap(), store.seen(SOURCE, &wanted.event_id).unwrap());
            assert_eq!(found.is_some(), seen.is_some(), "delivery {number} and its id");
            match found {
                Some(found) => assert_eq!(found, wanted, "delivery {number}"),
                None => assert!(number < said.forgetting, "delivery {number} is gone"),
            }
        }
    }
    let feed = store.changes(0, usize::MAX).unwrap();
    let first = feed.first().map_or(end + 1, |change| change.cursor);
    assert!(first <= said.forgetting.max(1), "the feed begins at {first}");
    assert!(feed.into_iter().eq((first..=end).map(change)), "the feed has a hole, or a change is another");
}
