//! Compaction: the same rows in shorter files, while commits and reads go on.

use std::sync::atomic::{AtomicBool, Ordering};

use super::batches::{house, open};
use super::healing::{check, touching};
use crate::storage::sled::Sled;
use crate::storage::{Compaction, Error, Row, Store};

fn sled(store: &Store) -> &Sled {
    let Store::Sled(sled) = store else { panic!("another engine") };
    sled
}

fn rows(store: &Store) -> Vec<Row> {
    store.snapshot().unwrap().collect::<Result<_, _>>().unwrap()
}

fn settle(store: &Store) {
    sled(store).writer.lock().journal.file_bytes = (4 * 1024, 4 * 1024);
    (0..8).for_each(|_| store.tidy().unwrap());
}

#[test]
fn a_compacted_store_holds_what_it_held_and_goes_on() {
    let (folder, store) = house();
    for _ in 0..300 {
        store.commit(&touching(store.numbers())).unwrap();
        settle(&store);
    }
    let before = rows(&store);
    let Compaction { content, after, .. } = store.compact(&|| true).unwrap();
    assert!(content > 0 && after > content);
    assert!(rows(&store) == before, "a row is another");
    check(&store);
    assert!(folder.path().join("tree-2/db").exists() && !folder.path().join("tree-1").exists());
    store.commit(&touching(store.numbers())).unwrap();
    settle(&store);
    check(&store);
    let numbers = store.numbers();
    drop(store);
    let store = open(&folder);
    assert_eq!(store.numbers(), numbers);
    check(&store);
    store.compact(&|| true).unwrap();
    check(&store);
}

#[test]
fn commits_and_reads_go_on_while_it_is_compacted() {
    let (folder, store) = house();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                store.commit(&touching(store.numbers())).unwrap();
                settle(&store);
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let newest = store.watermark();
                assert!(store.changes(newest.saturating_sub(9), 9).unwrap().len() as u64 >= newest.min(9));
            }
        });
        for _ in 0..6 {
            store.compact(&|| true).unwrap();
        }
        over.store(true, Ordering::SeqCst);
    });
    check(&store);
    drop(store);
    check(&open(&folder));
}

#[test]
fn a_store_that_is_opened_anew_meanwhile_tells_whoever_copies_it() {
    let (folder, store) = house();
    // More than one step of a copy.
    (0..200).for_each(|_| store.commit(&touching(store.numbers())).unwrap());
    let mut snapshot = store.snapshot().unwrap();
    assert!(snapshot.next().is_some_and(|row| row.is_ok()));
    assert!(matches!(store.compact(&|| true), Err(Error::Busy)));
    *sled(&store).faults.plan.lock() = (0, 1);
    store.commit(&touching(store.numbers())).unwrap_err();
    super::healing::mend(&store);
    assert!(matches!(snapshot.last(), Some(Err(Error::Unavailable { .. }))));
    check(&store);
    store.compact(&|| true).unwrap();
    check(&store);
    drop(store);
    check(&open(&folder));
}

#[test]
fn a_compaction_that_cannot_say_which_tree_counts_loses_nothing() {
    let (folder, store) = house();
    for _ in 0..20 {
        store.commit(&touching(store.numbers())).unwrap();
        settle(&store);
    }
    // Whatever settles has ended.
    drop(store.snapshot().unwrap());
    *sled(&store).faults.plan.lock() = (0, 1);
    assert!(matches!(store.compact(&|| true), Err(Error::Unavailable { .. })));
    assert!(store.healthy().is_err());
    super::healing::mend(&store);
    check(&store);
    for _ in 0..20 {
        store.commit(&touching(store.numbers())).unwrap();
        settle(&store);
    }
    drop(store);
    let store = open(&folder);
    check(&store);
    assert!(store.compact(&|| true).is_ok());
    check(&store);
}
