//! Whose turn it is: one run at a time, and no sweep with the last calls of its budget.

use std::time::Duration;

use super::run::{Run, Urgency, Work};
use super::{Reconciler, Step, Trouble};
use crate::storage::RunState;

/// This part of the listings that an hour allows is kept from sweeps.
const KEPT_FROM_SWEEPS: u32 = 10;

impl Reconciler {
    /// One runs at a time: whatever ran until now waits for this one.
    pub(super) async fn pause_others(&mut self) -> Result<(), Trouble> {
        while let Some(index) = self.runs.iter().position(|run| run.record.state == RunState::Running) {
            let mut run = self.runs.swap_remove(index);
            run.record.state = RunState::Waiting;
            let paused = self.commit(&mut run, Step::default()).await;
            self.runs.push(run);
            paused?;
        }
        Ok(())
    }

    /// How long until a run's next call may be sent, as far as its budget goes.
    pub(super) fn wait_of(&self, run: &Run) -> Duration {
        let endpoint = run.endpoint();
        let pace = if run.urgency == Urgency::Soon { self.ledger(endpoint).pace(self.means.clock.elapsed()) } else { Duration::ZERO };
        self.wait(endpoint).max(pace)
    }

    /// Whether a run's next call fits into what it may take of its budget: sweeps leave some of theirs to repairs.
    pub(super) fn may_call(&self, run: &Run) -> bool {
        let endpoint = run.endpoint();
        let kept = if matches!(run.work, Work::Sweep(_)) { self.means.tenant.budgets.capacity(endpoint) / KEPT_FROM_SWEEPS } else { 0 };
        self.wait_of(run).is_zero() && (kept == 0 || self.ledger(endpoint).remaining(self.means.clock.elapsed()) > kept)
    }
}
