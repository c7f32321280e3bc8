//! What the REST API answers, asked without a network.

use serde_json::Value;

use super::*;
use crate::directory::Timestamp;
use crate::simulator::edit::Edit;

struct Reception {
    desk: Desk,
    clock: Clock,
    tenant: Shared,
}

impl Reception {
    fn open(users: u32, change: impl FnOnce(&mut Rules)) -> Self {
        let clock = Clock::manual(Timestamp::parse("2025-11-18T15:30:00Z").unwrap());
        let tenant = Tenant::new(users, 3, clock.clone()).shared();
        let mut rules = Rules::documented("good", 5);
        rules.tokens.insert("narrow".into(), false);
        rules.tokens.insert("other".into(), true);
        rules.bulk_per_hour = 1000;
        change(&mut rules);
        Self { desk: Desk::new(tenant.clone(), rules, clock.clone()), clock, tenant }
    }

    fn page(&mut self, query: &str) -> (u16, Value) {
        let parameters = query.split('&').filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.into(), value.into()));
        read(&self.desk.answer(true, Some("good"), Ask::Page(&parameters.collect())))
    }

    fn uids(&mut self, query: &str) -> Vec<String> {
        let (_, body) = self.page(query);
        body["users"].as_array().unwrap().iter().map(|row| row["uid"].as_str().unwrap().to_owned()).collect()
    }

    fn total(&mut self, query: &str) -> u64 {
        self.page(query).1["meta"]["total_count"].as_u64().unwrap()
    }

    fn lookup(&mut self, uid: &str) -> (u16, Value) {
        read(&self.desk.answer(true, Some("good"), Ask::Uid(uid)))
    }
}

fn read(reply: &Reply) -> (u16, Value) {
    (reply.status, serde_json::from_slice(&reply.body).unwrap_or_default())
}

#[test]
fn a_page_has_25_users_newest_first_unless_asked_otherwise() {
    let mut reception = Reception::open(60, |_| {});
    let (status, body) = reception.page("");
    assert_eq!(status, 200);
    assert_eq!(body["meta"], json!({"total_count": 60, "total_pages": 3, "current_page": 1, "per_page": 25}));
    assert_eq!(body["users"].as_array().unwrap().len(), 25);
    assert_eq!(body["users"][0]["uid"], "E1000060");
    assert_eq!(reception.uids("page=3&per_page=25").len(), 10);
    assert_eq!(reception.uids("page=4").len(), 0);
}

#[test]
fn no_page_has_more_than_100_users() {
    let mut reception = Reception::open(130, |_| {});
    let (_, body) = reception.page("per_page=500");
    assert_eq!(body["users"].as_array().unwrap().len(), 100);
    assert_eq!(body["meta"]["per_page"], 100);
}

#[test]
fn pages_together_hold_everybody_once() {
    let mut reception = Reception::open(57, |_| {});
    for sort in ["name", "created_at", "updated_at"] {
        let pages = (1..=6).flat_map(|page| reception.uids(&format!("sort_by={sort}&sort_order=asc&per_page=10&page={page}")));
        let mut seen: Vec<_> = pages.collect();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 57, "{sort}");
    }
}

#[test]
fn names_sort_without_case_and_ties_by_id() {
    let mut reception = Reception::open(3, |_| {});
    let rename = |tenant: &Shared, uid: &str, first, last| {
        tenant.lock().update(uid, &[Edit::FirstName(first), Edit::LastName(last)]);
    };
    rename(&reception.tenant, "E1000001", "Zed", "Last");
    rename(&reception.tenant, "E1000002", "abe", "First");
    rename(&reception.tenant, "E1000003", "Abe", "First");
    assert_eq!(reception.uids("sort_by=name&sort_order=asc"), ["E1000002", "E1000003", "E1000001"]);
    assert_eq!(reception.uids("sort_by=name"), ["E1000001", "E1000003", "E1000002"]);
    assert_eq!(reception.uids("sort_by=updated_at&sort_order=asc"), ["E1000001", "E1000002", "E1000003"]);
}

#[test]
fn filters_keep_only_what_they_name() {
    let mut reception = Reception::open(200, |_| {});
    assert_eq!(reception.total("active=true") + reception.total("active=false"), 200);
    assert!(reception.total("active=false") > 0);
    let by_status = ["full_time", "part_time", "contractor"].map(|status| reception.total(&format!("employment_status={status}")));
    assert_eq!(by_status.iter().sum::<u64>(), 200);
    let (_, body) = reception.page("department=Logistics&per_page=100");
    assert!(body["users"].as_array().unwrap().iter().all(|row| row["department"] == "Logistics"));
    let email = body["users"][0]["email"].as_str().unwrap().to_uppercase();
    assert_eq!(reception.total(&format!("search={email}")), 1);
    assert_eq!(reception.total("search=nobody-is-called-this"), 0);
    assert_eq!(reception.page("search=nobody-is-called-this").1["meta"]["total_pages"], 0);
}

#[test]
fn updated_after_is_strict() {
    let mut reception = Reception::open(20, |_| {});
    reception.clock.advance(Duration::from_secs(60));
    reception.tenant.lock().update("E1000007", &[Edit::JobTitle("Rigger")]);
    assert_eq!(reception.uids("updated_after=2025-11-18T15:30:59Z"), ["E1000007"]);
    assert_eq!(reception.uids("updated_after=2025-11-18T15:31:00Z"), Vec::<String>::new());
    assert_eq!(reception.uids("updated_after=2025-11-18T16:30:59+01:00"), ["E1000007"]);
}

#[test]
fn a_deleted_user_is_listed_only_on_request_unmarked_and_not_found_by_lookups() {
    let mut reception = Reception::open(5, |_| {});
    let email = reception.lookup("E1000003").1["user"]["email"].as_str().unwrap().to_owned();
    reception.tenant.lock().delete("E1000003");
    assert_eq!(reception.total(""), 4);
    assert_eq!(reception.total("include_deleted=true"), 5);
    let (status, body) = reception.lookup("E1000003");
    assert_eq!(status, 404);
    assert_eq!(body["error"]["code"], "user_not_found");
    assert_eq!(body["error"]["message"], "User with UID 'E1000003' not found in current business");
    assert_eq!(reception.desk.answer(true, Some("good"), Ask::Email(&email)).status, 404);
}

#[test]
fn lookups_may_show_deleted_users_where_that_is_asked_for() {
    let mut reception = Reception::open(5, |rules| rules.lookups_show_deleted = true);
    reception.tenant.lock().delete("E1000003");
    let (status, body) = reception.lookup("E1000003");
    assert_eq!((status, &body["user"]["uid"]), (200, &json!("E1000003")));
    assert!(body["user"].get("deleted_at").is_none());
}

#[test]
fn a_lookup_by_email_minds_no_case() {
    let mut reception = Reception::open(5, |_| {});
    let (_, body) = reception.lookup("E1000002");
    let email = body["user"]["email"].as_str().unwrap().to_uppercase();
    assert_eq!(read(&reception.desk.answer(true, Some("good"), Ask::Email(&email))), (200, body));
}

#[test]
fn unreadable_parameters_are_named() {
    let mut reception = Reception::open(5, |_| {});
    for bad in ["page=0", "page=-1", "per_page=x", "per_page=0", "active=maybe", "updated_after=soon", "sort_by=age", "sort_order=up"] {
        let (status, body) = reception.page(bad);
        assert_eq!((status, &body["error"]["code"]), (400, &json!("invalid_parameter")), "{bad}");
        assert!(body["error"]["message"].as_str().unwrap().contains(bad.split_once('=').unwrap().0), "{bad}");
    }
}

#[test]
fn strangers_get_401_narrow_tokens_403_and_other_methods_405() {
    let mut reception = Reception::open(5, |_| {});
    let desk = &mut reception.desk;
    let mut code = |get, token, ask| read(&desk.answer(get, token, ask)).1["error"]["code"].as_str().unwrap().to_owned();
    assert_eq!(code(true, None, Ask::Uid("E1000001")), "unauthorized");
    assert_eq!(code(true, Some("wrong"), Ask::Unknown), "unauthorized");
    assert_eq!(code(true, Some("narrow"), Ask::Uid("E1000001")), "insufficient_scope");
    assert_eq!(code(true, Some("good"), Ask::Unknown), "not_found");
    assert_eq!(code(false, Some("good"), Ask::Uid("E1000001")), "method_not_allowed");
    assert_eq!(desk.lookup_traffic(), Traffic::default());
}

#[test]
fn limits_hold_in_every_sliding_hour_of_each_token_and_endpoint() {
    let mut reception = Reception::open(5, |rules| (rules.bulk_per_hour, rules.lookups_per_hour) = (3, 4));
    let statuses: Vec<_> = (0..5).map(|_| reception.page("").0).collect();
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    assert_eq!((0..5).map(|_| reception.lookup("E1000001").0).filter(|status| *status == 200).count(), 4);
    assert_eq!(reception.desk.answer(true, Some("other"), Ask::Uid("E1000001")).status, 200);
    reception.clock.advance(Duration::from_secs(3599));
    assert_eq!(reception.page("").0, 429);
    reception.clock.advance(Duration::from_secs(1));
    assert_eq!(reception.page("").0, 200);
    assert_eq!(reception.desk.bulk_traffic(), Traffic { requests: 7, refused: 3, worst_hour: 6 });
}

#[test]
fn a_refusal_tells_the_wait_only_now_and_then() {
    let mut reception = Reception::open(1, |rules| rules.bulk_per_hour = 0);
    let empty = HashMap::new();
    let told = (0..100).filter(|_| reception.desk.answer(true, Some("good"), Ask::Page(&empty)).retry_after.is_some()).count();
    assert!((20..80).contains(&told), "{told}");
}

#[test]
fn faults_come_as_often_as_asked_and_the_same_for_one_seed() {
    let faults = Faults { error: 0.3, limited: 0.1, cut: 0.2, slow: 0.5, slow_by: Duration::from_secs(9), ..Faults::default() };
    let run = || {
        let mut reception = Reception::open(30, |rules| rules.faults = faults);
        let empty = HashMap::new();
        (0..500).map(|_| reception.desk.answer(true, Some("good"), Ask::Page(&empty))).collect::<Vec<_>>()
    };
    let replies = run();
    assert_eq!(replies, run());
    let count = |test: fn(&Reply) -> bool| replies.iter().filter(|reply| test(reply)).count();
    assert!((90..180).contains(&count(|reply| reply.status >= 500)));
    assert!((25..80).contains(&count(|reply| reply.status == 429)));
    assert!((200..300).contains(&count(|reply| reply.delay == Duration::from_secs(9))));
    let cut = |reply: &Reply| reply.status == 200 && serde_json::from_slice::<Value>(&reply.body).is_err();
    assert!((30..100).contains(&count(cut)));
}
