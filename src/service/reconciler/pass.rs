//! The incremental pass: what was updated since the cursor, and who of them lives.

use std::time::Duration;

use super::run::{Pass, Run, Work};
use super::walk::{Progress, Walk};
use super::{EVIDENCE_MAX, Reconciler, Sent, Step, Trouble};
use crate::directory::{Evidence, Reason, Shape, Sighting, Sign, Timestamp, User, merge};
use crate::storage::{Endpoint, RunState, SourceGap};

impl Reconciler {
    /// A pass from the cursor on; `None` before the first sweep, which sets it.
    pub(super) fn new_pass(&self) -> Option<Pass> {
        let cursor = self.means.store.source(&self.means.tenant.name).ok()?.cursor?;
        let began = self.means.tenant.time.now();
        Some(Pass::new(began, cursor))
    }

    /// Asks for one page.
    pub(super) async fn pass(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Work::Pass(pass) = &mut run.work else { return Ok(()) };
        let walk = pass.live.as_mut().unwrap_or(&mut pass.all);
        let query = walk.query();
        let sent = self.reserve(Endpoint::Bulk).await?;
        let answer = self.means.client.page(&query).await;
        run.record.progress.calls += 1;
        run.record.message = None;
        let page = self.observe(Endpoint::Bulk, answer)?;
        run.record.progress.rows += page.rows.len() as u64;
        let progress = walk.take(page, sent);
        pass.complete &= progress != Progress::Uncertain;
        match progress {
            Progress::More => Ok(()),
            Progress::Enough | Progress::Complete | Progress::Uncertain if pass.live.is_none() => {
                pass.more = progress == Progress::Enough;
                self.whole_window(run).await
            }
            Progress::Enough | Progress::Complete | Progress::Uncertain => {
                pass.horizon = walk_end(pass.live.as_ref(), progress);
                pass.more |= progress == Progress::Enough;
                self.conclude(run).await
            }
        }
    }

    /// The window with deleted users is read: is the live one needed to tell who lives?
    async fn whole_window(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Work::Pass(pass) = &mut run.work else { return Ok(()) };
        let mut needed = false;
        for uid in pass.all.rows().keys() {
            let record = self.means.store.record(&self.means.tenant.name, uid)?;
            // Only of those who are not held as alive it matters whether they live: nobody is deleted by absence here.
            needed = record.and_then(|record| merge::view(&record)).is_none_or(|user: User| user.is_deleted());
            if needed {
                break;
            }
        }
        if needed {
            pass.live = Some(Walk::new(pass.all.from(), false));
            return Ok(());
        }
        self.conclude(run).await
    }

    /// Commits what was read, moves the cursor, and asks who should have been returned and was not.
    async fn conclude(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Work::Pass(pass) = &run.work else { return Ok(()) };
        let (began, complete, more) = (pass.began, pass.complete, pass.more);
        let newest = pass.horizon.map_or(pass.all.newest(), |horizon| pass.all.newest().min(Some(horizon)));
        let seen: std::collections::HashSet<String> = pass.all.rows().keys().cloned().collect();
        let mut evidence = sightings(pass);
        let gone = evidence.iter().find(|(_, evidence)| is_deleted(evidence)).map(|(uid, _)| uid.clone());
        if complete && !more {
            evidence.extend(self.unreturned(began, &seen)?);
        }
        while evidence.len() > EVIDENCE_MAX {
            let rest = evidence.split_off(EVIDENCE_MAX);
            self.commit(run, Step { evidence, ..Step::default() }).await?;
            evidence = rest;
        }
        let held = self.means.store.source(&self.means.tenant.name)?.cursor;
        // Also where the pass goes on: what becomes visible late, behind what was read already, is for the next one.
        let reach = newest.map(|newest| newest.min(began - self.behind()));
        let cursor = if complete { held.max(reach.map(Timestamp::floor_to_second)) } else { held };
        let wall = self.means.clock.now();
        let offset = self.means.tenant.time.offset_millis();
        let edit: super::Edit = Box::new(move |state| {
            (state.cursor, state.passed_at) = (cursor, Some(wall));
            state.clock_offset_millis = offset.or(state.clock_offset_millis);
            state.seen_deleted = gone.or(state.seen_deleted.take());
        });
        if more {
            self.commit(run, Step { evidence, edit: Some(edit), ..Step::default() }).await?;
            // Rows that were gathered are the reason, so there is a newest one; a dry run goes on from it too.
            let from = newest.or(held).unwrap_or(began).floor_to_second();
            run.work = Work::Pass(Box::new(Pass { complete, ..Pass::new(began, from) }));
            return Ok(());
        }
        run.record.state = if complete { RunState::Done } else { RunState::Failed };
        run.record.message = (!complete).then(|| "upstream's rows never added up to its own count; the cursor stays".to_owned());
        run.record.finished_at = Some(wall);
        let closes = if complete { self.answered_by(run) } else { Vec::new() };
        self.commit(run, Step { evidence, closes, edit: Some(edit), ..Step::default() }).await?;
        if complete && !run.record.dry_run {
            self.passed = Some(began);
        }
        Ok(())
    }

    /// How far the cursor stays behind the start of a pass: rows may become visible late.
    pub(super) fn behind(&self) -> Duration {
        self.means.settings.lookback + self.means.settings.tolerance
    }

    /// Users with claims that this pass should have confirmed, and did not return.
    fn unreturned(&self, began: Timestamp, seen: &std::collections::HashSet<String>) -> Result<Vec<(String, Evidence)>, Trouble> {
        let claimed = self.means.store.claimed_before(&self.means.tenant.name, began - self.means.settings.tolerance);
        Ok(claimed.into_iter().filter(|uid| !seen.contains(uid)).map(|uid| (uid, Evidence::Unconfirmed(began))).collect())
    }

    /// Gaps of the whole source that the end of a run answers.
    pub(super) fn answered_by(&self, run: &Run) -> Vec<Reason> {
        if run.record.dry_run || !run.record.state.is_over() {
            return Vec::new();
        }
        let other = |other: &&Run| other.record.id != run.record.id && other.was_asked();
        let mut closes = Vec::new();
        if run.was_asked() && !self.runs.iter().any(|run| other(&run)) {
            closes.push(Reason::Operator);
        }
        let began = match &run.work {
            Work::Pass(pass) => pass.began,
            Work::Sweep(sweep) => sweep.state.began,
            Work::Lookups(_) => return closes,
        };
        if run.record.state == RunState::Done {
            let held = self.means.store.source(&self.means.tenant.name).map(|state| state.gaps).unwrap_or_default();
            let covered = |gap: &&SourceGap| began > gap.gap.happened + self.means.settings.tolerance;
            let answered = |gap: &&SourceGap| matches!(gap.reason, Reason::Silence | Reason::Undecodable);
            closes.extend(held.iter().filter(answered).filter(covered).map(|gap| gap.reason));
        }
        closes
    }
}

/// Up to where a live window that was left early was read.
fn walk_end(live: Option<&Walk>, progress: Progress) -> Option<Timestamp> {
    live.filter(|_| progress == Progress::Enough).and_then(Walk::newest)
}

fn is_deleted(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Sighting(sighting) if sighting.sign == Sign::Deleted)
}

/// What the rows say: present in the later, live window is alive; only in the other one is deleted.
fn sightings(pass: &Pass) -> Vec<(String, Evidence)> {
    let sight = |fields: &crate::directory::Fields, sent: Sent, sign: Sign| {
        Evidence::Sighting(Box::new(Sighting {
            shape: Shape::Listing,
            fields: fields.clone(),
            began: sent.began,
            call: sent.call,
            sign,
            expected: false,
        }))
    };
    let Some(live) = &pass.live else {
        return pass.all.rows().iter().map(|(uid, row)| (uid.clone(), sight(&row.fields, row.sent, Sign::Silent))).collect();
    };
    let within = |fields| pass.horizon.is_none_or(|horizon| merge::time(fields, "updated_at").is_some_and(|row| row < horizon));
    let absent = |fields| if pass.complete && within(fields) { Sign::Deleted } else { Sign::Silent };
    let gone = pass.all.rows().iter().filter(|(uid, _)| !live.rows().contains_key(*uid));
    let gone = gone.map(|(uid, row)| (uid.clone(), sight(&row.fields, row.sent, absent(&row.fields))));
    gone.chain(live.rows().iter().map(|(uid, row)| (uid.clone(), sight(&row.fields, row.sent, Sign::Alive)))).collect()
}
