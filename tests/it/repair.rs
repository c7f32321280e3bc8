//! What reconciliations read, conclude and cost, against a simulated tenant (contract, sections 4 and 6).

use std::time::Duration;

use rollcall::clock::Clock;
use serde_json::{Value, json};

use crate::house::{House, breathe};
use crate::joined::{ADA, BEN, BRISK, COVERED_AFTER, EVE, HASTY};

#[test]
fn the_first_start_sweeps_everyone() {
    let house = House::joined(230, BRISK).without(EVE).open().swept();
    let closed = house.gaps("closed");
    let initial = closed.iter().find(|gap| gap["reason"] == "initial_load").unwrap();
    let sweep = house.reconciliation(&initial["closed_by"]);
    assert_eq!((&sweep["mode"], &sweep["state"]), (&json!("full"), &json!("done")));
    assert_eq!((house.count("include_deleted=true"), house.count("")), (230, 229));
    assert!(house.gaps("open").is_empty() && closed.len() == 1, "{closed:?}");
    for uid in [ADA, BEN, EVE] {
        house.becomes_right_about(uid);
    }
    assert_eq!(house.changes().len(), 230);
}

#[test]
fn whoever_was_deleted_before_enters_as_deleted() {
    let house = House::joined(8, BRISK).without(EVE).open().swept();
    let eve = house.user(EVE).unwrap();
    assert_eq!((&eve["active"], eve["deleted_at"].is_string()), (&json!(false), true));
    let hidden = house.get(&format!("/api/v1/users/{EVE}"));
    assert_eq!((hidden.status, hidden.code()), (404, "user_not_found"));
    let kinds: Vec<_> = house.changes_of(EVE).into_iter().map(|change| change["kind"].clone()).collect();
    assert_eq!(kinds, ["deleted"]);
}

#[test]
fn whoever_was_deleted_a_moment_before_is_doubted_first() {
    let plan = House::joined(8, BRISK);
    plan.tenant(|tenant| tenant.delete(EVE)).unwrap();
    let house = plan.open().swept();
    house.becomes_right_about(EVE);
    let kinds: Vec<_> = house.changes_of(EVE).into_iter().map(|change| change["kind"].clone()).collect();
    assert_eq!(kinds, ["deleted"]);
    let doubt = house.gaps("closed").into_iter().find(|gap| gap["uid"] == EVE).expect("a gap");
    assert_eq!(doubt["reason"], "missed_delivery");
}

#[test]
fn an_unannounced_change_arrives_by_a_pass_and_leaves_a_closed_gap() {
    let house = House::joined(8, BRISK).open().swept();
    drop(house.retitled(ADA));
    house.later(COVERED_AFTER);
    let pass = house.reconcile("incremental", json!({}));
    assert_eq!((&pass["state"], &pass["progress"]["changed"]), (&json!("done"), &json!(1)), "{pass}");
    house.becomes_right_about(ADA);
    let gaps = house.gaps("closed");
    let missed = gaps.iter().find(|gap| gap["reason"] == "missed_delivery").expect("missed_delivery");
    assert_eq!((&missed["uid"], &missed["closed_by"], &missed["event_id"]), (&json!(ADA), &pass["id"], &Value::Null));
    let change = house.changes_of(ADA).pop().unwrap();
    assert_eq!((&change["kind"], &change["cause"]), (&json!("updated"), &json!({"reconciliation": pass["id"]})));
    assert!(change["fields"]["job_title"]["to"].is_string());
}

#[test]
fn what_a_pass_reads_and_a_delivery_announced_is_not_missed() {
    let house = House::joined(8, BRISK).open().swept();
    let told = house.retitled(ADA);
    assert_eq!(house.hear(&told).outcome(), "applied");
    house.later(COVERED_AFTER);
    assert_eq!(house.reconcile("incremental", json!({}))["progress"]["changed"], 0);
    assert!(house.reasons(ADA).is_empty(), "{:?}", house.reasons(ADA));
}

#[test]
fn a_lookup_brings_what_only_lookups_carry() {
    let house = House::joined(8, BRISK).open().swept();
    assert_eq!(house.user(ADA).unwrap()["time_zone"], Value::Null);
    let lookup = house.reconcile("lookup", json!({"uid": ADA}));
    assert_eq!((&lookup["uid"], &lookup["reasons"]), (&json!(ADA), &json!(["operator"])));
    let truth = house.tenant(|tenant| tenant.truth(ADA)).unwrap();
    let user = house.user(ADA).unwrap();
    for field in ["time_zone", "flsa_status", "external_employee_id", "organizational_department", "locations"] {
        assert_eq!(Some(&user[field]), truth.detail.get(field), "{field}");
    }
    assert!(house.gaps("open").is_empty() && house.gaps("closed").iter().any(|gap| gap["reason"] == "operator"));
}

#[test]
fn a_dry_run_moves_nothing_and_tells_what_it_would() {
    let house = House::joined(8, BRISK).open().swept();
    drop(house.retitled(ADA));
    house.later(COVERED_AFTER);
    let (user, changes, gaps) = (house.user(ADA), house.changes(), (house.gaps("open"), house.gaps("closed")));
    for (mode, more) in [("full", json!({})), ("incremental", json!({})), ("lookup", json!({"uid": ADA}))] {
        let mut more = more;
        more["dry_run"] = json!(true);
        let run = house.reconcile(mode, more);
        assert_eq!((&run["state"], &run["dry_run"]), (&json!("done"), &json!(true)), "{run}");
        let differences = run["differences"].as_array().unwrap();
        let ours = differences.iter().find(|difference| difference["uid"] == ADA).expect("a difference");
        assert!(ours["fields"]["job_title"]["from"] != ours["fields"]["job_title"]["to"], "{mode}: {ours}");
    }
    assert_eq!((house.user(ADA), house.changes(), (house.gaps("open"), house.gaps("closed"))), (user, changes, gaps));
    assert_eq!(house.reconcile("incremental", json!({}))["progress"]["changed"], 1);
    house.becomes_right_about(ADA);
}

#[test]
fn a_dry_run_over_more_than_one_walk_comes_to_its_end() {
    let plan = House::joined(5_100, HASTY).set("sources.main.reconcile.incremental_every", "\"0s\"");
    let house = plan.set("sources.main.reconcile.full_every", "\"0s\"").set("sources.main.reconcile.details", "\"off\"").open().swept();
    let changed =
        (0..5_100).filter(|number| house.tenant(|tenant| tenant.uid(*number).map(|uid| tenant.update_randomly(&uid))).flatten().is_some());
    assert!(changed.count() > 5_000);
    let run = house.reconcile("incremental", json!({"dry_run": true}));
    assert_eq!(run["state"], "done", "{run}");
    assert!(run["progress"]["rows"].as_u64() > Some(5_000), "{}", run["progress"]);
}

#[test]
fn only_a_pass_revives_while_nobody_knows_what_lookups_hide() {
    let house = House::joined(8, BRISK).open().swept();
    let end = house.tenant(|tenant| tenant.delete(ADA)).unwrap();
    house.hear(&end);
    house.later(COVERED_AFTER);
    assert!(house.tenant(|tenant| tenant.restore(ADA)));
    house.later(COVERED_AFTER);
    let lookup = house.reconcile("lookup", json!({"uid": ADA}));
    assert_eq!(lookup["progress"]["rows"], 1);
    assert!(house.user(ADA).unwrap()["deleted_at"].is_string(), "a lookup revived someone");
    let pass = house.reconcile("incremental", json!({}));
    let change = house.changes_of(ADA).pop().unwrap();
    assert_eq!((&change["kind"], &change["cause"]), (&json!("restored"), &json!({"reconciliation": pass["id"]})));
    house.becomes_right_about(ADA);
}

#[test]
fn lookups_that_are_known_to_hide_the_deleted_revive_too() {
    let house = House::joined(8, BRISK).without(EVE).open().swept();
    let end = house.tenant(|tenant| tenant.delete(ADA)).unwrap();
    house.hear(&end);
    house.later(COVERED_AFTER);
    assert!(house.tenant(|tenant| tenant.restore(ADA)));
    house.reconcile("lookup", json!({"uid": ADA}));
    house.until("the probe of someone deleted", || {
        house.reconciliations().iter().any(|run| run["reasons"] == json!(["probe"]) && run["state"] == "done").then_some(())
    });
    house.reconcile("lookup", json!({"uid": ADA}));
    house.becomes_right_about(ADA);
}

#[test]
fn lookups_that_show_the_deleted_revive_nobody() {
    let house = House::joined(8, BRISK).rules(|rules| rules.lookups_show_deleted = true).without(EVE).open().swept();
    for _ in 0..3 {
        let lookup = house.reconcile("lookup", json!({"uid": EVE}));
        assert_eq!(lookup["progress"]["rows"], 1);
        assert!(house.user(EVE).unwrap()["deleted_at"].is_string());
    }
}

#[test]
fn an_upstream_that_ignores_what_passes_ask_for_is_noticed_and_does_no_harm() {
    let house = House::joined(8, BRISK).open().swept();
    let passes = |house: &House| house.get("/api/v1/sources").body["sources"][0]["capabilities"]["passes"].clone();
    house.reconcile("incremental", json!({}));
    assert_eq!(passes(&house), true);
    drop(house.retitled(ADA));
    house.later(COVERED_AFTER);
    house.behave(|rules| rules.windowless = true);
    let everyone = |house: &House| house.get("/api/v1/users?include_deleted=true&per_page=100").body["users"].clone();
    let (users, cursor) = (everyone(&house), house.get("/api/v1/sources").body["sources"][0]["watermark"].clone());
    let pass = house.reconcile("incremental", json!({}));
    assert_eq!((&pass["state"], &pass["progress"]["changed"]), (&json!("failed"), &json!(0)), "{pass}");
    assert!(pass["message"].as_str().unwrap().starts_with("upstream ignores updated_after or sort_by"), "{pass}");
    assert_eq!((passes(&house), everyone(&house)), (json!(false), users));
    assert_eq!(house.get("/api/v1/sources").body["sources"][0]["watermark"], cursor);
    house.behave(|_| {});
    assert_eq!(house.reconcile("incremental", json!({}))["state"], "done");
    assert_eq!(passes(&house), true);
    house.becomes_right_about(ADA);
}

#[test]
fn an_upstream_in_trouble_changes_nobody_and_is_asked_again_later() {
    let house = House::joined(8, BRISK).open().swept();
    drop(house.retitled(ADA));
    house.later(COVERED_AFTER);
    let (user, changes) = (house.user(ADA), house.changes());
    for (trouble, word) in [("no token", "401"), ("no scope", "403"), ("errors", "50"), ("cut", "not usable")] {
        house.behave(|rules| match trouble {
            "no token" => rules.tokens.clear(),
            "no scope" => rules.tokens.values_mut().for_each(|may_read| *may_read = false),
            "errors" => rules.faults.error = 1.0,
            _ => rules.faults.cut = 1.0,
        });
        let run = house.request("incremental", json!({}));
        let told =
            house.until(&format!("{trouble} to be told"), || house.reconciliation(&run["id"])["message"].as_str().map(str::to_owned));
        assert!(told.contains(word), "{trouble}: {told}");
        assert_eq!((house.user(ADA), house.changes()), (user.clone(), changes.clone()), "{trouble}");
        assert_eq!(house.get("/readyz").status, 200, "{trouble}");
        drop(house.ask(&format!("/api/v1/reconciliations/{}/cancel", run["id"]), &json!({})));
    }
    house.behave(|_| {});
    assert_eq!(house.reconcile("incremental", json!({}))["state"], "done");
    house.becomes_right_about(ADA);
}

#[test]
fn after_a_429_it_waits_and_goes_on() {
    let house = House::joined(8, HASTY).open().swept();
    drop(house.retitled(ADA));
    house.later(COVERED_AFTER);
    house.behave(|rules| rules.faults.limited = 1.0);
    let run = house.request("incremental", json!({}));
    house.until("the refusal to be told", || house.reconciliation(&run["id"])["message"].as_str()?.contains("429").then_some(()));
    house.behave(|_| {});
    house.until("the pass to be done", || (house.reconciliation(&run["id"])["state"] == "done").then_some(()));
    house.becomes_right_about(ADA);
}

#[test]
fn what_waits_is_not_asked_for_twice_and_can_be_cancelled() {
    let house = House::joined(8, BRISK).set("sources.main.bulk_requests_per_hour", 2).open().swept();
    let run = house.request("incremental", json!({}));
    assert_eq!((&run["state"], &run["reasons"]), (&json!("waiting"), &json!(["operator"])));
    assert_eq!(house.request("incremental", json!({}))["id"], run["id"]);
    assert_ne!(house.request("full", json!({}))["id"], run["id"]);
    let cancelled = house.ask(&format!("/api/v1/reconciliations/{}/cancel", run["id"]), &json!({}));
    assert_eq!((cancelled.status, &cancelled.body["state"]), (200, &json!("cancelled")));
    for act in ["cancel", "approve"] {
        let again = house.ask(&format!("/api/v1/reconciliations/{}/{act}", run["id"]), &json!({}));
        assert_eq!((again.status, again.code()), (409, "wrong_state"), "{act}");
        assert_eq!(house.ask(&format!("/api/v1/reconciliations/4711/{act}"), &json!({})).status, 404);
    }
    assert_ne!(house.request("incremental", json!({}))["id"], run["id"]);
}

#[test]
fn what_is_cancelled_leaves_no_gap_of_the_operators() {
    let house = House::joined(8, BRISK).set("sources.main.bulk_requests_per_hour", 2).open().swept();
    let run = house.request("incremental", json!({}));
    let asked = || house.gaps("open").iter().any(|gap| gap["reason"] == "operator");
    assert!(asked(), "{:?}", house.gaps("open"));
    assert_eq!(house.ask(&format!("/api/v1/reconciliations/{}/cancel", run["id"]), &json!({})).status, 200);
    house.until("the gap to be closed", || (!asked()).then_some(()));
}

/// Moves a house's clock on, in steps shorter than the ledger's guard, and lets every call arrive in the step of its sending.
fn live_on(house: &House, hours: u32) {
    let arrived = || house.api().bulk_traffic().requests + house.api().lookup_traffic().requests;
    for _ in 0..hours * 180 {
        house.clock.advance(Duration::from_secs(20));
        breathe();
        house.until("every call to arrive", || (house.calls() == arrived()).then_some(()));
    }
}

#[test]
fn no_hour_ever_holds_more_calls_than_the_budgets() {
    let plan = House::joined_by(40, Clock::manual(Clock::system().now()));
    let plan = plan.set("sources.main.bulk_requests_per_hour", 12).set("sources.main.lookup_requests_per_hour", 14);
    let plan = plan.set("sources.main.reconcile.incremental_every", "\"2m\"").set("sources.main.reconcile.details", "\"background\"");
    let mut house = plan.open().swept();
    for _ in 0..2 {
        live_on(&house, 1);
        house.until("the budget to be used up", || (house.get("/api/v1/sources").body["sources"][0]["budgets"]["bulk"] == 0).then_some(()));
        house.restart();
    }
    live_on(&house, 2);
    let (bulk, lookups) = (house.api().bulk_traffic(), house.api().lookup_traffic());
    // One call is kept for the first one after a restart.
    assert!((11..=12).contains(&bulk.worst_hour) && bulk.refused == 0, "{bulk:?}");
    assert!(lookups.worst_hour <= 14 && lookups.refused == 0, "{lookups:?}");
    assert!(bulk.requests >= 36 && lookups.requests >= 8, "the budgets were hardly used: {bulk:?} {lookups:?}");
}

#[test]
fn a_restart_forgets_nothing() {
    // It takes no time, however busy the machine is: longer than a minute would be a downtime.
    let mut house = House::joined_by(8, Clock::manual(Clock::system().now())).open().swept();
    let told = house.retitled(ADA);
    house.hear(&told);
    let (changes, gaps, user) = (house.changes(), house.gaps("closed"), house.user(ADA));
    house.restart();
    assert_eq!((house.changes(), house.gaps("closed"), house.user(ADA)), (changes, gaps, user));
    assert_eq!(house.hear(&told).outcome(), "duplicate");
    assert_eq!(house.api().bulk_traffic().requests, 2, "the sweep is not made again");
}
