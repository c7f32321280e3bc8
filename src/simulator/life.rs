//! What makes a tenant live: random operations, at a rate, at random moments.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::event::Event;
use super::sender::Sender;
use super::tenant::{Shared, Tenant};
use crate::clock::Clock;

/// After a pause no more than this is caught up with at once; the rest falls away.
const STEP_MAX: usize = 1000;
/// How often another user is drawn when an operation does not suit one.
const DRAWS_MAX: usize = 16;

/// Lives a tenant's life. Who and what is drawn depends on the seed alone; when, on the clock too.
#[derive(Debug)]
pub struct Life {
    tenant: Shared,
    clock: Clock,
    rng: SmallRng,
    pause_mean: Duration,
    /// When the next operation happens, by the clock's monotonic time.
    next: Duration,
}

impl Life {
    /// A life of so many operations per simulated minute on average; none at all for 0.
    #[must_use]
    pub fn new(tenant: Shared, per_minute: f64, seed: u64, clock: Clock) -> Self {
        let pause_mean = Duration::try_from_secs_f64(60.0 / per_minute).unwrap_or(Duration::MAX);
        let mut life = Self { tenant, next: clock.elapsed(), clock, rng: SmallRng::seed_from_u64(seed), pause_mean };
        life.draw_next();
        life
    }

    /// Does what was to happen by now; returns what is announced of it, in order.
    pub fn step(&mut self) -> Vec<Event> {
        let now = self.clock.elapsed();
        let mut events = Vec::new();
        for _ in 0..STEP_MAX {
            if self.next > now {
                return events;
            }
            self.draw_next();
            events.extend(self.happen());
        }
        self.next = self.next.max(now);
        events
    }

    /// How long until the next operation, by the system's clock.
    #[must_use]
    pub fn pause(&self) -> Duration {
        self.clock.real(self.next.saturating_sub(self.clock.elapsed()))
    }

    /// Lives for ever and announces it through `sender`; dropping the future lets the tenant rest.
    pub async fn run(&mut self, sender: &Sender) {
        loop {
            for event in self.step() {
                sender.offer(event).await;
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// Lives for ever, and nobody hears of it.
    pub async fn run_unheard(&mut self) {
        loop {
            drop(self.step());
            tokio::time::sleep(self.pause()).await;
        }
    }

    /// One random operation, now; `None` when it is one that nobody hears of.
    pub fn happen(&mut self) -> Option<Event> {
        let tenant = self.tenant.clone();
        let mut tenant = tenant.lock();
        match self.rng.random_range(0..100) {
            0..64 => self.on_someone(&mut tenant, Tenant::update_randomly),
            64..76 => Some(tenant.create()),
            76..84 => self.on_someone(&mut tenant, Tenant::deactivate),
            84..92 => self.on_someone(&mut tenant, Tenant::activate),
            92..98 => self.on_someone(&mut tenant, Tenant::delete),
            _ => {
                self.on_someone(&mut tenant, |tenant, uid| tenant.restore(uid).then_some(()));
                None
            }
        }
    }

    /// Draws users until the operation suits one.
    fn on_someone<T>(&mut self, tenant: &mut Tenant, operation: impl Fn(&mut Tenant, &str) -> Option<T>) -> Option<T> {
        let users = tenant.users();
        (0..DRAWS_MAX).find_map(|_| {
            let number = if users == 0 { 0 } else { self.rng.random_range(1..=users) };
            tenant.uid(number).and_then(|uid| operation(tenant, &uid))
        })
    }

    /// Pauses are drawn so that operations come independently of one another, sometimes several in a second.
    fn draw_next(&mut self) {
        let luck = 1.0 - self.rng.random::<f64>();
        let pause = Duration::try_from_secs_f64(self.pause_mean.as_secs_f64() * -luck.ln()).unwrap_or(Duration::MAX);
        self.next = self.next.saturating_add(pause);
    }
}

#[cfg(test)]
mod tests;
