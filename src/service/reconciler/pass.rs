//! The incremental pass: what was updated since the cursor, and who of them lives.

use std::time::Duration;

use super::calls::both;
use super::edge::{self, Edge};
use super::rows::Told;
use super::run::{Pass, Run, Work};
use super::totals::Total;
use super::walk::{Progress, Walk, Window};
use super::{Reconciler, Step, Trouble, rows};
use crate::directory::{Evidence, Missing, Reason, Sign, Timestamp, absence, merge};
use crate::service::job::{Close, READ_AGAIN_AFTER};
use crate::storage::{Endpoint, RunState};
use crate::upstream::mangoapps::client::PageQuery;

/// Why something may have been missed of the whole source: a pass or a sweep that begins later would find it.
pub(super) const ANSWERED: [Reason; 6] =
    [Reason::LateDelivery, Reason::RefusedDelivery, Reason::BadSignatures, Reason::Silence, Reason::Downtime, Reason::Undecodable];

/// How often a live window without anyone is read again: an answer without content looks alike.
const EMPTIES_MAX: u32 = 2;

impl Reconciler {
    /// A pass from the cursor on; `None` before the first sweep, which sets it.
    pub(super) fn new_pass(&self) -> Option<Pass> {
        let cursor = self.means.store.source(&self.means.tenant.name).ok()?.cursor?;
        Some(Pass::new(self.means.tenant.time.now(), self.window(cursor)))
    }

    /// The rows from a moment on.
    fn window(&self, from: Timestamp) -> Window {
        let state = self.means.store.source(&self.means.tenant.name).unwrap_or_default();
        Window { from, margin: edge::margin(state.updated_after_inclusive) }
    }

    /// Asks for one page.
    pub(super) async fn pass(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Work::Pass(pass) = &mut run.work else { return Ok(()) };
        let walk = pass.live.as_mut().unwrap_or(&mut pass.all);
        let query = match (pass.total, pass.edge, pass.counting) {
            (Total::Asked, _, _) => PageQuery::count(None, false),
            (_, Edge::Asked(moment), _) => edge::query(moment),
            (_, _, true) => PageQuery::count(Some(Walk::new(walk.window(), false).after()), false),
            _ => walk.query(),
        };
        let mut sent = self.reserve(Endpoint::Bulk).await?;
        let answer = self.means.client.page(&query).await;
        run.record.progress.calls += 1;
        run.record.message = None;
        let page = self.observe(Endpoint::Bulk, &mut sent, answer)?;
        // A `Date` may tell that it began earlier than our clock says.
        pass.began = pass.began.min(sent.began);
        if pass.total == Total::Asked {
            pass.total = Total::Told(page.total);
            self.totalled = Some(self.means.clock.elapsed());
            return self.conclude(run).await;
        }
        if let Edge::Asked(moment) = pass.edge {
            pass.edge = Edge::Told(edge::shown(&page, moment));
            return self.conclude(run).await;
        }
        if pass.counting {
            return self.compared(run, page.total).await;
        }
        run.record.progress.rows += page.rows.len() as u64;
        let progress = walk.take(page, sent);
        pass.complete &= progress != Progress::Uncertain;
        match progress {
            Progress::More => Ok(()),
            Progress::Ignored => self.ignored(run).await,
            _ if pass.live.as_ref().is_some_and(|live| live.rows().is_empty()) && pass.empties < EMPTIES_MAX => {
                pass.empties += 1;
                pass.live = Some(Walk::new(pass.all.window(), false));
                Ok(())
            }
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
    ///
    /// It is read as a whole where it is not known of someone in the window whether they live; else its count tells whether anyone was deleted.
    async fn whole_window(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Work::Pass(pass) = &mut run.work else { return Ok(()) };
        let rows = pass.all.rows();
        if rows.values().all(|row| absence::mark(&row.fields).is_some()) {
            return self.conclude(run).await;
        }
        let (mut gone, mut in_doubt) = (0, false);
        for (uid, row) in rows {
            let record = self.means.store.record(&self.means.tenant.name, uid)?;
            match record.as_ref().and_then(|record| absence::standing(record, &row.fields, &self.at())) {
                Some(true) => {}
                Some(false) => gone += 1,
                None => in_doubt = true,
            }
        }
        pass.gone = gone;
        if gone == rows.len() as u64 {
            return self.conclude(run).await;
        }
        if in_doubt {
            pass.live = Some(Walk::new(pass.all.window(), false));
        } else {
            pass.counting = true;
        }
        Ok(())
    }

    /// The live window's count: where it is that of the one with deleted users, less those who are known to be gone, the others are alive.
    async fn compared(&mut self, run: &mut Run, total: u64) -> Result<(), Trouble> {
        let Work::Pass(pass) = &mut run.work else { return Ok(()) };
        pass.counting = false;
        if pass.all.expected().is_none_or(|all| total + pass.gone >= all) {
            return self.conclude(run).await;
        }
        pass.live = Some(Walk::new(pass.all.window(), false));
        Ok(())
    }

    /// Commits what was read, moves the cursor, and asks who should have been returned and was not.
    async fn conclude(&mut self, run: &mut Run) -> Result<(), Trouble> {
        if self.has_a_question(run)? {
            return Ok(());
        }
        let Work::Pass(pass) = &mut run.work else { return Ok(()) };
        let (began, complete, more, total) = (pass.began, pass.complete, pass.more, pass.total);
        let inclusive = if let Edge::Told(shown) = pass.edge { shown } else { None };
        let newest = pass.horizon.map_or(pass.all.newest(), |horizon| pass.all.newest().min(Some(horizon)));
        let seen: std::collections::HashSet<String> = pass.all.rows().keys().cloned().collect();
        let is_empty = pass.live.as_ref().is_some_and(|live| live.rows().is_empty());
        let mut evidence = sightings(pass, run.record.id);
        if is_empty {
            self.spare_strangers(&mut evidence)?;
        }
        let Work::Pass(pass) = &mut run.work else { return Ok(()) };
        let marks = pass.all.rows().values().any(|row| absence::mark(&row.fields).is_some());
        let gone = evidence.iter().find(|(_, evidence)| is_gone(evidence)).map(|(uid, _)| uid.clone());
        if complete && !more {
            evidence.extend(self.unreturned(began, &seen)?);
        }
        self.commit_all(run, evidence).await?;
        let held = self.means.store.source(&self.means.tenant.name)?.cursor;
        // Also where the pass goes on: what becomes visible late, behind what was read already, is for the next one.
        let reach = newest.map(|newest| newest.min(began - self.behind()));
        let cursor = if complete { held.max(reach.map(Timestamp::floor_to_second)) } else { held };
        let (differs, shown) = self.mismatch(total)?;
        let wall = self.means.clock.now();
        let offset = self.means.tenant.time.offset_millis();
        let edit: super::Edit = Box::new(move |state| {
            (state.cursor, state.passed_at) = (cursor, Some(wall));
            state.passes_usable = Some(true);
            state.updated_after_inclusive = inclusive.or(state.updated_after_inclusive);
            state.rows_mark_deleted |= marks;
            state.count_differs = differs.unwrap_or(state.count_differs);
            state.clock_offset_millis = offset.or(state.clock_offset_millis);
            state.seen_deleted = gone.or(state.seen_deleted.take());
        });
        if more {
            self.commit(run, Step { edit: Some(edit), ..Step::default() }).await?;
            // Rows that were gathered are the reason, so there is a newest one; a dry run goes on from it too.
            let from = newest.or(held).unwrap_or(began).floor_to_second();
            run.work = Work::Pass(Box::new(Pass { complete, ..Pass::new(began, self.window(from)) }));
            return Ok(());
        }
        let judged = if complete {
            self.judge(run)?
        } else {
            run.record.state = RunState::Failed;
            run.record.message = Some("upstream's rows never added up to its own count; the cursor stays".to_owned());
            None
        };
        run.record.finished_at = run.record.state.is_over().then_some(wall);
        if !complete {
            self.pass_after = self.means.clock.elapsed() + READ_AGAIN_AFTER;
        }
        let closes = self.answered_by(run);
        self.commit(run, Step { closes, shown, edit: both(Some(edit), judged), ..Step::default() }).await?;
        self.pass_ended = Some(self.means.clock.elapsed());
        if complete && !run.record.dry_run {
            self.passed = Some(began);
        }
        Ok(())
    }

    /// Whether a pass that read its window asks something more, with calls that repairs leave over.
    fn has_a_question(&self, run: &mut Run) -> Result<bool, Trouble> {
        let edge = if self.has_room_to_ask(run) { self.edge_to_ask(run)? } else { return Ok(false) };
        let Work::Pass(pass) = &mut run.work else { return Ok(false) };
        if !pass.complete || pass.more {
            return Ok(false);
        }
        if let Some(moment) = edge {
            pass.edge = Edge::Asked(moment);
            return Ok(true);
        }
        let asks = pass.total == Total::Unasked;
        pass.total = if asks { Total::Asked } else { pass.total };
        Ok(asks)
    }

    /// A live listing without a single user may be an answer without content. Whoever is held as alive is looked up before that counts; of
    /// the others it says nothing.
    pub(super) fn spare_strangers(&self, evidence: &mut Vec<(String, Evidence)>) -> Result<(), Trouble> {
        let mut spared = std::collections::HashSet::new();
        for (uid, _) in evidence.iter().filter(|(_, evidence)| is_gone(evidence)) {
            if self.means.store.record(&self.means.tenant.name, uid)?.as_ref().and_then(merge::view).is_none() {
                spared.insert(uid.clone());
            }
        }
        evidence.retain(|(uid, evidence)| !is_gone(evidence) || !spared.contains(uid));
        Ok(())
    }

    /// Upstream does not answer what passes ask: they are given up, until a later one finds it otherwise.
    async fn ignored(&mut self, run: &mut Run) -> Result<(), Trouble> {
        tracing::error!(source = %self.means.tenant.name, "upstream ignores updated_after or sort_by: passes are of no use");
        run.record.state = RunState::Failed;
        run.record.message =
            Some("upstream ignores updated_after or sort_by, so a pass may lose users; nothing was taken from it".to_owned());
        run.record.finished_at = Some(self.means.clock.now());
        let wall = self.means.clock.now();
        let edit: super::Edit = Box::new(move |state| (state.passes_usable, state.passed_at) = (Some(false), Some(wall)));
        self.commit(run, Step { edit: Some(edit), ..Step::default() }).await?;
        self.pass_ended = Some(self.means.clock.elapsed());
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

    /// Gaps of the whole source that the end of a run answers; the writer judges whether it began late enough.
    pub(super) fn answered_by(&self, run: &Run) -> Vec<Close> {
        let Run { record, work, .. } = run;
        if record.dry_run || !record.state.is_left() {
            return Vec::new();
        }
        let mut closes = Vec::new();
        if run.was_asked() {
            closes.push(Close { reason: Reason::Operator, uid: record.uid.clone(), began: None });
        }
        let began = match work {
            Work::Pass(pass) => pass.began,
            Work::Sweep(sweep) => sweep.state.began,
            Work::Lookups(_) | Work::Searches(_) => return closes,
        };
        if record.state.has_read() {
            closes.extend(ANSWERED.map(|reason| Close { reason, uid: None, began: Some(began) }));
        }
        closes
    }
}

/// Up to where a live window that was left early was read.
fn walk_end(live: Option<&Walk>, progress: Progress) -> Option<Timestamp> {
    live.filter(|_| progress == Progress::Enough).and_then(Walk::newest)
}

/// Whether a listing with deleted users shows the user, and the one without does not.
pub(super) fn is_gone(evidence: &Evidence) -> bool {
    matches!(evidence, Evidence::Missing(missing) if missing.listed)
}

/// What the rows say: present in the later, live window is alive; only in the other one is deleted.
fn sightings(pass: &Pass, found_by: u64) -> Vec<(String, Evidence)> {
    let mut evidence = Vec::new();
    let silent = Told { sign: Sign::Silent, swept: None, expected: false, found_by };
    let Some(live) = &pass.live else {
        for (uid, row) in pass.all.rows() {
            evidence.extend(rows::listed((uid, &row.fields), row.sent, silent));
        }
        return evidence;
    };
    let within = |fields| pass.horizon.is_none_or(|horizon| merge::time(fields, "updated_at").is_some_and(|row| row < horizon));
    for (uid, row) in pass.all.rows().iter().filter(|(uid, _)| !live.rows().contains_key(*uid)) {
        evidence.extend(rows::listed((uid, &row.fields), row.sent, silent));
        if let Some(sent) = live.began().filter(|_| pass.complete && within(&row.fields)) {
            let missing = Missing { listed: true, began: sent.began, call: sent.call, found_by };
            evidence.push((uid.clone(), Evidence::Missing(missing)));
        }
    }
    for (uid, row) in live.rows() {
        evidence.extend(rows::listed((uid, &row.fields), row.sent, Told { sign: Sign::Alive, ..silent }));
    }
    evidence
}
