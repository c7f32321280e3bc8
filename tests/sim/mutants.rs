//! That the simulation would notice: with one rule broken, seeds fail that hold otherwise.

use std::time::Duration;

use rollcall::directory::Broken;
use rollcall::simulator::faults::Faults;
use rollcall::simulator::outbox::Chaos;
use rollcall::simulator::tenant::Habits;
use rollcall::simulator::wire::Weather;

use crate::plan::Plan;
use crate::tell;

/// Seeds that are tried with each rule broken.
const SEEDS: u64 = 200;

/// Whether any of the first seeds fails with something broken, and holds without.
fn noticed(what: &str, breaks: impl Fn(&mut Plan)) {
    noticed_among(Plan::of, what, breaks);
}

/// The same among plans of one kind.
fn noticed_among(plan_of: impl Fn(u64) -> Plan, what: &str, breaks: impl Fn(&mut Plan)) {
    let failing = (0..SEEDS).find_map(|seed| {
        let sound = plan_of(seed);
        let mut plan = sound.clone();
        breaks(&mut plan);
        let why = tell(plan).err()?;
        tell(sound).is_ok().then_some((seed, why))
    });
    let (seed, why) = failing.unwrap_or_else(|| panic!("no seed of {SEEDS} notices it: {what}"));
    println!("seed {seed} notices {what}: {}", why.lines().next().unwrap_or_default());
}

fn breaking(rule: Broken) {
    noticed(&format!("{rule:?}"), |plan| plan.broken = Some(rule));
}

#[test]
fn a_service_without_a_ledger_is_noticed() {
    breaking(Broken::Ledger);
}

/// Larger budgets keep one call for asking the time, which makes up for the guard where calls follow one another.
#[test]
fn a_ledger_without_its_guard_is_noticed() {
    let slow = |seed| {
        let mut plan = Plan::of(seed);
        plan.weather = Weather { travel_max: Duration::from_secs(20), ..Weather::default() };
        (plan.budgets, plan.rules.faults, plan.kills, plan.steps) = ((9, 60), Faults::default(), 0, 0);
        plan
    };
    noticed_among(slow, "Guard", |plan| plan.broken = Some(Broken::Guard));
}

#[test]
fn rows_that_revive_are_noticed() {
    breaking(Broken::RowsRevive);
}

#[test]
fn claims_that_survive_a_covering_read_are_noticed() {
    breaking(Broken::ClaimsSurvive);
}

/// Only an event that comes after passes have read beyond it, by a clock far ahead, is beyond every other repair but a sweep.
#[test]
fn a_service_that_never_asks_for_confirmation_is_noticed() {
    let late = |seed| {
        let mut plan = Plan::of(seed);
        plan.habits = Habits { events_ahead_millis: 3_600_000, ..Habits::default() };
        plan.chaos = Chaos { loss: 0.3, reorder: 0.5, hold_max: Duration::from_secs(3000), ..plan.chaos };
        (plan.narrowed, plan.details, plan.full_every) = (false, false, "7d");
        plan
    };
    noticed_among(late, "Unconfirmed", |plan| plan.broken = Some(Broken::Unconfirmed));
}

#[test]
fn trust_in_the_wall_clock_is_noticed() {
    breaking(Broken::WallClock);
}

/// Where reads lag behind events, and rows that change do not move, no later read makes up for one that seemed to cover an event.
#[test]
fn a_service_without_tolerance_is_noticed() {
    let lagging = |seed| {
        let mut plan = Plan::of(seed);
        plan.chaos = Chaos { seed, ..Chaos::none() };
        plan.habits = Habits { unbumped: 0.5, ..Habits::default() };
        (plan.rules.lag, plan.rules.faults, plan.weather) = (Duration::from_secs(10), Faults::default(), Weather::default());
        (plan.kills, plan.steps, plan.failed_commits, plan.without_scope) = (0, 0, 0, None);
        (plan.narrowed, plan.full_every) = (false, "7d");
        plan
    };
    noticed_among(lagging, "no tolerance", |plan| plan.tolerance = Duration::ZERO);
}

#[test]
fn a_service_without_a_threshold_of_deletions_is_noticed() {
    noticed("no threshold", |plan| plan.max_deletes = "1000000");
}
