//! Batches to commit: believable users, deliveries, changes and gaps.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::directory::{
    Cause, Change, ChangeKind, ClosedGap, Fields, Gap, Life, Need, Outcome, Read, Reason, Record, Sight, Timestamp, User,
};
use crate::storage::entry::Numbers;
use crate::storage::{Batch, Delivery, Error, Mode, Progress, Reconciliation, RunState, Store, StoredUser};

pub(super) const SOURCE: &str = "acme";

pub(super) fn house() -> (TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    (folder, store)
}

pub(super) fn open(folder: &TempDir) -> Store {
    open_at(folder.path())
}

/// Opens a folder that nobody uses; sled's own threads may hold it for a moment after they were told to end.
pub(super) fn open_at(folder: &Path) -> Store {
    let began = Instant::now();
    loop {
        match Store::open_sled(folder) {
            Err(Error::InUse { .. }) if began.elapsed() < Duration::from_secs(10) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_763_479_800_000 + second * 1000)
}

pub(super) fn fields(value: Value) -> Fields {
    value.as_object().cloned().unwrap().into()
}

/// A live user as a listing shows them.
pub(super) fn record(uid: &str, title: &str) -> Record {
    let row = json!({
        "uid": uid, "full_name": format!("User {uid}"), "email": format!("{uid}@Example.com"), "active": true, "job_title": title,
        "created_at": at(0).to_string(), "updated_at": at(1).to_string(), "department": "Sales", "employment_status": "Full Time",
    });
    let life = Life { sight: Some(Sight { alive: true, began: at(5), call: 0, deleted_at: None }), known: true, ..Life::default() };
    Record { listing: Some(Read { fields: fields(row), began: at(5), call: 0 }), life, ..Record::default() }
}

pub(super) fn stored(uid: &str, record: Record) -> StoredUser {
    StoredUser { source: SOURCE.into(), uid: uid.to_owned(), known: Arc::new(record.into()) }
}

pub(super) fn delivery(number: u64, outcome: Outcome) -> Delivery {
    Delivery {
        number,
        source: SOURCE.into(),
        event_id: format!("event-{number}"),
        event: Some("user.updated".to_owned()),
        uid: Some(format!("u{number}")),
        outcome,
        reason: None,
        received_at: at(number as i64),
        expires_at: at(number as i64 + 1000),
        body: None,
    }
}

pub(super) fn change(cursor: u64, uid: &str, previous: u64) -> Change {
    Change {
        cursor,
        at: at(cursor as i64),
        source: SOURCE.into(),
        uid: uid.to_owned(),
        kind: ChangeKind::Updated,
        from: fields(json!({"job_title": null})),
        cause: Cause::EventId(format!("event-{cursor}")),
        previous,
        user: User { fields: fields(json!({"uid": uid, "job_title": format!("Title {cursor}")})), deleted_at: None }.into(),
    }
}

pub(super) fn gap(id: u64, due: i64) -> Gap {
    Gap {
        id,
        count: 1,
        detected_at: at(due - 10),
        event_id: Some("event".to_owned()),
        need: Need::Any,
        happened: at(due - 10),
        due: at(due),
    }
}

pub(super) fn closed(id: u64) -> ClosedGap {
    let source = SOURCE.to_owned();
    ClosedGap { source, reason: Reason::UnknownUser, uid: Some("u1".to_owned()), gap: gap(id, 20), closed_at: at(30), closed_by: 1 }
}

pub(super) fn run(id: u64, state: RunState) -> Reconciliation {
    Reconciliation {
        id,
        source: SOURCE.to_owned(),
        mode: Mode::Incremental,
        uid: None,
        dry_run: false,
        reasons: vec!["schedule".to_owned()],
        state,
        requested_at: at(0),
        started_at: None,
        finished_at: None,
        progress: Progress::default(),
        message: None,
        differences: Vec::new(),
    }
}

/// `count` applied deliveries behind `numbers`, each with a user and a change of its own.
pub(super) fn group(numbers: Numbers, count: u64) -> Batch {
    let mut batch = Batch::default();
    for step in 1..=count {
        let (number, cursor) = (numbers.delivery + step, numbers.cursor + step);
        let uid = format!("u{number}");
        batch.deliveries.push(delivery(number, Outcome::Applied));
        batch.users.push(stored(&uid, Record { last_change: cursor, ..record(&uid, "Clerk") }));
        batch.changes.push(change(cursor, &uid, 0));
    }
    batch
}

/// Changes a stored user's record.
pub(super) fn edit(user: &mut StoredUser, change: impl FnOnce(&mut Record)) {
    let mut record = user.known.record.clone();
    change(&mut record);
    user.known = Arc::new(record.into());
}
