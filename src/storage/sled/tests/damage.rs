//! Damaged files: an error or what was committed, never something else, and never a panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::batches::{SOURCE, edit, group, house};
use crate::directory::{Change, Record};
use crate::storage::{Delivery, Error, Store};

#[derive(Default)]
struct Committed {
    users: BTreeMap<String, Record>,
    deliveries: Vec<Delivery>,
    changes: Vec<Change>,
}

/// A store whose rows have settled in part, and what was committed to it.
fn filled() -> (tempfile::TempDir, Committed) {
    let (folder, store) = house();
    let mut committed = Committed::default();
    let Store::Sled(sled) = &store else { panic!("another engine") };
    sled.writer.lock().journal.file_bytes = (64 * 1024, 64 * 1024);
    for count in 1..=25 {
        let mut batch = group(store.numbers(), count);
        edit(&mut batch.users[0], |record| {
            record.listing.as_mut().unwrap().fields.insert("note".to_owned(), "n".repeat(9_000).into());
        });
        store.commit(&batch).unwrap();
        store.tidy().unwrap();
        committed.users.extend(batch.users.into_iter().map(|user| (user.uid, user.known.record.clone())));
        committed.deliveries.extend(batch.deliveries);
        committed.changes.extend(batch.changes);
    }
    let durable = sled.durable.read();
    assert!(durable.settled.generation > 1 && durable.pending.old.is_some(), "some have settled, some are about to");
    drop(durable);
    drop(store);
    (folder, committed)
}

/// Whether all can be read; panics on anything that is not what was committed.
fn agrees(store: &Store, committed: &Committed) -> bool {
    let mut whole = true;
    let mut sound = |same: Result<bool, Error>| match same {
        Ok(same) => assert!(same, "this was never committed, or a record or a change is gone without a word"),
        Err(Error::Damaged { .. }) => whole = false,
        Err(error) => panic!("{error}"),
    };
    for (uid, record) in &committed.users {
        sound(store.record(SOURCE, uid).map(|found| found.as_ref() == Some(record)));
    }
    for (delivery, change) in committed.deliveries.iter().zip(&committed.changes) {
        sound(store.delivery(delivery.number).map(|found| found.is_none_or(|found| found == *delivery)));
        sound(store.change(change.cursor).map(|found| found.as_ref() == Some(change)));
    }
    whole
}

/// Every file of a store, by its path in the folder; what only holds room aside.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut files, mut open) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if !path.ends_with("ballast") {
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    files
}

fn write(files: &BTreeMap<PathBuf, Vec<u8>>, folder: &Path) {
    for (path, bytes) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

fn outcome_of(folder: &Path, committed: &Committed) -> &'static str {
    // A child of another test may have been given the lock for a moment.
    let opened = std::iter::repeat_with(|| Store::open_sled(folder)).find(|opened| !matches!(opened, Err(Error::InUse { .. })));
    match opened.unwrap() {
        Ok(store) if agrees(&store, committed) => "whole",
        Ok(_) => "partly",
        Err(Error::Damaged { .. }) => "refused",
        Err(error) => panic!("{error}"),
    }
}

/// What seed does: the file that it strikes, and how.
fn strike(files: &mut BTreeMap<PathBuf, Vec<u8>>, seed: u64) -> String {
    let mut random = SmallRng::seed_from_u64(seed);
    let names: Vec<PathBuf> = files.iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(name, _)| name.clone()).collect();
    // Small files as often as large ones.
    let name = &names[random.random_range(0..names.len())];
    let bytes = files.get_mut(name).unwrap();
    // What was written stands at the beginning of a file, mostly.
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
    if seed.is_multiple_of(4) {
        let length = random.random_range(0..written);
        bytes.truncate(length);
        return format!("seed {seed}: {} cut to {length} bytes", name.display());
    }
    let flips = random.random_range(1..=3);
    for _ in 0..flips {
        bytes[random.random_range(0..written)] ^= 1 << random.random_range(0..8);
    }
    format!("seed {seed}: {flips} bits of {} flipped", name.display())
}

/// Strikes a store with each seed of these; how many are then whole, partly readable, refused.
fn struck(seeds: std::ops::Range<u64>, (sound, committed): &(BTreeMap<PathBuf, Vec<u8>>, Committed)) -> BTreeMap<&'static str, usize> {
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds {
        let (folder, mut files) = (tempfile::tempdir().unwrap(), sound.clone());
        let what = strike(&mut files, seed);
        write(&files, folder.path());
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| outcome_of(folder.path(), committed)));
        *outcomes.entry(outcome.unwrap_or_else(|_| panic!("{what}"))).or_default() += 1;
    }
    outcomes
}

#[test]
fn whatever_bit_flips_and_wherever_a_file_ends_nothing_is_read_that_was_not_committed() {
    let (folder, committed) = filled();
    let filled = (files(folder.path()), committed);
    let unharmed = tempfile::tempdir().unwrap();
    write(&filled.0, unharmed.path());
    assert_eq!(outcome_of(unharmed.path(), &filled.1), "whole");
    let (seeds, threads) = (1_000_u64, 2_u64);
    let outcomes = std::thread::scope(|scope| {
        let part = |thread| thread * seeds / threads..(thread + 1) * seeds / threads;
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn({
                    let filled = &filled;
                    move || struck(part(thread), filled)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    println!("{outcomes:?}");
    assert!(outcomes.iter().all(|outcomes| outcomes.get("refused").is_some_and(|refused| *refused > 50)), "{outcomes:?}");
}
