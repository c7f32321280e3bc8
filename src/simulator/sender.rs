//! The webhook sender: empties the outbox over the network, a few deliveries at a time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::Notify;

use super::event::Event;
use super::outbox::{Chaos, Outbox, Parcel, Stats};
use super::post::{Answer, Post};
use crate::clock::Clock;
use crate::directory::Outcome;

/// Deliveries under way at once.
const UNDER_WAY_MAX: usize = 8;
/// With so many deliveries waiting, whoever offers another one waits as well.
const WAITING_MAX: usize = 10_000;
/// How long nobody looks when nothing is due; anything new wakes the sender.
const IDLE: Duration = Duration::from_secs(3600);

/// Sends a tenant's events to one webhook. Clones are the same sender.
#[derive(Clone, Debug)]
pub struct Sender(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    outbox: Mutex<Outbox>,
    /// Something came in, or was settled.
    changed: Notify,
    post: Post,
    clock: Clock,
}

#[derive(Deserialize)]
struct Told<'a> {
    outcome: &'a str,
}

impl Sender {
    /// A sender that does nothing until it is run or stepped.
    #[must_use]
    pub fn new(post: Post, chaos: Chaos, clock: Clock) -> Self {
        Self(Arc::new(Inner { outbox: Mutex::new(Outbox::new(chaos)), changed: Notify::new(), post, clock }))
    }

    /// Hands an event over; waits while too many others wait.
    pub async fn offer(&self, event: Event) {
        loop {
            let changed = self.0.changed.notified();
            if self.0.outbox.lock().waiting() < WAITING_MAX {
                break;
            }
            changed.await;
        }
        self.0.outbox.lock().offer(event, self.0.clock.elapsed());
        self.0.changed.notify_waiters();
    }

    /// Sends for ever; dropping the future stops it, and what was under way then is not settled.
    pub async fn run(&self) {
        let mut posts = FuturesUnordered::new();
        loop {
            let changed = self.0.changed.notified();
            while let Some(post) = self.next(posts.len()) {
                posts.push(post);
            }
            let pause = if posts.len() < UNDER_WAY_MAX { self.pause() } else { IDLE };
            tokio::select! {
                Some(()) = posts.next() => {}
                () = changed => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Sends what is due now, waits for the answers, and ends when nothing is due any more.
    pub async fn step(&self) {
        let mut posts = FuturesUnordered::new();
        loop {
            while let Some(post) = self.next(posts.len()) {
                posts.push(post);
            }
            if posts.next().await.is_none() {
                return;
            }
        }
    }

    /// Lets what is held back go, and waits until everything is delivered, given up or unsent; something else must run the sender.
    pub async fn rest(&self) {
        self.0.outbox.lock().release(self.0.clock.elapsed());
        self.0.changed.notify_waiters();
        loop {
            let changed = self.0.changed.notified();
            if self.at_rest() {
                return;
            }
            changed.await;
        }
    }

    /// Nothing waits and nothing is under way.
    #[must_use]
    pub fn at_rest(&self) -> bool {
        self.0.outbox.lock().at_rest()
    }

    /// What became of the events so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.outbox.lock().stats()
    }

    /// Switches a deactivated webhook on again. What was not sent meanwhile stays unsent.
    pub fn reactivate(&self) {
        self.0.outbox.lock().reactivate();
    }

    /// The next due delivery, on its way; `None` when so many are under way already, or nothing is due.
    fn next(&self, under_way: usize) -> Option<impl Future<Output = ()> + use<>> {
        if under_way >= UNDER_WAY_MAX {
            return None;
        }
        let parcel = self.0.outbox.lock().take(self.0.clock.elapsed())?;
        Some(self.clone().deliver(parcel))
    }

    /// How long until the next delivery is due, by the system's clock.
    fn pause(&self) -> Duration {
        let due = self.0.outbox.lock().next_due();
        due.map_or(IDLE, |due| self.0.clock.real(due.saturating_sub(self.0.clock.elapsed())))
    }

    async fn deliver(self, parcel: Parcel) {
        let answer = self.0.post.deliver(parcel.event.body.clone()).await;
        {
            let mut outbox = self.0.outbox.lock();
            match answer {
                Ok(Answer { status: 200, body }) => outbox.delivered(outcome(&body)),
                _ => outbox.failed(parcel, self.0.clock.elapsed()),
            }
        }
        self.0.changed.notify_waiters();
    }
}

/// The outcome that rollcall's answers tell; other receivers may say what they like.
fn outcome(body: &[u8]) -> Option<Outcome> {
    let told: Told<'_> = serde_json::from_slice(body).ok()?;
    Outcome::from_name(told.outcome)
}

#[cfg(test)]
mod tests;
