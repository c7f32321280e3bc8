//! A life that is stepped, not slept through.

use std::collections::BTreeSet;

use super::*;
use crate::directory::{EventKind, Timestamp};

fn life(per_minute: f64, users: u32) -> (Life, Clock) {
    let clock = Clock::manual(Timestamp::parse("2025-11-18T15:30:00Z").unwrap());
    let tenant = Tenant::new(users, 1, clock.clone()).shared();
    (Life::new(tenant, per_minute, 2, clock.clone()), clock)
}

fn live(minutes: u32, per_minute: f64) -> Vec<Event> {
    let (mut life, clock) = life(per_minute, 100);
    let seconds = (0..minutes * 60).flat_map(|_| {
        clock.advance(Duration::from_secs(1));
        life.step()
    });
    seconds.collect()
}

#[test]
fn as_much_happens_as_was_asked_for() {
    let events = live(60, 30.0).len();
    assert!((1500..1900).contains(&events), "{events}");
    assert_eq!(live(60, 0.0).len(), 0);
    assert_eq!(live(60, f64::NAN).len(), 0);
}

#[test]
fn every_kind_of_event_happens() {
    let kinds: BTreeSet<_> = live(20, 30.0).iter().map(|event| event.kind).collect();
    assert_eq!(kinds, EventKind::ALL.into());
}

#[test]
fn one_seed_lives_one_life() {
    assert_eq!(live(10, 30.0), live(10, 30.0));
}

#[test]
fn a_long_pause_is_not_caught_up_with_for_ever() {
    let (mut life, clock) = life(6000.0, 10);
    clock.advance(Duration::from_secs(24 * 3600));
    assert!(life.step().len() <= STEP_MAX);
    assert!(life.step().len() < 10);
}

#[test]
fn life_begins_even_where_there_is_nobody() {
    let (mut life, _) = life(1.0, 0);
    assert!((0..200).any(|_| life.happen().is_some()));
}
