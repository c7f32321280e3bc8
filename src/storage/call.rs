//! Calls to upstream as they are logged, and for how long they matter.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Endpoint;
use crate::directory::Timestamp;

/// Calls are kept for so long.
const CALLS_KEPT: Duration = Duration::from_secs(2 * 3600);
/// However old they seem, so many of the newest are kept: several sources' budgets of an hour.
const CALLS_KEPT_MIN: u64 = 4096;

/// One call to upstream, logged before it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// The source's name.
    pub source: String,
    /// The budget it counts against.
    pub endpoint: Endpoint,
    /// Its place in the order of all calls of this source: increasing.
    pub number: u64,
    /// When it was about to be sent, by the service's clock.
    pub at: Timestamp,
}

impl Call {
    /// Whether it no longer matters to any budget once `newer` is logged: it is old by the clock, which may have been set meanwhile, and so
    /// many came after it that none of the newest hour is lost by that.
    #[must_use]
    pub fn is_over(&self, newer: &Self) -> bool {
        newer.at.since(self.at) > CALLS_KEPT && newer.number.saturating_sub(self.number) > CALLS_KEPT_MIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_makes_no_call_old_that_is_among_the_newest() {
        let call = |number: u64, at: i64| {
            let (source, endpoint) = ("main".to_owned(), Endpoint::Bulk);
            Call { source, endpoint, number, at: Timestamp::from_millis(at) }
        };
        let day = 24 * 3_600_000;
        for (newer, is_over) in [(call(5000, day), true), (call(4000, day), false), (call(5000, 1000), false)] {
            assert_eq!(call(1, 0).is_over(&newer), is_over, "{newer:?}");
        }
    }
}
