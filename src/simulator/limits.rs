//! Sliding hours: how often a token may ask, and how often an endpoint was really asked.

use std::collections::VecDeque;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
/// More requests than this within an hour are not told apart any more. Bounds the memory of a tally.
const TALLY_MAX: usize = 100_000;

/// The hourly limit of one token at one endpoint. Refused requests do not count against it.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    per_hour: usize,
    admitted: VecDeque<Duration>,
}

impl Limit {
    pub(super) fn new(per_hour: u32) -> Self {
        Self { per_hour: per_hour as usize, admitted: VecDeque::new() }
    }

    /// Admits a request at the monotonic time `now`.
    ///
    /// # Errors
    /// How long until the next one will be admitted.
    pub(super) fn admit(&mut self, now: Duration) -> Result<(), Duration> {
        forget(&mut self.admitted, now);
        if self.admitted.len() < self.per_hour {
            self.admitted.push_back(now);
            return Ok(());
        }
        let free = self.admitted.front().copied().unwrap_or(now) + HOUR;
        Err(free.saturating_sub(now))
    }
}

/// Every request of a known token that reached one endpoint, refused ones included.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: u64,
    refused: u64,
    worst_hour: usize,
    recent: VecDeque<Duration>,
}

/// What became of the requests to one endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// All of them.
    pub requests: u64,
    /// Those that got a 429 for the hourly limit.
    pub refused: u64,
    /// The most that any sliding hour held, refused ones included.
    pub worst_hour: usize,
}

impl Tally {
    pub(super) fn note(&mut self, now: Duration) {
        forget(&mut self.recent, now);
        if self.recent.len() >= TALLY_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.requests = self.requests.saturating_add(1);
        self.worst_hour = self.worst_hour.max(self.recent.len());
    }

    pub(super) fn note_refused(&mut self) {
        self.refused = self.refused.saturating_add(1);
    }

    pub(super) fn traffic(&self) -> Traffic {
        Traffic { requests: self.requests, refused: self.refused, worst_hour: self.worst_hour }
    }
}

/// Drops what is an hour old or older.
fn forget(times: &mut VecDeque<Duration>, now: Duration) {
    while times.front().is_some_and(|oldest| now.saturating_sub(*oldest) >= HOUR) {
        times.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_hour_slides_rather_than_starting_anew() {
        let mut limit = Limit::new(2);
        assert_eq!(limit.admit(at(0)), Ok(()));
        assert_eq!(limit.admit(at(3000)), Ok(()));
        assert_eq!(limit.admit(at(3500)), Err(at(100)));
        assert_eq!(limit.admit(at(3600)), Ok(()));
        assert_eq!(limit.admit(at(3601)), Err(at(2999)));
        assert_eq!(limit.admit(at(6600)), Ok(()));
    }

    #[test]
    fn a_limit_of_nothing_admits_nobody() {
        assert_eq!(Limit::new(0).admit(at(5)), Err(HOUR));
    }

    #[test]
    fn the_worst_hour_is_the_fullest_one() {
        let mut tally = Tally::default();
        for second in [0, 1800, 3599, 3600, 7300] {
            tally.note(at(second));
        }
        assert_eq!(tally.traffic(), Traffic { requests: 5, refused: 0, worst_hour: 3 });
    }
}
