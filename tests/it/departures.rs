//! Who left without a word: found by polling, confirmed, and beyond the threshold left to someone's decision (contract, section 4).

use serde_json::{Value, json};

use crate::answers::read_bytes;
use crate::house::{House, Plan};
use crate::joined::{ADA, BEN, BRISK, COVERED_AFTER, EVE};

/// A minute takes a second; a second 404 is asked for after half of one.
fn joined(users: u32) -> Plan {
    let plan = House::joined(users, BRISK).set("sources.main.reconcile.confirm_deletes_after", r#""30s""#);
    plan.set("sources.main.reconcile.lookup_interval", r#""0s""#)
}

impl House {
    /// Whether the mirror holds someone as alive.
    fn lives(&self, uid: &str) -> bool {
        self.user(uid).unwrap().get("deleted_at").is_none()
    }

    fn is_gone(&self, uid: &str) {
        self.until(&format!("{uid} to be gone"), || (!self.lives(uid)).then_some(()));
    }

    /// Waits until a reconciliation stands so.
    fn comes_to(&self, run: &Value, state: &str) -> Value {
        self.until(&format!("{} to be {state}", run["id"]), || {
            let record = self.reconciliation(&run["id"]);
            (record["state"] == state).then_some(record)
        })
    }
}

#[test]
fn a_lost_deletion_shows_within_one_pass() {
    let house = joined(30).open().swept();
    drop(house.tenant(|tenant| tenant.delete(ADA)).unwrap());
    house.later(COVERED_AFTER);
    let pass = house.reconcile("incremental", json!({}));
    assert_eq!((&pass["state"], &pass["progress"]["candidates"]), (&json!("done"), &json!(0)), "{pass}");
    assert!(!house.lives(ADA), "it was done before the deletion was confirmed");
    house.becomes_right_about(ADA);
    let change = house.changes_of(ADA).pop().unwrap();
    assert_eq!((&change["kind"], change["cause"]["reconciliation"].is_u64()), (&json!("deleted"), true), "{change}");
    assert_eq!(house.reasons(ADA), ["missed_delivery"]);
    assert!(house.gaps("open").is_empty());
}

#[test]
fn an_announced_deletion_is_not_found_again() {
    let house = joined(30).open().swept();
    let told = house.tenant(|tenant| tenant.delete(ADA)).unwrap();
    assert_eq!(house.hear(&told).outcome(), "applied");
    house.later(COVERED_AFTER);
    let pass = house.reconcile("incremental", json!({}));
    assert_eq!((&pass["state"], &pass["progress"]["changed"]), (&json!("done"), &json!(0)), "{pass}");
    assert!(house.reasons(ADA).is_empty());
}

#[test]
fn whoever_was_deleted_for_good_goes_after_two_lookups() {
    let house = joined(30).open().swept();
    assert!(house.tenant(|tenant| tenant.purge(ADA)));
    house.later(COVERED_AFTER);
    let sweep = house.request("full", json!({}));
    let confirming = house.comes_to(&sweep, "confirming");
    assert_eq!((&confirming["progress"]["candidates"], &confirming["finished_at"]), (&json!(1), &Value::Null));
    assert!(house.lives(ADA), "one listing deleted someone");
    house.is_gone(ADA);
    house.comes_to(&sweep, "done");
    // Two lookups found nobody, and before them someone who is there was found.
    assert!(house.api().lookup_traffic().requests >= 3);
    assert!(house.lives(BEN));
}

#[test]
fn one_lookup_that_finds_nobody_deletes_nobody_before_the_second() {
    let house = House::joined(30, BRISK).set("sources.main.reconcile.confirm_deletes_after", r#""1h""#).open().swept();
    assert!(house.tenant(|tenant| tenant.purge(ADA)));
    house.later(COVERED_AFTER);
    let lookup = house.request("lookup", json!({"uid": ADA}));
    house.comes_to(&lookup, "confirming");
    house.later(120);
    assert!(house.lives(ADA));
    assert_eq!(house.reconciliation(&lookup["id"])["state"], "confirming");
    let nobody = house.reconcile("lookup", json!({"uid": "nobody/at all?"}));
    assert_eq!((&nobody["state"], house.user("nobody%2Fat%20all%3F")), (&json!("done"), None));
}

#[test]
fn whoever_turns_up_again_was_never_gone() {
    let house = House::joined(30, BRISK).set("sources.main.reconcile.confirm_deletes_after", r#""5m""#).open().swept();
    drop(house.tenant(|tenant| tenant.delete(EVE)).unwrap());
    house.behave(|rules| rules.lookups_show_deleted = true);
    house.later(COVERED_AFTER);
    let sweep = house.request("full", json!({}));
    house.comes_to(&sweep, "confirming");
    assert!(house.tenant(|tenant| tenant.restore(EVE)));
    house.comes_to(&sweep, "done");
    assert!(house.lives(EVE));
    assert!(house.changes_of(EVE).iter().all(|change| change["kind"] != "deleted"), "{:?}", house.changes_of(EVE));
}

#[test]
fn where_lookups_show_the_deleted_the_live_listing_confirms() {
    let house = joined(30).rules(|rules| rules.lookups_show_deleted = true).open().swept();
    drop(house.tenant(|tenant| tenant.delete(ADA)).unwrap());
    house.later(COVERED_AFTER);
    let pass = house.reconcile("incremental", json!({}));
    assert_eq!(pass["state"], "done");
    assert!(!house.lives(ADA));
    let (searches, told) = (house.api().bulk_traffic().requests, house.changes_of(ADA).pop().unwrap());
    assert!(searches >= 4 && told["kind"] == "deleted", "{searches} {told}");
}

#[test]
fn too_many_deletions_wait_for_someones_word_over_a_restart() {
    let mut house = joined(30).open().swept();
    let gone: Vec<String> = (1..=12).map(|number| format!("E10000{number:02}")).collect();
    house.tenant(|tenant| gone.iter().for_each(|uid| drop(tenant.delete(uid).unwrap())));
    house.later(COVERED_AFTER);
    let pass = house.request("incremental", json!({}));
    let held = house.comes_to(&pass, "awaiting_approval");
    assert_eq!(held["progress"]["candidates"], 12);
    assert!(held["message"].as_str().unwrap().contains("max_deletes"), "{held}");
    house.restart();
    house.later(120);
    assert!(gone.iter().all(|uid| house.lives(uid)), "someone was deleted without a word");
    assert_eq!(house.reconciliation(&pass["id"])["state"], "awaiting_approval");
    assert_eq!(house.count(""), 30);
    let metrics = String::from_utf8(read_bytes(&format!("http://{}/metrics", house.ops()))).unwrap();
    assert!(metrics.contains(r#"rollcall_deletions_pending{source="main",state="awaiting_approval"} 12"#), "{metrics}");
    let approved = house.ask(&format!("/api/v1/reconciliations/{}/approve", pass["id"]), &json!({}));
    assert_eq!((approved.status, &approved.body["state"]), (200, &json!("confirming")), "{}", approved.body);
    house.comes_to(&pass, "done");
    assert!(gone.iter().all(|uid| !house.lives(uid)));
    assert_eq!(house.count(""), 18);
    let again = house.ask(&format!("/api/v1/reconciliations/{}/approve", pass["id"]), &json!({}));
    assert_eq!((again.status, again.code()), (409, "wrong_state"));
}

#[test]
fn what_is_cancelled_deletes_nobody() {
    let house = joined(30).open().swept();
    let gone: Vec<String> = (1..=12).map(|number| format!("E10000{number:02}")).collect();
    house.tenant(|tenant| gone.iter().for_each(|uid| drop(tenant.delete(uid).unwrap())));
    house.later(COVERED_AFTER);
    let pass = house.request("incremental", json!({}));
    house.comes_to(&pass, "awaiting_approval");
    let cancelled = house.ask(&format!("/api/v1/reconciliations/{}/cancel", pass["id"]), &json!({}));
    assert_eq!((cancelled.status, &cancelled.body["state"]), (200, &json!("cancelled")));
    house.until("the gaps to be closed", || house.gaps("open").is_empty().then_some(()));
    assert!(gone.iter().all(|uid| house.lives(uid)));
    // Everything is as before, so the next sweep asks again.
    let sweep = house.request("full", json!({}));
    house.comes_to(&sweep, "awaiting_approval");
}

#[test]
fn small_groups_add_up_to_a_large_one() {
    let house = joined(30).set("sources.main.reconcile.max_deletes", 3).open().swept();
    drop(house.tenant(|tenant| tenant.delete(ADA)).unwrap());
    house.later(COVERED_AFTER);
    assert_eq!(house.reconcile("incremental", json!({}))["state"], "done");
    house.tenant(|tenant| ["E1000007", "E1000008", "E1000009"].map(|uid| drop(tenant.delete(uid).unwrap())));
    house.later(COVERED_AFTER);
    let pass = house.request("incremental", json!({}));
    house.comes_to(&pass, "awaiting_approval");
    assert!(house.lives("E1000007"));
}

#[test]
fn all_users_are_never_deleted_without_a_word() {
    let house = joined(4).open().swept();
    house.tenant(|tenant| ["E1000001", "E1000002", "E1000003", "E1000004"].map(|uid| assert!(tenant.purge(uid))));
    house.later(COVERED_AFTER);
    let sweep = house.request("full", json!({}));
    house.comes_to(&sweep, "awaiting_approval");
    assert_eq!(house.count(""), 4);
}

#[test]
fn a_dry_run_tells_who_would_go_and_lets_them_stay() {
    let house = joined(30).open().swept();
    drop(house.tenant(|tenant| tenant.delete(ADA)).unwrap());
    assert!(house.tenant(|tenant| tenant.purge(BEN)));
    house.later(COVERED_AFTER);
    let dry = house.reconcile("full", json!({"dry_run": true}));
    let told = |uid: &str| dry["differences"].as_array().unwrap().iter().any(|told| told["uid"] == uid && told["kind"] == "deleted");
    assert!(told(ADA) && told(BEN) && !told(EVE), "{dry}");
    assert_eq!((&dry["state"], house.lives(ADA), house.lives(BEN)), (&json!("done"), true, true));
    assert!(house.gaps("open").is_empty());
}

#[test]
fn rows_that_tell_who_was_deleted_are_believed_once_confirmed() {
    let house = joined(30).rules(|rules| rules.rows_mark_deleted = true).open().swept();
    drop(house.tenant(|tenant| tenant.delete(ADA)).unwrap());
    house.later(COVERED_AFTER);
    let calls = house.api().bulk_traffic().requests;
    let pass = house.reconcile("incremental", json!({}));
    assert_eq!((&pass["state"], house.lives(ADA)), (&json!("done"), false), "{pass}");
    // One listing is enough where its rows tell.
    assert_eq!(house.api().bulk_traffic().requests, calls + 1);
    assert!(house.tenant(|tenant| tenant.restore(ADA)));
    house.later(COVERED_AFTER);
    house.reconcile("incremental", json!({}));
    assert!(house.lives(ADA));
}

#[test]
fn lookups_that_find_nobody_at_all_delete_nobody_and_do_not_go_through_everyone() {
    let house = joined(60).open().swept();
    house.tenant(|tenant| (1..=60).for_each(|number| assert!(tenant.purge(&format!("E10000{number:02}")))));
    house.later(COVERED_AFTER);
    let lookup = house.request("lookup", json!({"uid": ADA}));
    house.comes_to(&lookup, "confirming");
    house.later(600);
    assert_eq!(house.count(""), 60);
    assert!(house.api().lookup_traffic().requests < 40, "{:?}", house.api().lookup_traffic());
}
