//! Damaged files: an error or what was committed, never something else, and never a panic.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

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

fn filled() -> (tempfile::TempDir, Committed) {
    let (folder, store) = house();
    let mut committed = Committed::default();
    for count in 1..=25 {
        let mut batch = group(store.numbers(), count);
        edit(&mut batch.users[0], |record| {
            record.listing.as_mut().unwrap().fields.insert("note".to_owned(), "n".repeat(9_000).into());
        });
        store.commit(&batch).unwrap();
        committed.users.extend(batch.users.into_iter().map(|user| (user.uid, user.known.record.clone())));
        committed.deliveries.extend(batch.deliveries);
        committed.changes.extend(batch.changes);
    }
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

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn outcome_of(folder: &Path, committed: &Committed) -> &'static str {
    match Store::open_sled(folder) {
        Ok(store) if agrees(&store, committed) => "whole",
        Ok(_) => "partly",
        Err(Error::Damaged { .. }) => "refused",
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn flipped_bytes_are_noticed_and_never_read_as_data() {
    let (folder, committed) = filled();
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in 0..60 {
        let mut random = SmallRng::seed_from_u64(seed);
        let damaged = tempfile::tempdir().unwrap();
        copy(folder.path(), damaged.path());
        let database = damaged.path().join("db");
        let mut bytes = fs::read(&database).unwrap();
        for _ in 0..seed % 5 {
            let place = random.random_range(0..bytes.len());
            bytes[place] ^= 1 << random.random_range(0..8);
        }
        fs::write(&database, bytes).unwrap();
        let outcome = outcome_of(damaged.path(), &committed);
        assert!(seed % 5 > 0 || outcome == "whole", "an unharmed copy is {outcome}");
        *outcomes.entry(outcome).or_default() += 1;
    }
    println!("{outcomes:?}");
}

#[test]
fn a_file_cut_short_is_noticed_and_never_read_as_data() {
    let (folder, committed) = filled();
    let length = fs::metadata(folder.path().join("db")).unwrap().len();
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for cut in 0..20 {
        let damaged = tempfile::tempdir().unwrap();
        copy(folder.path(), damaged.path());
        fs::File::options().write(true).open(damaged.path().join("db")).unwrap().set_len(length * cut / 20).unwrap();
        *outcomes.entry(outcome_of(damaged.path(), &committed)).or_default() += 1;
    }
    println!("{outcomes:?}");
}
