//! Which deliveries arrive about one retry step late (upstream guide, "Webhook Retry Logic").

use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);
/// Upstream tries again after 1, 5, 15, 60 and 240 minutes. Whether each pause counts from the first attempt or from the one before is
/// not said, so both are looked for: 6, 21, 81 and 321 are the sums.
const STEPS_MINUTES: [u32; 9] = [1, 5, 6, 15, 21, 60, 81, 240, 321];
/// How long the attempts that failed may have taken before upstream began to wait: ours are answered within 18 s.
const ATTEMPT_MAX: Duration = Duration::from_secs(20);

/// Whether a delivery that arrived `late` after its own timestamp, in upstream's time, was most likely tried again.
///
/// # Why these windows
/// A retry comes a step late, give or take the `tolerance` for clocks and a tenth of the step for queues; and later by as long as the
/// failed attempt took, never earlier. Half a step is the earliest at any tolerance: what is held back for some seconds is ordinary.
/// Between the windows lies what no retry explains, such as a copy of an old delivery; it says nothing about others.
/// The price of being wrong is one pass.
#[must_use]
pub fn is_retry(late: Duration, tolerance: Duration) -> bool {
    STEPS_MINUTES.into_iter().map(|minutes| MINUTE.saturating_mul(minutes)).any(|step| {
        let slack = tolerance.max(step / 10);
        late >= step.saturating_sub(slack).max(step / 2) && late <= step + slack + ATTEMPT_MAX
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_late(seconds: u64) -> bool {
        is_retry(Duration::from_secs(seconds), Duration::from_secs(15))
    }

    #[test]
    fn every_step_of_the_schedule_is_late_whatever_it_counts_from() {
        for minutes in STEPS_MINUTES.map(u64::from) {
            assert!(is_late(minutes * 60) && is_late(minutes * 60 + 20) && is_late(minutes * 60 - 10), "{minutes} minutes");
        }
    }

    #[test]
    fn what_lies_between_the_steps_is_not() {
        for seconds in [0, 1, 20, 44, 180, 10 * 60, 40 * 60, 150 * 60, 24 * 3600, 90 * 24 * 3600] {
            assert!(!is_late(seconds), "{seconds} s");
        }
    }

    #[test]
    fn no_tolerance_makes_an_ordinary_delivery_late() {
        assert!(!is_retry(Duration::from_secs(20), Duration::from_secs(600)));
    }
}
