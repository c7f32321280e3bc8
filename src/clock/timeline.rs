//! Simulated time: it stands still until it is moved, and knows who waits for it.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

/// A line of time that clocks share.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    /// Nanoseconds since it began.
    now: AtomicU64,
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// By the time that they wait for, then in the order of coming.
    wakers: BTreeMap<(Duration, u64), Waker>,
    coming: u64,
}

impl Timeline {
    pub(super) fn now(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::SeqCst))
    }

    /// Moves on to `then`, never back, and wakes whoever waited for a time up to it.
    pub(super) fn move_to(&self, then: Duration) {
        self.now.fetch_max(u64::try_from(then.as_nanos()).unwrap_or(u64::MAX), Ordering::SeqCst);
        let now = self.now();
        loop {
            let mut waiting = self.waiting.lock();
            let Some(first) = waiting.wakers.first_entry().filter(|first| first.key().0 <= now) else { return };
            let waker = first.remove();
            // Whoever is woken may ask for the time at once.
            drop(waiting);
            waker.wake();
        }
    }

    /// The first time that someone waits for.
    pub(super) fn next(&self) -> Option<Duration> {
        self.waiting.lock().wakers.first_key_value().map(|((then, _), _)| *then)
    }

    /// Waits until `then`.
    pub(super) const fn until(self: Arc<Self>, then: Duration) -> Until {
        Until { line: self, then, place: None }
    }
}

/// Waits for a time.
pub(super) struct Until {
    line: Arc<Timeline>,
    then: Duration,
    /// Where its waker stands.
    place: Option<u64>,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.line.now() >= self.then {
            return Poll::Ready(());
        }
        let line = Arc::clone(&self.line);
        let mut waiting = line.waiting.lock();
        let place = self.place.unwrap_or_else(|| {
            waiting.coming += 1;
            waiting.coming
        });
        waiting.wakers.insert((self.then, place), context.waker().clone());
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Until {
    /// Nobody waits any more: time need not stop there.
    fn drop(&mut self) {
        if let Some(place) = self.place {
            drop(self.line.waiting.lock().wakers.remove(&(self.then, place)));
        }
    }
}
