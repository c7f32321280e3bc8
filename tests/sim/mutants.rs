//! That the simulation would notice: with one rule broken, seeds fail that hold otherwise.

use std::time::Duration;

use rollcall::directory::Broken;

use crate::plan::Plan;
use crate::tell;

/// Seeds that are tried with each rule broken.
const SEEDS: u64 = 60;

/// Whether any of the first seeds fails with something broken, and holds without.
fn noticed(what: &str, breaks: impl Fn(&mut Plan)) {
    let failing = (0..SEEDS).find_map(|seed| {
        let sound = Plan::of(seed);
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
    noticed("no tolerance", |plan| plan.tolerance = Duration::ZERO);
}

#[test]
fn a_service_without_a_threshold_of_deletions_is_noticed() {
    noticed("no threshold", |plan| plan.max_deletes = "1000000");
}
