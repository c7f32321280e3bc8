//! What a run still has before it: calls, the end as the budget lets it be, and until when it waits.

use std::time::Duration;

use super::run::{Run, Work};
use super::walk::PAGE_ROWS_MAX;
use super::{Reconciler, Step};
use crate::directory::Timestamp;
use crate::storage::{RunState, Sweep};

/// How the message of a run begins that waits for its budget.
const WAITS: &str = "waits for the budget until ";
/// Shorter waits are not worth a word.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// From this wait on, the time of day would not tell the day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Run {
    /// The budget has room again.
    pub(super) fn waits_no_more(&mut self) {
        if self.waits_until.take().is_some() {
            self.record.message = None;
        }
    }

    /// It has read what it wanted, or never will.
    pub(super) fn asks_no_more(&mut self) {
        let progress = &mut self.record.progress;
        (progress.calls_left, progress.estimated_end) = (None, None);
        progress.expected = progress.expected.map(|_| progress.rows);
    }

    /// Whether it may be told that it waits: nothing else that went wrong is hidden by it, and someone can have seen it.
    fn may_tell_wait(&self) -> bool {
        let record = &self.record;
        let says_nothing_else = record.message.as_ref().is_none_or(|message| message.starts_with(WAITS));
        record.id != 0 && matches!(record.state, RunState::Running | RunState::Waiting) && says_nothing_else
    }
}

impl Reconciler {
    /// Notes what a sweep still needs; the listing that it reads has so many pages. The one with deleted users counts as long as the live one
    /// until it is begun: whether it is read at all shows only then.
    pub(super) fn foresee(&self, run: &mut Run, pages: u64) {
        let Work::Sweep(work) = &run.work else { return };
        let (calls, rows) = left(&work.state, work.counting, pages);
        let progress = &mut run.record.progress;
        progress.expected = Some(progress.rows + rows);
        progress.calls_left = Some(calls);
        let wait = self.ledger(run.endpoint()).wait_for(self.means.clock.elapsed(), calls);
        run.record.progress.estimated_end = wait.map(|wait| whole(self.means.clock.now() + wait));
    }

    /// Says of the runs that wait for their budget until when they do, each time that this is another time.
    pub(super) async fn tell_waits(&mut self) {
        let now = self.means.clock.elapsed();
        let mut runs = std::mem::take(&mut self.runs);
        for run in runs.iter_mut().filter(|run| run.may_tell_wait()) {
            let wait = self.wait_of(run);
            if wait < WAIT_MIN || run.waits_until == Some(now + wait) {
                continue;
            }
            run.waits_until = Some(now + wait);
            run.record.message = Some(format!("{WAITS}{}", moment(self.means.clock.now(), wait)));
            // One that was cancelled is dropped next; a store in trouble is told elsewhere.
            drop(self.commit(run, Step::default()).await);
        }
        self.runs = runs;
    }
}

/// Calls and rows that a sweep still needs.
fn left(state: &Sweep, counting: bool, pages: u64) -> (u64, u64) {
    let (read, total) = (state.page.saturating_sub(1), state.total.unwrap_or(pages * PAGE_ROWS_MAX));
    let listing = if counting { (0, 0) } else { (pages.saturating_sub(read), total.saturating_sub(read * PAGE_ROWS_MAX)) };
    // The count of the listing with deleted users is one more call.
    if state.with_deleted { listing } else { (listing.0 + 1 + pages, listing.1 + total) }
}

/// A time, rounded up to a second.
fn whole(time: Timestamp) -> String {
    (time + Duration::from_millis(999)).floor_to_second().to_string()
}

/// When a wait ends, rounded up to a second: the time of day where that tells it.
fn moment(now: Timestamp, wait: Duration) -> String {
    let whole = whole(now + wait);
    match whole.split_once('T') {
        Some((_, time)) if wait < DAY => time.to_owned(),
        _ => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sweep(page: u64, with_deleted: bool) -> Sweep {
        Sweep { page, with_deleted, total: Some(450), ..Sweep::default() }
    }

    #[test]
    fn a_sweep_needs_the_rest_of_this_listing_and_what_comes_after_it() {
        assert_eq!(left(&sweep(1, false), false, 5), (5 + 1 + 5, 450 + 450));
        assert_eq!(left(&sweep(4, false), false, 5), (2 + 1 + 5, 150 + 450));
        assert_eq!(left(&sweep(5, false), true, 5), (1 + 5, 450));
        assert_eq!(left(&sweep(2, true), false, 5), (4, 350));
        assert_eq!(left(&Sweep { total: None, ..sweep(1, true) }, false, 5), (5, 500));
    }

    #[test]
    fn a_wait_ends_at_a_time_of_day_unless_that_is_another_day() {
        let noon = Timestamp::parse("2026-03-01T12:00:00Z").unwrap() + Duration::from_millis(1);
        assert_eq!(moment(noon, Duration::from_secs(34 * 60)), "12:34:01Z");
        assert_eq!(moment(noon, DAY), "2026-03-02T12:00:01Z");
    }
}
