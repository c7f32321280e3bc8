//! Time: the system's, or a simulated one that runs faster and that service and simulator share.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::directory::Timestamp;

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
        }
    }

    /// Moves a manual clock on; does nothing to the others.
    pub fn advance(&self, span: Duration) {
        if let Source::Manual { now, .. } = &*self.0 {
            now.fetch_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }

    /// How long `span` of this clock takes by the system's clock. A manual clock's spans take no time.
    #[must_use]
    pub fn real(&self, span: Duration) -> Duration {
        match &*self.0 {
            Source::System { .. } => span,
            Source::Fast { speed, .. } => span.checked_div(*speed).unwrap_or(span),
            Source::Manual { .. } => Duration::ZERO,
        }
    }

    /// Waits for `span` of this clock's time.
    pub async fn sleep(&self, span: Duration) {
        tokio::time::sleep(self.real(span)).await;
    }
}
