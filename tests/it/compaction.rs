//! Compaction, asked for over HTTP and from the command line, while deliveries come in.

use std::process::Output;
use std::time::Duration;

use rollcall::clock::Clock;
use rollcall::directory::Timestamp;
use serde_json::{Value, json};

use crate::answers::{self, list};
use crate::backup::{done, refused, under_load};
use crate::house::{House, until};
use crate::kill::{body, check};
use crate::program::{rollcall, run};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Bodies of nearly a MiB that fill the store, and are forgotten.
const BODIES: usize = 30;
/// Deliveries until they are, at most.
const DELIVERIES_MAX: usize = 2_000;
const COMPACTIONS: usize = 3;

fn compact(ops: &str) -> Output {
    run(&mut rollcall(&["compact", "--ops", ops]), b"")
}

/// What a metric shows.
fn metric(ops: &str, name: &str) -> f64 {
    let text = String::from_utf8(answers::read_bytes(&format!("{ops}/metrics"))).unwrap();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// A house whose store was filled, and has forgotten most of it; the number of the next delivery.
fn emptied() -> (House, usize) {
    let mut plan = House::alone().set("store.remember_deliveries", "\"1d\"");
    plan.clock = Clock::manual(Timestamp::parse("2026-03-01T08:00:00Z").unwrap());
    let house = plan.open();
    for number in 0..BODIES {
        assert_eq!(house.deliver_bytes(format!("{number}{}", "x".repeat(900_000)).as_bytes()).outcome(), "quarantined");
    }
    house.clock.advance(2 * DAY);
    for next in 0..DELIVERIES_MAX {
        if next % 64 == 0 && list(&house.get("/api/v1/deliveries?outcome=quarantined"), "deliveries").is_empty() {
            return (house, next);
        }
        assert_eq!(house.deliver(&body(next)).outcome(), "applied");
    }
    panic!("the bodies are never forgotten");
}

/// Users, and what the feed tells, as they can be read.
fn told(house: &House) -> (Value, Vec<Value>) {
    (house.get("/api/v1/users?per_page=100&sort_by=name").body["users"].clone(), house.changes())
}

#[test]
fn compaction_under_load_changes_nothing_and_gives_room_back() {
    let (mut house, next) = emptied();
    let at = |house: &House| (format!("http://{}/webhooks/main", house.webhooks()), format!("http://{}", house.ops()));
    let (url, ops) = at(&house);
    let (users, feed) = told(&house);
    let full = metric(&ops, "rollcall_store_bytes");
    let first = house.ask("/api/v1/compaction", &Value::Null);
    assert_eq!(first.status, 200, "{}", first.body);
    let bytes = |name: &str| first.body[name].as_u64().unwrap();
    assert!(bytes("content_bytes") > 0 && 2 * bytes("bytes_after") < bytes("bytes_before"), "{}", first.body);
    let given_back = full - metric(&ops, "rollcall_store_bytes");
    assert!(given_back > 0.9 * (bytes("bytes_before") - bytes("bytes_after")) as f64, "{given_back} of {}", first.body);
    assert_eq!(told(&house), (users, feed.clone()));
    let mut taken = Vec::new();
    under_load(&url, next, |answered| {
        for round in 1..=COMPACTIONS {
            until("some deliveries", || (answered.lock().unwrap().len() >= 30 * round).then_some(()));
            assert!(done(&compact(&ops)).contains("which hold"));
        }
        taken.clone_from(&answered.lock().unwrap());
    });
    assert_eq!(metric(&ops, "rollcall_compactions_total{result=\"done\"}"), 1.0 + COMPACTIONS as f64);
    assert!(metric(&ops, "rollcall_store_content_bytes") > 0.0);
    let before = told(&house);
    assert_eq!(before.1[..feed.len()], feed);
    check(url.trim_end_matches("/webhooks/main"), &ops, &taken);
    house.restart();
    assert_eq!(told(&house), before);
    let (url, ops) = at(&house);
    check(url.trim_end_matches("/webhooks/main"), &ops, &taken);
}

#[test]
fn a_compaction_wants_a_token_that_may_act() {
    let tokens = r#"["screen:read:token-of-the-screen", "desk:operate:token-of-the-desk"]"#;
    let house = House::alone().set("ops.tokens", tokens).open();
    let path = "/api/v1/compaction";
    assert_eq!(house.ask(path, &Value::Null).code(), "unauthorized");
    let scoped = house.ask_as("token-of-the-screen", path, &Value::Null);
    assert_eq!((scoped.status, scoped.code()), (403, "insufficient_scope"));
    assert_eq!(house.ask_as("token-of-the-desk", path, &json!({})).status, 200);
    assert_eq!(house.get_as("token-of-the-desk", path).code(), "method_not_allowed");
    refused(&compact(&format!("http://{}", house.ops())), "--token");
}

#[test]
fn a_compaction_waits_for_no_backup() {
    let house = House::alone().open();
    let ops = format!("http://{}", house.ops());
    let held = house.store().snapshot().unwrap();
    let second = house.ask("/api/v1/compaction", &Value::Null);
    assert_eq!((second.status, second.code()), (409, "backup_running"));
    refused(&compact(&ops), "a backup or a compaction is under way");
    drop(held);
    done(&compact(&ops));
    refused(&compact("http://127.0.0.1:1"), "nobody answers");
}

#[test]
fn a_compaction_is_called_off_when_the_service_ends() {
    let house = House::alone().open();
    house.deliver(&body(1));
    house.drain();
    let late = house.ask("/api/v1/compaction", &Value::Null);
    assert_eq!((late.status, late.code()), (503, "unavailable"));
    assert_eq!(metric(&format!("http://{}", house.ops()), "rollcall_compactions_total{result=\"failed\"}"), 0.0);
}
