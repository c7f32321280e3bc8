//! Backups while deliveries come in, and what is restored from them (contract, section 1: `rollcall backup`, `rollcall restore`).

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rollcall::directory::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::answers::{self, list};
use crate::house::{House, breathe, event, until};
use crate::joined::BRISK;
use crate::kill::{body, check};
use crate::program::{Program, rollcall, run, settings, text};

const SENDERS: usize = 3;

fn stamp() -> Timestamp {
    Timestamp::parse("2026-03-01T08:00:00Z").unwrap()
}

/// Asks a service for a backup.
fn backup(folder: &Path, ops: &str) -> Output {
    run(&mut rollcall(&["backup", folder.to_str().unwrap(), "--ops", ops]), b"")
}

fn restore(folder: &Path, file: &str) -> Output {
    run(&mut rollcall(&["restore", folder.to_str().unwrap(), "--config", file]), b"")
}

/// What a command told that did what was asked: one line.
#[track_caller]
pub(crate) fn done(output: &Output) -> String {
    let told = text(&output.stdout);
    assert!(output.status.success() && told.lines().count() == 1, "{output:?}");
    told
}

/// What a command told that failed: one line, with this in it.
#[track_caller]
pub(crate) fn refused(output: &Output, words: &str) {
    let told = text(&output.stderr);
    assert_eq!((output.status.code(), told.lines().count(), output.stdout.len()), (Some(1), 1, 0), "{output:?}");
    assert!(told.contains(words), "{told}");
}

fn names(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).map_or(Vec::new(), |entries| entries.map(|entry| entry.unwrap().path()).collect())
}

/// A service that serves what was restored from the backup in this folder.
struct Restored {
    _program: Program,
    _folder: TempDir,
    webhooks: String,
    ops: String,
}

impl Restored {
    #[track_caller]
    fn from(backup: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = settings(folder.path(), "");
        assert!(done(&restore(backup, &file)).contains("each read back"));
        let (program, [webhooks, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
        Self { _program: program, _folder: folder, webhooks, ops }
    }
}

/// Everything of a list, page by page.
fn all(ops: &str, name: &str) -> Vec<Value> {
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let answer = answers::read(&format!("{ops}/api/v1/{name}?limit=1000{after}"));
        let page = list(&answer, name);
        let more = page.len() == 1000;
        found.extend(page);
        if !more {
            return found;
        }
        after = format!("&after={}", answer.body["next"]);
    }
}

fn feed(ops: &str) -> Vec<Value> {
    all(ops, "changes")
}

/// Delivers from several threads while `work` goes on; every delivery that was answered 200, by its number.
pub(crate) fn under_load(url: &str, from: usize, work: impl FnOnce(&Mutex<Vec<usize>>)) {
    let (next, over, answered) = (AtomicUsize::new(from), AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(answers::post(url, body(number).to_string().as_bytes()).status, 200);
                    answered.lock().unwrap().push(number);
                }
            });
        }
        work(&answered);
        over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_backup_under_load_is_a_state_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "log.level = \"info\"");
    let (program, [webhooks, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
    let mut taken: Vec<(PathBuf, Vec<usize>)> = Vec::new();
    under_load(&format!("{webhooks}/webhooks/main"), 0, |answered| {
        for number in 0..3 {
            let enough = answered.lock().unwrap().len() + 60;
            until("some deliveries", || (answered.lock().unwrap().len() >= enough).then_some(()));
            let before = answered.lock().unwrap().clone();
            let place = folder.path().join(format!("backups/{number}"));
            done(&backup(&place, &ops));
            assert!(program.line_with("a backup was handed over").contains("rows="));
            taken.push((place, before));
        }
    });
    let whole = feed(&ops);
    let deliveries = all(&ops, "deliveries");
    for (place, before) in taken {
        let restored = Restored::from(&place);
        let found = feed(&restored.ops);
        assert!(found[..] == whole[..found.len()], "the feed is no beginning of the service's own");
        let kept = all(&restored.ops, "deliveries");
        assert!(deliveries.ends_with(&kept) && kept.len() >= before.len(), "the deliveries are not the service's first");
        let mut users: BTreeMap<&str, &Value> = BTreeMap::new();
        users.extend(found.iter().map(|change| (change["uid"].as_str().unwrap(), &change["user"])));
        for (uid, user) in users {
            let shown = answers::read(&format!("{}/api/v1/users/{uid}", restored.ops)).body["user"].clone();
            let mut told = user.as_object().unwrap().iter();
            assert!(told.all(|(field, value)| shown[field] == *value), "{uid}: {shown} is not {user}");
        }
        check(&restored.webhooks, &restored.ops, &before);
        let next = answers::post(&format!("{}/webhooks/main", restored.webhooks), body(1_000_000).to_string().as_bytes());
        assert_eq!(next.outcome(), "applied");
        assert_eq!(feed(&restored.ops).len(), found.len() + 1);
    }
}

/// Everything that can be read of a service without a source of its own.
fn everything(ops: &str) -> BTreeMap<String, (Option<String>, Value)> {
    let mut paths = vec!["/api/v1/users?include_deleted=true&per_page=100".to_owned()];
    for list in ["changes", "deliveries", "deliveries?outcome=quarantined", "gaps?state=open", "gaps?state=closed", "reconciliations"] {
        paths.push(format!("/api/v1/{list}"));
    }
    for user in list(&answers::read(&format!("{ops}{}", paths[0])), "users") {
        for path in ["?include_deleted=true", "/history", "/explain"] {
            paths.push(format!("/api/v1/users/{}{path}", user["uid"].as_str().unwrap()));
        }
    }
    for delivery in list(&answers::read(&format!("{ops}/api/v1/deliveries")), "deliveries") {
        paths.push(format!("/api/v1/deliveries/{}", delivery["event_id"].as_str().unwrap()));
    }
    let read = |path: String| {
        let answer = answers::read(&format!("{ops}{path}"));
        (path, (answer.header("rollcall-cursor").map(str::to_owned), answer.body))
    };
    paths.into_iter().map(read).collect()
}

/// Backs up a house in which nothing happens any more, and compares all that can be read.
fn compare(house: &House, deliveries: &[Value]) {
    let (folder, ops) = (tempfile::tempdir().unwrap(), format!("http://{}", house.ops()));
    let expected = everything(&ops);
    let told = done(&backup(folder.path(), &ops));
    assert!(told.contains(&format!("{} users", house.count("include_deleted=true"))), "{told}");
    let restored = Restored::from(folder.path());
    let found = everything(&restored.ops);
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (path, value) in &expected {
        assert_eq!(&found[path], value, "{path}");
    }
    for delivery in deliveries {
        let again = answers::post(&format!("{}/webhooks/main", restored.webhooks), delivery.to_string().as_bytes());
        assert_eq!(again.outcome(), "duplicate");
    }
}

#[test]
fn what_is_restored_is_equal_in_everything_that_can_be_read() {
    let house = House::alone().open();
    let deliveries = [
        event("created", "E1", stamp(), json!({})),
        event("updated", "E2", stamp(), json!({"job_title": "Pilot", "nested": {"more": ["ü", null, 1.5]}})),
        event("deleted", "E1", stamp(), json!({})),
        event("deactivated", "E3", stamp(), json!({"note": "n".repeat(20_000)})),
        json!({"event": "user.exploded", "timestamp": "2026-03-01T08:00:00Z", "data": {"uid": "E9", "note": "n".repeat(50_000)}}),
        json!({"event": "ping"}),
    ];
    deliveries.iter().for_each(|delivery| assert_eq!(house.deliver(delivery).status, 200));
    assert!(house.gaps("open").len() > 2);
    compare(&house, &deliveries);
}

#[test]
fn repairs_are_restored_as_well() {
    let house = House::joined(40, BRISK).open().swept();
    let unknown = event("updated", "E1000005", house.now(), json!({"job_title": "Astronaut"}));
    house.deliver(&unknown);
    house.reconcile("incremental", json!({}));
    house.until("quiet", || {
        let over = |run: &Value| ["done", "failed", "cancelled"].contains(&run["state"].as_str().unwrap());
        (house.gaps("open").is_empty() && house.reconciliations().iter().all(over)).then_some(())
    });
    assert!(house.gaps("closed").len() > 1);
    compare(&house, &[unknown]);
}

#[test]
fn a_backup_wants_a_token_that_may_act() {
    let tokens = r#"["screen:read:token-of-the-screen", "desk:operate:token-of-the-desk"]"#;
    let house = House::alone().set("ops.tokens", tokens).open();
    for path in ["/api/v1/backup", "/api/v1/%62ackup"] {
        assert_eq!((house.get(path).status, house.get(path).code()), (401, "unauthorized"), "{path}");
        let scoped = house.get_as("token-of-the-screen", path);
        assert_eq!((scoped.status, scoped.code()), (403, "insufficient_scope"), "{path}");
        assert_eq!(house.get_as("token-of-the-desk", path).status, 200, "{path}");
    }
    let (folder, ops) = (tempfile::tempdir().unwrap(), format!("http://{}", house.ops()));
    let place = folder.path().join("backup");
    refused(&backup(&place, &ops), "--token");
    let with = |token: &str| run(rollcall(&["backup", place.to_str().unwrap(), "--ops", &ops]).env("ROLLCALL_TOKEN", token), b"");
    refused(&with("token-of-the-screen"), "scope operate");
    assert!(!place.exists());
    done(&with("token-of-the-desk"));
    // What is there is not written over.
    refused(&with("token-of-the-desk"), "there already");
}

#[test]
fn one_backup_at_a_time() {
    let house = House::alone().open();
    let (folder, ops) = (tempfile::tempdir().unwrap(), format!("http://{}", house.ops()));
    let held = house.store().snapshot().unwrap();
    let second = house.get("/api/v1/backup");
    assert_eq!((second.status, second.code()), (409, "backup_running"));
    refused(&backup(folder.path(), &ops), "already");
    drop(held);
    done(&backup(folder.path(), &ops));
}

#[test]
fn nobody_answers_is_said_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    refused(&backup(&folder.path().join("b"), "http://127.0.0.1:1"), "nobody answers");
    refused(&backup(&folder.path().join("b"), "127.0.0.1:1"), "no address");
    assert_eq!(names(folder.path()), Vec::<PathBuf>::new());
}

/// A service that answers every request with these bytes and closes the connection.
fn answering(bytes: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(stream.read(&mut [0; 4096]));
        let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nconnection: close\r\n\r\n";
        drop(stream.write_all(head).and_then(|()| stream.write_all(&bytes)));
    });
    at
}

#[test]
fn a_cut_or_spoilt_stream_leaves_nothing_that_looks_like_a_backup() {
    let house = House::alone().open();
    (0..5).for_each(|number| drop(house.deliver(&body(number))));
    let whole = answers::read_bytes(&format!("http://{}/api/v1/backup", house.ops()));
    let mut spoilt = whole.clone();
    let middle = whole.len() / 2;
    spoilt[middle] ^= 1;
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("backup");
    for (bytes, words) in [
        (whole[..10].to_vec(), "cut off"),
        (whole[..middle].to_vec(), "cut off"),
        (whole[..whole.len() - 1].to_vec(), "cut off"),
        ([&whole[..], b"more"].concat(), "damaged"),
        (spoilt.clone(), "damaged"),
        (b"<html>what a proxy says, if it says 200</html>".to_vec(), "no backup"),
    ] {
        refused(&backup(&place, &answering(bytes)), words);
        assert_eq!(names(&place), Vec::<PathBuf>::new());
    }
    done(&backup(&place, &answering(whole.clone())));
    assert_eq!(fs::read(place.join("rollcall.backup")).unwrap(), whole);
    let file = settings(folder.path(), "");
    for bytes in [&spoilt[..], &whole[..middle], &whole[..whole.len() - 1]] {
        fs::write(place.join("rollcall.backup"), bytes).unwrap();
        refused(&restore(&place, &file), "rollcall.backup was not restored");
        assert!(!folder.path().join("data").exists());
    }
    fs::write(place.join("rollcall.backup"), whole).unwrap();
    done(&restore(&place, &file));
}

#[test]
fn a_client_that_goes_away_ends_its_backup_and_no_other() {
    let house = House::alone().open();
    // More than lies in the buffers between a service and its client.
    for number in 0..24 {
        assert_eq!(house.deliver_bytes(format!("{number}{}", "x".repeat(900_000)).as_bytes()).outcome(), "quarantined");
    }
    let ops = format!("http://{}", house.ops());
    let counted = |result: &str| {
        let line = format!("rollcall_backups_total{{result=\"{result}\"}} 1");
        let metrics = String::from_utf8(answers::read_bytes(&format!("{ops}/metrics"))).unwrap();
        metrics.lines().any(|told| told == line).then_some(())
    };
    let mut stream = std::net::TcpStream::connect(house.ops()).unwrap();
    stream.write_all(b"GET /api/v1/backup HTTP/1.1\r\nhost: house\r\n\r\n").unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
    assert_eq!(house.get("/api/v1/backup").code(), "backup_running");
    drop(stream);
    until("the backup to be aborted", || counted("aborted"));
    let folder = tempfile::tempdir().unwrap();
    assert!(done(&backup(folder.path(), &ops)).contains("24 deliveries"));
    until("the backup to be counted", || counted("done"));
    house.deliver_bytes(b"x");
}

#[test]
fn a_restore_that_is_killed_leaves_a_whole_store_or_none() {
    let house = House::alone().open();
    (0..150).for_each(|number| drop(house.deliver(&body(number))));
    let (folder, ops) = (tempfile::tempdir().unwrap(), format!("http://{}", house.ops()));
    let place = folder.path().join("backup");
    done(&backup(&place, &ops));
    let file = settings(folder.path(), "log.level = \"info\"");
    let data = folder.path().join("data");
    let (mut unfinished, mut whole, mut patience) = (0, 0, Duration::from_millis(2));
    loop {
        let mut child = rollcall(&["restore", place.to_str().unwrap(), "--config", &file]).stdout(Stdio::null()).spawn().unwrap();
        // Later and later, until it ends before it is killed.
        patience = patience.mul_f64(1.3);
        let began = Instant::now();
        while began.elapsed() < patience && child.try_wait().unwrap().is_none() {
            breathe();
        }
        child.kill().unwrap();
        let ended = child.wait().unwrap().success();
        if ended || data.join("rollcall.store").exists() {
            let (_program, [_, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
            assert_eq!(feed(&ops).len(), 150);
            whole += 1;
        } else if data.join("restoring").exists() {
            refused(&run(&mut rollcall(&["serve", "--config", &file]), b""), "was not finished");
            refused(&restore(&place, &file), "was not finished");
            unfinished += 1;
        }
        drop(fs::remove_dir_all(&data));
        if ended {
            break;
        }
    }
    assert!(unfinished > 0 && whole > 0, "{unfinished} unfinished, {whole} whole");
    println!("{unfinished} unfinished, {whole} whole");
}

#[test]
fn a_store_that_is_there_is_not_restored_over() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "");
    let (mut program, [webhooks, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
    assert_eq!(answers::post(&format!("{webhooks}/webhooks/main"), body(1).to_string().as_bytes()).status, 200);
    let place = folder.path().join("backup");
    done(&backup(&place, &ops));
    refused(&restore(&place, &file), "store.path");
    program.kill();
    refused(&restore(&place, &file), "store.path");
    let (_program, [_, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
    assert_eq!(feed(&ops).len(), 1);
    refused(&restore(folder.path(), &file), "rollcall.backup");
    let wrong = run(&mut rollcall(&["restore", place.to_str().unwrap(), "--config", "/does/not/exist.toml"]), b"");
    assert_eq!(wrong.status.code(), Some(2));
}
