//! What does not fit together between users, or between the directory and upstream's count (contract, section 5).

use serde_json::{Value, json};

use crate::house::House;
use crate::joined::{ADA, BEN, BRISK, COVERED_AFTER, HASTY};
use rollcall::simulator::edit::Edit;
use rollcall::simulator::event::Event;

/// Nobody's uid.
const NOBODY: &str = "E9999999";

fn email_of(house: &House, uid: &str) -> String {
    house.tenant(|tenant| tenant.truth(uid)).unwrap().listing["email"].as_str().unwrap().to_owned()
}

/// The announced update with another value in its snapshot.
fn saying(event: &Event, field: &str, value: Value) -> Value {
    let mut body: Value = serde_json::from_slice(&event.body).unwrap();
    body["data"]["user"][field] = value;
    body
}

/// Waits until no gap is open any more.
fn settles(house: &House) {
    house.until("all gaps to be closed", || house.gaps("open").is_empty().then_some(()));
}

#[test]
fn one_email_on_two_users_is_read_again_for_both() {
    let house = House::joined(8, BRISK).open().swept();
    let email = email_of(&house, BEN);
    let told = house.tenant(|tenant| tenant.update(ADA, &[Edit::Email(email)])).unwrap();
    assert_eq!(house.hear(&told).outcome(), "applied");
    for uid in [ADA, BEN] {
        assert!(house.reasons(uid).contains(&"identity_collision".to_owned()), "{uid} {:?}", house.reasons(uid));
    }
    settles(&house);
    house.becomes_right_about(ADA);
}

#[test]
fn an_email_whose_owner_is_deleted_is_free() {
    let house = House::joined(8, BRISK).open().swept();
    let email = email_of(&house, BEN);
    house.hear(&house.tenant(|tenant| tenant.delete(BEN)).unwrap());
    house.hear(&house.tenant(|tenant| tenant.update(ADA, &[Edit::Email(email)])).unwrap());
    assert_eq!((house.reasons(ADA), house.reasons(BEN)), (Vec::new(), Vec::new()));
}

#[test]
fn another_number_under_a_known_uid_is_somebody_else() {
    let house = House::joined(8, BRISK).open().swept();
    let told = house.retitled(ADA);
    assert_eq!(house.deliver(&saying(&told, "id", json!(99_999))).outcome(), "applied");
    assert!(house.reasons(ADA).contains(&"identity_collision".to_owned()), "{:?}", house.reasons(ADA));
    settles(&house);
    house.becomes_right_about(ADA);
    let same = house.retitled(BEN);
    house.hear(&same);
    assert!(house.reasons(BEN).is_empty());
}

#[test]
fn a_manager_whom_nobody_knows_is_looked_up() {
    let house = House::joined(8, BRISK).open().swept();
    let manager = |uid: &str| json!({"uid": uid, "email": "m@example.com", "full_name": "M"});
    let told = house.retitled(ADA);
    house.deliver(&saying(&told, "manager", manager(NOBODY)));
    assert_eq!(house.reasons(NOBODY), ["dangling_manager"]);
    // Upstream knows nobody by that uid either, and says so.
    settles(&house);
    assert_eq!(house.user(NOBODY), None);
    let created = house.tenant(rollcall::simulator::tenant::Tenant::create);
    let told = house.retitled(BEN);
    house.deliver(&saying(&told, "manager", manager(&created.uid)));
    assert!(house.reasons(&created.uid).contains(&"dangling_manager".to_owned()));
    settles(&house);
    house.later(COVERED_AFTER);
    house.reconcile("incremental", json!({}));
    house.becomes_right_about(&created.uid);
}

#[test]
fn a_manager_who_is_held_is_no_gap() {
    let house = House::joined(8, BRISK).open().swept();
    let told = house.retitled(BEN);
    house.deliver(&saying(&told, "manager", json!({"uid": ADA, "email": "m@example.com", "full_name": "M"})));
    assert!(house.reasons(ADA).is_empty(), "{:?}", house.reasons(ADA));
}

#[test]
fn a_count_that_differs_twice_asks_for_a_sweep() {
    let plan = House::joined(30, HASTY).set("sources.main.reconcile.incremental_every", r#""20m""#);
    let house = plan.set("sources.main.reconcile.confirm_deletes_after", r#""5m""#).open().swept();
    house.later(2 * 3600);
    assert!(house.gaps("closed").iter().all(|gap| gap["reason"] != "count_mismatch"), "nothing differed");
    assert!(house.tenant(|tenant| tenant.purge(ADA)));
    let mismatch = house.until("count_mismatch", || {
        let all = house.gaps("open").into_iter().chain(house.gaps("closed"));
        all.into_iter().find(|gap| gap["reason"] == "count_mismatch")
    });
    assert_eq!(mismatch["uid"], Value::Null);
    house.until("the sweep to find out", || house.user(ADA).unwrap().get("deleted_at").is_some().then_some(()));
    let closed =
        house.until("count_mismatch to be closed", || house.gaps("closed").into_iter().find(|gap| gap["reason"] == "count_mismatch"));
    assert_eq!(house.reconciliation(&closed["closed_by"])["reasons"], json!(["count_mismatch"]));
}
