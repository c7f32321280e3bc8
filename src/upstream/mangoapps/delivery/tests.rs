//! What deliveries are read as, and what is quarantined.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const NOW: Timestamp = Timestamp::from_millis(1_763_480_000_000);

/// The documented `user.updated` with one part replaced, or left out where the value is `None`.
fn with(pointer: &str, value: Option<Value>) -> Vec<u8> {
    let mut body = json!({
        "event": "user.updated", "timestamp": "2025-11-18T15:30:00Z",
        "data": {"uid": "E1000001", "changes": ["job_title", "department"], "user": {
            "uid": "E1000001", "email": "alice.anderson@example.com", "full_name": "Alice Anderson", "active": true, "job_title": "Manager",
        }},
    });
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
    match value {
        Some(value) => parent.insert(key.to_owned(), value),
        None => parent.remove(key),
    };
    serde_json::to_vec(&body).unwrap()
}

fn documented() -> Vec<u8> {
    with("/nothing", None)
}

fn sha(body: &[u8]) -> String {
    const_hex::encode(Sha256::digest(body))
}

fn event(body: &[u8]) -> Event {
    match read(body, NOW).content {
        Content::Event(event) => *event,
        other => panic!("{other:?}"),
    }
}

fn fault(body: &[u8]) -> &'static str {
    match read(body, NOW).content {
        Content::Quarantined(fault) => fault,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(body)),
    }
}

#[test]
fn the_documented_update_is_understood() {
    let delivery = read(&documented(), NOW);
    assert_eq!(delivery.event.as_deref(), Some("user.updated"));
    assert_eq!(delivery.uid.as_deref(), Some("E1000001"));
    let event = event(&documented());
    assert_eq!(event.id, sha(&documented()));
    assert_eq!((event.kind, event.uid.as_str(), event.received), (EventKind::Updated, "E1000001", NOW));
    assert_eq!(event.stamp.to_string(), "2025-11-18T15:30:00Z");
    assert_eq!(event.changes, ["job_title", "department"]);
    assert_eq!(event.user.get("job_title"), Some(&json!("Manager")));
    assert_eq!(format!("{:016x}", event.digest), sha(&documented())[..16]);
}

#[test]
fn the_documented_deletion_tells_when() {
    let body = br#"{"event":"user.deleted","timestamp":"2025-11-18T15:30:00Z","data":{"uid":"E1",
        "user":{"uid":"E1"},"deleted_at":"2025-11-18T15:29:59Z","deleted_by":"admin@example.com"}}"#;
    assert_eq!(event(body).deleted_at.as_deref(), Some("2025-11-18T15:29:59Z"));
}

#[test]
fn every_documented_event_is_known() {
    for kind in EventKind::ALL {
        assert_eq!(event(&with("/event", Some(json!(kind.name())))).kind, kind);
    }
}

#[test]
fn an_event_that_is_not_about_users_is_ignored_whatever_else_it_lacks() {
    for name in ["post.created", "webhook.test", "user", "users.created"] {
        assert_eq!(read(json!({"event": name}).to_string().as_bytes(), NOW).content, Content::Ignored, "{name}");
    }
}

#[test]
fn the_bodys_own_id_is_the_event_id() {
    for (value, id) in [
        (json!("evt-001"), "evt-001".to_owned()),
        (json!("q"), "q".to_owned()),
        (json!("é".repeat(200)), "é".repeat(200)),
        (json!(4711), "4711".to_owned()),
        (json!(-3), "-3".to_owned()),
    ] {
        assert_eq!(read(&with("/event_id", Some(value.clone())), NOW).event_id, id);
        assert_eq!(read(&with("/id", Some(value)), NOW).event_id, id);
    }
    assert_eq!(read(br#"{"event_id":"a","id":"b"}"#, NOW).event_id, "a");
}

#[test]
fn a_number_too_large_for_any_integer_keeps_its_decimal_text() {
    assert_eq!(
        read(br#"{"event_id": 340282366920938463463374607431768211456123 }"#, NOW).event_id,
        "340282366920938463463374607431768211456123"
    );
}

#[test]
fn what_cannot_name_an_event_counts_as_absent() {
    let long_number = "1".repeat(201);
    let long_text = format!("\"{}\"", "x".repeat(201));
    for absent in ["null", "\"\"", "true", "{\"a\":1}", "[\"evt\"]", "1.5", "10.0", "1e3", "\"\\ud800\"", &long_number, &long_text] {
        let alone = format!(r#"{{"event_id":{absent},"event":"x"}}"#);
        assert_eq!(read(alone.as_bytes(), NOW).event_id, sha(alone.as_bytes()), "{absent}");
        let both = format!(r#"{{"event_id":{absent},"id":"second","event":"x"}}"#);
        assert_eq!(read(both.as_bytes(), NOW).event_id, "second", "{absent}");
    }
}

#[test]
fn what_is_not_one_json_object_is_quarantined_under_its_hash() {
    let half = &documented()[..200];
    let more = [documented(), b"{}".to_vec()].concat();
    let not_text = b"{\"event_id\":\"e\",\"x\":\"\xff\"}";
    for body in [&b""[..], b"this is not JSON", b"[1,2]", b"\"user.created\"", b"7", b"null", half, &more, not_text] {
        let delivery = read(body, NOW);
        assert_eq!(delivery.content, Content::Quarantined("the body is not one JSON object"));
        assert_eq!((delivery.event_id, delivery.event, delivery.uid), (sha(body), None, None));
    }
}

#[test]
fn a_quarantined_object_keeps_its_own_id() {
    let delivery = read(br#"{"event_id":"evt-7","event":"user.renamed","data":{"uid":"E1"}}"#, NOW);
    assert_eq!(delivery.event_id, "evt-7");
    assert_eq!((delivery.event.as_deref(), delivery.uid.as_deref()), (Some("user.renamed"), Some("E1")));
    assert!(matches!(delivery.content, Content::Quarantined(_)));
}

#[test]
fn each_fault_names_its_field() {
    let long = json!("x".repeat(201));
    for (pointer, value, named) in [
        ("/event", None, "event"),
        ("/event", Some(json!("")), "event"),
        ("/event", Some(json!(5)), "event"),
        ("/event", Some(json!("user.")), "event"),
        ("/event", Some(json!("user.renamed")), "event"),
        ("/timestamp", None, "timestamp"),
        ("/timestamp", Some(json!("")), "timestamp"),
        ("/timestamp", Some(json!(1_763_479_800)), "timestamp"),
        ("/timestamp", Some(json!("yesterday")), "timestamp"),
        ("/timestamp", Some(json!("2025-02-31T10:00:00Z")), "timestamp"),
        ("/data", None, "data.uid"),
        ("/data", Some(json!("E1")), "data.uid"),
        ("/data/uid", None, "data.uid"),
        ("/data/uid", Some(json!("")), "data.uid"),
        ("/data/uid", Some(json!(17)), "data.uid"),
        ("/data/uid", Some(long.clone()), "data.uid"),
        ("/data/uid", Some(json!("E2")), "data.user.uid"),
        ("/data/user/uid", Some(json!("E2")), "data.user.uid"),
        ("/data/user/uid", Some(json!(5)), "data.user.uid"),
        ("/data/user", Some(json!([])), "data.user"),
        ("/data/user", Some(json!("E1")), "data.user"),
        ("/data/user/email", Some(json!({"a": 1})), "data.user.email"),
        ("/data/user/active", Some(json!("yes")), "data.user.active"),
        ("/data/user/manager", Some(json!("E2")), "data.user.manager"),
        ("/data/changes", Some(json!("job_title")), "data.changes"),
        ("/data/changes", Some(json!([1])), "data.changes"),
        ("/data/changes", Some(json!([""])), "data.changes"),
        ("/data/changes", Some(json!([long])), "data.changes"),
        ("/data/changes", Some(json!(vec!["x"; 201])), "data.changes"),
        ("/data/deleted_at", Some(json!(5)), "data.deleted_at"),
        ("/data/deleted_at", Some(json!("never")), "data.deleted_at"),
        ("/data/deleted_by", Some(json!({})), "data.deleted_by"),
    ] {
        let fault = fault(&with(pointer, value.clone()));
        assert!(fault.starts_with(named), "{pointer} {value:?}: {fault}");
    }
}

#[test]
fn what_may_be_absent_may_be_null() {
    for pointer in ["/data/user", "/data/changes", "/data/deleted_at", "/data/deleted_by", "/data/user/job_title", "/data/user/active"] {
        event(&with(pointer, None));
        event(&with(pointer, Some(Value::Null)));
    }
    assert!(event(&with("/data/user", None)).user.is_empty());
    assert!(event(&with("/data/changes", None)).changes.is_empty());
    assert_eq!(event(&with("/data/user/job_title", Some(Value::Null))).user.get("job_title"), Some(&Value::Null));
}

#[test]
fn a_null_uid_in_the_snapshot_is_left_out() {
    assert!(!event(&with("/data/user/uid", Some(Value::Null))).user.contains_key("uid"));
}

#[test]
fn undocumented_fields_stay() {
    let shoe = json!({"size": [43, 44.5]});
    assert_eq!(event(&with("/data/user/shoe", Some(shoe.clone()))).user.get("shoe"), Some(&shoe));
    event(&with("/whatever", Some(json!([]))));
}

#[test]
fn the_last_of_two_same_keys_counts() {
    let body = br#"{"event":"post.created","event":"user.created","timestamp":"2025-11-18T15:30:00Z","data":{"uid":"E1","uid":"E2"}}"#;
    assert_eq!(event(body).uid, "E2");
}

#[test]
fn a_snapshot_that_is_nested_too_deep_is_quarantined() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let body = format!(r#"{{"event":"user.updated","timestamp":"2025-11-18T15:30:00Z","data":{{"uid":"E1","user":{{"x":{deep}}}}}}}"#);
    assert!(fault(body.as_bytes()).starts_with("data.user "));
}

#[test]
fn an_events_name_is_cut_after_a_hundred_characters() {
    let name = "ü".repeat(300);
    assert_eq!(read(&with("/event", Some(json!(name))), NOW).event, Some("ü".repeat(100)));
}

proptest! {
    #[test]
    fn a_text_is_read_as_serde_json_reads_it(value in any::<String>().prop_map(Value::from), escaped in "[a-z\"\\\\/u0-9]{0,12}") {
        for written in [value.to_string(), format!("\"{escaped}\""), "5".to_owned(), "[\"a\"]".to_owned(), "null".to_owned()] {
            if let Ok(raw) = serde_json::from_str::<&RawValue>(&written) {
                prop_assert_eq!(text(raw), serde_json::from_str::<String>(&written).ok(), "{}", written);
            }
        }
    }

    #[test]
    fn any_bytes_get_an_event_id_of_sane_length(body: Vec<u8>) {
        let delivery = read(&body, NOW);
        prop_assert!(is_name(&delivery.event_id));
    }

    #[test]
    fn any_one_byte_changed_is_read_without_a_panic(at: prop::sample::Index, byte: u8) {
        let mut body = documented();
        let index = at.index(body.len());
        body[index] = byte;
        let delivery = read(&body, NOW);
        prop_assert_eq!(&delivery, &read(&body, NOW));
        prop_assert!(is_name(&delivery.event_id));
    }
}
