//! The ledger's promise, and what it does after refusals and restarts.

use proptest::prelude::*;

use super::*;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const HOUR: Duration = secs(3600);

/// A ledger with this many calls made at `now`.
fn spent(per_hour: u32, calls: u32, now: Duration) -> Ledger {
    let mut ledger = Ledger::new(per_hour, now, &[]);
    (0..calls).for_each(|_| ledger.note(now));
    ledger
}

#[test]
fn a_fresh_ledger_allows_the_whole_budget_at_once_and_no_more() {
    let mut ledger = Ledger::new(3, secs(7), &[]);
    for left in [2, 1, 0] {
        assert_eq!(ledger.wait(secs(7)), Duration::ZERO);
        ledger.note(secs(7));
        assert_eq!(ledger.remaining(secs(7)), left);
    }
    assert_eq!(ledger.wait(secs(7)), WINDOW);
    assert_eq!(ledger.wait(secs(7) + HOUR), secs(60));
    assert_eq!(ledger.wait(secs(7) + WINDOW), Duration::ZERO);
    assert_eq!(ledger.remaining(secs(7) + WINDOW), 3);
}

#[test]
fn calls_of_an_earlier_process_count_until_their_hour_is_over() {
    let ledger = Ledger::new(3, secs(1), &[Duration::ZERO, secs(3000), secs(3659), secs(3660), secs(99_999)]);
    assert_eq!(ledger.remaining(secs(1)), 0);
    assert_eq!(ledger.wait(secs(1)), secs(1));
    assert_eq!(ledger.remaining(secs(2)), 1);
    assert_eq!(ledger.remaining(secs(661)), 2);
}

#[test]
fn a_budget_lowered_since_the_last_start_waits_for_all_that_were_made() {
    let ledger = Ledger::new(2, Duration::ZERO, &[secs(3600), secs(60), secs(30), secs(10), secs(20)]);
    assert_eq!(ledger.wait(Duration::ZERO), WINDOW - secs(20));
}

#[test]
fn a_budget_of_nothing_never_allows_a_call() {
    let ledger = Ledger::new(0, HOUR, &[secs(1)]);
    assert_eq!(ledger.remaining(HOUR), 0);
    assert_eq!(ledger.wait(HOUR), NEVER);
}

#[test]
fn after_a_refusal_nothing_is_sent_for_as_long_as_upstream_asks() {
    let mut ledger = spent(100, 5, secs(10));
    ledger.refused(secs(20), Some(secs(90)));
    assert_eq!((ledger.wait(secs(20)), ledger.remaining(secs(20))), (secs(90), 0));
    assert_eq!((ledger.wait(secs(110)), ledger.remaining(secs(110))), (Duration::ZERO, 95));
}

#[test]
fn a_shorter_demand_does_not_cut_a_longer_one_and_none_lasts_longer_than_a_day() {
    let mut ledger = spent(100, 5, secs(10));
    ledger.refused(secs(20), Some(secs(90)));
    ledger.refused(secs(21), Some(secs(1)));
    assert_eq!(ledger.wait(secs(21)), secs(89));
    ledger.refused(secs(21), Some(Duration::MAX));
    assert_eq!(ledger.wait(secs(21)), RETRY_AFTER_MAX);
}

#[test]
fn a_refusal_that_names_no_time_waits_for_the_oldest_call() {
    let mut ledger = spent(100, 1, secs(10));
    ledger.note(secs(500));
    ledger.refused(secs(501), None);
    assert_eq!(ledger.wait(secs(501)), WINDOW - secs(491));
    let mut unused = Ledger::new(100, Duration::ZERO, &[]);
    unused.refused(secs(5), None);
    assert_eq!(unused.wait(secs(5)), WINDOW);
}

#[test]
fn two_refusals_below_the_budget_halve_it_for_two_hours() {
    let mut ledger = spent(100, 48, secs(10));
    ledger.refused(secs(20), Some(secs(1)));
    assert_eq!(ledger.cap(secs(20)), 100);
    ledger.note(secs(30));
    ledger.refused(secs(31), Some(secs(1)));
    assert_eq!(ledger.cap(secs(31)), 50);
    assert_eq!(ledger.remaining(secs(40)), 1);
    assert_eq!(ledger.cap(secs(31) + LOWERED_FOR), 100);
}

#[test]
fn however_many_refusals_a_tenth_of_the_budget_stays() {
    let mut ledger = spent(100, 2, secs(10));
    (0..50).for_each(|_| ledger.refused(secs(20), Some(secs(1))));
    assert_eq!(ledger.remaining(secs(30)), 8);
}

#[test]
fn a_refusal_at_the_end_of_the_budget_lowers_nothing() {
    let mut ledger = spent(3, 3, secs(10));
    ledger.refused(secs(20), Some(secs(1)));
    ledger.refused(secs(25), Some(secs(1)));
    assert_eq!(ledger.cap(secs(30)), 3);
}

#[test]
fn two_refusals_long_apart_lower_nothing() {
    let mut ledger = spent(10, 2, secs(10));
    ledger.refused(secs(20), Some(secs(1)));
    ledger.refused(secs(20) + LOWERED_FOR, Some(secs(1)));
    assert_eq!(ledger.cap(secs(21) + LOWERED_FOR), 10);
}

#[test]
fn a_budget_of_a_million_stays_quick_and_holds_a_million_at_most() {
    let mut ledger = Ledger::new(1_000_000, Duration::ZERO, &[]);
    for call in 0..1_200_000 {
        ledger.note(Duration::from_micros(call));
        assert!(ledger.remaining(Duration::from_micros(call)) < 1_000_000);
    }
    assert_eq!(ledger.leaving.len(), 1_000_000);
    assert_eq!(ledger.wait(secs(2)), WINDOW + Duration::from_millis(200) - secs(2));
}

/// One thing that happens to a ledger.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    WaitAndCall,
    CallIfAllowed,
    Refuse(Option<u64>),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..2000_u64).prop_map(Step::Pass),
        3 => Just(Step::WaitAndCall),
        3 => Just(Step::CallIfAllowed),
        1 => prop::option::of(0..5000_u64).prop_map(Step::Refuse),
        1 => Just(Step::Restart),
    ]
}

/// Plays the steps and returns when calls were made.
fn play(per_hour: u32, earlier: &[Duration], steps: &[Step]) -> Vec<Duration> {
    let origin = WINDOW * 2;
    let mut calls: Vec<_> = earlier.iter().map(|age| origin - *age).collect();
    let ages = |calls: &[Duration], now| calls.iter().map(|at| now - *at).collect::<Vec<Duration>>();
    let mut now = origin;
    let mut ledger = Ledger::new(per_hour, now, earlier);
    for step in steps {
        match step {
            Step::Pass(seconds) => now += secs(*seconds),
            Step::WaitAndCall => now += ledger.wait(now),
            Step::CallIfAllowed => {}
            Step::Refuse(after) => ledger.refused(now, after.map(secs)),
            Step::Restart => ledger = Ledger::new(per_hour, now, &ages(&calls, now)),
        }
        assert_eq!(ledger.wait(now).is_zero(), ledger.remaining(now) > 0, "both tell the same");
        if matches!(step, Step::WaitAndCall | Step::CallIfAllowed) && ledger.remaining(now) > 0 {
            ledger.note(now);
            calls.push(now);
        }
        assert!(ledger.leaving.len() <= as_index(per_hour));
    }
    calls.sort_unstable();
    calls
}

proptest! {
    #[test]
    fn no_sliding_hour_holds_more_calls_than_the_budget(
        per_hour in 1..12_u32,
        earlier in prop::collection::vec(0..7000_u64, 0..12),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut earlier: Vec<_> = earlier.into_iter().map(secs).collect();
        earlier.truncate(as_index(per_hour));
        let calls = play(per_hour, &earlier, &steps);
        for (index, first) in calls.iter().enumerate() {
            let within = calls[index..].iter().filter(|call| **call < *first + HOUR).count();
            prop_assert!(within <= as_index(per_hour), "{within} calls in the hour from {first:?}");
        }
    }

    #[test]
    fn waiting_as_told_always_ends_in_a_call(per_hour in 1..5_u32, steps in prop::collection::vec(step(), 1..50)) {
        let asked = steps.iter().filter(|step| matches!(step, Step::WaitAndCall)).count();
        prop_assert!(play(per_hour, &[], &steps).len() >= asked);
    }
}
