//! Snapshots and what is restored from them: one state that was, as a whole, or nothing.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::batches::{SOURCE, closed, delivery, edit, gap, group, house, open, open_at, run, stored};
use crate::directory::{Outcome, Reason};
use crate::storage::backup::{Contents, Fault, Reader, Row, Summary};
use crate::storage::{Delivery, Error, RunState, SourceGap, SourceState, Store};

/// What `store` holds, as a backup.
fn backup(store: &Store) -> (Vec<u8>, Summary) {
    let mut bytes = Vec::new();
    let summary = store.snapshot().unwrap().write(&mut bytes).unwrap();
    (bytes, summary)
}

fn rows(store: &Store) -> Vec<Row> {
    store.snapshot().unwrap().collect::<Result<_, _>>().unwrap()
}

fn restore(folder: &Path, bytes: &[u8]) -> Result<Summary, Fault> {
    let restored = Store::restore(folder, Reader::new(bytes)?)?;
    let summary = *restored.summary();
    restored.keep()?;
    Ok(summary)
}

/// A store with something of every kind, long values among them.
fn fill(store: &Store) {
    let mut batch = group(store.numbers(), 20);
    edit(&mut batch.users[0], |record| {
        record.listing.as_mut().unwrap().fields.insert("note".to_owned(), "n".repeat(30_000).into());
        record.gaps.insert(Reason::UnknownUser, gap(7, 100));
    });
    batch.deliveries.push(Delivery { body: Some(vec![255; 100_000]), ..delivery(21, Outcome::Quarantined) });
    batch.closed = vec![closed(6), closed(5)];
    let gaps = vec![SourceGap { reason: Reason::Silence, uid: None, gap: gap(8, 50) }];
    batch.sources = vec![(SOURCE.to_owned(), SourceState { gaps, ..SourceState::default() })];
    batch.reconciliations = vec![run(1, RunState::Done)];
    store.commit(&batch).unwrap();
}

#[test]
fn what_is_restored_is_what_was_there() {
    let (_folder, store) = house();
    fill(&store);
    let (bytes, summary) = backup(&store);
    assert_eq!(summary.contents, Contents { users: 20, deliveries: 21, changes: 20, cursor: 20 });
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(restore(elsewhere.path(), &bytes).unwrap(), summary);
    let restored = open(&elsewhere);
    assert_eq!(rows(&restored), rows(&store));
    assert_eq!(restored.numbers(), store.numbers());
    assert_eq!(restored.changes(0, 100).unwrap(), store.changes(0, 100).unwrap());
    assert_eq!(restored.delivery(21).unwrap(), store.delivery(21).unwrap());
    assert_eq!(restored.open_gaps(u64::MAX, 10).unwrap(), store.open_gaps(u64::MAX, 10).unwrap());
    restored.commit(&group(restored.numbers(), 3)).unwrap();
    assert_eq!(restored.watermark(), 23);
}

#[test]
fn an_empty_store_can_be_copied() {
    let (_folder, store) = house();
    let (bytes, summary) = backup(&store);
    assert_eq!(summary.contents, Contents::default());
    let elsewhere = tempfile::tempdir().unwrap();
    restore(&elsewhere.path().join("some/where"), &bytes).unwrap();
    assert_eq!(open_at(&elsewhere.path().join("some/where")).numbers(), store.numbers());
}

#[test]
fn what_is_committed_later_is_not_in_a_snapshot() {
    let (_folder, store) = house();
    fill(&store);
    let before = rows(&store);
    let mut snapshot = store.snapshot().unwrap();
    let first = snapshot.next().unwrap().unwrap();
    let mut batch = group(store.numbers(), 5);
    batch.users.push(store.record(SOURCE, "u1").unwrap().map(|record| stored("u1", record)).unwrap());
    edit(batch.users.last_mut().unwrap(), |record| record.gaps.clear());
    store.commit(&batch).unwrap();
    let found: Vec<Row> = std::iter::once(Ok(first)).chain(snapshot).collect::<Result<_, _>>().unwrap();
    assert!(found == before, "a later commit shows");
}

#[test]
fn every_snapshot_under_load_is_a_state_that_was() {
    let (_folder, store) = house();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for count in (1..=7).cycle() {
                // Each of these adds one user, one delivery and one change; the first user changes each time.
                let mut batch = group(store.numbers(), count);
                if let Some(record) = store.record(SOURCE, "u1").unwrap() {
                    batch.users.push(stored("u1", record));
                    let title = json!(store.watermark());
                    edit(batch.users.last_mut().unwrap(), |record| {
                        drop(record.listing.as_mut().unwrap().fields.insert("title".to_owned(), title))
                    });
                }
                store.commit(&batch).unwrap();
                if over.load(Ordering::SeqCst) {
                    return;
                }
            }
        });
        for _ in 0..6 {
            let acknowledged = store.numbers();
            let (bytes, summary) = backup(&store);
            let Contents { users, deliveries, changes, cursor } = summary.contents;
            assert_eq!((users, deliveries, changes), (cursor, cursor, cursor));
            assert!(cursor >= acknowledged.cursor, "what was acknowledged before is missing");
            let elsewhere = tempfile::tempdir().unwrap();
            assert_eq!(restore(elsewhere.path(), &bytes).unwrap(), summary);
            let restored = open(&elsewhere);
            assert_eq!(restored.changes(0, usize::MAX).unwrap(), store.changes(0, cursor as usize).unwrap());
        }
        over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn one_snapshot_at_a_time() {
    let (_folder, store) = house();
    let held = store.snapshot().unwrap();
    assert!(matches!(store.snapshot(), Err(Error::Busy)));
    drop(held);
    assert_eq!(store.snapshot().unwrap().count(), 1);
    assert!(store.snapshot().is_ok());
}

#[test]
fn a_store_is_restored_only_into_an_empty_folder() {
    let (folder, store) = house();
    fill(&store);
    let (bytes, _) = backup(&store);
    let error = restore(folder.path(), &bytes).unwrap_err();
    assert!(matches!(error, Fault::Store(Error::NotEmpty { .. })), "{error}");
    store.commit(&group(store.numbers(), 1)).unwrap();
}

#[test]
fn what_is_not_whole_or_not_sound_leaves_nothing() {
    let (_folder, store) = house();
    fill(&store);
    let (bytes, summary) = backup(&store);
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("data");
    for cut in [20, 30, bytes.len() / 2, bytes.len() - 1] {
        assert!(matches!(restore(&place, &bytes[..cut]), Err(Fault::Cut { .. })), "{cut} bytes");
        assert!(!place.exists());
    }
    for missing in 0..summary.rows as usize {
        let rows = rows(&store).into_iter().enumerate().filter(|(place, _)| *place != missing).map(|(_, row)| Ok(row));
        match Store::restore::<Error>(&place, rows) {
            Err(Error::Unsound { .. }) => {}
            Err(error) => panic!("{error}"),
            // What is about one delivery or one gap alone is missed by nobody.
            Ok(restored) => assert_eq!(restored.summary().rows, summary.rows - 1),
        }
        assert!(!place.exists(), "without row {missing}");
    }
}

#[test]
fn nobody_opens_what_is_restored_before_it_is_whole() {
    let (_folder, store) = house();
    fill(&store);
    let (bytes, _) = backup(&store);
    let folder = tempfile::tempdir().unwrap();
    let restored = Store::restore(folder.path(), Reader::new(bytes.as_slice()).unwrap()).unwrap();
    let error = Store::open_sled(folder.path()).unwrap_err();
    assert!(error.to_string().contains("was not finished"), "{error}");
    // As after a kill in the midst of moving.
    fs::rename(folder.path().join("restoring/tree-1"), folder.path().join("tree-1")).unwrap();
    let error = Store::open_sled(folder.path()).unwrap_err();
    assert!(error.to_string().contains("was not finished"), "{error}");
    let again = Store::restore(folder.path(), Reader::new(bytes.as_slice()).unwrap()).unwrap_err();
    assert!(matches!(again, Fault::Store(Error::NotEmpty { .. })));
    drop(restored);
}
