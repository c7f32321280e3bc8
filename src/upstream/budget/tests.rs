//! The ledger's promise, and what it does after refusals and restarts.

use proptest::prelude::*;

use super::*;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const HOUR: Duration = secs(3600);

/// A ledger with this many calls made at `now`.
fn spent(per_hour: u32, calls: u32, now: Duration) -> Ledger {
    let mut ledger = Ledger::new(per_hour, now, &[], true);
    (0..calls).for_each(|_| ledger.note(now));
    ledger
}

#[test]
fn a_fresh_ledger_allows_the_whole_budget_at_once_and_no_more() {
    let mut ledger = Ledger::new(3, secs(7), &[], true);
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
fn what_can_wait_takes_a_quarter_of_the_budget_in_a_quarter_of_an_hour() {
    let mut ledger = spent(8, 2, secs(5));
    assert_eq!((ledger.pace(secs(5)), ledger.pace(secs(800)), ledger.wait(secs(5))), (secs(900), secs(105), Duration::ZERO));
    assert_eq!(ledger.pace(secs(905)), Duration::ZERO);
    ledger.note(secs(905));
    assert_eq!((ledger.pace(secs(905)), spent(2, 1, secs(5)).pace(secs(5))), (Duration::ZERO, secs(900)));
}

#[test]
fn calls_of_an_earlier_process_count_as_made_now_until_their_ages_are_certain() {
    let ages = [secs(99_999), secs(3659), secs(3000), Duration::ZERO];
    let mut ledger = Ledger::new(5, secs(1), &ages, true);
    assert_eq!((ledger.remaining(secs(1)), ledger.remaining(WINDOW)), (1, 1));
    assert_eq!(ledger.remaining(secs(1) + WINDOW), 5);
    ledger.trust(secs(1));
    let left = [secs(1), secs(1 + 120), secs(2 + 120), secs(661 + 120), WINDOW, WINDOW + secs(1)].map(|now| ledger.remaining(now));
    assert_eq!(left, [1, 2, 3, 4, 4, 5]);
}

#[test]
fn a_wall_clock_that_was_set_frees_nothing() {
    let mut ledger = Ledger::new(3, secs(1), &[HOUR * 2; 3], true);
    ledger.distrust();
    ledger.trust(secs(2));
    assert_eq!(ledger.wait(secs(2)), WINDOW - secs(1));
}

#[test]
fn one_call_is_kept_for_asking_what_time_it_is() {
    let mut ledger = spent(10, 9, secs(5));
    assert_eq!((ledger.remaining(secs(5)), ledger.wait(secs(5))), (0, WINDOW));
    let ages: Vec<_> = (0..9).rev().map(|call| secs(3640 + call)).collect();
    ledger = Ledger::new(10, secs(5), &ages, true);
    assert_eq!((ledger.remaining(secs(5)), ledger.asks(secs(5))), (0, false));
    assert_eq!((ledger.wait(secs(5)), ledger.remaining(secs(17)), ledger.asks(secs(17))), (secs(12), 1, true));
    ledger.note(secs(17));
    assert_eq!((ledger.remaining(secs(100)), ledger.asks(secs(100))), (0, false));
    ledger.trust(secs(100));
    assert_eq!(ledger.remaining(secs(150)), 8);
    assert!(!Ledger::new(10, secs(5), &ages, false).asks(secs(17)), "the newest call asked already");
}

#[test]
fn a_budget_lowered_since_the_last_start_waits_for_all_that_were_made() {
    let mut ledger = Ledger::new(2, Duration::ZERO, &[secs(3600), secs(600), secs(300), secs(200), secs(150)], true);
    ledger.trust(Duration::ZERO);
    assert_eq!(ledger.wait(Duration::ZERO), WINDOW + secs(120) - secs(200));
}

#[test]
fn ages_that_nothing_vouches_for_are_none() {
    let at = |second: i64| Timestamp::from_millis(second * 1000);
    let calls = [(7, at(10)), (8, at(10)), (9, at(200))];
    assert_eq!(ages(calls.into_iter(), 10, at(100)), [Duration::ZERO; 3]);
    // What came before a certain one is as old at least.
    assert_eq!(ages(calls.into_iter(), 8, at(100)), [secs(90), secs(90), Duration::ZERO]);
    assert!(agree(-30_000, 30_000) && !agree(-30_001, 30_000) && !agree(i64::MIN, i64::MAX));
}

#[test]
fn a_budget_of_nothing_never_allows_a_call() {
    let ledger = Ledger::new(0, HOUR, &[secs(1)], true);
    assert_eq!(ledger.remaining(HOUR), 0);
    assert_eq!(ledger.wait(HOUR), NEVER);
}

#[test]
fn after_a_refusal_nothing_is_sent_for_as_long_as_upstream_asks() {
    let mut ledger = spent(100, 5, secs(10));
    ledger.refused(secs(20), Some(secs(90)));
    assert_eq!((ledger.wait(secs(20)), ledger.remaining(secs(20))), (secs(90), 0));
    assert_eq!((ledger.wait(secs(110)), ledger.remaining(secs(110))), (Duration::ZERO, 94));
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
    let mut unused = Ledger::new(100, Duration::ZERO, &[], true);
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
    (0..50).for_each(|_| assert!(ledger.refused(secs(20), Some(secs(1))).is_none_or(|cap| cap >= 10)));
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
    let mut ledger = Ledger::new(1_000_000, Duration::ZERO, &[], true);
    for call in 0..1_200_000 {
        ledger.note(Duration::from_micros(call));
        assert!(ledger.remaining(Duration::from_micros(call)) < 1_000_000);
    }
    assert_eq!(ledger.leaving.len(), 1_000_000);
    assert_eq!(ledger.wait(secs(2)), WINDOW + Duration::from_micros(200_001) - secs(2));
}

/// One thing that happens to a ledger.
#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    WaitAndCall,
    CallIfAllowed,
    /// The same, and nothing answers.
    CallInVain,
    /// Calls while calls are allowed.
    Spend,
    Refuse(Option<u64>),
    /// The wall clock is set.
    Set(i64),
    /// The process begins anew; the wall clock was set meanwhile.
    Restart(i64),
}

fn set() -> impl Strategy<Value = i64> {
    prop_oneof![4 => Just(0_i64), 2 => Just(3600), 2 => Just(-3600), 3 => Just(3700), 1 => -70..70_i64, 1 => -9000..9000_i64]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => prop_oneof![0..200_u64, 0..2000_u64].prop_map(Step::Pass),
        2 => Just(Step::Spend),
        4 => Just(Step::WaitAndCall),
        4 => Just(Step::CallIfAllowed),
        1 => prop::option::of(0..5000_u64).prop_map(Step::Refuse),
        1 => set().prop_map(Step::Set),
        3 => set().prop_map(Step::Restart),
    ]
}

/// A clock that is only ever set forward, and upstream that does not always answer.
fn step_forward() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0..200_u64).prop_map(Step::Pass),
        1 => Just(Step::Spend),
        1 => Just(Step::WaitAndCall),
        4 => Just(Step::CallInVain),
        4 => prop_oneof![Just(0_i64), Just(3600), Just(3700)].prop_map(Step::Restart),
    ]
}

/// A service that keeps a ledger, upstream whose every answer tells the time, and the true time, which neither of them knows.
struct World {
    per_hour: u32,
    now: Duration,
    /// What the wall clock is ahead, and what it was when the process began. Seconds.
    wall: (i64, i64),
    /// Every call: when it was made in truth, and by the wall clock.
    calls: Vec<(Duration, Timestamp)>,
    ledger: Ledger,
    judged: bool,
    /// What is stored: upstream's clock less the wall clock, from which call on, and whether the newest call asked for the time.
    clock: Option<(i64, u64)>,
    asked: bool,
}

impl World {
    fn new(per_hour: u32) -> Self {
        let (now, calls, ledger) = (WINDOW * 10, Vec::new(), Ledger::new(per_hour, WINDOW * 10, &[], true));
        Self { per_hour, now, wall: (0, 0), calls, ledger, judged: false, clock: None, asked: false }
    }

    fn wall_clock(&self) -> Timestamp {
        Timestamp::from_millis(i64::try_from(self.now.as_millis()).unwrap() + self.wall.0 * 1000)
    }

    fn restart(&mut self, step: i64) {
        self.wall = (self.wall.0 + step, self.wall.0 + step);
        let calls = self.calls.iter().enumerate().map(|(number, (_, at))| (number as u64, *at));
        let ages = ages(calls, self.clock.map_or(u64::MAX, |(_, from)| from), self.wall_clock());
        (self.ledger, self.judged) = (Ledger::new(self.per_hour, self.now, &ages, !self.asked), false);
    }

    fn call(&mut self, answered: bool) {
        self.asked = self.ledger.asks(self.now);
        self.ledger.note(self.now);
        self.calls.push((self.now, self.wall_clock()));
        if !answered {
            return;
        }
        if !std::mem::replace(&mut self.judged, true) {
            match self.clock.is_some_and(|(offset, _)| agree(offset, -self.wall.1 * 1000)) {
                true => self.ledger.trust(self.now),
                false => self.ledger.distrust(),
            }
        }
        let offset = -self.wall.0 * 1000;
        if self.clock.is_none_or(|(stored, _)| !agree(stored, offset)) {
            self.clock = Some((offset, self.calls.len() as u64));
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Pass(seconds) => self.now += secs(*seconds),
            Step::WaitAndCall => self.now += self.ledger.wait(self.now),
            Step::CallIfAllowed | Step::CallInVain => {}
            Step::Spend => {
                while self.ledger.remaining(self.now) > 0 {
                    self.call(true);
                }
            }
            Step::Refuse(after) => assert!(self.ledger.refused(self.now, after.map(secs)).is_none_or(|cap| cap < self.per_hour)),
            Step::Set(seconds) => self.wall.0 += seconds,
            Step::Restart(seconds) => self.restart(*seconds),
        }
        assert_eq!(self.ledger.wait(self.now).is_zero(), self.ledger.remaining(self.now) > 0, "both tell the same");
        if matches!(step, Step::WaitAndCall | Step::CallIfAllowed | Step::CallInVain) && self.ledger.remaining(self.now) > 0 {
            self.call(!matches!(step, Step::CallInVain));
        }
        assert!(self.ledger.leaving.len() <= as_index(self.per_hour));
    }
}

/// How many calls the fullest sliding hour holds.
fn fullest_hour(calls: &[Duration]) -> usize {
    let within = |first: &Duration| calls.iter().filter(|call| **call >= *first && **call < *first + HOUR).count();
    calls.iter().map(within).max().unwrap_or(0)
}

/// Plays the steps and returns when calls were made.
fn play(per_hour: u32, steps: &[Step]) -> Vec<Duration> {
    let mut world = World::new(per_hour);
    steps.iter().for_each(|step| world.take(step));
    world.calls.into_iter().map(|(at, _)| at).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_sliding_hour_holds_more_calls_than_the_budget(per_hour in 1..14_u32, steps in prop::collection::vec(step(), 1..200)) {
        let fullest = fullest_hour(&play(per_hour, &steps));
        prop_assert!(fullest <= as_index(per_hour), "{fullest} calls in an hour");
    }

    #[test]
    fn a_clock_set_forward_again_and_again_frees_nothing_without_answers(
        per_hour in 9..13_u32,
        steps in prop::collection::vec(step_forward(), 1..80),
    ) {
        let fullest = fullest_hour(&play(per_hour, &steps));
        prop_assert!(fullest <= as_index(per_hour), "{fullest} calls in an hour");
    }

    #[test]
    fn waiting_as_told_always_ends_in_a_call(per_hour in 1..14_u32, steps in prop::collection::vec(step(), 1..50)) {
        let asked = steps.iter().filter(|step| matches!(step, Step::WaitAndCall)).count();
        prop_assert!(play(per_hour, &steps).len() >= asked);
    }

    #[test]
    fn the_last_of_many_calls_is_made_when_it_was_told(
        per_hour in 1..14_u32,
        steps in prop::collection::vec((0..900_u64, any::<bool>()), 0..40),
        calls in 1..60_u64,
    ) {
        let mut world = World::new(per_hour);
        for (pass, wait) in steps {
            world.take(&Step::Pass(pass));
            world.take(if wait { &Step::WaitAndCall } else { &Step::CallIfAllowed });
        }
        let told = world.now + world.ledger.wait_for(world.now, calls).unwrap();
        (0..calls).for_each(|_| world.take(&Step::WaitAndCall));
        prop_assert_eq!(world.now, told);
    }
}
