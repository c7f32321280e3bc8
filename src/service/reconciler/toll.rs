//! Deletions that polling found: how many may be applied without someone's word, and when a reconciliation that found some is done.
//!
//! A run that found candidates does not end as `done`: it is `confirming` until the last of them is deleted or cleared, or
//! `awaiting_approval` where there are too many. Candidates stand in the records, with the run that found them, so that a restart
//! loses nothing; whoever looks one up asks here whether the deletion may be applied.

use std::time::Duration;

use super::run::Run;
use super::{EVIDENCE_MAX, Edit, Reconciler, Step, Trouble};
use crate::config::MaxDeletes;
use crate::directory::Evidence;
use crate::storage::{Reconciliation, RunState, Toll};

/// The span within which candidates are counted together.
const WINDOW: Duration = Duration::from_secs(3600);
/// A share of the live users is never fewer users than this.
const SHARE_USERS_MIN: u64 = 5;

impl Reconciler {
    /// How a run ends that has read what it wanted: its candidates, if there are any, are judged together with those of the last hour.
    pub(super) fn judge(&self, run: &mut Run) -> Result<Option<Edit>, Trouble> {
        let candidates = self.means.store.candidates(&self.means.tenant.name);
        let found = candidates.get(&run.record.id).copied().filter(|_| !run.record.dry_run).unwrap_or(0);
        run.record.state = RunState::Done;
        if found == 0 {
            return Ok(None);
        }
        run.record.progress.candidates = found;
        let now = self.means.tenant.time.now();
        let mut toll = self.means.store.source(&self.means.tenant.name)?.toll;
        toll.retain(|held| held.at + WINDOW > now && held.found_by != run.record.id);
        toll.push(Toll { found_by: run.record.id, at: now, count: found });
        let all: u64 = toll.iter().map(|held| held.count).sum();
        let excess = self.excess(all);
        run.record.state = if excess.is_some() { RunState::AwaitingApproval } else { RunState::Confirming };
        run.record.message = excess;
        Ok(Some(Box::new(move |state| state.toll = toll)))
    }

    /// Why so many deletions within an hour want someone's word; `None` when they do not.
    fn excess(&self, found: u64) -> Option<String> {
        let counts = self.means.store.counts(&self.means.tenant.name);
        let live = counts.active + counts.inactive;
        let most = match self.means.settings.max_deletes {
            MaxDeletes::Share(percent) => ((live as f64 * percent / 100.0) as u64).max(SHARE_USERS_MIN),
            MaxDeletes::Number(number) => number,
        };
        if found <= most && found < live {
            return None;
        }
        Some(format!(
            "{found} of {live} live users are missing upstream, and reconcile.max_deletes lets {most} go within an hour: approve or cancel this"
        ))
    }

    /// Moves on what waits for confirmations: runs whose last candidate is settled are done, those of cancelled runs are cleared, and
    /// what joins others beyond the threshold waits with them.
    pub(super) async fn settle_candidates(&mut self) -> Result<(), Trouble> {
        let candidates = self.means.store.candidates(&self.means.tenant.name);
        for found_by in candidates.keys() {
            if self.runs.iter().any(|run| run.record.id == *found_by) {
                continue;
            }
            let Some(record) = self.means.store.reconciliation(*found_by)? else { continue };
            match record.state {
                RunState::Cancelled => self.acquit(record).await?,
                RunState::AwaitingApproval | RunState::Confirming => {
                    self.staged.insert(*found_by);
                }
                // It ended before it could be judged.
                _ => self.judge_late(record).await?,
            }
        }
        for id in self.staged.clone() {
            if !candidates.contains_key(&id) {
                self.confirmed(id).await?;
            }
        }
        self.hold_all().await
    }

    /// Someone cancelled what found these users: they stay.
    async fn acquit(&mut self, record: Reconciliation) -> Result<(), Trouble> {
        self.staged.remove(&record.id);
        let mut run = self.as_run(record);
        loop {
            let uids = self.means.store.candidates_of(&self.means.tenant.name, run.record.id, EVIDENCE_MAX);
            if uids.is_empty() {
                return Ok(());
            }
            let evidence = uids.into_iter().map(|uid| (uid, Evidence::Acquittal)).collect();
            self.commit(&mut run, Step { evidence, ..Step::default() }).await?;
        }
    }

    async fn judge_late(&mut self, record: Reconciliation) -> Result<(), Trouble> {
        let id = record.id;
        let mut run = self.as_run(record);
        let edit = self.judge(&mut run)?;
        run.record.finished_at = None;
        self.commit(&mut run, Step { edit, ..Step::default() }).await?;
        self.staged.insert(id);
        Ok(())
    }

    /// The last candidate of a run is settled.
    async fn confirmed(&mut self, id: u64) -> Result<(), Trouble> {
        let Some(record) = self.means.store.reconciliation(id)?.filter(|record| !record.state.is_over()) else {
            self.staged.remove(&id);
            return Ok(());
        };
        let mut run = self.as_run(record);
        (run.record.state, run.record.message) = (RunState::Done, None);
        run.record.progress.candidates = 0;
        run.record.finished_at = Some(self.means.clock.now());
        self.commit(&mut run, Step::default()).await?;
        self.staged.remove(&id);
        self.log_end(&run);
        Ok(())
    }

    /// Beyond the threshold all candidates of the last hour wait, those found first too; approved ones are not counted, and go on.
    async fn hold_all(&mut self) -> Result<(), Trouble> {
        let now = self.means.tenant.time.now();
        let toll = self.means.store.source(&self.means.tenant.name)?.toll;
        let counted: Vec<Toll> = toll.into_iter().filter(|held| held.at + WINDOW > now).collect();
        let Some(message) = self.excess(counted.iter().map(|held| held.count).sum()).filter(|_| !counted.is_empty()) else { return Ok(()) };
        for id in counted.iter().map(|held| held.found_by) {
            let Some(record) = self.means.store.reconciliation(id)?.filter(|record| record.state == RunState::Confirming) else { continue };
            if !self.staged.contains(&id) || self.means.tenant.approved.lock().contains(&id) {
                continue;
            }
            let mut run = self.as_run(record);
            (run.record.state, run.record.message) = (RunState::AwaitingApproval, Some(message.clone()));
            self.commit(&mut run, Step::default()).await?;
        }
        Ok(())
    }

    /// The staged runs that wait for someone's word: their candidates are not looked up meanwhile.
    pub(super) fn held(&self) -> Vec<u64> {
        let waits = |id: &u64| {
            let record = self.means.store.reconciliation(*id).ok().flatten();
            record.is_some_and(|record| record.state == RunState::AwaitingApproval)
        };
        self.staged.iter().copied().filter(waits).collect()
    }

    /// Whether a candidate may be deleted once that is confirmed.
    pub(super) fn is_cleared(&self, found_by: u64) -> Result<bool, Trouble> {
        let record = self.means.store.reconciliation(found_by)?;
        Ok(record.is_some_and(|record| record.state == RunState::Confirming))
    }
}
