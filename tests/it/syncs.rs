//! Sync before 200: what a delivery did is on disk before its answer leaves, seen from the calls that the service makes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rollcall::directory::Timestamp;
use serde_json::json;

use crate::answers;
use crate::house::event;
use crate::program::{Program, rollcall, settings};
use crate::trace::{self, Call, Tracee};

const SINGLES: usize = 20;
const SENDERS: usize = 64;
const ROUNDS: usize = 3;

/// All ids are equally long, so that none is the beginning of another.
fn event_id(number: usize) -> String {
    format!("evt-{number:06}")
}

fn send(url: &str, number: usize) {
    let stamp = Timestamp::parse("2026-03-01T08:00:00Z").unwrap() + Duration::from_secs(number as u64);
    let mut body = event("updated", &format!("E{number}"), stamp, json!({}));
    body["event_id"] = json!(event_id(number));
    assert_eq!(answers::post(url, body.to_string().as_bytes()).outcome(), "applied");
}

/// A service's calls while it takes single deliveries, then many at once.
fn recorded() -> Vec<Call> {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "log.level = \"info\"");
    let tracee = Tracee { file: folder.path().join("trace") };
    let (program, [webhooks, _]) = Program::serve(&mut trace::traced(&rollcall(&["serve", "--config", &file]), &tracee.file));
    let url = format!("{webhooks}/webhooks/main");
    (0..SINGLES).for_each(|number| send(&url, number));
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let url = &url;
            scope.spawn(move || (0..ROUNDS).for_each(|round| send(url, SINGLES + round * SENDERS + sender)));
        }
    });
    tracee.signal("TERM");
    let (status, _) = program.end();
    assert!(status.success(), "{status}");
    trace::read(&tracee.file, 0).0
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(bytes, part).is_some()
}

/// The rows of a delivery: how the store writes an event id down in its log, in the user's record, and in the change.
fn rows_of(id: &str) -> [(&'static str, Vec<u8>); 3] {
    let length = [u8::try_from(id.len()).unwrap()];
    [
        ("delivery", [b"\x04main", &length[..], id.as_bytes()].concat()),
        // With twice its length: an id that is no number stands there as it is.
        ("record", [&[2 * length[0]], id.as_bytes()].concat()),
        ("change", [b"\0", &length[..], id.as_bytes()].concat()),
    ]
}

#[test]
fn every_delivery_is_synced_before_its_answer_leaves() {
    let calls = recorded();
    let called = |names: &'static [&str]| calls.iter().filter(move |call| names.contains(&call.name.as_str()));
    let on_journal = |call: &&Call| call.path(0).ends_with("data/journal.1");
    let writes: Vec<(&Call, Vec<u8>)> = called(&["pwrite64"]).filter(on_journal).map(|call| (call, call.bytes(1))).collect();
    let syncs: Vec<&Call> = called(&["fdatasync", "fsync"]).filter(on_journal).collect();
    assert!(syncs.iter().all(|sync| sync.succeeded()));
    let sent = called(&["sendto", "sendmsg", "write", "writev"]).map(|call| (call, call.bytes(1)));
    let answers: Vec<(&Call, Vec<u8>)> = sent.filter(|(_, bytes)| bytes.starts_with(b"HTTP/1.1 200")).collect();
    let mut groups: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for number in 0..SINGLES + SENDERS * ROUNDS {
        let id = event_id(number);
        let (answer, _) = answers.iter().find(|(_, bytes)| holds(bytes, id.as_bytes())).unwrap_or_else(|| panic!("no answer told {id}"));
        for (row, bytes) in rows_of(&id) {
            let (write, _) = writes.iter().find(|(_, written)| holds(written, &bytes)).unwrap_or_else(|| panic!("no {row} row of {id}"));
            let written = write.ended.unwrap();
            let covers = |sync: &&&Call| sync.began > written && sync.ended.is_some_and(|ended| ended < answer.began);
            assert!(
                syncs.iter().any(|sync| covers(&sync)),
                "{id}: no sync between the {row} row at line {written} and the answer at line {}",
                answer.began
            );
            groups.entry(written).or_default().insert(number);
        }
    }
    assert!(groups.values().any(|group| group.len() > 1), "no two deliveries shared a commit");
}
