//! That the simulation would notice: with one rule broken, seeds fail that hold otherwise.

use std::time::Duration;

use rollcall::directory::Broken;
use rollcall::simulator::faults::Faults;

use crate::plan::Plan;
use crate::tell;

/// Seeds that are tried with each rule broken.
const SEEDS: u64 = 60;

/// Whether any of the first seeds, in this shape, fails with something broken, and holds without.
fn noticed(what: &str, shape: impl Fn(&mut Plan), breaks: impl Fn(&mut Plan)) {
    let failing = (0..SEEDS).find_map(|seed| {
        let mut sound = Plan::of(seed);
        shape(&mut sound);
        let mut plan = sound.clone();
        breaks(&mut plan);
        let why = tell(plan).err()?;
        tell(sound).is_ok().then_some((seed, why))
    });
    let (seed, why) = failing.unwrap_or_else(|| panic!("no seed of {SEEDS} notices it: {what}"));
    println!("seed {seed} notices {what}: {}", why.lines().next().unwrap_or_default());
}

fn breaking(rule: Broken) {
    noticed(&format!("{rule:?}"), |_| (), |plan| plan.broken = Some(rule));
}

#[test]
fn a_pass_that_doubts_nothing_is_noticed() {
    // Events that run ahead of rows are claims that no row covers soon; and no sweep comes to the rescue.
    let shape = |plan: &mut Plan| {
        (plan.habits.events_ahead_millis, plan.habits.unbumped, plan.full_every) = (60_000, 0.0, "0s");
        (plan.purges, plan.narrowed, plan.imports, plan.kills, plan.details) = (false, false, 0, 0, false);
        (plan.rules.faults, plan.weather.refused, plan.chaos.reorder) = (Faults::default(), 0.0, 0.3);
    };
    noticed("Unconfirmed", shape, |plan| plan.broken = Some(Broken::Unconfirmed));
}

#[test]
fn a_service_without_a_ledger_is_noticed() {
    breaking(Broken::Ledger);
}

#[test]
fn rows_that_revive_are_noticed() {
    breaking(Broken::RowsRevive);
}

#[test]
fn claims_that_survive_a_covering_read_are_noticed() {
    breaking(Broken::ClaimsSurvive);
}

#[test]
fn trust_in_the_wall_clock_is_noticed() {
    breaking(Broken::WallClock);
}

#[test]
fn a_service_without_tolerance_is_noticed() {
    noticed("no tolerance", |_| (), |plan| plan.tolerance = Duration::ZERO);
}

#[test]
fn a_service_without_a_threshold_of_deletions_is_noticed() {
    noticed("no threshold", |_| (), |plan| plan.max_deletes = "1000000");
}
