//! What a tenant promises: the documented shapes, and one story for one seed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::directory::Shape;
use crate::simulator::names::{DEPARTMENTS, EMPLOYMENTS};

fn clock() -> Clock {
    Clock::manual(Timestamp::parse("2025-11-18T15:30:00.640Z").unwrap())
}

fn tenant(users: u32) -> Tenant {
    Tenant::new(users, 7, clock())
}

fn body(event: &Event) -> Value {
    serde_json::from_slice(&event.body).unwrap()
}

fn keys(fields: &Map<String, Value>) -> BTreeSet<&str> {
    fields.keys().map(String::as_str).collect()
}

/// A story in which everything happens.
fn story(seed: u64) -> Vec<Bytes> {
    let clock = clock();
    let mut tenant = Tenant::new(60, seed, clock.clone());
    let mut events = Vec::new();
    for number in 1..=60 {
        clock.advance(Duration::from_secs(1));
        let uid = tenant.uid(number).unwrap();
        events.extend(tenant.update_randomly(&uid));
        match number % 5 {
            0 => events.extend(tenant.delete(&uid)),
            1 => events.extend(tenant.deactivate(&uid)),
            2 => events.push(tenant.create()),
            3 => events.extend(tenant.activate(&uid)),
            _ => assert!(!tenant.restore(&uid)),
        }
    }
    events.into_iter().map(|event| event.body).collect()
}

#[test]
fn one_seed_tells_one_story_byte_for_byte() {
    assert_eq!(story(1), story(1));
    assert_ne!(story(1), story(2));
}

#[test]
fn rows_and_details_have_exactly_the_documented_fields() {
    let mut tenant = tenant(50);
    tenant.create();
    for truth in tenant.live_and_deleted() {
        assert_eq!(keys(&truth.listing), Shape::Listing.fields().iter().copied().collect());
        assert_eq!(keys(&truth.detail), Shape::Detail.fields().iter().copied().collect());
    }
}

#[test]
fn a_listing_names_locations_where_a_detail_describes_them() {
    let tenant = tenant(80);
    let at_work = |truth: &Truth| truth.listing["locations"] != json!([]) && truth.listing["manager"] != Value::Null;
    let Truth { listing, detail, .. } = tenant.live_and_deleted().find(at_work).unwrap();
    assert_eq!(listing["locations"][0], detail["locations"][0]["name"]);
    assert!(detail["locations"][0]["address"].is_string());
    assert_eq!(listing["manager"]["uid"], detail["manager"]["uid"]);
    assert!(listing["manager"].get("job_title").is_none());
    assert!(detail["manager"]["job_title"].is_string());
}

#[test]
fn a_created_event_carries_the_documented_nine_fields_in_compact_json() {
    let event = tenant(0).create();
    let text = std::str::from_utf8(&event.body).unwrap();
    assert!(text.starts_with(
        r#"{"event":"user.created","timestamp":"2025-11-18T15:30:00Z","data":{"uid":"E1000001","user":{"uid":"E1000001","email":""#
    ));
    assert!(!text.contains(": "));
    let user = body(&event)["data"]["user"].as_object().unwrap().clone();
    let nine = ["uid", "email", "first_name", "last_name", "full_name", "active", "job_title", "employment_status", "employee_type"];
    assert_eq!(keys(&user), nine.into());
}

#[test]
fn an_update_names_what_changed_even_where_its_snapshot_does_not_carry_it() {
    let clock = clock();
    let mut tenant = Tenant::new(3, 7, clock.clone());
    let before = tenant.truth("E1000002").unwrap().listing;
    clock.advance(Duration::from_secs(90));
    let department = DEPARTMENTS.pick_other(&mut SmallRng::seed_from_u64(1), tenant.person("E1000002").unwrap().department);
    let event = tenant.update("E1000002", &[Edit::JobTitle("Rigger"), Edit::Department(department)]).unwrap();
    let body = body(&event);
    assert_eq!(body["data"]["changes"], json!(["job_title", "department"]));
    assert_eq!(body["data"]["user"]["job_title"], "Rigger");
    assert!(body["data"]["user"].get("department").is_none());
    let after = tenant.truth("E1000002").unwrap();
    assert_eq!(after.listing["department"], department.name);
    assert_eq!(after.detail["organizational_department"]["code"], department.code);
    assert_eq!(after.listing["updated_at"], body["timestamp"]);
    assert_ne!(before["updated_at"], after.listing["updated_at"]);
    assert_eq!(before["created_at"], after.listing["created_at"]);
}

#[test]
fn an_update_that_changes_nothing_is_not_announced() {
    let mut tenant = tenant(3);
    let title = tenant.person("E1000001").unwrap().job_title;
    assert_eq!(tenant.update("E1000001", &[Edit::JobTitle(title)]), None);
    assert_eq!(tenant.update("E1000001", &[Edit::Manager(Some("E1000099".into()))]), None);
    assert_eq!(tenant.update("E1000099", &[Edit::JobTitle("Rigger")]), None);
}

#[test]
fn an_employment_moves_status_and_type_together() {
    let mut tenant = tenant(1);
    let other = EMPLOYMENTS.pick_other(&mut SmallRng::seed_from_u64(1), tenant.person("E1000001").unwrap().employment);
    let event = tenant.update("E1000001", &[Edit::Employment(other)]).unwrap();
    assert_eq!(body(&event)["data"]["changes"], json!(["employment_status", "employee_type"]));
}

#[test]
fn a_deletion_tells_when_and_by_whom_and_carries_five_fields() {
    let mut tenant = tenant(2);
    let event = tenant.delete("E1000002").unwrap();
    let data = &body(&event)["data"];
    assert_eq!(keys(data.as_object().unwrap()), ["uid", "user", "deleted_at", "deleted_by"].into());
    assert_eq!(keys(data["user"].as_object().unwrap()), ["uid", "email", "first_name", "last_name", "full_name"].into());
    assert_eq!(data["deleted_at"], "2025-11-18T15:30:00Z");
    assert!(tenant.truth("E1000002").unwrap().deleted_at.is_some());
    assert_eq!(tenant.delete("E1000002"), None);
    assert_eq!(tenant.update("E1000002", &[Edit::JobTitle("Rigger")]), None);
}

#[test]
fn a_deleted_user_comes_back_silently_and_with_a_new_stamp() {
    let clock = clock();
    let mut tenant = Tenant::new(2, 7, clock.clone());
    tenant.delete("E1000002").unwrap();
    let deleted = tenant.truth("E1000002").unwrap();
    clock.advance(Duration::from_secs(5));
    assert!(tenant.restore("E1000002"));
    let restored = tenant.truth("E1000002").unwrap();
    assert_eq!(restored.deleted_at, None);
    assert_ne!(restored.listing["updated_at"], deleted.listing["updated_at"]);
}

#[test]
fn activity_and_lifecycle_move_one_way_at_a_time() {
    let mut tenant = tenant(1);
    let active = tenant.person("E1000001").unwrap().active;
    assert_eq!(tenant.activate("E1000001").is_some(), !active);
    assert!(tenant.activate("E1000001").is_none());
    assert_eq!(tenant.deactivate("E1000001").unwrap().kind, EventKind::Deactivated);
    assert!(tenant.deactivate("E1000001").is_none());
    let before = tenant.truth("E1000001").unwrap().listing;
    tenant.visit("E1000001");
    let after = tenant.truth("E1000001").unwrap().listing;
    assert_eq!(before["updated_at"], after["updated_at"]);
    assert_ne!(before["last_activity_at"], after["last_activity_at"]);
}

#[test]
fn reports_are_counted_over_live_users_after_any_story() {
    let mut tenant = tenant(120);
    for number in 1..=120 {
        let uid = tenant.uid(number).unwrap();
        tenant.update_randomly(&uid);
        if number % 4 == 0 {
            tenant.delete(&uid);
        }
        if number % 8 == 0 {
            tenant.restore(&uid);
        }
    }
    for person in tenant.people() {
        let live = |other: &&Person| other.deleted_at.is_none() && other.manager == Some(person.number);
        assert_eq!(tenant.people().filter(live).count(), person.reports as usize, "{}", person.number);
        assert!(person.manager.is_none_or(|manager| manager < person.number));
    }
}

#[test]
fn nobody_shares_an_email_and_the_past_is_past() {
    let tenant = tenant(3000);
    let emails: BTreeSet<_> = tenant.people().map(|person| person.email.as_str()).collect();
    assert_eq!(emails.len(), 3000);
    for person in tenant.people() {
        assert!(person.created_at <= person.updated_at && person.updated_at < tenant.now(), "{}", person.number);
        assert!(!person.email.starts_with('+') && person.email.is_ascii(), "{}", person.email);
    }
}

#[test]
fn a_large_tenant_is_there_at_once() {
    let began = Instant::now();
    assert_eq!(tenant(100_000).users(), 100_000);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
