//! The sweep: the whole listing, by pages over a key that does not move; first the live users, then with the deleted ones.
//!
//! Only deletions for good can shift rows of a listing sorted by `created_at`: when the total drops, the page before is read
//! again. A sweep is complete when it saw as many users as upstream counts; else it may update users and concludes nothing.

use super::calls::both;
use super::rows::Told;
use super::run::{Run, SweepWork, Work};
use super::walk::PAGE_ROWS_MAX;
use super::{Reconciler, Sent, Step, Trouble, pass, rows};
use crate::directory::{Evidence, Missing, Reason, Sign, Swept, absence};
use crate::service::job::Close;
use crate::storage::{Absent, Endpoint, Reconciliation, RunState, Sweep};
use crate::upstream::mangoapps::client::{Failure, PageQuery, UserPage};

/// How often a listing is read from the first page on until its count adds up; the last time sorted by name.
const ROUNDS_MAX: u32 = 3;

impl Reconciler {
    /// A sweep from the first page on.
    pub(super) fn new_sweep(&self) -> SweepWork {
        let began = self.means.tenant.time.now();
        SweepWork { state: Sweep { began, page: 1, round: 1, ..Sweep::default() }, ..SweepWork::default() }
    }

    /// Asks for one page, or for the count that tells whether there are deleted users at all.
    pub(super) async fn sweep(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Work::Sweep(work) = &run.work else { return Ok(()) };
        let query = if work.counting { PageQuery::count(None, true) } else { page_query(&work.state) };
        let counting = work.counting;
        let mut sent = self.reserve(Endpoint::Bulk).await?;
        let answer = self.means.client.page(&query).await;
        run.record.progress.calls += 1;
        run.record.message = None;
        let page = self.observe(Endpoint::Bulk, &mut sent, answer)?;
        let Work::Sweep(work) = &run.work else { return Ok(()) };
        let held_some = work.state.total.max(work.state.live).is_some_and(|total| total > 0);
        if page.total == 0 && held_some {
            return Err(Trouble::Upstream(Failure::Unusable("it says that there are no users, and there were some a moment ago")));
        }
        let before = work.clone();
        self.mark_beginning(run, sent);
        let taken = if counting { self.counted(run, &page).await } else { self.swept(run, page, sent).await };
        if taken.is_err() {
            // What was not committed is read again.
            run.work = Work::Sweep(before);
        }
        taken
    }

    fn holds_anyone(&self) -> bool {
        let counts = self.means.store.counts(&self.means.tenant.name);
        counts.active + counts.inactive + counts.deleted > 0
    }

    /// A listing begins with its first request that was answered; the sweep with that of the live one.
    fn mark_beginning(&self, run: &mut Run, sent: Sent) {
        let Work::Sweep(work) = &mut run.work else { return };
        if work.counting || work.state.listing_call != 0 {
            return;
        }
        work.state.listing_call = sent.call;
        if !work.state.with_deleted {
            work.state.began = sent.began;
        }
    }

    /// Takes one page in, and decides what to read next.
    async fn swept(&mut self, run: &mut Run, page: UserPage, sent: Sent) -> Result<(), Trouble> {
        let initial = self.means.store.source(&self.means.tenant.name)?.swept_at.is_none();
        let dry = run.record.dry_run;
        let Work::Sweep(work) = &mut run.work else { return Ok(()) };
        let with_deleted = work.state.with_deleted;
        let mut new = 0;
        for (uid, _) in &page.rows {
            new += u64::from(if dry { work.seen.insert(uid.clone()) } else { self.is_new_to(&work.state, uid)? });
        }
        let state = &mut work.state;
        state.seen += new;
        let shrank = state.total.is_some_and(|total| page.total < total);
        state.total = Some(state.total.map_or(page.total, |total| total.min(page.total)));
        run.record.progress.rows += page.rows.len() as u64;
        let ended = page.rows.is_empty() || state.page >= page.pages;
        let counts = state.seen >= page.total;
        if shrank && state.page > 1 {
            state.page -= 1;
        } else if !ended {
            state.page += 1;
        } else if !counts && state.round < ROUNDS_MAX {
            (state.page, state.round) = (1, state.round + 1);
        } else if !counts {
            return self.give_up(run).await;
        } else if with_deleted {
            run.work = Work::Sweep(std::mem::take(work));
            self.tell(run, page, (sent, initial)).await?;
            return self.complete(run).await;
        } else {
            (state.live, state.live_call) = (Some(page.total), state.listing_call);
            work.counting = true;
        }
        self.tell(run, page, (sent, initial)).await
    }

    /// Whether this listing did not show the user before: the record is marked with it.
    fn is_new_to(&self, state: &Sweep, uid: &str) -> Result<bool, Trouble> {
        let record = self.means.store.record(&self.means.tenant.name, uid)?;
        let mark = record.and_then(|record| record.life.swept.get(usize::from(state.with_deleted)).copied());
        Ok(mark != Some(state.listing_call))
    }

    /// Commits a page together with where the sweep is.
    async fn tell(&mut self, run: &mut Run, page: UserPage, (sent, initial): (Sent, bool)) -> Result<(), Trouble> {
        self.foresee(run, page.pages);
        let Work::Sweep(work) = &run.work else { return Ok(()) };
        let Sweep { with_deleted, listing_call: listing, .. } = work.state;
        let sign = if with_deleted { Sign::Silent } else { Sign::Alive };
        let swept = Some(Swept { with_deleted, listing });
        let mut state = work.state.clone();
        state.reconciliation = run.record.id;
        let mut evidence = Vec::new();
        for (uid, fields) in &page.rows {
            let told = Told { sign, swept, expected: initial, found_by: run.record.id };
            evidence.extend(rows::listed((uid, fields), sent, told));
        }
        let marks = page.rows.iter().any(|(_, fields)| absence::mark(fields).is_some());
        let edit: super::Edit = Box::new(move |source| {
            source.sweep = Some(state);
            source.rows_mark_deleted |= marks;
        });
        self.commit(run, Step { evidence, edit: Some(edit), ..Step::default() }).await.map(drop)
    }

    /// The live listing is complete: is there anyone else?
    async fn counted(&mut self, run: &mut Run, page: &UserPage) -> Result<(), Trouble> {
        let holds_anyone = self.holds_anyone();
        let Work::Sweep(work) = &mut run.work else { return Ok(()) };
        work.counting = false;
        // Whoever gave the token lives: an answer without content is the likelier story, so the live listing is read again.
        let anew = work.state.live == Some(0) && work.state.round < ROUNDS_MAX && (page.total > 0 || holds_anyone);
        // Fewer than there were live ones means that some vanished meanwhile, and says nothing about how many were deleted before.
        if !anew && work.state.live == Some(page.total) {
            return self.complete(run).await;
        }
        work.live_seen = std::mem::take(&mut work.seen);
        let former = work.state.clone();
        let next = Sweep { listing_call: 0, page: 1, total: None, seen: 0, ..former };
        work.state = match anew {
            true => Sweep { live: None, live_call: 0, round: former.round + 1, ..next },
            false => Sweep { with_deleted: true, round: 1, ..next },
        };
        let mut state = work.state.clone();
        state.reconciliation = run.record.id;
        self.foresee(run, page.total.div_ceil(PAGE_ROWS_MAX));
        let edit: super::Edit = Box::new(move |source| source.sweep = Some(state));
        self.commit(run, Step { edit: Some(edit), ..Step::default() }).await.map(drop)
    }

    /// Everything was read: who was seen only among deleted users is deleted, the cursor begins behind the sweep.
    async fn complete(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Work::Sweep(work) = &run.work else { return Ok(()) };
        let began = work.state.began;
        let mut evidence = self.absent(work, &run.record);
        if work.state.live == Some(0) {
            self.spare_strangers(&mut evidence)?;
        }
        let gone = evidence.iter().find(|(_, evidence)| pass::is_gone(evidence)).map(|(uid, _)| uid.clone());
        run.asks_no_more();
        self.commit_all(run, evidence).await?;
        let (wall, cursor) = (self.means.clock.now(), (began - self.behind()).floor_to_second());
        let offset = self.means.tenant.time.offset_millis();
        let edit: super::Edit = Box::new(move |state| {
            (state.swept_at, state.passed_at, state.sweep) = (Some(wall), Some(wall), None);
            state.cursor = state.cursor.max(Some(cursor));
            state.count_differs = false;
            state.seen_deleted = gone.or(state.seen_deleted.take());
            state.clock_offset_millis = offset.or(state.clock_offset_millis);
        });
        let judged = self.judge(run)?;
        run.record.finished_at = run.record.state.is_over().then_some(wall);
        let mut closes = self.answered_by(run);
        if !run.record.dry_run {
            closes.extend([Reason::InitialLoad, Reason::CountMismatch].map(|reason| Close { reason, uid: None, began: None }));
        }
        self.commit(run, Step { closes, edit: both(Some(edit), judged), ..Step::default() }).await?;
        self.pass_ended = Some(self.means.clock.elapsed());
        Ok(())
    }

    /// What the sweep says of those whom it did not show among the live users.
    fn absent(&self, work: &SweepWork, run: &Reconciliation) -> Vec<(String, Evidence)> {
        let state = &work.state;
        let all = state.with_deleted.then_some(state.listing_call);
        let Absent { only_deleted, nowhere } = if run.dry_run {
            // It left no marks: everyone whom the directory holds as alive counts as not seen.
            let held = self.means.store.absent(&self.means.tenant.name, (u64::MAX, None)).nowhere;
            let (live, all) = if state.with_deleted { (&work.live_seen, Some(&work.seen)) } else { (&work.seen, None) };
            let (shown, nowhere) =
                held.into_iter().filter(|uid| !live.contains(uid)).partition(|uid| all.is_some_and(|all| all.contains(uid)));
            Absent { only_deleted: shown, nowhere }
        } else {
            self.means.store.absent(&self.means.tenant.name, (state.live_call, all))
        };
        let told =
            |listed| move |uid| (uid, Evidence::Missing(Missing { listed, began: state.began, call: state.live_call, found_by: run.id }));
        only_deleted.into_iter().map(told(true)).chain(nowhere.into_iter().map(told(false))).collect()
    }

    /// The count never added up: what was read stays, nothing is concluded, the next schedule tries again.
    async fn give_up(&mut self, run: &mut Run) -> Result<(), Trouble> {
        run.record.state = RunState::Failed;
        run.asks_no_more();
        run.record.message =
            Some("upstream's pages never added up to its own count; nothing is concluded about who was not seen".to_owned());
        run.record.finished_at = Some(self.means.clock.now());
        self.sweep_after = self.means.clock.elapsed() + super::SWEEP_AGAIN_AFTER;
        let closes = self.answered_by(run);
        let Work::Sweep(work) = &run.work else { return Ok(()) };
        let cursor = (work.state.began - self.behind()).floor_to_second();
        // Passes may begin all the same: what was not seen waits for the next sweep, but what changes need not.
        let edit: super::Edit = Box::new(move |state| (state.sweep, state.cursor) = (None, state.cursor.or(Some(cursor))));
        self.commit(run, Step { closes, edit: Some(edit), ..Step::default() }).await.map(drop)
    }
}

fn page_query(state: &Sweep) -> PageQuery {
    let sort_by = if state.round >= ROUNDS_MAX { "name" } else { "created_at" };
    let include_deleted = state.with_deleted;
    PageQuery { page: state.page, per_page: PAGE_ROWS_MAX, sort_by, updated_after: None, include_deleted, search: None }
}
