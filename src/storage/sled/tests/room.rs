//! A disk that fills up: commits are refused, reads go on, and room is all it takes to go on.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::super::room::Room;
use super::batches::{house, open_at};
use super::healing::{check, mend, touching};
use crate::storage::sled::Sled;
use crate::storage::{Error, Store};

/// A small file system of its own; unmounted in the end.
struct Volume(TempDir);

impl Volume {
    /// `None` where nothing can be mounted: that wants root.
    fn mount(mebibytes: u32) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let size = format!("size={mebibytes}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path()).output();
        if mounted.as_ref().is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(folder));
        }
        // Straight to stderr: what a test prints is not shown while it passes.
        let told = "NOT PROVEN ON A FULL DISK: no file system can be mounted here, only injected errors were tried";
        std::io::stderr().write_all(format!("{told} ({mounted:?})\n").as_bytes()).unwrap();
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left but `spare` bytes.
    fn fill(&self, spare: u64) {
        let mut file = File::options().append(true).create(true).open(self.path().join("filler")).unwrap();
        let piece = [7; 4096];
        while super::super::room::free_bytes(self.path()).unwrap() > spare && file.write_all(&piece).is_ok() {}
    }

    fn free(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // sled's own threads may still close files.
        drop(Command::new("umount").arg("--lazy").arg(self.path()).output());
    }
}

fn sled(store: &Store) -> &Sled {
    let Store::Sled(sled) = store else { panic!("another engine") };
    sled
}

fn set_floor(store: &Store, floor_bytes_min: u64) {
    let mut room = Room::default();
    room.floor_bytes_min = floor_bytes_min;
    sled(store).writer.lock().room = room;
}

#[test]
fn without_enough_room_commits_are_refused_until_there_is_some() {
    let (_folder, store) = house();
    store.commit(&touching(store.numbers())).unwrap();
    assert!(store.free_bytes().unwrap() > 0);
    set_floor(&store, u64::MAX);
    let batch = touching(store.numbers());
    let error = store.commit(&batch).unwrap_err();
    assert!(matches!(&error, Error::Unavailable { what, .. } if what.contains("make room")), "{error}");
    assert!(store.healthy().is_err() && store.mend().is_err());
    check(&store);
    set_floor(&store, 0);
    while store.mend().is_err() {
        std::thread::yield_now();
    }
    assert!(store.healthy().is_ok());
    store.commit(&batch).unwrap();
    check(&store);
}

#[test]
fn a_disk_that_runs_full_under_a_commit_costs_nothing_acknowledged() {
    let Some(volume) = Volume::mount(32) else { return };
    for round in 0..12 {
        let folder = volume.path().join(format!("store-{round}"));
        let store = Store::open_sled(&folder).unwrap();
        set_floor(&store, 0);
        mend_if_needed(&store);
        store.commit(&touching(store.numbers())).unwrap();
        volume.fill(round * 64 * 1024);
        let error = loop {
            if let Err(error) = store.commit(&touching(store.numbers())) {
                break error;
            }
        };
        assert!(matches!(&error, Error::Unavailable { what, .. } if what.contains("No space left")), "{error}");
        let acknowledged = store.numbers();
        set_floor(&store, 16 * 1024 * 1024);
        // The ballast is what it is opened anew on, to be read meanwhile.
        while sled(&store).trouble.read().as_ref().unwrap().reopen {
            assert!(store.commit(&touching(acknowledged)).is_err() && store.mend().is_err());
        }
        assert!(store.numbers().delivery >= acknowledged.delivery);
        check(&store);
        let error = store.commit(&touching(store.numbers())).unwrap_err();
        assert!(error.to_string().contains("make room"), "{error}");
        volume.free();
        mend(&store);
        check(&store);
        set_floor(&store, 0);
        store.commit(&touching(store.numbers())).unwrap();
        check(&store);
        let numbers = store.numbers();
        drop(store);
        let store = open_at(&folder);
        assert_eq!(store.numbers(), numbers);
        check(&store);
        drop(store);
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn a_store_on_a_full_disk_is_opened_at_the_price_of_its_ballast() {
    let Some(volume) = Volume::mount(64) else { return };
    let folder = volume.path().join("store");
    let store = Store::open_sled(&folder).unwrap();
    store.commit(&touching(store.numbers())).unwrap();
    let ballast = folder.join("ballast");
    let held = || fs::metadata(&ballast).unwrap().len();
    assert!(held() > 0);
    drop(store);
    volume.fill(0);
    let store = open_at(&folder);
    assert_eq!(held(), 0);
    assert!(store.healthy().is_err(), "there is too little room");
    check(&store);
    volume.free();
    while store.mend().is_err() {
        std::thread::yield_now();
    }
    store.commit(&touching(store.numbers())).unwrap();
    check(&store);
    assert!(held() > 0, "it is in its place again");
}

fn mend_if_needed(store: &Store) {
    while store.mend().is_err() {
        std::thread::yield_now();
    }
}
