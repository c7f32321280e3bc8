//! The request ledger: how many calls upstream's hour still holds.
//!
//! # Why
//! Upstream allows a number of calls an hour and does not say where its hour begins. Holding every sliding hour within the budget is right
//! for any window it may use. A minute of guard is added, because a call is noted before it is sent and upstream counts it later.
//!
//! The ages of calls that earlier processes made are told by the wall clock alone, which may have been set since. So all of them count as
//! made when this process began, until a `Date` of upstream confirms that the wall clock still differs from upstream's as it did when they
//! were logged. A service that was restarted with a full ledger could not ask for one: the last call of the budget is kept for that, and may
//! be made on the wall clock's word. Two such calls never follow each other without an ordinary one between them, which finds room only
//! when the last hour holds two calls less than the budget: so no hour holds more than the budget, however often the wall clock is wrong.

use std::collections::VecDeque;
use std::time::Duration;

use crate::directory::Timestamp;

/// How long a call counts: upstream's hour, and a minute for the way there.
pub const WINDOW: Duration = Duration::from_secs(3600 + 60);

/// No answer keeps us silent for longer than this, whatever its `Retry-After` says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a lowered cap lasts after the last refusal.
const LOWERED_FOR: Duration = Duration::from_secs(2 * 3600);

/// A lowered cap keeps at least this part of the budget: somebody's burst must not silence us for hours.
const LOWERED_PART_MIN: u32 = 10;

/// From this budget on, one call is kept for asking what time it is; a smaller one waits an hour after a restart that finds it spent.
const KEPT_FROM: u32 = 10;

/// What can wait is spread over the parts of an hour.
const QUARTER: Duration = Duration::from_secs(900);
const QUARTERS: u32 = 4;

/// How far apart two differences between upstream's clock and the wall clock may be that count as the same.
const AGREE_WITHIN: Duration = Duration::from_secs(60);

/// What [`Ledger::wait`] answers when no call is allowed at all: far away, and small enough to add to any time.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The calls of one source against one of its two budgets. Ages run on a monotonic clock.
///
/// It holds the newest `per_hour` calls at most: older ones cannot make anything wait longer.
#[derive(Debug)]
pub struct Ledger {
    per_hour: u32,
    /// How long a call counts.
    window: Duration,
    /// When each call leaves the window, in order.
    leaving: VecDeque<Duration>,
    doubted: Doubted,
    /// Nothing may be sent before this.
    silent_until: Duration,
    lowered: Lowered,
}

/// Calls of earlier processes while nobody confirmed their ages: they count as made when this process began.
#[derive(Debug)]
struct Doubted {
    /// When each would leave the window by the wall clock, in order.
    leaving: Vec<Duration>,
    /// When they leave it all the same.
    until: Duration,
    /// Whether the call that is kept for asking may be made.
    may_ask: bool,
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
    /// A ledger that allows `per_hour` calls; `ages` are those of calls logged by earlier processes, in the order in which they were logged,
    /// at the time `now` (monotonic) and as the wall clock tells them. `may_ask` unless the newest of them was made to ask for the time.
    #[must_use]
    pub fn new(per_hour: u32, now: Duration, ages: &[Duration], may_ask: bool) -> Self {
        let newest = ages.iter().rev().take(as_index(per_hour));
        let mut leaving: Vec<_> = newest.map(|age| now + WINDOW.saturating_sub(*age)).collect();
        leaving.sort_unstable();
        let doubted = Doubted { leaving, until: now + WINDOW, may_ask: may_ask && per_hour >= KEPT_FROM };
        Self { per_hour, window: WINDOW, leaving: VecDeque::new(), doubted, silent_until: Duration::ZERO, lowered: Lowered::default() }
    }

    /// The same without the minute of guard, for proofs that its absence is noticed.
    #[must_use]
    pub fn unguarded(self) -> Self {
        Self { window: Duration::from_secs(3600), ..self }
    }

    /// The wall clock was right when this process began: the calls of earlier processes are as old as it told, or a little younger.
    pub fn trust(&mut self, now: Duration) {
        // It may be off by so much twice: when a call was logged, and when this process began.
        let margin = AGREE_WITHIN * 2;
        let earlier = std::mem::take(&mut self.doubted.leaving).into_iter().map(|leaves| (leaves + margin).min(self.doubted.until));
        let mut leaving: Vec<_> = earlier.chain(self.leaving.drain(..)).collect();
        leaving.sort_unstable();
        self.leaving = leaving.into();
        self.prune(now);
    }

    /// The wall clock was wrong: what it tells of the calls of earlier processes counts for nothing.
    pub fn distrust(&mut self) {
        self.doubted.may_ask = false;
        self.doubted.leaving.fill(self.doubted.until);
    }

    /// How many calls an hour are allowed now: the budget, or less for two hours after upstream refused twice below it.
    #[must_use]
    pub fn cap(&self, now: Duration) -> u32 {
        self.lowered.cap.filter(|_| now < self.lowered.until).unwrap_or(self.per_hour)
    }

    /// How many calls may be made now.
    #[must_use]
    pub fn remaining(&self, now: Duration) -> u32 {
        if now < self.silent_until { 0 } else { self.room(now).max(u32::from(self.asks(now))) }
    }

    /// Whether the next call, if it may be made now, is the one that is kept for asking upstream for the time.
    #[must_use]
    pub fn asks(&self, now: Duration) -> bool {
        self.room(now) == 0 && self.ask_from().is_some_and(|from| from <= now)
    }

    /// How long until one more call may be made; zero when it may be made now. A century when the budget is 0.
    #[must_use]
    pub fn wait(&self, now: Duration) -> Duration {
        let room_from = self.room_from(now, 0).unwrap_or(now + NEVER);
        room_from.min(self.ask_from().unwrap_or(room_from)).max(self.silent_until).saturating_sub(now)
    }

    /// How long until a call may be made that can wait: a quarter of an hour holds a quarter of the budget of such, so that what comes in a
    /// burst is spread over the hour, and what cannot wait finds room.
    #[must_use]
    pub fn pace(&self, now: Duration) -> Duration {
        let share = as_index(self.cap(now) / QUARTERS).max(1);
        let oldest = self.leaving.len().checked_sub(share).and_then(|index| self.leaving.get(index));
        // A call leaves the quarter so much earlier than it leaves the window.
        oldest.map_or(Duration::ZERO, |leaves| leaves.saturating_sub(self.window - QUARTER).saturating_sub(now))
    }

    /// How long until so many more calls have been made, each as soon as it may be; `None` when the budget is 0.
    #[must_use]
    pub fn wait_for(&self, now: Duration, calls: u64) -> Option<Duration> {
        let limit = as_index(self.limit(now));
        // Calls that are made now leave a window later, and make room for as many more.
        let last = usize::try_from(calls).unwrap_or(usize::MAX).saturating_sub(1);
        let (hours, rest) = (last.checked_div(limit)?, last.checked_rem(limit)?);
        let first = self.room_from(now, rest)?.max(self.silent_until).saturating_sub(now);
        Some(first.saturating_add(self.window.saturating_mul(u32::try_from(hours).unwrap_or(u32::MAX))))
    }

    /// When there is room for a call after `before` others that are made first, fewer than the limit; `None` when the budget is 0.
    fn room_from(&self, now: Duration, before: usize) -> Option<Duration> {
        let limit = as_index(self.limit(now));
        if limit == 0 {
            return None;
        }
        let held = self.held(now);
        let Some(surplus) = (held + self.leaving.len() + before).checked_sub(limit) else { return Some(Duration::ZERO) };
        let own = surplus.checked_sub(held).map(|index| self.leaving.get(index).copied().unwrap_or_default());
        Some(own.unwrap_or(self.doubted.until))
    }

    /// When the call that is kept for asking may be made: it is the first of this process, and the wall clock says that there is room.
    fn ask_from(&self) -> Option<Duration> {
        let surplus = self.doubted.leaving.len().checked_sub(as_index(self.per_hour.saturating_sub(1)))?;
        self.doubted.leaving.get(surplus).copied().filter(|_| self.doubted.may_ask && self.leaving.is_empty())
    }

    /// Notes a call that is about to be sent. Call only while [`Ledger::wait`] is zero.
    pub fn note(&mut self, now: Duration) {
        let leaves = now.saturating_add(self.window);
        self.leaving.push_back(self.leaving.back().map_or(leaves, |last| leaves.max(*last)));
        self.prune(now);
    }

    /// Upstream answered 429: nothing may be sent before `retry_after`, or, without one, before the oldest call leaves the window.
    /// Returns the cap where this lowered it.
    ///
    /// Every second one of these that comes while the budget still holds calls halves [`Ledger::cap`], down to a tenth of the budget, until
    /// two hours have passed without another.
    pub fn refused(&mut self, now: Duration, retry_after: Option<Duration>) -> Option<u32> {
        let until = match retry_after {
            Some(span) => now.saturating_add(span.min(RETRY_AFTER_MAX)),
            None if self.held(now) > 0 => self.doubted.until,
            None => self.leaving.iter().find(|leaves| **leaves > now).copied().unwrap_or(now + self.window),
        };
        self.silent_until = self.silent_until.max(until);
        let before = self.cap(now);
        if self.room(now) > 0 {
            self.lower(now);
        }
        Some(self.cap(now)).filter(|cap| *cap < before)
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
        self.limit(now).saturating_sub(self.counting(now))
    }

    /// The cap, but for the call that is kept for asking.
    fn limit(&self, now: Duration) -> u32 {
        self.cap(now).min(self.per_hour - u32::from(self.per_hour >= KEPT_FROM))
    }

    /// The calls that the window holds.
    fn counting(&self, now: Duration) -> u32 {
        let gone = self.leaving.partition_point(|leaves| *leaves <= now);
        u32::try_from((self.held(now) + self.leaving.len()).saturating_sub(gone)).unwrap_or(u32::MAX)
    }

    /// Calls whose ages are doubted and that count.
    fn held(&self, now: Duration) -> usize {
        if now < self.doubted.until { self.doubted.leaving.len() } else { 0 }
    }

    /// Forgets what no longer matters.
    fn prune(&mut self, now: Duration) {
        let gone = self.leaving.partition_point(|leaves| *leaves <= now);
        let surplus = self.leaving.len().saturating_sub(as_index(self.per_hour));
        self.leaving.drain(..gone.max(surplus));
        if now >= self.doubted.until {
            self.doubted.leaving.clear();
        }
    }
}

/// Whether two differences between upstream's clock and the wall clock, in milliseconds, are the same as far as ages go.
#[must_use]
pub const fn agree(one: i64, other: i64) -> bool {
    one.abs_diff(other) as u128 <= AGREE_WITHIN.as_millis()
}

/// How old the calls of earlier processes are at least, by the wall clock, `now`: their places in the ledger and times, in order. Those before
/// the place `certain_from` were logged by a clock that is not known any more: they are as old as the first one behind it, or count as made
/// now; so do those from the future.
#[must_use]
pub fn ages(calls: impl Iterator<Item = (u64, Timestamp)>, certain_from: u64, now: Timestamp) -> Vec<Duration> {
    let (uncertain, certain): (Vec<_>, Vec<_>) = calls.partition(|(number, _)| *number < certain_from);
    let certain: Vec<Duration> = certain.into_iter().map(|(_, at)| now.since(at)).collect();
    let eldest = certain.first().copied().unwrap_or_default();
    uncertain.into_iter().map(|_| eldest).chain(certain).collect()
}

/// A count as an index; what does not fit is more than any ledger holds.
fn as_index(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
