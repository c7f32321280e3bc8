//! What is shown of the budgets, and of what upstream is able to do.

use std::time::Duration;

use rollcall::clock::Clock;
use rollcall::directory::Timestamp;
use serde_json::{Value, json};

use crate::answers::read_bytes;
use crate::house::House;
use crate::joined::{ADA, BEN, BRISK, COVERED_AFTER, EVE, HASTY};

impl House {
    /// The only source as `/api/v1/sources` shows it.
    fn source(&self) -> Value {
        self.get("/api/v1/sources").body["sources"][0].clone()
    }
}

#[test]
fn refusals_below_the_budget_lower_what_is_shown_of_it() {
    let house = House::joined(8, HASTY).open().swept();
    assert_eq!(house.source()["budgets"]["caps"], json!({"bulk": 100, "lookup": 300}));
    house.behave(|rules| rules.faults.limited = 1.0);
    drop(house.request("incremental", json!({})));
    house.until("the cap to be lowered", || (house.source()["budgets"]["caps"]["bulk"].as_u64()? <= 50).then_some(()));
    let caps = &house.source()["budgets"]["caps"];
    assert_eq!(caps["lookup"], 300, "{caps}");
    let metrics = String::from_utf8(read_bytes(&format!("http://{}/metrics", house.ops()))).unwrap();
    assert!(metrics.contains("rollcall_upstream_budget_cap{source=\"main\",endpoint=\"lookup\"} 300"), "{metrics}");
}

#[test]
fn what_upstream_showed_of_itself_is_told() {
    let house = House::alone().open();
    let known = |house: &House| house.source()["capabilities"].clone();
    let nothing = json!({"lookups_hide_deleted": null, "date_header": null, "passes": null, "rows_mark_deleted": false,
        "updated_after_inclusive": null});
    assert_eq!(known(&house), nothing);
    let house = House::joined(8, BRISK).rules(|rules| rules.rows_mark_deleted = true).open().swept();
    house.reconcile("incremental", json!({}));
    let all = json!({"lookups_hide_deleted": null, "date_header": true, "passes": true, "rows_mark_deleted": true,
        "updated_after_inclusive": null});
    assert_eq!(known(&house), all);
}

#[test]
fn repairs_that_can_wait_are_spread_over_the_hour_and_others_are_not() {
    let now = Timestamp::parse("2026-03-01T08:00:00Z").unwrap();
    let house = House::joined_by(8, Clock::manual(now)).set("sources.main.lookup_requests_per_hour", 8).open().swept();
    let looked_up = |house: &House| house.api().lookup_traffic().requests;
    for uid in [ADA, BEN, EVE] {
        let event = json!({"event": "user.updated", "timestamp": house.clock.now().to_string(),
            "data": {"uid": uid, "changes": ["time_zone"], "user": {"uid": uid}}});
        assert_eq!(house.deliver(&event).outcome(), "applied");
    }
    house.clock.advance(Duration::from_secs(COVERED_AFTER));
    house.until("two of eight lookups", || (looked_up(&house) == 2).then_some(()));
    house.until("the third to wait", || {
        house.reconciliations().into_iter().find(|run| run["message"] == "waits for the budget until 08:15:20Z")
    });
    // Someone who may wrongly be active does not wait for that.
    let event = house.tenant(|tenant| tenant.deactivate("E1000005").and_then(|_| tenant.activate("E1000005"))).unwrap();
    assert_eq!(house.hear(&event).outcome(), "applied");
    house.clock.advance(Duration::from_secs(COVERED_AFTER));
    house.until("the urgent one", || (looked_up(&house) == 3).then_some(()));
    house.clock.advance(Duration::from_secs(900));
    house.until("the third", || (looked_up(&house) == 4 && house.gaps("open").is_empty()).then_some(()));
}

#[test]
fn passes_learn_whether_updated_after_takes_in_the_moment_itself() {
    for inclusive in [true, false] {
        let plan = House::joined(8, HASTY).rules(|rules| rules.updated_after_inclusive = inclusive);
        let house = plan.set("sources.main.reconcile.incremental_every", "\"10m\"").open().swept();
        let learnt = house.until("a pass to ask", || house.source()["capabilities"]["updated_after_inclusive"].as_bool());
        assert_eq!(learnt, inclusive);
    }
}

#[test]
fn a_sweep_over_several_hours_tells_how_much_is_left_and_until_when_it_waits() {
    let now = Timestamp::parse("2026-03-01T08:00:00Z").unwrap();
    let mut house = House::joined_by(450, Clock::manual(now)).set("sources.main.bulk_requests_per_hour", 2).open();
    let waiting = |house: &House| Some(house.source()["reconciliation"].clone()).filter(|run| run["message"].is_string());
    let run = house.until("the sweep to wait", || waiting(&house));
    assert_eq!((&run["state"], &run["message"]), (&json!("running"), &json!("waits for the budget until 09:01:00Z")));
    // Two of five pages are read; three, a count, and five pages with deleted users are left, two an hour.
    let progress = &run["progress"];
    assert_eq!((&progress["calls"], &progress["calls_left"], &progress["expected"]), (&json!(2), &json!(9), &json!(900)));
    assert_eq!(progress["estimated_end"], "2026-03-01T13:05:00Z", "{progress}");
    assert_eq!(house.reconciliation(&run["id"])["progress"], *progress);
    house.clock.advance(Duration::from_secs(3660));
    let later = house.until("it to go on", || waiting(&house).filter(|run| run["progress"]["calls"] == 4));
    assert_eq!((&later["message"], &later["progress"]["calls_left"]), (&json!("waits for the budget until 10:02:00Z"), &json!(7)));
    assert_eq!(later["progress"]["estimated_end"], "2026-03-01T13:05:00Z");
    house.restart();
    let again = house.until("it to wait again", || waiting(&house).filter(|run| run["state"] == "waiting"));
    assert_eq!((&again["id"], &again["progress"]), (&run["id"], &later["progress"]), "{again}");
    house.clock.advance(Duration::from_secs(3660));
    let done = house.until("the end", || house.reconciliations().into_iter().find(|run| run["state"] == "done"));
    let progress = &done["progress"];
    assert_eq!((&progress["calls_left"], &progress["estimated_end"]), (&Value::Null, &Value::Null));
    assert_eq!((&progress["calls"], &progress["expected"], &done["message"]), (&json!(6), &json!(450), &Value::Null));
}
