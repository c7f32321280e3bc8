//! The request ledger: how many calls upstream's hour still holds.
//!
//! # Why
//! Upstream allows a number of calls an hour and does not say where its hour begins. Holding every sliding hour within the budget is right
//! for any window it may use. A minute of guard is added, because a call is noted before it is sent and upstream counts it later.

use std::collections::VecDeque;
use std::time::Duration;

/// How long a call counts: upstream's hour, and a minute for the way there.
pub const WINDOW: Duration = Duration::from_secs(3600 + 60);

/// No answer keeps us silent for longer than this, whatever its `Retry-After` says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a lowered cap lasts after the last refusal.
const LOWERED_FOR: Duration = Duration::from_secs(2 * 3600);

/// A lowered cap keeps at least this part of the budget: somebody's burst must not silence us for hours.
const LOWERED_PART_MIN: u32 = 10;

/// What [`Ledger::wait`] answers when no call is allowed at all: far away, and small enough to add to any time.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The calls of one source against one of its two budgets. Ages run on a monotonic clock; a call of an earlier process whose age is not
/// certain counts as made when this process began.
///
/// It holds the newest `per_hour` calls at most: older ones cannot make anything wait longer.
#[derive(Debug)]
pub struct Ledger {
    per_hour: u32,
    /// When each call leaves the window, in order.
    leaving: VecDeque<Duration>,
    /// Nothing may be sent before this.
    silent_until: Duration,
    lowered: Lowered,
}

/// What refusals below the budget tell: someone else uses the same token.
#[derive(Debug, Default)]
struct Lowered {
    /// Whether one such refusal came that has not lowered the cap yet.
    warned: bool,
    /// The cap after two of them.
    cap: Option<u32>,
    /// When both are forgotten.
    until: Duration,
}

impl Ledger {
    /// A ledger that allows `per_hour` calls; `ages` are those of calls logged by earlier processes, at the time `now` (monotonic).
    /// A call that seems to lie in the future has the age 0.
    #[must_use]
    pub fn new(per_hour: u32, now: Duration, ages: &[Duration]) -> Self {
        let mut leaving: Vec<_> = ages.iter().filter_map(|age| WINDOW.checked_sub(*age)).map(|rest| now + rest).collect();
        leaving.sort_unstable();
        let mut ledger = Self { per_hour, leaving: leaving.into(), silent_until: Duration::ZERO, lowered: Lowered::default() };
        ledger.prune(now);
        ledger
    }

    /// How many calls an hour are allowed now: the budget, or less for two hours after upstream refused twice below it.
    #[must_use]
    pub fn cap(&self, now: Duration) -> u32 {
        self.lowered.cap.filter(|_| now < self.lowered.until).unwrap_or(self.per_hour)
    }

    /// How many calls may be made now.
    #[must_use]
    pub fn remaining(&self, now: Duration) -> u32 {
        if now < self.silent_until { 0 } else { self.room(now) }
    }

    /// How long until one more call may be made; zero when it may be made now. A century when the budget is 0.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        let cap = as_index(self.cap(now));
        let room_from = match self.leaving.len().checked_sub(cap) {
            None => Duration::ZERO,
            Some(_) if cap == 0 => now + NEVER,
            Some(surplus) => self.leaving.get(surplus).copied().unwrap_or_default(),
        };
        room_from.max(self.silent_until).saturating_sub(now)
    }

    /// Notes a call that is about to be sent. Call only while [`Ledger::wait`] is zero.
    pub fn note(&mut self, now: Duration) {
        let leaves = now.saturating_add(WINDOW);
        self.leaving.push_back(self.leaving.back().map_or(leaves, |last| leaves.max(*last)));
        self.prune(now);
    }

    /// Upstream answered 429: nothing may be sent before `retry_after`, or, without one, before the oldest call leaves the window.
    ///
    /// Every second one of these that comes while the budget still holds calls halves [`Ledger::cap`], down to a tenth of the budget, until
    /// two hours have passed without another.
    pub fn refused(&mut self, now: Duration, retry_after: Option<Duration>) {
        let until = match retry_after {
            Some(span) => now.saturating_add(span.min(RETRY_AFTER_MAX)),
            None => self.leaving.iter().find(|leaves| **leaves > now).copied().unwrap_or(now + WINDOW),
        };
        self.silent_until = self.silent_until.max(until);
        if self.room(now) > 0 {
            self.lower(now);
        }
    }

    /// A refusal that our own calls do not explain.
    fn lower(&mut self, now: Duration) {
        if now >= self.lowered.until {
            self.lowered = Lowered::default();
        }
        self.lowered.until = now.saturating_add(LOWERED_FOR);
        if self.lowered.warned {
            self.lowered.cap = Some((self.cap(now) / 2).max(self.per_hour / LOWERED_PART_MIN).max(1));
        }
        self.lowered.warned = !self.lowered.warned;
    }

    /// What the cap leaves, a demanded silence aside.
    fn room(&self, now: Duration) -> u32 {
        self.cap(now).saturating_sub(self.counting(now))
    }

    /// The calls that the window holds.
    fn counting(&self, now: Duration) -> u32 {
        let gone = self.leaving.partition_point(|leaves| *leaves <= now);
        u32::try_from(self.leaving.len().saturating_sub(gone)).unwrap_or(u32::MAX)
    }

    /// Forgets what no longer matters.
    fn prune(&mut self, now: Duration) {
        let gone = self.leaving.partition_point(|leaves| *leaves <= now);
        let surplus = self.leaving.len().saturating_sub(as_index(self.per_hour));
        self.leaving.drain(..gone.max(surplus));
    }
}

/// A count as an index; what does not fit is more than any ledger holds.
fn as_index(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
