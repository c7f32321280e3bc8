//! How runs end: done, cancelled, given up, and what is made of trouble before that.

use std::time::Duration;

use super::run::{Run, Work};
use super::{Reconciler, SWEEP_AGAIN_AFTER, Step, Trouble};
use crate::storage::{Reconciliation, RunState};
use crate::upstream::mangoapps::client::Failure;

/// Calls without a usable answer after which a run is given up.
const FAILURES_MAX: u32 = 6;
/// The pause after the first of them; each further one doubles it.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// The longest pause between two tries.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);
/// After upstream refused the token, twice this until the next try; each further refusal doubles it.
const REST_AFTER: Duration = Duration::from_secs(30);
/// The longest rest.
const REST_AFTER_MAX: Duration = Duration::from_secs(900);
/// Reconciliations that are looked through for such as nobody goes on with.
const ORPHANS_AMONG: usize = 1000;

impl Reconciler {
    /// Ends the runs that someone cancelled while they waited.
    pub(super) async fn drop_cancelled(&mut self) {
        let cancelled: Vec<u64> = self.means.tenant.cancelled.lock().iter().copied().collect();
        for id in cancelled {
            match self.runs.iter().position(|run| run.record.id == id) {
                Some(index) => {
                    let run = self.runs.swap_remove(index);
                    self.troubled(run, Trouble::Cancelled).await;
                }
                None => drop(self.means.tenant.cancelled.lock().remove(&id)),
            }
        }
    }

    /// Ends the runs that the store holds and nobody goes on with: a commit that failed may be there nevertheless, and its run began anew.
    pub(super) async fn drop_orphans(&mut self) {
        if !self.orphaned || self.means.store.healthy().is_err() {
            return;
        }
        let Ok(newest) = self.means.store.reconciliations(u64::MAX, ORPHANS_AMONG) else { return };
        self.orphaned = false;
        let ours = |record: &Reconciliation| *record.source == *self.means.tenant.name && record.state == RunState::Running;
        let left = |record: &Reconciliation| ours(record) && !self.runs.iter().any(|run| run.record.id == record.id);
        for record in newest.into_iter().filter(left).collect::<Vec<_>>() {
            let message = "the store failed when it began, so it was begun anew".to_owned();
            self.finish(self.as_run(record), (RunState::Failed, Some(message))).await;
        }
    }

    /// What becomes of a run whose step brought nothing.
    pub(super) async fn troubled(&mut self, mut run: Run, trouble: Trouble) {
        let now = self.means.clock.elapsed();
        run.failures += 1;
        let pause = RETRY_AFTER.saturating_mul(1 << run.failures.min(10)).min(RETRY_AFTER_MAX);
        let (message, over) = match &trouble {
            Trouble::Cancelled => {
                self.means.tenant.cancelled.lock().remove(&run.record.id);
                // What was cancelled is not planned again at once.
                if matches!(run.work, Work::Sweep(_)) {
                    self.sweep_after = now + SWEEP_AGAIN_AFTER;
                } else if !run.was_asked() {
                    self.rest_until = self.rest_until.max(now + REST_AFTER);
                }
                return self.finish(run, (RunState::Cancelled, None)).await;
            }
            Trouble::Refused => ("the store does not take anything at the moment".to_owned(), false),
            Trouble::Store(error) => (error.to_string(), false),
            Trouble::Upstream(failure @ Failure::Limited { .. }) => (failure.to_string(), false),
            Trouble::Upstream(failure @ (Failure::Unauthorized | Failure::Forbidden)) => {
                self.refusals += 1;
                self.rest_until = now + REST_AFTER.saturating_mul(1 << self.refusals.min(5)).min(REST_AFTER_MAX);
                (failure.to_string(), true)
            }
            Trouble::Upstream(failure) => (failure.to_string(), run.failures >= FAILURES_MAX),
        };
        tracing::warn!(source = %self.means.tenant.name, id = run.record.id, %message, "reconciliation met trouble");
        run.not_before = now + pause;
        if over {
            self.rest_until = self.rest_until.max(now + pause);
            return self.finish(run, (RunState::Failed, Some(message))).await;
        }
        run.record.message = Some(message);
        run.record.state = RunState::Waiting;
        self.runs.push(run);
    }

    /// Ends a run, at once or when the store takes it.
    async fn finish(&mut self, mut run: Run, end: (RunState, Option<String>)) {
        run.end = Some(end);
        run.asks_no_more();
        if self.end(&mut run).await.is_ok() {
            return self.log_end(&run);
        }
        run.not_before = self.means.clock.elapsed() + RETRY_AFTER;
        self.runs.push(run);
    }

    pub(super) async fn end(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Some((state, message)) = run.end.clone() else { return Ok(()) };
        (run.record.state, run.record.message) = (state, message);
        let closes = self.answered_by(run);
        run.record.finished_at = Some(self.means.clock.now());
        self.commit(run, Step { closes, ..Step::default() }).await.map(drop)
    }

    /// Logs how a run ended.
    pub(super) fn log_end(&self, run: &Run) {
        let Reconciliation { id, state, progress, .. } = &run.record;
        tracing::info!(
            source = %self.means.tenant.name, id, state = state.name(), calls = progress.calls, rows = progress.rows, changed = progress.changed,
            gaps_closed = progress.gaps_closed, "reconciliation ended"
        );
    }
}
