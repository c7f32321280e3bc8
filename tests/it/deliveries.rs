//! What the webhook listener answers, and what that delivery did (contract, section 3).

use std::time::Duration;

use proptest::prelude::*;
use rollcall::directory::Timestamp;
use rollcall::upstream::signature;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::answers::{list, sign};
use crate::house::{House, event};
use crate::wire::{Wire, chunked, exchange};

fn stamp() -> Timestamp {
    Timestamp::parse("2026-03-01T08:00:00Z").unwrap()
}

#[test]
fn checks_come_in_the_promised_order() {
    let house = House::alone().set("webhooks.max_body", "\"1KiB\"").open();
    // Each of these would fail every later check as well.
    let too_long = "Content-Length: 5000";
    let rows = [
        (format!("GET /webhooks/main/more HTTP/1.1\n{too_long}"), 404, "not_found"),
        (format!("GET /webhooks/nobody HTTP/1.1\n{too_long}"), 405, "method_not_allowed"),
        (format!("POST /webhooks/nobody HTTP/1.1\n{too_long}"), 404, "unknown_source"),
        (format!("POST /webhooks/main HTTP/1.1\n{too_long}"), 413, "body_too_large"),
        ("POST /webhooks/main HTTP/1.1\nTransfer-Encoding: chunked".to_owned(), 401, "missing_signature"),
        ("POST /webhooks/main HTTP/1.1\nTransfer-Encoding: chunked\nX-MangoApps-Signature: x".to_owned(), 413, "body_too_large"),
    ];
    for (head, status, code) in rows {
        let answer = exchange(house.webhooks(), &head, &chunked(&[b'x'; 1500], 700));
        assert_eq!((answer.status, answer.code()), (status, code), "{head}");
        assert!(answer.body["error"]["message"].is_string(), "{head}");
    }
    let forged = house.post("main", Some("x"), b"not JSON");
    assert_eq!((forged.status, forged.code()), (401, "invalid_signature"));
    assert!(list(&house.get("/api/v1/deliveries"), "deliveries").is_empty());
}

#[test]
fn other_methods_are_told_which_one_is_taken() {
    let house = House::alone().open();
    for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = exchange(house.webhooks(), &format!("{method} /webhooks/main HTTP/1.1"), b"");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
}

#[test]
fn bodies_up_to_the_limit_are_taken_however_they_are_sent() {
    let house = House::alone().set("webhooks.max_body", "\"1KiB\"").open();
    for (size, status) in [(0, 200), (1, 200), (1024, 200), (1025, 413), (4096, 413)] {
        let body = vec![b' '; size];
        let head = format!("POST /webhooks/main HTTP/1.1\nX-MangoApps-Signature: {}", sign(&body));
        let declared = exchange(house.webhooks(), &format!("{head}\nContent-Length: {size}"), &body);
        assert_eq!(declared.status, status, "{size} bytes, declared");
        for chunk in [1, 700] {
            let answer = exchange(house.webhooks(), &format!("{head}\nTransfer-Encoding: chunked"), &chunked(&body, chunk));
            assert_eq!(answer.status, status, "{size} bytes in chunks of {chunk}");
        }
    }
}

#[test]
fn a_delivery_in_chunks_is_the_same_delivery() {
    let house = House::alone().open();
    let body = event("created", "E1", stamp(), json!({})).to_string();
    let head = format!("POST /webhooks/main HTTP/1.1\nTransfer-Encoding: chunked\nX-MangoApps-Signature: {}", sign(body.as_bytes()));
    assert_eq!(exchange(house.webhooks(), &head, &chunked(body.as_bytes(), 7)).outcome(), "applied");
    assert_eq!(house.deliver_bytes(body.as_bytes()).outcome(), "duplicate");
}

#[test]
fn the_signature_is_that_of_the_bytes_on_the_wire() {
    let house = House::alone().open();
    let body = event("created", "E1", stamp(), json!({})).to_string();
    let head = format!(
        "POST /webhooks/main HTTP/1.1\nContent-Encoding: gzip\nContent-Type: text/plain\nContent-Length: {}\nX-MangoApps-Signature: {}",
        body.len(),
        sign(body.as_bytes())
    );
    assert_eq!(exchange(house.webhooks(), &head, body.as_bytes()).outcome(), "applied");
    let spaced = format!("{body} ");
    assert_eq!(house.post("main", Some(&sign(body.as_bytes())), spaced.as_bytes()).code(), "invalid_signature");
}

#[test]
fn a_cut_body_is_a_bad_request_and_leaves_nothing() {
    let house = House::alone().open();
    let body = event("created", "E1", stamp(), json!({})).to_string();
    let mut wire = Wire::to(house.webhooks());
    let head = format!("POST /webhooks/main HTTP/1.1\r\nHost: house\r\nX-MangoApps-Signature: {}\r\n", sign(body.as_bytes()));
    wire.send(format!("{head}Content-Length: {}\r\n\r\n{}", body.len(), &body[..body.len() / 2]).as_bytes());
    wire.end();
    let cut = wire.read().expect("an answer");
    assert_eq!((cut.status, cut.code()), (400, "invalid_request"));
    assert_eq!(house.user("E1"), None);
    let head = format!("POST /webhooks/main HTTP/1.1\nX-MangoApps-Signature: {}\nTransfer-Encoding: chunked", sign(b""));
    let garbled = exchange(house.webhooks(), &head, b"zz\r\nnot a chunk\r\n");
    assert_eq!((garbled.status, garbled.code()), (400, "invalid_request"));
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let house = House::alone().open();
    let mut wire = Wire::to(house.webhooks());
    wire.send(b"POST /webhooks/main HTTP/1.1\r\nHost: house\r\nX-MangoApps-Signature: sha256=00\r\nContent-Length: 10\r\n\r\n{");
    let mut silent = Wire::to(house.webhooks());
    silent.send(b"POST /webhooks/main HTTP/1.1\r\nHost:");
    let answer = wire.read().expect("an answer");
    assert_eq!((answer.status, answer.code()), (408, "request_timeout"));
    assert_eq!(silent.read().expect("an answer").status, 408);
}

#[test]
fn what_is_not_http_is_refused_and_the_listener_goes_on() {
    let house = House::alone().open();
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"[..], b"POST\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"] {
        let mut wire = Wire::to(house.webhooks());
        wire.send(bytes);
        wire.end();
        assert!(wire.read().is_none_or(|answer| answer.status >= 400), "{bytes:?}");
    }
    assert_eq!(house.deliver(&event("created", "E1", stamp(), json!({}))).outcome(), "applied");
}

#[test]
fn every_live_secret_counts_and_no_other() {
    let house = House::alone().set("sources.main.webhook_secrets", r#"["former-secret", "coming-secret"]"#).open();
    for (secret, status) in [("former-secret", 200), ("coming-secret", 200), ("other-secret", 401)] {
        let body = event("created", secret, stamp(), json!({})).to_string();
        let signature = signature::sign(&SecretString::from(secret), body.as_bytes());
        assert_eq!(house.post("main", Some(&signature), body.as_bytes()).status, status, "{secret}");
    }
    let body = b"{}";
    for odd in ["", "sha256=", "sha1=00", "sha256=zz", &sign(body)[..40], &sign(body).to_uppercase()] {
        assert_eq!(house.post("main", Some(odd), body).code(), "invalid_signature", "{odd}");
    }
}

#[test]
fn a_repeated_delivery_changes_nothing() {
    let house = House::alone().open();
    let created = event("created", "E1", stamp(), json!({}));
    let first = house.deliver(&created);
    assert_eq!(first.outcome(), "applied");
    let (user, changes, gaps) = (house.user("E1"), house.changes(), house.gaps("open"));
    for _ in 0..3 {
        let again = house.deliver(&created);
        assert_eq!((again.outcome(), again.event_id()), ("duplicate", first.event_id()));
    }
    assert_eq!((house.user("E1"), house.changes(), house.gaps("open")), (user, changes, gaps));
}

#[test]
fn an_event_id_of_the_body_names_it_whatever_else_it_says() {
    let house = House::alone().open();
    let mut first = event("created", "E1", stamp(), json!({}));
    first["event_id"] = json!("evt-1");
    let mut second = event("updated", "E1", stamp(), json!({"job_title": "Trainer"}));
    second["event_id"] = json!("evt-1");
    assert_eq!(house.deliver(&first).outcome(), "applied");
    assert_eq!(house.deliver(&second).outcome(), "duplicate");
    assert_eq!(house.user("E1").unwrap()["job_title"], "Engineer");
}

#[test]
fn event_ids_are_read_as_promised() {
    let house = House::alone().open();
    let long = "x".repeat(201);
    let rows = [
        (json!({"event_id": "a", "id": "b"}), Some("a")),
        (json!({"id": "c"}), Some("c")),
        (json!({"event_id": null, "id": "d"}), Some("d")),
        (json!({"event_id": "", "id": 17}), Some("17")),
        (json!({"event_id": -5}), Some("-5")),
        (json!({"event_id": 1.5, "id": "e"}), Some("e")),
        (json!({"event_id": ["f"], "id": {}}), None),
        (json!({"event_id": true}), None),
        (json!({"event_id": long, "id": "g"}), Some("g")),
        (json!({"event_id": "x".repeat(200)}), Some(&long[..200])),
        (json!({}), None),
    ];
    for (number, (ids, expected)) in rows.into_iter().enumerate() {
        let mut body = event("created", &format!("E{number}"), stamp(), json!({}));
        body.as_object_mut().unwrap().extend(ids.as_object().cloned().unwrap());
        let answer = house.deliver(&body);
        assert_eq!(answer.outcome(), "applied", "{ids}");
        match expected {
            Some(expected) => assert_eq!(answer.event_id(), expected),
            None => assert!(answer.event_id().len() == 64 && answer.event_id().bytes().all(|byte| byte.is_ascii_hexdigit()), "{ids}"),
        }
    }
}

#[test]
fn headers_never_name_an_event() {
    let house = House::alone().open();
    let body = event("created", "E1", stamp(), json!({})).to_string();
    let head = format!("POST /webhooks/main HTTP/1.1\nContent-Length: {}\nX-MangoApps-Signature: {}", body.len(), sign(body.as_bytes()));
    let named = exchange(house.webhooks(), &format!("{head}\nX-Event-Id: one\nIdempotency-Key: one"), body.as_bytes());
    let again = exchange(house.webhooks(), &format!("{head}\nX-Event-Id: two"), body.as_bytes());
    assert_eq!((named.outcome(), again.outcome()), ("applied", "duplicate"));
    assert_eq!(named.event_id(), again.event_id());
}

#[test]
fn a_status_event_without_a_snapshot_still_counts() {
    let house = House::alone().open();
    house.deliver(&event("created", "E1", stamp(), json!({})));
    let later = stamp() + Duration::from_secs(5);
    for (kind, user, active) in [("deactivated", None, false), ("activated", Some(Value::Null), true)] {
        let mut body = event(kind, "E1", later, json!({}));
        match user {
            None => drop(body["data"].as_object_mut().unwrap().remove("user")),
            Some(user) => body["data"]["user"] = user,
        }
        body["timestamp"] = json!((later + Duration::from_secs(u64::from(active))).to_string());
        assert_eq!(house.deliver(&body).outcome(), "applied", "{kind}");
        assert_eq!(house.user("E1").unwrap()["active"], active, "{kind}");
    }
}

#[test]
fn timestamps_are_read_in_every_usual_form() {
    let house = House::alone().open();
    for (number, written) in
        ["2026-03-01T08:00:00.123456Z", "2026-03-01T10:00:00+02:00", "2026-03-01T08:00:00", "2099-01-01T00:00:00Z"].into_iter().enumerate()
    {
        let mut body = event("created", &format!("E{number}"), stamp(), json!({}));
        body["timestamp"] = json!(written);
        assert_eq!(house.deliver(&body).outcome(), "applied", "{written}");
    }
    assert_eq!(house.user("E1").unwrap()["created_at"], "2026-03-01T08:00:00Z");
}

#[test]
fn a_stamp_from_the_future_does_not_keep_later_events_out_for_good() {
    let house = House::joined(3, 60).open().swept();
    let uid = "E1000001";
    let future = event("updated", uid, stamp() + Duration::from_secs(20 * 365 * 24 * 3600), json!({"job_title": "Oracle"}));
    house.deliver(&future);
    assert_eq!(house.user(uid).unwrap()["job_title"], "Oracle");
    let truth = house.tenant(|tenant| tenant.truth(uid)).unwrap();
    house.until("a read to overrule it", || (house.user(uid)?["job_title"] == truth.listing["job_title"]).then_some(()));
}

/// What is authentic and cannot be understood, and a word of the reason.
fn not_understood() -> Vec<(Vec<u8>, &'static str)> {
    let good = event("updated", "E1", stamp(), json!({}));
    let with = |edit: &dyn Fn(&mut Value)| {
        let mut body = good.clone();
        edit(&mut body);
        body.to_string().into_bytes()
    };
    let deep = format!(
        r#"{{"event":"user.updated","timestamp":"2026-03-01T08:00:00Z","data":{{"uid":"E1","user":{{"x":{}1{}}}}}}}"#,
        "[".repeat(10_000),
        "]".repeat(10_000)
    );
    vec![
        (Vec::new(), "JSON"),
        (b"\xff\xfe{}".to_vec(), "JSON"),
        (b"[1,2]".to_vec(), "JSON"),
        (br#"{"event":"user.updated""#.to_vec(), "JSON"),
        (with(&|body| body["event"] = json!("")), "event"),
        (with(&|body| body["event"] = json!(7)), "event"),
        (with(&|body| body["event"] = json!("user.promoted")), "event"),
        (with(&|body| drop(body.as_object_mut().unwrap().remove("timestamp"))), "timestamp"),
        (with(&|body| body["timestamp"] = json!("yesterday")), "timestamp"),
        (with(&|body| body["timestamp"] = json!(1_772_352_000)), "timestamp"),
        (with(&|body| body["data"] = json!("E1")), "uid"),
        (with(&|body| body["data"]["uid"] = json!("")), "uid"),
        (with(&|body| body["data"]["uid"] = json!(1)), "uid"),
        (with(&|body| body["data"]["user"]["uid"] = json!("E2")), "uid"),
        (with(&|body| body["data"]["user"] = json!("Ada")), "user"),
        (with(&|body| body["data"]["user"]["active"] = json!("true")), "active"),
        (with(&|body| body["data"]["user"]["email"] = json!(5)), "email"),
        (with(&|body| body["data"]["user"]["id"] = json!("17")), "id"),
        (with(&|body| body["data"]["changes"] = json!("job_title")), "changes"),
        (deep.into_bytes(), "user"),
    ]
}

#[test]
fn what_is_not_understood_is_kept_whole_and_told() {
    let house = House::alone().open();
    let bodies = not_understood();
    for (body, word) in &bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(150)]);
        let answer = house.deliver_bytes(body);
        assert_eq!(answer.outcome(), "quarantined", "{shown}");
        let kept = house.get(&format!("/api/v1/deliveries/{}", answer.event_id())).body;
        assert!(kept["reason"].as_str().unwrap().contains(word), "{shown}: {}", kept["reason"]);
        match std::str::from_utf8(body) {
            Ok(text) => assert_eq!(kept["body"], text),
            Err(_) => assert!(kept["body_base64"].is_string() && kept["body"].is_null()),
        }
    }
    let gaps = house.gaps("open");
    let undecodable: Vec<_> = gaps.iter().filter(|gap| gap["reason"] == "undecodable").collect();
    assert_eq!((undecodable.len(), &undecodable[0]["count"]), (1, &json!(bodies.len())));
    assert_eq!((house.count("include_deleted=true"), house.changes().len()), (0, 0));
}

#[test]
fn what_is_odd_but_can_be_understood_is_applied() {
    let house = House::alone().open();
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    let twice = r#"{"event":"ping","timestamp":"x","data":{"uid":"E0"},"event":"user.created","timestamp":"2026-03-01T08:00:00Z","data":{"uid":"E1","user":{"job_title":"A","job_title":"B"}}}"#;
    assert_eq!(house.deliver_bytes(twice.as_bytes()).outcome(), "applied");
    assert_eq!(house.user("E1").unwrap()["job_title"], "B");
    let beside =
        format!(r#"{{"beside":{deep},"event":"user.created","timestamp":"2026-03-01T08:00:00Z","data":{{"uid":"E2","user":null}}}}"#);
    assert_eq!(house.deliver_bytes(beside.as_bytes()).outcome(), "applied");
    let nulls = event("created", "E3", stamp(), json!({"email": null, "active": null, "job_title": null, "shoe_size": {"eu": 43}}));
    assert_eq!(house.deliver(&nulls).outcome(), "applied");
    let user = house.user("E3").unwrap();
    assert_eq!((&user["job_title"], &user["shoe_size"]), (&Value::Null, &json!({"eu": 43})));
}

#[test]
fn what_is_not_about_users_is_ignored() {
    let house = House::alone().open();
    for name in ["ping", "group.created", "users.created", "User.created"] {
        let answer = house.deliver(&json!({"event": name, "data": {"uid": 5}}));
        assert_eq!(answer.outcome(), "ignored", "{name}");
    }
    assert!(house.gaps("open").iter().all(|gap| gap["reason"] == "initial_load"));
}

#[test]
fn a_late_event_is_stale_when_a_newer_one_is_held() {
    let house = House::alone().open();
    let at = |seconds| stamp() + Duration::from_secs(seconds);
    house.deliver(&event("created", "E1", at(0), json!({})));
    assert_eq!(house.deliver(&event("updated", "E1", at(20), json!({"job_title": "Trainer"}))).outcome(), "applied");
    assert_eq!(house.deliver(&event("updated", "E1", at(10), json!({"job_title": "Machinist"}))).outcome(), "stale");
    assert_eq!(house.user("E1").unwrap()["job_title"], "Trainer");
}

/// Where a body may be odd.
const PLACES: &[&str] =
    &["/event", "/timestamp", "/data", "/data/uid", "/data/user", "/data/user/uid", "/data/user/active", "/data/user/email"];

/// Bytes that have something of a delivery about them.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let cut = (any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(end, at, byte)| {
        let mut body = event("updated", "E1", stamp(), json!({"locations": [], "manager": null})).to_string().into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        body.truncate(1 + end.index(2 * body.len()));
        body
    });
    let value = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!({"uid": "E1"})),
        Just(json!(["email", "", 5])),
    ];
    let odd = (prop::sample::select(PLACES), value, 0..5_usize).prop_map(|(place, value, kind)| {
        let kind = ["created", "updated", "activated", "deactivated", "deleted"][kind];
        let mut body = event(kind, "E1", stamp(), json!({}));
        *body.pointer_mut(place).unwrap() = value;
        body.to_string().into_bytes()
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..300), cut, odd]
}

#[test]
fn nothing_authentic_is_ever_refused() {
    let house = House::alone().open();
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(body in bodies())| {
        let answer = house.deliver_bytes(&body);
        prop_assert_eq!(answer.status, 200, "{}", answer.body);
    });
}
