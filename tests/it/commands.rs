//! Commands that ask a running service: `rollcall health`, `rollcall gaps` and `rollcall reconcile`.

use std::process::Output;
use std::time::Duration;

use rollcall::clock::Clock;
use serde_json::{Value, json};

use crate::backup::{done, refused};
use crate::house::{House, event};
use crate::joined::{ADA, BRISK, COVERED_AFTER};
use crate::program::{Program, rollcall, run, text};

/// Runs a command against the house.
fn ask(house: &House, arguments: &[&str]) -> Output {
    let ops = format!("http://{}", house.ops());
    run(rollcall(arguments).env("ROLLCALL_OPS", ops), b"")
}

/// What a command printed as JSON.
#[track_caller]
fn told(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whoever it is about, something is missing.
fn open_gap(house: &House, uid: &str) {
    assert_eq!(house.deliver(&event("updated", uid, house.now(), json!({}))).outcome(), "applied");
}

#[test]
fn gaps_are_shown_as_a_table_or_as_the_api_tells_them() {
    let house = House::alone().open();
    open_gap(&house, "E7");
    let table = text(&ask(&house, &["gaps"]).stdout);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["ID", "SOURCE", "REASON", "UID", "COUNT", "SINCE", "EVENT"]);
    let shown = house.gaps("open");
    assert_eq!(lines.len(), 1 + shown.len(), "{table}");
    let ours = lines.iter().find(|line| line[2] == "unknown_user").unwrap();
    assert_eq!(ours[1..5], ["main", "unknown_user", "E7", "1"]);
    assert!(lines.iter().any(|line| line[2] == "initial_load" && line[3] == "-"), "{table}");
    assert_eq!(told(&ask(&house, &["gaps", "--json"])), json!({"gaps": shown, "next": null}));
    assert_eq!(done(&ask(&house, &["gaps", "--closed"])), "no closed gaps\n");
    assert_eq!(told(&ask(&house, &["gaps", "--closed", "--json", "--source", "main"]))["gaps"], json!([]));
    refused(&ask(&house, &["gaps", "--source", "mian"]), "give --source one of main");
    refused(&run(&mut rollcall(&["gaps", "--ops", "http://127.0.0.1:1"]), b""), "nobody answers");
}

#[test]
fn health_tells_by_its_exit_code_whether_a_service_is_well() {
    let house = House::alone().set("ops.tokens", r#"["screen:read:token-of-the-screen"]"#).open();
    assert_eq!(done(&ask(&house, &["health"])), "ready\n");
    assert_eq!(done(&ask(&house, &["health", "--live"])), "alive\n");
    house.drain();
    refused(&ask(&house, &["health"]), "answered 503, the service is draining");
    assert_eq!(done(&ask(&house, &["health", "--live"])), "alive\n");
    refused(&run(&mut rollcall(&["health", "--ops", "http://127.0.0.1:1"]), b""), "nobody answers");
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = format!("http://{}", mute.local_addr().unwrap());
    refused(&run(&mut rollcall(&["health", "--ops", &at]), b""), "fell silent");
}

#[test]
fn gaps_are_listed_beyond_one_page() {
    let house = House::alone().open();
    (0..1_050).for_each(|number| open_gap(&house, &format!("E{number}")));
    let listed = told(&ask(&house, &["gaps", "--json"]));
    let ids: Vec<u64> = listed["gaps"].as_array().unwrap().iter().map(|gap| gap["id"].as_u64().unwrap()).collect();
    assert!(ids.len() > 1_050 && ids.is_sorted_by(|newer, older| newer > older), "{}", ids.len());
}

#[test]
fn reconcile_waits_for_the_end_and_sums_it_up() {
    let house = House::joined(8, BRISK).open().swept();
    drop(house.retitled(ADA));
    house.later(COVERED_AFTER);
    let dry = ask(&house, &["reconcile", "--dry-run", "--wait"]);
    let shown = text(&dry.stdout);
    assert!(shown.contains(ADA) && shown.contains("job_title: ") && shown.contains("1 users would change"), "{dry:?}");
    let pass = ask(&house, &["reconcile", "--wait", "--source", "main"]);
    assert!(done(&pass).contains("is done") && text(&pass.stdout).contains("1 users changed"), "{pass:?}");
    let states = text(&pass.stderr);
    assert!(states.lines().next_back().unwrap().contains(": done, "), "{states}");
    house.becomes_right_about(ADA);
    for (arguments, mode) in [(vec!["--full"], "full"), (vec!["--uid", ADA], "lookup")] {
        let arguments: Vec<_> = ["reconcile", "--wait", "--json"].into_iter().chain(arguments).collect();
        let record = told(&ask(&house, &arguments));
        assert_eq!((&record["mode"], &record["state"], &record["dry_run"]), (&json!(mode), &json!("done"), &json!(false)));
    }
}

#[test]
fn reconcile_asks_without_waiting() {
    let house = House::joined(8, BRISK).open().swept();
    let line = done(&ask(&house, &["reconcile", "--full"]));
    assert!(line.contains("full") && line.contains("GET /api/v1/reconciliations/"), "{line}");
    let record = told(&ask(&house, &["reconcile", "--uid", ADA, "--dry-run", "--json"]));
    assert_eq!((&record["mode"], &record["uid"], &record["dry_run"]), (&json!("lookup"), &json!(ADA), &json!(true)));
}

#[test]
fn a_wait_ends_where_someones_word_is_wanted() {
    let house = House::joined(8, BRISK).set("sources.main.reconcile.max_deletes", 0).open().swept();
    house.tenant(|tenant| tenant.delete(ADA)).unwrap();
    house.later(COVERED_AFTER);
    let output = ask(&house, &["reconcile", "--full", "--wait"]);
    let line = text(&output.stderr).lines().next_back().unwrap().to_owned();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let path = format!("curl -X POST http://{}/api/v1/reconciliations/", house.ops());
    assert!(line.contains("awaits approval") && line.contains(&path), "{line}");
    assert!(line.contains("/approve; ") && line.ends_with("/cancel"), "{line}");
}

#[test]
fn a_wait_ends_when_someone_cancels() {
    let mut plan = House::joined(8, BRISK).set("sources.main.bulk_requests_per_hour", 1);
    plan.clock = Clock::system();
    let house = plan.open();
    house.until("the first sweep to wait", || house.reconciliations().iter().any(|run| run["progress"]["calls"] == 1).then_some(()));
    let waiting = Program::start(rollcall(&["reconcile", "--wait"]).env("ROLLCALL_OPS", format!("http://{}", house.ops())));
    let line = waiting.line_with("reconciliation ");
    let id = line.split(' ').find_map(|word| word.trim_end_matches(':').parse::<u64>().ok()).unwrap();
    assert_eq!(house.ask(&format!("/api/v1/reconciliations/{id}/cancel"), &Value::Null).status, 200);
    waiting.line_with("was cancelled");
    let (status, took) = waiting.end();
    assert!(status.code() == Some(1) && took < Duration::from_secs(20));
}

#[test]
fn what_excludes_each_other_and_what_cannot_be_is_told() {
    let both = run(&mut rollcall(&["reconcile", "--full", "--uid", ADA]), b"");
    assert_eq!(both.status.code(), Some(2), "{both:?}");
    refused(&run(&mut rollcall(&["reconcile", "--ops", "http://127.0.0.1:1"]), b""), "nobody answers");
    let house = House::alone().open();
    refused(&ask(&house, &["reconcile"]), "base_url is not set");
    refused(&ask(&house, &["reconcile", "--source", "mian"]), "no source has this name");
    let house = House::alone().set("ops.tokens", r#"["screen:read:token-of-the-screen"]"#).open();
    refused(&ask(&house, &["gaps"]), "--token");
    refused(&ask(&house, &["reconcile", "--token", "token-of-the-screen"]), "operate");
}
