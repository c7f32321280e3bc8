//! Which deliveries show that something may have been missed, and that a read closes what they show (contract, section 5).

use std::time::Duration;

use rollcall::directory::Timestamp;
use rollcall::simulator::edit::Edit;
use rollcall::simulator::event::Event;
use rollcall::simulator::names;
use serde_json::{Value, json};

use crate::house::{House, event};
use crate::joined::{ADA, BEN, BRISK, COVERED_AFTER, EVE};

/// The same delivery, changed; what it was announced with stays.
fn altered(event: &Event, change: impl FnOnce(&mut Value)) -> Value {
    let mut body = serde_json::from_slice(&event.body).unwrap();
    change(&mut body);
    body
}

/// Checks that this delivery opened a gap for this reason, and that a reconciliation closed it, which is named.
#[track_caller]
fn is_shown_and_repaired(house: &House, (uid, reason): (&str, &str), event_id: &str) {
    assert!(house.reasons(uid).contains(&reason.to_owned()), "{reason} is not among {:?}", house.reasons(uid));
    let gap = house.until(&format!("{reason} to be closed"), || {
        house.gaps("closed").into_iter().find(|gap| gap["uid"] == uid && gap["reason"] == reason)
    });
    assert_eq!((&gap["event_id"], &gap["source"]), (&json!(event_id), &json!("main")));
    assert!(gap["count"].as_u64() >= Some(1) && gap["closed_at"].as_str() >= gap["detected_at"].as_str(), "{gap}");
    let record = house.reconciliation(&gap["closed_by"]);
    assert!(record["progress"]["gaps_closed"].as_u64() >= Some(1) && record["progress"]["calls"].as_u64() >= Some(1), "{record}");
}

#[test]
fn an_event_that_covers_everything_opens_nothing() {
    let house = House::joined(8, BRISK).open().swept();
    for told in [
        house.tenant(|tenant| tenant.update(ADA, &[Edit::LastName("Rautavaara")])),
        house.tenant(|tenant| tenant.update(BEN, &[Edit::Email("other@example.com".to_owned()), Edit::JobTitle("Line Lead")])),
        house.tenant(|tenant| tenant.deactivate(EVE)),
        house.tenant(|tenant| tenant.delete("E1000004")),
    ] {
        let told = told.expect("the tenant's users suit");
        assert_eq!(house.hear(&told).outcome(), "applied");
        assert_eq!(house.reasons(&told.uid), Vec::<String>::new(), "{:?}", told.kind);
        house.becomes_right_about(&told.uid);
    }
}

#[test]
fn a_change_that_the_payload_does_not_carry_is_read() {
    let house = House::joined(8, BRISK).open().swept();
    let department = names::DEPARTMENTS.pick_other(&mut rand::SeedableRng::seed_from_u64(1), department(&house));
    let told = house.tenant(|tenant| tenant.update(ADA, &[Edit::Department(department)])).unwrap();
    let answer = house.hear(&told);
    is_shown_and_repaired(&house, (ADA, "uncarried_change"), answer.event_id());
    house.becomes_right_about(ADA);
}

/// The department that Ada is in.
fn department(house: &House) -> &'static names::Department {
    let name = house.tenant(|tenant| tenant.truth(ADA)).unwrap().listing["department"].clone();
    let mut luck = rand::SeedableRng::seed_from_u64(3);
    std::iter::repeat_with(|| names::DEPARTMENTS.pick(&mut luck)).find(|department| name == department.name).unwrap()
}

#[test]
fn what_only_a_lookup_carries_is_looked_up() {
    let house = House::joined(8, BRISK).open().swept();
    let zone = house.tenant(|tenant| tenant.truth(ADA)).unwrap().detail["time_zone"].clone();
    let other = if zone == "Asia/Tokyo" { "Europe/Lisbon" } else { "Asia/Tokyo" };
    let told = house.tenant(|tenant| tenant.update(ADA, &[Edit::TimeZone(other)])).unwrap();
    let answer = house.hear(&told);
    is_shown_and_repaired(&house, (ADA, "uncarried_change"), answer.event_id());
    assert_eq!(house.user(ADA).unwrap()["time_zone"], other);
}

#[test]
fn a_created_user_is_completed() {
    let house = House::joined(8, BRISK).open().swept();
    let created = house.tenant(|tenant| tenant.create());
    let answer = house.hear(&created);
    assert_eq!(answer.outcome(), "applied");
    is_shown_and_repaired(&house, (&created.uid, "incomplete_record"), answer.event_id());
    assert!(!house.reasons(&created.uid).contains(&"unknown_user".to_owned()));
    house.becomes_right_about(&created.uid);
}

#[test]
fn a_created_event_that_a_read_covers_is_stale() {
    let house = House::joined(8, BRISK).open().swept();
    let created = house.tenant(|tenant| tenant.create());
    house.later(COVERED_AFTER);
    house.reconcile("incremental", json!({}));
    let before = house.reasons(&created.uid);
    assert_eq!(house.hear(&created).outcome(), "stale");
    assert_eq!((house.reasons(&created.uid), before), (vec!["missed_delivery".to_owned()], vec!["missed_delivery".to_owned()]));
}

#[test]
fn an_event_about_someone_unknown_is_followed_up() {
    let house = House::joined(8, BRISK).open().swept();
    let stranger = house.tenant(|tenant| tenant.create()).uid;
    let told = house.retitled(&stranger);
    let answer = house.hear(&told);
    is_shown_and_repaired(&house, (&stranger, "unknown_user"), answer.event_id());
    house.becomes_right_about(&stranger);
}

#[test]
fn a_status_that_was_so_already_is_followed_up() {
    let house = House::joined(8, BRISK).open().swept();
    let active = active(&house);
    // What was read in the event's own second is no older than the event.
    house.later(1);
    let snapshot = Value::Object(house.tenant(|tenant| tenant.truth(&active)).unwrap().listing);
    let mut again = event("activated", &active, house.now(), json!({}));
    for field in again["data"]["user"].as_object_mut().unwrap() {
        *field.1 = snapshot[field.0].clone();
    }
    let answer = house.deliver(&again);
    is_shown_and_repaired(&house, (&active, "status_contradiction"), answer.event_id());
    house.becomes_right_about(&active);
}

/// Someone who is active.
fn active(house: &House) -> String {
    let found = house.tenant(|tenant| tenant.live_and_deleted().find(|truth| truth.listing["active"] == true));
    found.unwrap().uid
}

#[test]
fn created_about_someone_held_for_long_is_followed_up() {
    let house = House::joined(8, BRISK).open().swept();
    house.later(COVERED_AFTER);
    let told = house.retitled(ADA);
    let again = altered(&told, |body| body["event"] = json!("user.created"));
    let answer = house.deliver(&again);
    is_shown_and_repaired(&house, (ADA, "status_contradiction"), answer.event_id());
    house.becomes_right_about(ADA);
}

#[test]
fn two_events_of_one_second_that_disagree_are_followed_up() {
    let house = House::joined(8, BRISK).open().swept();
    let first = house.retitled(ADA);
    let second = house.tenant(|tenant| tenant.update(ADA, &[Edit::JobTitle("Machinist")])).unwrap();
    let second = altered(&second, |body| body["timestamp"] = json!(first.stamp.to_string()));
    house.hear(&first);
    let answer = house.deliver(&second);
    is_shown_and_repaired(&house, (ADA, "same_second"), answer.event_id());
    house.becomes_right_about(ADA);
}

#[test]
fn an_update_and_a_deactivation_of_one_second_are_ordinary() {
    let house = House::joined(8, BRISK).open().swept();
    let uid = active(&house);
    let update = house.retitled(&uid);
    let end = house.tenant(|tenant| tenant.deactivate(&uid)).unwrap();
    let end = altered(&end, |body| body["timestamp"] = json!(update.stamp.to_string()));
    house.hear(&update);
    house.deliver(&end);
    assert_eq!(house.reasons(&uid), Vec::<String>::new());
    assert_eq!(house.user(&uid).unwrap()["active"], false);
}

#[test]
fn a_difference_that_nobody_named_is_followed_up() {
    let house = House::joined(8, BRISK).open().swept();
    let told = house.tenant(|tenant| tenant.update(ADA, &[Edit::JobTitle("Night Auditor"), Edit::LastName("Rautavaara")])).unwrap();
    let silent = altered(&told, |body| body["data"]["changes"] = json!(["last_name"]));
    let answer = house.deliver(&silent);
    is_shown_and_repaired(&house, (ADA, "unannounced_change"), answer.event_id());
    house.becomes_right_about(ADA);
}

#[test]
fn an_event_about_someone_deleted_is_followed_up_and_revives_nobody() {
    let house = House::joined(8, BRISK).open().swept();
    let update = house.retitled(ADA);
    let end = house.tenant(|tenant| tenant.delete(ADA)).unwrap();
    house.hear(&end);
    let late = altered(&update, |body| body["timestamp"] = json!((end.stamp + Duration::from_secs(1)).to_string()));
    let answer = house.deliver(&late);
    assert!(house.user(ADA).unwrap()["deleted_at"].is_string());
    is_shown_and_repaired(&house, (ADA, "event_after_delete"), answer.event_id());
    assert!(house.user(ADA).unwrap()["deleted_at"].is_string());
    assert_eq!(house.changes_of(ADA).iter().filter(|change| change["kind"] == "restored").count(), 0);
}

#[test]
fn an_event_from_before_the_deletion_is_no_resurrection() {
    let house = House::joined(8, BRISK).open().swept();
    let update = house.retitled(ADA);
    let early = altered(&update, |body| body["timestamp"] = json!((update.stamp - Duration::from_secs(2)).to_string()));
    let end = house.tenant(|tenant| tenant.delete(ADA)).unwrap();
    house.hear(&end);
    house.deliver(&early);
    assert!(!house.reasons(ADA).contains(&"event_after_delete".to_owned()), "{:?}", house.reasons(ADA));
    assert!(house.user(ADA).unwrap()["deleted_at"].is_string());
}

#[test]
fn an_event_that_no_pass_returns_is_followed_up() {
    let house = House::joined(8, BRISK).open().swept();
    let snapshot = house.tenant(|tenant| tenant.truth(ADA)).unwrap().listing;
    let mut invented = event("updated", ADA, house.now(), json!({"job_title": "Astronaut"}));
    for (field, value) in invented["data"]["user"].as_object_mut().unwrap() {
        if field != "job_title" {
            *value = snapshot[field].clone();
        }
    }
    invented["data"]["changes"] = json!(["job_title"]);
    let answer = house.deliver(&invented);
    assert_eq!((answer.outcome(), &house.user(ADA).unwrap()["job_title"]), ("applied", &json!("Astronaut")));
    house.later(COVERED_AFTER);
    house.reconcile("incremental", json!({}));
    is_shown_and_repaired(&house, (ADA, "unconfirmed_event"), answer.event_id());
    house.becomes_right_about(ADA);
}

#[test]
fn what_was_not_understood_is_answered_by_a_pass() {
    let house = House::joined(8, BRISK).open().swept();
    let told = house.retitled(ADA);
    let garbled = house.deliver_bytes(&told.body[..told.body.len() - 1]);
    assert_eq!(garbled.outcome(), "quarantined");
    let gap = house.until("undecodable to be closed", || house.gaps("closed").into_iter().find(|gap| gap["reason"] == "undecodable"));
    assert_eq!((&gap["event_id"], &gap["uid"]), (&json!(garbled.event_id()), &Value::Null));
    assert_eq!(house.reconciliation(&gap["closed_by"])["mode"], "incremental");
    house.becomes_right_about(ADA);
}

#[test]
fn without_an_upstream_gaps_stay_open_and_nobody_can_ask() {
    let house = House::alone().open();
    house.deliver(&event("updated", "E1", Timestamp::parse("2026-03-01T08:00:00Z").unwrap(), json!({})));
    assert_eq!(house.reasons("E1"), ["incomplete_record", "unknown_user"]);
    let refused = house.ask("/api/v1/reconciliations", &json!({"mode": "full"}));
    assert_eq!((refused.status, refused.code()), (409, "no_upstream"));
}
