//! Retries, deactivation and chaos, on a clock that only the test moves.

use super::*;
use crate::clock::Clock;
use crate::directory::Timestamp;
use crate::simulator::tenant::Tenant;

const SECOND: Duration = Duration::from_secs(1);

fn events(count: u32) -> Vec<Event> {
    let clock = Clock::manual(Timestamp::parse("2025-11-18T15:30:00Z").unwrap());
    let mut tenant = Tenant::new(0, 1, clock);
    (0..count).map(|_| tenant.create()).collect()
}

fn offer_all(chaos: Chaos, count: u32) -> Outbox {
    let mut outbox = Outbox::new(chaos);
    events(count).into_iter().for_each(|event| outbox.offer(event, Duration::ZERO));
    outbox
}

/// The uids of everything, in the order of sending.
fn drain(outbox: &mut Outbox) -> Vec<String> {
    let late = Duration::from_secs(1_000_000);
    std::iter::from_fn(|| outbox.take(late)).map(|parcel| parcel.event.uid).collect()
}

#[test]
fn without_chaos_everything_goes_out_once_and_in_order() {
    let mut outbox = offer_all(Chaos::none(), 50);
    let sent = drain(&mut outbox);
    assert_eq!(sent.len(), 50);
    assert!(sent.is_sorted());
}

#[test]
fn a_failed_delivery_is_retried_by_the_documented_schedule_and_then_given_up() {
    let mut outbox = offer_all(Chaos::none(), 1);
    let mut now = Duration::ZERO;
    for minutes in [1, 5, 15, 60, 240] {
        let parcel = outbox.take(now).unwrap();
        outbox.failed(parcel, now);
        outbox.delivered_between();
        let due = now + MINUTE * minutes;
        assert_eq!(outbox.next_due(), Some(due));
        assert!(outbox.take(due - SECOND).is_none());
        now = due;
    }
    let parcel = outbox.take(now).unwrap();
    outbox.failed(parcel, now);
    assert!(outbox.at_rest());
    let stats = outbox.stats();
    assert_eq!((stats.posted, stats.failed, stats.retried, stats.given_up, stats.deactivated), (6, 6, 5, 1, false));
}

impl Outbox {
    /// Other events get through meanwhile, so that the row of failures is broken.
    fn delivered_between(&mut self) {
        self.stats.under_way += 1;
        self.delivered(None);
    }
}

#[test]
fn five_failures_in_a_row_of_any_events_deactivate_the_webhook() {
    let mut outbox = offer_all(Chaos::none(), 8);
    for _ in 0..5 {
        assert!(!outbox.stats().deactivated);
        let parcel = outbox.take(SECOND).unwrap();
        outbox.failed(parcel, SECOND);
    }
    let stats = outbox.stats();
    assert!(stats.deactivated && outbox.at_rest());
    assert_eq!(stats.unsent, 8);
    outbox.offer(events(1).remove(0), SECOND);
    assert_eq!((outbox.stats().unsent, outbox.waiting()), (9, 0));
    outbox.reactivate();
    outbox.offer(events(1).remove(0), SECOND);
    assert!(outbox.take(SECOND).is_some());
}

#[test]
fn a_success_breaks_the_row_of_failures() {
    let mut outbox = offer_all(Chaos::none(), 9);
    for number in 0..9 {
        let parcel = outbox.take(SECOND).unwrap();
        if number == 4 { outbox.delivered(Some(Outcome::Applied)) } else { outbox.failed(parcel, SECOND) }
    }
    assert!(!outbox.stats().deactivated);
    assert_eq!(outbox.stats().outcomes, BTreeMap::from([("applied", 1)]));
}

#[test]
fn chaos_happens_as_often_as_asked_and_the_same_for_one_seed() {
    let chaos = Chaos { loss: 0.1, double: 0.2, reorder: 0.3, delay_max: SECOND, seed: 4, ..Chaos::none() };
    let mut outbox = offer_all(chaos, 1000);
    let stats = outbox.stats();
    assert!((60..140).contains(&stats.lost), "{stats:?}");
    assert!((140..240).contains(&stats.doubled), "{stats:?}");
    assert!((220..330).contains(&stats.held_back), "{stats:?}");
    let sent = drain(&mut outbox);
    assert_eq!(sent.len() as u64, 1000 - stats.lost + stats.doubled);
    assert!(!sent.is_sorted());
    assert_eq!(sent, drain(&mut offer_all(chaos, 1000)));
    assert_ne!(sent, drain(&mut offer_all(Chaos { seed: 5, ..chaos }, 1000)));
}

#[test]
fn release_lets_go_what_is_held_back_and_leaves_retries_their_time() {
    let mut outbox = offer_all(Chaos { reorder: 1.0, ..Chaos::none() }, 3);
    let first = outbox.take(Duration::from_secs(20)).unwrap();
    outbox.failed(first, SECOND);
    outbox.release(SECOND);
    assert!(outbox.take(SECOND).is_some() && outbox.take(SECOND).is_some());
    assert!(outbox.take(SECOND).is_none());
    assert_eq!(outbox.next_due(), Some(SECOND + MINUTE));
}
