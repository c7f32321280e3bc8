//! What deliveries tell of their source as a whole, held in memory until the store has been told.
//!
//! What opens these gaps is the very trouble in which nothing can be committed, or comes from strangers, who must not cause a
//! write each: so it is counted here, and the writer takes it along with what it next commits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::directory::{Reason, Timestamp};
use crate::storage::{Pulse, SourceState};

/// How often the store is told that the service lives.
pub const BEAT_EVERY: Duration = Duration::from_secs(60);
/// Upstream tries a delivery again a minute after it failed: when the service was away for less, nothing is lost by that.
const AWAY_MAX: Duration = Duration::from_secs(60);
/// So many bad signatures within [`KNOCKS_WITHIN`] are no accident (contract, section 5).
const KNOCKS_MANY: usize = 20;
const KNOCKS_WITHIN: Duration = Duration::from_secs(60);
/// Bursts of bad signatures are this far apart where `reconcile.silence_after`, which says so otherwise, is off: its default.
pub const BURSTS_APART: Duration = Duration::from_secs(30 * 60);
/// The last failure before upstream switches the webhook off, in a row.
pub const FAILURES_MAX: u32 = 5;

/// One source's watch.
#[derive(Debug)]
pub struct Vigil {
    /// Gaps that were shown and that the store does not know of, with how often.
    held: Mutex<BTreeMap<Reason, u64>>,
    /// The failures in a row that the store knows of.
    failures_stored: AtomicU32,
    /// When the service came back after it was down for too long.
    down_at: AtomicI64,
    knocks: Mutex<Knocks>,
    bursts_apart: Duration,
}

/// Bad signatures, by the monotonic clock.
#[derive(Debug, Default)]
struct Knocks {
    lately: VecDeque<Duration>,
    quiet_until: Duration,
}

impl Default for Vigil {
    fn default() -> Self {
        Self::new(Duration::ZERO)
    }
}

impl Vigil {
    /// A watch that lets one burst of bad signatures in `silence_after` count.
    #[must_use]
    pub fn new(silence_after: Duration) -> Self {
        Self {
            held: Mutex::default(),
            failures_stored: AtomicU32::new(0),
            down_at: AtomicI64::new(i64::MIN),
            knocks: Mutex::default(),
            bursts_apart: if silence_after.is_zero() { BURSTS_APART } else { silence_after },
        }
    }

    /// Takes over what an earlier process left; returns whether too long has passed since that one.
    pub fn restore(&self, state: &SourceState, (now, elapsed): (Timestamp, Duration)) -> bool {
        let Pulse { down_at, knocked_at, .. } = state.pulse;
        self.failures_stored.store(state.failures, Ordering::Relaxed);
        if let Some(knocked) = knocked_at {
            self.knocks.lock().quiet_until = elapsed + self.bursts_apart.saturating_sub(now.since(knocked));
        }
        let was_away = was_away(&state.pulse, now);
        if let Some(down) = down_at.max(Some(now).filter(|_| was_away)) {
            self.down_at.store(down.as_millis(), Ordering::Relaxed);
        }
        was_away
    }

    /// When the service came back after it was down for too long; `None` if that never happened.
    #[must_use]
    pub fn down_at(&self) -> Option<Timestamp> {
        let millis = self.down_at.load(Ordering::Relaxed);
        (millis != i64::MIN).then(|| Timestamp::from_millis(millis))
    }

    /// Notes a bad signature; returns whether it is the one that makes a burst of them. A burst that goes on counts once in a span.
    pub fn knock(&self, now: Duration) -> bool {
        let mut knocks = self.knocks.lock();
        while knocks.lately.front().is_some_and(|first| *first + KNOCKS_WITHIN < now) || knocks.lately.len() >= KNOCKS_MANY {
            knocks.lately.pop_front();
        }
        knocks.lately.push_back(now);
        if knocks.lately.len() < KNOCKS_MANY || now < knocks.quiet_until {
            return false;
        }
        knocks.lately.clear();
        knocks.quiet_until = now + self.bursts_apart;
        true
    }

    /// Holds a gap that was shown, until the writer takes it.
    pub fn hold(&self, reason: Reason, times: u64) {
        *self.held.lock().entry(reason).or_default() += times;
    }

    /// Whether there is something for the writer to take.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.held.lock().is_empty()
    }

    /// Takes everything that is held: whoever cannot write it gives it back.
    pub fn take(&self) -> BTreeMap<Reason, u64> {
        std::mem::take(&mut *self.held.lock())
    }

    /// The failures in a row that the store knows of.
    #[must_use]
    pub fn failures_stored(&self) -> u32 {
        self.failures_stored.load(Ordering::Relaxed)
    }

    /// The store knows of so many failures in a row.
    pub fn set_failures_stored(&self, failures: u32) {
        self.failures_stored.store(failures, Ordering::Relaxed);
    }
}

/// Whether the service was away for so long that deliveries may be lost. How long it lived after it last said so is known only where
/// it ended in good order: after a crash it may have been up to a beat, which counts as life.
fn was_away(pulse: &Pulse, now: Timestamp) -> bool {
    let allowed = if pulse.ended { AWAY_MAX } else { AWAY_MAX + BEAT_EVERY };
    pulse.alive_at.is_some_and(|alive| now.since(alive) > allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn second(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    #[test]
    fn twenty_within_a_minute_are_a_burst_and_fewer_are_not() {
        let vigil = Vigil::new(second(600));
        assert_eq!((0..100).filter(|knock| vigil.knock(second(knock * 4))).count(), 0, "15 in each minute");
        let vigil = Vigil::new(second(600));
        assert_eq!((0..19).filter(|_| vigil.knock(second(100))).count(), 0);
        assert!(vigil.knock(second(159)));
    }

    #[test]
    fn a_burst_that_goes_on_counts_once_in_a_span() {
        let vigil = Vigil::new(second(600));
        let bursts: Vec<u64> = (0..1300).filter(|now| (0..9).any(|_| vigil.knock(second(*now)))).collect();
        assert_eq!(bursts, [2, 602, 1202]);
    }

    #[test]
    fn a_restart_does_not_buy_another_burst() {
        let now = Timestamp::from_millis(1_763_000_000_000);
        let pulse = Pulse { knocked_at: Some(now - second(100)), ..Pulse::default() };
        let vigil = Vigil::new(second(600));
        assert!(!vigil.restore(&SourceState { pulse, ..SourceState::default() }, (now, second(5))));
        let bursts: Vec<u64> = (5..700).filter(|now| (0..9).any(|_| vigil.knock(second(*now)))).collect();
        assert_eq!(bursts, [505]);
    }

    #[test]
    fn only_what_is_longer_than_a_minute_is_a_downtime() {
        let now = Timestamp::from_millis(1_763_000_000_000);
        let was_away = |ended, seconds| was_away(&Pulse { alive_at: Some(now - second(seconds)), ended, ..Pulse::default() }, now);
        assert!(!was_away(true, 60) && was_away(true, 61));
        assert!(!was_away(false, 120) && was_away(false, 121));
        assert!(!super::was_away(&Pulse::default(), now), "the first start");
    }
}
