//! The operations listener, and the commands that people run beside a service (contract, sections 1 and 4).

use rollcall::directory::Timestamp;
use serde_json::{Value, json};

use crate::answers::{self, list};
use crate::house::{House, SECRET, event, until};
use crate::program::{Program, rollcall, run, settings, text};

fn stamp() -> Timestamp {
    Timestamp::parse("2026-03-01T08:00:00Z").unwrap()
}

#[test]
fn reading_wants_a_token_and_acting_one_that_may_act() {
    let tokens = r#"["screen:read:token-of-the-screen", "desk:operate:token-of-the-desk"]"#;
    let house = House::alone().set("ops.tokens", tokens).open();
    house.deliver_bytes(b"not JSON");
    for path in ["/api/v1/users", "/api/v1/gaps", "/api/v1/changes", "/api/v1/sources", "/api/v1/nothing", "/"] {
        let refused = house.get(path);
        assert_eq!((refused.status, refused.code()), (401, "unauthorized"), "{path}");
        assert_eq!(house.get_as("token-of-nobody", path).status, 401, "{path}");
    }
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(house.get(path).status, 200, "{path}");
    }
    assert_eq!(house.get_as("token-of-the-screen", "/api/v1/users").status, 200);
    let ask = json!({"mode": "full"});
    let scoped = house.ask_as("token-of-the-screen", "/api/v1/reconciliations", &ask);
    assert_eq!((scoped.status, scoped.code()), (403, "insufficient_scope"));
    assert_eq!(house.ask_as("token-of-the-desk", "/api/v1/reconciliations", &ask).code(), "no_upstream");
    let kept = list(&house.get_as("token-of-the-desk", "/api/v1/deliveries"), "deliveries");
    let replay = format!("/api/v1/deliveries/{}/replay", kept[0]["event_id"].as_str().unwrap());
    assert_eq!(house.ask_as("token-of-the-screen", &replay, &Value::Null).status, 403);
    assert_eq!(house.ask_as("token-of-the-desk", &replay, &Value::Null).status, 200);
}

#[test]
fn a_draining_service_is_alive_and_not_ready() {
    let house = House::alone().open();
    assert_eq!((house.get("/livez").status, house.get("/readyz").status), (200, 200));
    house.drain();
    let draining = house.get("/readyz");
    assert_eq!((draining.status, &draining.body["checks"]["serving"]["status"]), (503, &json!("failing")));
    assert_eq!(house.get("/livez").status, 200);
}

#[test]
fn lists_go_page_by_page_without_a_hole() {
    let house = House::alone().open();
    for number in 0..7 {
        house.deliver(&event("updated", &format!("E{number}"), stamp(), json!({})));
    }
    for (path, name, key) in [
        ("/api/v1/deliveries", "deliveries", "event_id"),
        ("/api/v1/gaps", "gaps", "id"),
        ("/api/v1/users/E1/history", "changes", "cursor"),
    ] {
        let whole = list(&house.get(path), name);
        let (mut found, mut after) = (Vec::new(), String::new());
        loop {
            let page = house.get(&format!("{path}?limit=3{after}"));
            found.extend(list(&page, name));
            match page.body["next"].as_u64() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(found, whole, "{path}");
        assert!(found.windows(2).all(|pair| pair[0][key] != pair[1][key]), "{path}");
        for bad in ["limit=0", "limit=x", "after=-1"] {
            let refused = house.get(&format!("{path}?{bad}"));
            assert_eq!((refused.status, refused.code()), (400, "invalid_parameter"), "{path}?{bad}");
        }
    }
}

#[test]
fn the_feed_is_read_from_any_cursor_and_waits_for_news() {
    let house = House::alone().open();
    for number in 0..5 {
        house.deliver(&event("created", &format!("E{number}"), stamp(), json!({})));
    }
    let all = house.changes();
    let cursors: Vec<_> = all.iter().map(|change| change["cursor"].as_u64().unwrap()).collect();
    assert_eq!(cursors, [1, 2, 3, 4, 5]);
    assert_eq!(house.get("/api/v1/users").header("rollcall-cursor"), Some("5"));
    let page = house.get("/api/v1/changes?after=2&limit=2");
    assert_eq!((list(&page, "changes"), &page.body["next"]), (all[2..4].to_vec(), &json!(4)));
    assert_eq!(house.get("/api/v1/changes?after=5").body, json!({"changes": [], "next": 5}));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| house.get("/api/v1/changes?after=5&wait=30"));
        house.deliver(&event("created", "E9", stamp(), json!({})));
        assert_eq!(list(&waiting.join().unwrap(), "changes")[0]["uid"], "E9");
    });
}

#[test]
fn a_quarantined_delivery_is_replayed_and_no_other() {
    let house = House::alone().open();
    let kept = house.deliver_bytes(b"not JSON");
    let path = format!("/api/v1/deliveries/{}", kept.event_id());
    let again = house.ask(&format!("{path}/replay"), &Value::Null);
    assert_eq!((again.outcome(), again.event_id()), ("quarantined", kept.event_id()));
    assert_eq!(house.get(&path).body["body"], "not JSON");
    let applied = house.deliver(&event("created", "E1", stamp(), json!({})));
    let refused = house.ask(&format!("/api/v1/deliveries/{}/replay", applied.event_id()), &Value::Null);
    assert_eq!((refused.status, refused.code()), (409, "wrong_state"));
    assert_eq!(house.ask("/api/v1/deliveries/nobody/replay", &Value::Null).status, 404);
    let quarantined = list(&house.get("/api/v1/deliveries?outcome=quarantined"), "deliveries");
    assert_eq!(quarantined.len(), 1);
    assert_eq!(house.get("/api/v1/deliveries?outcome=lost").code(), "invalid_parameter");
}

#[test]
fn what_is_not_there_is_told_as_such() {
    let house = House::alone().open();
    for path in [
        "/",
        "/api",
        "/api/v2/users",
        "/api/v1/users/nobody",
        "/api/v1/users/nobody/history",
        "/api/v1/deliveries/none",
        "/api/v1/reconciliations/x",
    ] {
        let answer = house.get(path);
        assert!(answer.status == 404 && !answer.code().is_empty(), "{path}: {answer:?}");
    }
    assert_eq!(house.get("/api/v1/users?source=other").code(), "unknown_source");
    assert_eq!(house.ask("/api/v1/users", &Value::Null).code(), "method_not_allowed");
}

#[test]
fn sigterm_ends_a_service_well_and_what_was_answered_is_there_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "");
    let (program, [webhooks, _]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
    let body = event("created", "E1", stamp(), json!({})).to_string();
    let url = format!("{webhooks}/webhooks/main");
    let sent = run(&mut rollcall(&["send", "--secret", SECRET, "--url", &url]), body.as_bytes());
    assert!(sent.status.success() && text(&sent.stdout).contains("applied"), "{sent:?}");
    program.signal("TERM");
    let (status, took) = program.end();
    assert!(status.code() == Some(0) && took.as_secs() < 10, "{status} after {took:?}");
    let (program, [webhooks, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
    assert_eq!(answers::read(&format!("{ops}/api/v1/users/E1")).body["user"]["email"], "e1@example.com");
    let again = run(&mut rollcall(&["send", "--secret", SECRET, "--url", &format!("{webhooks}/webhooks/main")]), body.as_bytes());
    assert!(text(&again.stdout).contains("duplicate"), "{again:?}");
    program.signal("INT");
    assert_eq!(program.end().0.code(), Some(0));
}

#[test]
fn a_store_that_cannot_commit_is_told_by_503_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "");
    // Writes beyond this size fail as on a full disk; the signal that would come with it is ignored.
    let limited = format!("trap '' XFSZ; ulimit -f 2048; exec {} serve --config {file}", env!("CARGO_BIN_EXE_rollcall"));
    let mut shell = std::process::Command::new("sh");
    let (mut program, [webhooks, ops]) = Program::serve(shell.args(["-c", &limited]).env_clear());
    let url = format!("{webhooks}/webhooks/main");
    let mut taken = Vec::new();
    let refused = (0..2000).find_map(|number| {
        let uid = format!("E{number}");
        let body = event("created", &uid, stamp(), json!({"padding": "x".repeat(20_000 + number)})).to_string();
        let answer = answers::post(&url, body.as_bytes());
        match answer.status {
            200 => {
                taken.push(uid);
                None
            }
            _ => Some(answer),
        }
    });
    let refused = refused.expect("a disk that fills up");
    assert_eq!((refused.status, refused.code()), (503, "unavailable"));
    assert!(refused.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok()));
    assert_eq!(answers::read(&format!("{ops}/livez")).status, 200);
    assert_eq!(answers::read(&format!("{ops}/readyz")).status, 503);
    program.kill();
    let (_program, [_, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
    assert!(!taken.is_empty());
    for uid in taken {
        assert_eq!(answers::read(&format!("{ops}/api/v1/users/{uid}")).status, 200, "{uid} was answered 200 and is lost");
    }
}

#[test]
fn check_tells_by_its_exit_code_whether_settings_are_good() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "");
    let good = run(&mut rollcall(&["check", "--config", &file]), b"");
    assert!(good.status.success() && !text(&good.stdout).contains(SECRET), "{good:?}");
    let file = settings(folder.path(), "ops.listne = \"127.0.0.1:1\"\nwebhooks.max_body = \"vast\"");
    let bad = run(&mut rollcall(&["check", "--config", &file]), b"");
    let told = text(&bad.stderr);
    assert_eq!((bad.status.code(), told.lines().count()), (Some(2), 2), "{told}");
    assert!(told.contains("ops.listne") && told.contains("webhooks.max_body"), "{told}");
    let by_environment = run(rollcall(&["check", "--config", &file]).env("ROLLCALL__LOG__LEVEL", "loud"), b"");
    assert!(text(&by_environment.stderr).contains("log.level"));
}

#[test]
fn a_service_open_to_the_network_without_tokens_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "");
    let refused = run(rollcall(&["serve", "--config", &file]).env("ROLLCALL__OPS__LISTEN", "0.0.0.0:0"), b"");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("ops.listen"), "{refused:?}");
}

#[test]
fn what_cannot_be_had_ends_with_one_clear_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "");
    let (_program, [webhooks, _]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
    let taken = webhooks.trim_start_matches("http://");
    for (name, value, word) in [("ROLLCALL__WEBHOOKS__LISTEN", taken, "webhooks.listen"), ("ROLLCALL__LOG__LEVEL", "error", "data")] {
        let failed = run(rollcall(&["serve", "--config", &file]).env(name, value), b"");
        let told = text(&failed.stderr);
        assert_eq!((failed.status.code(), told.lines().count()), (Some(1), 1), "{told}");
        assert!(told.contains(word), "{told}");
    }
}

#[test]
fn wrong_usage_is_exit_2() {
    for wrong in [
        &["serve", "--confg", "x"][..],
        &["send", "--secret", "x"],
        &["demo", "--users", "0"],
        &["backup"],
        &["restore", "--ops", "x"],
        &["dance"],
        &[],
    ] {
        let output = run(&mut rollcall(wrong), b"");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(!output.stderr.is_empty(), "{wrong:?}");
    }
    let missing = run(&mut rollcall(&["serve", "--config", "/does/not/exist.toml"]), b"");
    assert_eq!(missing.status.code(), Some(2));
    assert!(text(&missing.stderr).contains("/does/not/exist.toml"));
}

#[test]
fn send_tells_the_answer_and_fails_when_it_is_not_200() {
    let house = House::alone().open();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("delivery.json");
    std::fs::write(&file, event("created", "E1", stamp(), json!({})).to_string()).unwrap();
    let url = format!("http://{}/webhooks/main", house.webhooks());
    let file = file.display().to_string();
    let sent = run(&mut rollcall(&["send", "--secret", SECRET, "--url", &url, &file]), b"");
    assert!(sent.status.success() && text(&sent.stdout).starts_with("200\n"), "{sent:?}");
    let forged = run(&mut rollcall(&["send", "--secret", "wrong", "--url", &url, &file]), b"");
    assert_eq!(forged.status.code(), Some(1));
    assert!(text(&forged.stdout).contains("invalid_signature"), "{forged:?}");
    until("the user to be there", || house.user("E1"));
}
