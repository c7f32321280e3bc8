//! `kill -9` of a whole service under load: nothing that was answered 200 is lost, doubled or torn.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rollcall::directory::Timestamp;
use serde_json::{Value, json};

use crate::answers::{self, list};
use crate::house::{event, until};
use crate::program::{Program, rollcall, settings};

const KILLS: usize = 16;
const SENDERS: usize = 4;
const USERS: usize = 12;

/// Each event makes its own effective change, and later ones win.
pub(crate) fn body(number: usize) -> Value {
    let stamp = Timestamp::parse("2026-03-01T08:00:00Z").unwrap() + Duration::from_secs(number as u64);
    let mut body = event("updated", &format!("E{}", number % USERS), stamp, json!({"job_title": format!("Title {number}")}));
    body["event_id"] = json!(format!("evt-{number}"));
    body
}

/// Sends events from several threads until the service is killed; notes which were answered 200.
fn load(url: &str, next: &AtomicUsize, answered: &Mutex<Vec<usize>>) {
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    match answers::try_post(url, body(number).to_string().as_bytes()) {
                        Some(answer) if answer.status == 200 => answered.lock().unwrap().push(number),
                        Some(answer) => panic!("{answer:?}"),
                        None => return,
                    }
                }
            });
        }
    });
}

/// Checks a service that was started anew: what was answered 200 is there, once and whole.
pub(crate) fn check(webhooks: &str, ops: &str, answered: &[usize]) {
    let mut told: HashMap<String, Vec<u64>> = HashMap::new();
    let mut newest: BTreeMap<String, Value> = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = list(&answers::read(&format!("{ops}/api/v1/changes?limit=1000&after={after}")), "changes");
        for change in &page {
            assert_eq!(change["cursor"], after + 1, "the feed has a hole");
            after += 1;
            told.entry(change["cause"]["event_id"].as_str().unwrap().to_owned()).or_default().push(after);
            newest.insert(change["uid"].as_str().unwrap().to_owned(), change["user"].clone());
        }
        if page.is_empty() {
            break;
        }
    }
    assert!(told.values().all(|cursors| cursors.len() == 1), "an event made two changes");
    for (uid, user) in newest {
        assert_eq!(answers::read(&format!("{ops}/api/v1/users/{uid}")).body["user"]["job_title"], user["job_title"], "{uid} is torn");
    }
    for number in answered {
        let kept = answers::read(&format!("{ops}/api/v1/deliveries/evt-{number}"));
        assert_eq!(kept.status, 200, "evt-{number} was answered 200 and is lost");
        let effective = kept.body["outcome"] == "applied" && told.contains_key(&format!("evt-{number}"));
        assert!(effective || kept.body["outcome"] != "applied", "evt-{number} was applied and is not in the feed");
    }
    for number in answered.iter().rev().take(10) {
        let again = answers::post(&format!("{webhooks}/webhooks/main"), body(*number).to_string().as_bytes());
        assert_eq!(again.outcome(), "duplicate", "evt-{number}");
    }
}

#[test]
fn nothing_answered_is_lost_doubled_or_torn_by_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "log.level = \"info\"");
    let (next, answered) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let mut luck = SmallRng::seed_from_u64(5);
    for _ in 0..KILLS {
        let (mut program, [webhooks, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
        let fresh = std::mem::take(&mut *answered.lock().unwrap());
        check(&webhooks, &ops, &fresh);
        let url = format!("{webhooks}/webhooks/main");
        let enough = luck.random_range(1..150);
        std::thread::scope(|scope| {
            scope.spawn(|| load(&url, &next, &answered));
            until("some deliveries", || (answered.lock().unwrap().len() >= enough).then_some(()));
            program.kill();
        });
    }
    let (_program, [webhooks, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
    check(&webhooks, &ops, &answered.lock().unwrap());
}
