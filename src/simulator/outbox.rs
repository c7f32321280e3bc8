//! The webhook's outbox, without the network: chaos on the way, the retry schedule, and deactivation (guide, "Webhook Retry Logic").

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::event::Event;
use crate::directory::Outcome;

const MINUTE: Duration = Duration::from_secs(60);
/// How long after which failure a delivery is tried again.
const RETRIES: [Duration; 5] =
    [MINUTE, MINUTE.saturating_mul(5), MINUTE.saturating_mul(15), MINUTE.saturating_mul(60), MINUTE.saturating_mul(240)];
/// So many failures in a row, of whatever events, deactivate the webhook.
const FAILURES_MAX: u32 = 5;

/// What happens to deliveries on their way, on purpose: chances between 0 (never) and 1 (always), times in simulated time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chaos {
    /// A delivery vanishes, and is never retried.
    pub loss: f64,
    /// A delivery arrives a second time.
    pub double: f64,
    /// A delivery is held back, so that later ones overtake it.
    pub reorder: f64,
    /// How long what is held back, and a second copy, may take.
    pub hold_max: Duration,
    /// How long every delivery may take.
    pub delay_max: Duration,
    /// Decides what happens to which.
    pub seed: u64,
}

impl Chaos {
    /// Nothing happens to any delivery.
    #[must_use]
    pub const fn none() -> Self {
        Self { loss: 0.0, double: 0.0, reorder: 0.0, hold_max: Duration::from_secs(20), delay_max: Duration::ZERO, seed: 0 }
    }
}

/// What became of the events so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events handed over.
    pub offered: u64,
    /// Of these, vanished on purpose.
    pub lost: u64,
    /// Of these, sent a second time on purpose.
    pub doubled: u64,
    /// Of these, held back on purpose.
    pub held_back: u64,
    /// Of these, not sent because the webhook was deactivated.
    pub unsent: u64,
    /// Deliveries posted, whatever was answered.
    pub posted: u64,
    /// Posted deliveries that were not answered 200.
    pub failed: u64,
    /// Posted deliveries that were retries.
    pub retried: u64,
    /// Deliveries given up after the last retry.
    pub given_up: u64,
    /// Deliveries answered 200, by the outcome in the answer; `other` where it told none.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Deliveries that wait for their time.
    pub waiting: usize,
    /// Deliveries that wait for their answer.
    pub under_way: usize,
    /// The webhook was deactivated after five failures in a row.
    pub deactivated: bool,
}

/// One delivery to be made.
#[derive(Debug)]
pub struct Parcel {
    /// What is delivered.
    pub event: Event,
    /// How often it failed.
    failures: usize,
}

/// Deliveries by the time when they are due; times are those of a monotonic clock.
#[derive(Debug)]
pub struct Outbox {
    chaos: Chaos,
    rng: SmallRng,
    /// By due time, then in the order of coming.
    waiting: BTreeMap<(Duration, u64), Parcel>,
    sequence: u64,
    failures_in_a_row: u32,
    stats: Stats,
}

impl Outbox {
    /// An outbox with nothing in it.
    #[must_use]
    pub fn new(chaos: Chaos) -> Self {
        let rng = SmallRng::seed_from_u64(chaos.seed);
        Self { chaos, rng, waiting: BTreeMap::new(), sequence: 0, failures_in_a_row: 0, stats: Stats::default() }
    }

    /// Takes an event in and decides what happens to it on its way. Draws as often for every event, so that what happens to one does not
    /// move the others' luck.
    pub fn offer(&mut self, event: Event, now: Duration) {
        self.stats.offered += 1;
        let [loss, double, reorder, delay, hold, second]: [f64; 6] = self.rng.random();
        if self.stats.deactivated {
            self.stats.unsent += 1;
            return;
        }
        if loss < self.chaos.loss {
            self.stats.lost += 1;
            return;
        }
        let mut due = now + part(self.chaos.delay_max, delay);
        if reorder < self.chaos.reorder {
            self.stats.held_back += 1;
            due += part(self.chaos.hold_max, hold);
        }
        if double < self.chaos.double {
            self.stats.doubled += 1;
            self.put(due + part(self.chaos.hold_max, second), Parcel { event: event.clone(), failures: 0 });
        }
        self.put(due, Parcel { event, failures: 0 });
    }

    /// The next delivery that is due; whoever takes it settles it.
    pub fn take(&mut self, now: Duration) -> Option<Parcel> {
        let next = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        let parcel = next.remove();
        self.stats.under_way += 1;
        self.stats.posted += 1;
        self.stats.retried += u64::from(parcel.failures > 0);
        Some(parcel)
    }

    /// A delivery was answered 200.
    pub fn delivered(&mut self, outcome: Option<Outcome>) {
        self.stats.under_way = self.stats.under_way.saturating_sub(1);
        self.failures_in_a_row = 0;
        *self.stats.outcomes.entry(outcome.map_or("other", Outcome::name)).or_default() += 1;
    }

    /// A delivery was not answered 200: it is tried again later, unless the webhook is deactivated or the last retry is behind it.
    pub fn failed(&mut self, mut parcel: Parcel, now: Duration) {
        self.stats.under_way = self.stats.under_way.saturating_sub(1);
        self.stats.failed += 1;
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        let again = RETRIES.get(parcel.failures);
        parcel.failures += 1;
        match again {
            Some(pause) => self.put(now + *pause, parcel),
            None => self.stats.given_up += 1,
        }
        if self.failures_in_a_row >= FAILURES_MAX {
            self.stats.deactivated = true;
        }
        if self.stats.deactivated {
            self.stats.unsent += self.waiting.len() as u64;
            self.waiting.clear();
        }
    }

    /// Makes what has not been tried yet due now, in the order in which it would have been.
    pub fn release(&mut self, now: Duration) {
        let waiting = std::mem::take(&mut self.waiting);
        for ((due, _), parcel) in waiting {
            self.put(if parcel.failures == 0 { due.min(now) } else { due }, parcel);
        }
    }

    /// From now on this happens to deliveries on their way; the luck is drawn on.
    pub const fn behave(&mut self, chaos: Chaos) {
        self.chaos = chaos;
    }

    /// An operator switches the webhook on again: the next failures count anew.
    pub fn reactivate(&mut self) {
        self.stats.deactivated = false;
        self.failures_in_a_row = 0;
    }

    /// When the next delivery is due.
    #[must_use]
    pub fn next_due(&self) -> Option<Duration> {
        self.waiting.first_key_value().map(|((due, _), _)| *due)
    }

    /// What became of the events so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats { waiting: self.waiting.len(), ..self.stats.clone() }
    }

    /// How many deliveries wait for their time.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Nothing waits and nothing is under way.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        self.waiting.is_empty() && self.stats.under_way == 0
    }

    fn put(&mut self, due: Duration, parcel: Parcel) {
        self.sequence = self.sequence.saturating_add(1);
        self.waiting.insert((due, self.sequence), parcel);
    }
}

/// A part, between 0 and 1, of a span.
fn part(span: Duration, part: f64) -> Duration {
    Duration::try_from_secs_f64(span.as_secs_f64() * part).unwrap_or(span)
}

#[cfg(test)]
mod tests;
