//! Time: the system's, or a simulated one that runs faster and that service and simulator share.

mod timeline;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{Either, select};

use crate::directory::Timestamp;
use timeline::Timeline;

/// Where time comes from. Clones tell the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Source>);

#[derive(Debug)]
enum Source {
    /// The system's clocks.
    System { origin: Instant },
    /// Begins at a given time and runs `speed` times as fast as the system's monotonic clock.
    Fast { start: Timestamp, origin: Instant, speed: u32 },
    /// Stands still until it is moved.
    Manual { start: i64, now: AtomicI64 },
    /// Goes by a line of time that someone moves, and that knows who waits.
    Simulated { line: Arc<Timeline>, origin: Duration, wall: Arc<AtomicI64> },
}

impl Clock {
    /// The system's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Arc::new(Source::System { origin: Instant::now() }))
    }

    /// A clock that shows `start` now and runs `speed` times as fast as the system's.
    #[must_use]
    pub fn fast(start: Timestamp, speed: u32) -> Self {
        Self(Arc::new(Source::Fast { start, origin: Instant::now(), speed: speed.max(1) }))
    }

    /// A clock that shows `start` until [`Clock::advance`] moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Arc::new(Source::Manual { start: start.as_millis(), now: AtomicI64::new(start.as_millis()) }))
    }

    /// A clock that shows `start` and goes by simulated time: waiting for it takes no time, and ends when [`Clock::move_to`] moves it there.
    #[must_use]
    pub fn simulated(start: Timestamp) -> Self {
        let wall = Arc::new(AtomicI64::new(start.as_millis()));
        Self(Arc::new(Source::Simulated { line: Arc::default(), origin: Duration::ZERO, wall }))
    }

    /// The same clock in a process that starts now: its monotonic time begins anew, the wall clock is the same one. Other clocks than
    /// simulated ones are merely cloned.
    #[must_use]
    pub fn restarted(&self) -> Self {
        match &*self.0 {
            Source::Simulated { line, wall, .. } => {
                let (line, origin, wall) = (Arc::clone(line), line.now(), Arc::clone(wall));
                Self(Arc::new(Source::Simulated { line, origin, wall }))
            }
            _ => self.clone(),
        }
    }

    /// Another machine's clock by the same simulated time, whose wall clock shows `start` when time begins. Other clocks than simulated
    /// ones are merely cloned.
    #[must_use]
    pub fn elsewhere(&self, start: Timestamp) -> Self {
        match &*self.0 {
            Source::Simulated { line, .. } => {
                let (line, wall) = (Arc::clone(line), Arc::new(AtomicI64::new(start.as_millis())));
                Self(Arc::new(Source::Simulated { line, origin: Duration::ZERO, wall }))
            }
            _ => self.clone(),
        }
    }

    /// Sets a simulated wall clock forth, or back, by so many milliseconds; does nothing to the others.
    pub fn set_by(&self, millis: i64) {
        if let Source::Simulated { wall, .. } = &*self.0 {
            wall.fetch_add(millis, Ordering::SeqCst);
        }
    }

    /// Moves simulated time on to so long after its beginning, and wakes whoever waited for it; does nothing to the others.
    pub fn move_to(&self, then: Duration) {
        if let Source::Simulated { line, .. } = &*self.0 {
            line.move_to(then);
        }
    }

    /// Until when, after the beginning of simulated time, the first one waits who waits; `None` too for other clocks.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        match &*self.0 {
            Source::Simulated { line, .. } => line.next(),
            _ => None,
        }
    }

    /// The wall clock: may be set back or forth on a real system.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &*self.0 {
            #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the system's clock")]
            Source::System { .. } => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Source::Fast { start, .. } => *start + self.elapsed(),
            Source::Manual { now, .. } => Timestamp::from_millis(now.load(Ordering::SeqCst)),
            Source::Simulated { line, wall, .. } => Timestamp::from_millis(wall.load(Ordering::SeqCst)) + line.now(),
        }
    }

    /// Time since this clock was made; never goes back, whatever is done to the wall clock.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        match &*self.0 {
            Source::System { origin } => origin.elapsed(),
            Source::Fast { origin, speed, .. } => origin.elapsed().saturating_mul(*speed),
            Source::Manual { start, now } => {
                Duration::from_millis(u64::try_from(now.load(Ordering::SeqCst).saturating_sub(*start)).unwrap_or(0))
            }
            Source::Simulated { line, origin, .. } => line.now().saturating_sub(*origin),
        }
    }

    /// Moves a manual clock on; does nothing to the others.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual { now, .. } = &*self.0 {
            now.fetch_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// How long `span` of this clock takes by the system's clock. A manual or a simulated clock's spans take no time.
    #[must_use]
    pub fn real(&self, span: Duration) -> Duration {
        match &*self.0 {
            Source::System { .. } => span,
            Source::Fast { speed, .. } => span.checked_div(*speed).unwrap_or(span),
            Source::Manual { .. } | Source::Simulated { .. } => Duration::ZERO,
        }
    }

    /// Waits for `span` of this clock's time.
    pub async fn sleep(&self, span: Duration) {
        self.pause(span, Duration::MAX).await;
    }

    /// Waits for `span` of this clock's time, but no longer than `most` by the system's.
    pub async fn pause(&self, span: Duration, most: Duration) {
        match &*self.0 {
            Source::Simulated { line, .. } => Arc::clone(line).until(line.now().saturating_add(span)).await,
            _ => tokio::time::sleep(self.real(span).min(most)).await,
        }
    }

    /// What `future` comes to, unless it takes longer than `span`: by the system's clock, or in simulated time.
    pub async fn within<F: Future>(&self, span: Duration, future: F) -> Option<F::Output> {
        match &*self.0 {
            Source::Simulated { .. } => match select(pin!(future), pin!(self.sleep(span))).await {
                Either::Left((output, _)) => Some(output),
                Either::Right(_) => None,
            },
            _ => tokio::time::timeout(span, future).await.ok(),
        }
    }
}
