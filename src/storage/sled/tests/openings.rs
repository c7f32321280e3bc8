//! How the store's folder is opened, and when it is not.

use std::fs;
use std::path::Path;

use super::batches::{group, house, open};
use crate::storage::{Error, Store};

fn refusal(folder: &Path) -> Error {
    Store::open_sled(folder).unwrap_err()
}

#[test]
fn a_folder_that_another_holds_is_in_use() {
    let (folder, store) = house();
    let error = refusal(folder.path());
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&folder.path().display().to_string()));
    drop(store);
    assert!(open(&folder).healthy().is_ok());
}

#[test]
fn a_folder_that_does_not_exist_yet_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("some/where");
    let store = Store::open_sled(&deep).unwrap();
    store.commit(&group(store.numbers(), 1)).unwrap();
    assert!(store.bytes() > 0);
    drop(store);
    assert_eq!(Store::open_sled(&deep).unwrap().numbers().delivery, 1);
}

#[test]
fn a_folder_of_something_else_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("thesis.txt"), "precious").unwrap();
    let error = refusal(folder.path());
    assert!(matches!(&error, Error::Unavailable { what, .. } if what.contains("thesis.txt")), "{error}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_a_volume_brings_along_is_no_obstacle() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lost+found")).unwrap();
    fs::write(folder.path().join(".keep"), "").unwrap();
    assert!(open(&folder).healthy().is_ok());
}

#[test]
fn a_path_that_cannot_be_a_folder_is_unavailable() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    assert!(matches!(refusal(&file), Error::Unavailable { .. }));
}

#[test]
fn a_store_that_lost_its_content_is_damaged_not_empty() {
    let (folder, store) = house();
    store.commit(&group(store.numbers(), 3)).unwrap();
    drop(store);
    let database = folder.path().join("tree-1/db");
    fs::write(&database, "").unwrap();
    assert!(matches!(refusal(folder.path()), Error::Damaged { .. }));
    fs::remove_file(&database).unwrap();
    assert!(matches!(refusal(folder.path()), Error::Damaged { .. }));
    assert!(!database.exists(), "nothing was put in its place");
}

#[test]
fn another_layout_is_refused() {
    let (folder, store) = house();
    let Store::Sled(sled) = &store else { panic!("another engine") };
    let rows = sled.durable.read().rows.clone();
    let mut writes = sled::Batch::default();
    rows.insert(&mut writes, super::super::keys::FORMAT, &[9]);
    rows.apply(writes).unwrap();
    drop((rows, store));
    let error = refusal(folder.path());
    assert!(matches!(&error, Error::Damaged { what, .. } if what.contains("layout")), "{error}");
}

#[test]
fn what_a_kill_leaves_of_a_snapshot_or_of_a_creation_is_no_obstacle() {
    let (folder, store) = house();
    store.commit(&group(store.numbers(), 3)).unwrap();
    drop(store);
    let half = folder.path().join("tree-1/snap.FFFFFFFFFFFFFFFF.generating");
    fs::write(&half, [0; 10]).unwrap();
    let store = open(&folder);
    assert_eq!((store.numbers().delivery, half.exists()), (3, false));
    for settings in [&[0; 62], &b"segment_size: 524288\nuse_compression: false\nversion: 0.34\n"[..]] {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("tree-1")).unwrap();
        fs::write(folder.path().join("tree-1/conf"), settings).unwrap();
        assert!(open(&folder).healthy().is_ok());
    }
}

#[test]
fn a_store_that_lost_its_journal_is_damaged() {
    for (bytes, name) in [(None, "gone"), (Some(&b""[..]), "empty"), (Some(&[0; 4096][..]), "blank")] {
        let (folder, store) = house();
        store.commit(&group(store.numbers(), 3)).unwrap();
        drop(store);
        let journal = folder.path().join("journal.1");
        match bytes {
            None => fs::remove_file(&journal).unwrap(),
            Some(bytes) => fs::write(&journal, bytes).unwrap(),
        }
        let error = refusal(folder.path());
        assert!(matches!(&error, Error::Damaged { what, .. } if what.contains("journal")), "{name}: {error}");
    }
}
