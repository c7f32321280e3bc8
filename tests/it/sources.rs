//! Gaps of whole sources: what shows that deliveries may be lost, what is harmless, and which read answers it (contract, section 5).

use std::time::Duration;

use rollcall::clock::Clock;
use rollcall::directory::{Need, Outcome, Reason, gap::Gap};
use rollcall::simulator::api::Api;
use rollcall::simulator::desk::Rules;
use rollcall::simulator::tenant::Tenant;
use rollcall::storage::{Batch, Delivery, SourceGap};
use serde_json::{Value, json};

use crate::answers::{self, list, sign};
use crate::full::limit_files;
use crate::house::{API_TOKEN, House, Plan, RUNTIME, breathe, event, until};
use crate::joined::{ADA, BEN, BRISK};
use crate::program::{Program, rollcall, serving_beyond_limits, settings};

/// A house whose time stands still until a test moves it.
fn still() -> Plan {
    House::joined_by(8, Clock::manual(Clock::system().now()))
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl House {
    /// The gaps of the whole source for this reason, in this state.
    fn source_gaps(&self, state: &str, reason: &str) -> Vec<Value> {
        let ours = |gap: &Value| gap["reason"] == reason && gap["uid"].is_null();
        self.gaps(state).into_iter().filter(ours).collect()
    }

    /// Whether such a gap was ever opened.
    fn ever(&self, reason: &str) -> bool {
        !self.source_gaps("open", reason).is_empty() || !self.source_gaps("closed", reason).is_empty()
    }

    /// Incremental passes that this was a reason for.
    fn passes(&self, reason: &str) -> usize {
        let because = |run: &Value| run["mode"] == "incremental" && run["reasons"].as_array().unwrap().contains(&json!(reason));
        self.reconciliations().into_iter().filter(because).count()
    }

    /// Waits until the reconciler has looked at everything that is so now, and has done what is due.
    fn settled(&self) {
        for _ in 0..2 {
            assert_eq!(self.reconcile("lookup", json!({"uid": BEN}))["state"], "done");
        }
        let rests = |run: &Value| ["done", "failed", "cancelled"].contains(&run["state"].as_str().unwrap());
        self.until("every reconciliation to be over", || self.reconciliations().iter().all(rests).then_some(()));
    }

    /// Delivers so many times what nobody signed with a secret of ours.
    fn knock(&self, times: usize) {
        for _ in 0..times {
            let answer = self.post("main", Some(&sign(b"something else")), b"{}");
            assert_eq!((answer.status, answer.code()), (401, "invalid_signature"));
        }
    }

    /// Waits until a pass that tells this reason has closed the gap; the gap.
    #[track_caller]
    fn is_answered(&self, reason: &str) -> Value {
        let gap = self.until(&format!("{reason} to be closed"), || self.source_gaps("closed", reason).into_iter().next());
        let record = self.reconciliation(&gap["closed_by"]);
        assert_eq!((&record["mode"], &record["state"]), (&json!("incremental"), &json!("done")));
        assert!(record["reasons"].as_array().unwrap().contains(&json!(reason)), "{record}");
        assert!(record["progress"]["gaps_closed"].as_u64() >= Some(1), "{record}");
        gap
    }
}

#[test]
fn a_delivery_that_comes_a_retry_step_late_asks_whether_others_were_lost() {
    let house = still().open().swept();
    let lost = house.retitled(BEN);
    let told = house.retitled(ADA);
    house.clock.advance(seconds(61));
    let answer = house.hear(&told);
    assert_eq!(answer.outcome(), "applied");
    let open = house.source_gaps("open", "late_delivery");
    assert_eq!((&open[0]["event_id"], &open[0]["count"]), (&json!(answer.event_id()), &json!(1)));
    house.clock.advance(seconds(20));
    house.is_answered("late_delivery");
    house.becomes_right_about(&lost.uid);
    assert_eq!(house.passes("late_delivery"), 1);
}

#[test]
fn a_delivery_that_is_held_back_for_seconds_or_comes_again_is_not_late() {
    let house = still().open().swept();
    let told = house.retitled(ADA);
    house.clock.advance(seconds(20));
    assert_eq!(house.hear(&told).outcome(), "applied");
    house.clock.advance(seconds(41));
    assert_eq!(house.hear(&told).outcome(), "duplicate");
    assert!(!house.ever("late_delivery"), "{:?}", house.gaps("open"));
}

#[test]
fn late_deliveries_without_end_do_not_buy_passes_without_end() {
    let house = still().open().swept();
    for number in 0..60 {
        let body = event("updated", ADA, house.now() - seconds(60), json!({"job_title": format!("Number {number}")}));
        assert_eq!(house.deliver(&body).status, 200);
        house.clock.advance(seconds(10));
        breathe();
    }
    house.settled();
    let passes = house.passes("late_delivery");
    assert!((1..=6).contains(&passes), "{passes} passes in ten minutes");
    assert_eq!(house.source_gaps("open", "late_delivery").len(), 1);
    house.clock.advance(seconds(120));
    assert_eq!(house.is_answered("late_delivery")["count"], 60);
}

#[test]
fn undecodable_ends_with_the_last_replay_that_is_understood_and_a_replay_is_never_late() {
    let house = House::alone().open();
    let (store, now) = (house.store(), house.now());
    let body = |number: u64| {
        let mut body = event("created", &format!("E{number}"), now - seconds(60), json!({}));
        body["event_id"] = json!(format!("event-{number}"));
        body
    };
    // What a former version did not understand.
    let kept = |number: u64| Delivery {
        number,
        source: "main".into(),
        event_id: format!("event-{number}"),
        event: None,
        uid: None,
        outcome: Outcome::Quarantined,
        reason: None,
        received_at: now,
        expires_at: now + seconds(3600),
        body: Some(body(number).to_string().into_bytes()),
    };
    let mut state = store.source("main").unwrap();
    let id = store.numbers().gap + 1;
    let gap = Gap { id, count: 2, detected_at: now, event_id: Some("event-2".to_owned()), need: Need::Any, happened: now, due: now };
    state.gaps.push(SourceGap { reason: Reason::Undecodable, uid: None, gap });
    let deliveries = [1, 2].map(kept).into();
    store.commit(&Batch { deliveries, sources: vec![("main".to_owned(), state)], ..Batch::default() }).unwrap();
    let replay = |number: u64| house.ask(&format!("/api/v1/deliveries/event-{number}/replay"), &Value::Null);
    assert_eq!(replay(1).outcome(), "applied");
    assert_eq!(house.source_gaps("open", "undecodable").len(), 1, "another one is still not understood");
    assert_eq!(replay(2).outcome(), "applied");
    let closed = house.source_gaps("closed", "undecodable");
    assert_eq!((&closed[0]["count"], closed[0]["closed_at"].is_string()), (&json!(2), true));
    assert_eq!(closed[0]["closed_by"], Value::Null, "no reconciliation was needed");
    assert!(house.source_gaps("open", "undecodable").is_empty() && !house.ever("late_delivery"));
}

#[test]
fn a_pass_closes_nothing_that_was_shown_after_it_began() {
    let house = House::joined(8, BRISK).open().swept();
    house.behave(|rules| rules.faults.error = 1.0);
    house.deliver_bytes(b"not JSON");
    let first = house.until("a pass that meets trouble", || {
        let run = house.reconciliations().into_iter().find(|run| run["reasons"] == json!(["undecodable"]))?;
        run["message"].is_string().then_some(run)
    });
    house.deliver_bytes(b"nor is this");
    house.behave(|_| {});
    house.until("it to be over", || (house.reconciliation(&first["id"])["state"] == "done").then_some(()));
    let gap = house.is_answered("undecodable");
    assert_eq!(gap["count"], 2);
    assert_ne!(gap["closed_by"], first["id"]);
    assert_eq!(house.passes("undecodable"), 2);
}

#[test]
fn twenty_bad_signatures_buy_one_pass() {
    let house = still().set("sources.main.reconcile.silence_after", "\"1h\"").open().swept();
    assert_eq!(house.hear(&house.retitled(ADA)).outcome(), "applied");
    house.knock(19);
    assert!(!house.ever("bad_signatures"));
    house.knock(1);
    house.until("the burst to be noticed", || house.source_gaps("open", "bad_signatures").pop());
    house.knock(30);
    house.clock.advance(seconds(20));
    assert_eq!(house.is_answered("bad_signatures")["count"], 1);
    house.clock.advance(seconds(120));
    house.knock(40);
    house.settled();
    assert!(house.source_gaps("open", "bad_signatures").is_empty());
    assert_eq!((house.passes("bad_signatures"), house.source_gaps("closed", "bad_signatures").len()), (1, 1));
}

#[test]
fn strangers_knock_in_vain() {
    let house = still().open().swept();
    house.knock(40);
    assert_eq!(house.hear(&house.retitled(ADA)).outcome(), "applied");
    for _ in 0..40 {
        assert_eq!(house.post("main", None, b"{}").code(), "missing_signature");
    }
    for _ in 0..40 {
        house.knock(1);
        house.clock.advance(seconds(4));
    }
    house.settled();
    assert!(!house.ever("bad_signatures"), "neither before a good one, nor without a signature, nor slowly");
    assert!(!house.ever("refused_delivery"), "nothing authentic was refused");
}

#[test]
fn silence_asks_at_once_and_then_by_the_degraded_schedule_until_something_is_heard() {
    let house = still().set("sources.main.reconcile.silence_after", "\"10m\"").open().swept();
    house.clock.advance(seconds(601));
    house.is_answered("silence");
    assert_eq!(house.passes("silence"), 1);
    house.clock.advance(seconds(130));
    house.until("a pass by the degraded schedule", || (house.passes("silence") == 2).then_some(()));
    house.settled();
    assert_eq!(house.source_gaps("closed", "silence").len(), 1, "nothing new is shown");
    assert!(house.source_gaps("open", "silence").is_empty());
    assert_eq!(house.hear(&house.retitled(ADA)).outcome(), "applied");
    house.clock.advance(seconds(500));
    house.settled();
    assert_eq!(house.passes("silence"), 2);
}

#[test]
fn as_long_as_something_is_heard_nothing_is_silent() {
    let house = still().set("sources.main.reconcile.silence_after", "\"10m\"").open().swept();
    for _ in 0..3 {
        house.clock.advance(seconds(599));
        assert_eq!(house.deliver(&json!({"event": "team.updated", "timestamp": house.now().to_string()})).outcome(), "ignored");
        house.settled();
    }
    assert!(!house.ever("silence"));
}

#[test]
fn a_downtime_is_answered_and_then_watched_until_something_is_heard() {
    let mut house = still().open().swept();
    let lost = house.retitled(ADA);
    house.restart_after(seconds(61));
    assert_eq!(house.source_gaps("open", "downtime").len(), 1);
    house.clock.advance(seconds(20));
    house.is_answered("downtime");
    house.becomes_right_about(&lost.uid);
    // It is remembered that nothing was heard since.
    house.restart();
    house.clock.advance(seconds(130));
    house.until("a pass by the degraded schedule", || (house.passes("downtime") == 2).then_some(()));
    house.settled();
    assert_eq!(house.source_gaps("closed", "downtime").len(), 1);
    assert_eq!(house.hear(&house.retitled(BEN)).outcome(), "applied");
    house.clock.advance(seconds(500));
    house.settled();
    assert_eq!(house.passes("downtime"), 2);
}

#[test]
fn neither_the_first_start_nor_a_quick_restart_is_a_downtime() {
    let mut house = still().open().swept();
    house.restart();
    house.restart_after(seconds(59));
    house.settled();
    assert!(!house.ever("downtime"), "{:?}", house.gaps("open"));
}

#[test]
fn a_lookup_of_one_user_closes_what_was_asked_about_that_user_and_no_more() {
    let house = House::joined(8, BRISK).set("sources.main.bulk_requests_per_hour", 2).open().swept();
    house.request("incremental", json!({}));
    house.reconcile("lookup", json!({"uid": ADA}));
    let asked = |state: &str| house.gaps(state).into_iter().filter(|gap| gap["reason"] == "operator").collect::<Vec<_>>();
    house.until("the lookup's gap to be closed", || asked("closed").iter().any(|gap| gap["uid"] == ADA).then_some(()));
    assert_eq!(asked("open").iter().map(|gap| gap["uid"].clone()).collect::<Vec<_>>(), [Value::Null]);
}

#[test]
fn what_was_asked_for_twice_stays_open_until_both_are_over() {
    let house = House::joined(8, BRISK).set("sources.main.bulk_requests_per_hour", 2).open().swept();
    let runs = ["incremental", "full"].map(|mode| house.request(mode, json!({}))["id"].clone());
    let cancel = |id: &Value| {
        assert_eq!(house.ask(&format!("/api/v1/reconciliations/{id}/cancel"), &Value::Null).status, 200);
        // The reconciler has seen it once it has done something after it.
        house.reconcile("lookup", json!({"uid": BEN}));
    };
    cancel(&runs[0]);
    assert_eq!(house.source_gaps("open", "operator")[0]["count"], 2);
    cancel(&runs[1]);
    house.until("the gap to be closed", || house.source_gaps("open", "operator").is_empty().then_some(()));
    assert_eq!(house.source_gaps("closed", "operator")[0]["closed_by"], runs[1]);
}

/// A service over a simulated tenant whose writes a test can make fail.
struct Served {
    program: Program,
    webhooks: String,
    ops: String,
}

impl Served {
    fn start(file: &str) -> Self {
        let (program, [webhooks, ops]) = Program::serve(&mut serving_beyond_limits(file));
        Self { program, webhooks, ops }
    }

    /// Delivers something harmless; the answer's status.
    fn deliver(&self, number: usize) -> u16 {
        let body = json!({"event": "team.updated", "event_id": number.to_string(), "padding": "x".repeat(100)});
        answers::post(&format!("{}/webhooks/main", self.webhooks), body.to_string().as_bytes()).status
    }

    /// Delivers until so many in a row are refused; how many were refused in all.
    fn deliver_until_refused(&self, in_a_row: usize) -> u64 {
        let (mut streak, mut refused) = (0, 0);
        for number in 0..10_000 {
            let failed = self.deliver(number) != 200;
            streak = if failed { streak + 1 } else { 0 };
            refused += u64::from(failed);
            if streak == in_a_row {
                return refused;
            }
        }
        panic!("too little was refused");
    }

    fn gaps(&self, state: &str, reason: &str) -> Vec<Value> {
        let answer = answers::read(&format!("{}/api/v1/gaps?state={state}", self.ops));
        // While the store is mended it cannot be read.
        let all = answer.body["gaps"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|gap| gap["reason"] == reason).collect()
    }

    fn failures(&self) -> Value {
        answers::read(&format!("{}/api/v1/sources", self.ops)).body["sources"][0]["consecutive_failures"].clone()
    }

    fn passes(&self, reason: &str) -> usize {
        let all = list(&answers::read(&format!("{}/api/v1/reconciliations", self.ops)), "reconciliations");
        all.iter().filter(|run| run["reasons"] == json!([reason])).count()
    }
}

/// A tenant's API, and the settings of a service that asks it and is quick about it.
fn quick_settings(folder: &std::path::Path) -> (Api, String) {
    let clock = Clock::system();
    let _within = RUNTIME.enter();
    let anywhere = "127.0.0.1:0".parse().unwrap();
    let api = Api::start(Tenant::new(8, 7, clock.clone()).shared(), Rules::documented(API_TOKEN, 1), anywhere, &clock).unwrap();
    let file = settings(folder, "log.level = \"info\"");
    let more = format!(
        "base_url = {:?}\napi_token = {API_TOKEN:?}\n[sources.main.reconcile]\nsettle = \"1s\"\ntolerance = \"1s\"\ndetails = \"off\"\n\
         incremental_every = \"0s\"\ndegraded_every = \"2s\"\n",
        api.base_url()
    );
    let text = std::fs::read_to_string(&file).unwrap() + &more;
    std::fs::write(&file, text).unwrap();
    (api, file)
}

#[test]
fn refused_deliveries_are_counted_answered_and_watched_until_one_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let (_api, file) = quick_settings(folder.path());
    let served = Served::start(&file);
    until("the first sweep", || served.gaps("closed", "initial_load").pop());
    limit_files(&served.program, Some(64 * 1024));
    let refused = served.deliver_until_refused(5);
    assert!(served.program.line_with("one after the other").contains("WARN"));
    assert!(served.program.line_with("may have switched the webhook off").contains("ERROR"));
    limit_files(&served.program, None);
    // Nothing else arrives: the store is told once it works again.
    let gap = until("refused_delivery to be closed", || served.gaps("closed", "refused_delivery").pop());
    assert_eq!((gap["count"].as_u64(), &gap["event_id"]), (Some(refused), &Value::Null));
    let before = served.passes("refused_delivery");
    until("more passes", || (served.passes("refused_delivery") > before + 1).then_some(()));
    served.program.signal("TERM");
    assert!(served.program.end().0.success());
    let served = Served::start(&file);
    assert_eq!(served.failures(), 5);
    let before = served.passes("refused_delivery");
    until("passes after a restart", || (served.passes("refused_delivery") > before).then_some(()));
    assert_eq!(served.deliver(20_000), 200);
    assert_eq!(served.failures(), 0);
    let mut served = served;
    served.program.kill();
    let (_program, [_, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
    assert_eq!(answers::read(&format!("{ops}/api/v1/sources")).body["sources"][0]["consecutive_failures"], 0);
}
