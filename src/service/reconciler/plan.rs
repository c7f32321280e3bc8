//! What to ask upstream next: by due gaps, by schedule, by what is left of the budgets.

use std::collections::VecDeque;
use std::time::Duration;

use super::Reconciler;
use super::pass::ANSWERED;
use super::run::{self, Run, SweepWork, Urgency, Work};
use super::search::Searches;
use crate::directory::{Need, Reason, Timestamp, absence};
use crate::service::job::READ_AGAIN_AFTER;
use crate::storage::{Due, Endpoint, Mode, Reconciliation, RunState, SourceGap, SourceState};

/// From this many users on a page of a listing costs less than their lookups.
const PASS_FROM_USERS: usize = 4;
/// Users of one run of lookups, at most.
const LOOKUPS_MAX: usize = 100;
/// Due users that are looked at in one plan.
const DUE_MAX: usize = 1000;
/// A sweep for the sake of upstream's total comes no sooner after the last one: a difference that a sweep cannot mend must not cost
/// one sweep after the other.
const MISMATCH_SWEEP_AFTER: Duration = Duration::from_secs(6 * 3600);
/// Users of one background run: it ends soon, so that its changes have a cause that tells when.
const BACKGROUND_MAX: usize = 25;

impl Reconciler {
    /// Takes up what was under way when the last process ended.
    pub(super) fn resume(&mut self) {
        let Ok(newest) = self.means.store.reconciliations(u64::MAX, DUE_MAX) else { return };
        let ours = |record: &Reconciliation| *record.source == *self.means.tenant.name && !record.state.is_over();
        let (staged, open): (Vec<_>, Vec<_>) = newest.into_iter().filter(ours).partition(|record| record.state.is_left());
        self.staged.extend(staged.into_iter().map(|record| record.id));
        for mut record in open {
            record.state = RunState::Waiting;
            if record.mode == Mode::Lookup && record.uid.is_none() {
                record.message = Some("the service was restarted; what is still open is planned anew".to_owned());
            }
            let run = self.as_run(record);
            self.runs.push(run);
        }
    }

    /// A stored record as a run; a sweep goes on at the page where it was.
    pub(super) fn as_run(&self, record: Reconciliation) -> Run {
        let (work, urgency) = match (record.mode, record.uid.clone()) {
            (Mode::Lookup, uid) => (Work::Lookups(uid.into_iter().collect()), Urgency::AskedLookup),
            (Mode::Incremental, _) => match self.new_pass() {
                Some(pass) => (Work::Pass(Box::new(pass)), Urgency::AskedPass),
                None => (Work::Sweep(self.new_sweep().into()), Urgency::AskedPass),
            },
            (Mode::Full, _) => (Work::Sweep(self.resumed_sweep(&record).into()), Urgency::Sweep),
        };
        Run::new(record, work, urgency)
    }

    fn resumed_sweep(&self, record: &Reconciliation) -> SweepWork {
        let state = self.means.store.source(&self.means.tenant.name).ok().and_then(|state| state.sweep);
        match state.filter(|state| state.reconciliation == record.id && record.id != 0) {
            // The count of deleted users is asked again by reading the live listing's last page again.
            Some(state) => SweepWork { state, ..SweepWork::default() },
            None => self.new_sweep(),
        }
    }

    /// Adds the runs that are due and not under way.
    pub(super) fn plan(&mut self) {
        if self.means.clock.elapsed() < self.rest_until {
            return;
        }
        self.plan_sweep();
        self.plan_repairs();
        self.plan_source_repairs();
        self.plan_pass();
        self.plan_details();
    }

    fn plan_sweep(&mut self) {
        if self.means.clock.elapsed() < self.sweep_after || self.runs.iter().any(|run| matches!(run.work, Work::Sweep(_))) {
            return;
        }
        let Ok(state) = self.means.store.source(&self.means.tenant.name) else { return };
        let every = self.means.settings.full_every;
        match state.swept_at {
            None => self.start(Mode::Full, Work::Sweep(self.new_sweep().into()), (Urgency::Sweep, vec![Reason::InitialLoad.name()])),
            Some(swept) if is_open(&state, Reason::CountMismatch) && self.means.clock.now() > swept + MISMATCH_SWEEP_AFTER => {
                let reasons = vec![Reason::CountMismatch.name()];
                self.start(Mode::Full, Work::Sweep(self.new_sweep().into()), (Urgency::Sweep, reasons));
            }
            Some(swept) if is_over(swept, every, self.means.clock.now()) => {
                self.start(Mode::Full, Work::Sweep(self.new_sweep().into()), (Urgency::Scheduled, vec!["schedule"]));
            }
            Some(_) => {}
        }
    }

    /// Gaps that are due: a pass where one page costs less than their lookups, else lookups.
    fn plan_repairs(&mut self) {
        let now = self.means.tenant.time.now();
        let due = self.means.store.due(&self.means.tenant.name, DUE_MAX, &self.held());
        let due: Vec<Due> = due.into_iter().filter(|user| user.due <= now).collect();
        if due.is_empty() {
            return;
        }
        let state = self.means.store.source(&self.means.tenant.name);
        let state = state.unwrap_or_default();
        let (swept, usable) = (state.cursor.is_some(), state.passes_usable != Some(false));
        let (by_pass, by_lookup): (Vec<&Due>, Vec<&Due>) = due.iter().partition(|user| self.fits_a_pass(user));
        let only_listings = by_pass.iter().any(|user| user.gaps.iter().any(|(_, need, _)| *need == Need::Listing));
        if by_pass.iter().any(|user| is_urgent(user)) {
            self.hasten_pass();
        }
        let passing = self.runs.iter().any(|run| matches!(run.work, Work::Pass(_)));
        let mut single = by_lookup;
        if usable && (only_listings || by_pass.len() >= PASS_FROM_USERS) {
            // Before the first sweep is over, its pages close these gaps. A gap that the last pass could not close yet must not ask for
            // one pass after the other.
            let rested = self.passed.is_none_or(|passed| now >= passed + self.means.settings.settle);
            if swept
                && !passing
                && rested
                && let Some(pass) = self.new_pass()
            {
                let urgency = if by_pass.iter().any(|user| is_urgent(user)) { Urgency::Repair } else { Urgency::Soon };
                let reasons = reasons(&by_pass);
                self.start(Mode::Incremental, Work::Pass(Box::new(pass)), (urgency, reasons));
            }
        } else {
            single.extend(by_pass);
        }
        self.plan_lookups(&single);
    }

    /// A pass that waited for its turn waits no more: something else wants it now.
    fn hasten_pass(&mut self) {
        for run in &mut self.runs {
            if matches!(run.work, Work::Pass(_)) {
                run.urgency = run.urgency.min(Urgency::Repair);
            }
        }
    }

    /// Whether a pass may close this user's gaps: none wants a lookup, and no pass has tried already.
    fn fits_a_pass(&self, user: &Due) -> bool {
        let tolerance = self.means.settings.tolerance;
        user.gaps.iter().all(|(_, need, due)| {
            let tried = self.passed.is_some_and(|passed| passed > *due + tolerance);
            *need != Need::Lookup && !tried
        })
    }

    /// Gaps of the whole source: one pass for all that are due.
    fn plan_source_repairs(&mut self) {
        if self.means.clock.elapsed() < self.pass_after || self.runs.iter().any(|run| matches!(run.work, Work::Pass(_))) {
            return;
        }
        let Ok(state) = self.means.store.source(&self.means.tenant.name) else { return };
        let now = self.means.tenant.time.now();
        let due = answered_by_passes(&state).filter(|gap| gap.gap.due <= now);
        let mut reasons: Vec<&'static str> = due.map(|gap| gap.reason.name()).collect();
        reasons.sort_unstable();
        if !reasons.is_empty()
            && let Some(pass) = self.new_pass()
        {
            self.start(Mode::Incremental, Work::Pass(Box::new(pass)), (Urgency::Repair, reasons));
        }
    }

    /// Who may wrongly be active or wrongly be there goes first, and by all of the budget; the others leave a share of it, and take theirs
    /// evenly spread.
    fn plan_lookups(&mut self, users: &[&Due]) {
        let remaining = self.lookup.remaining(self.means.clock.elapsed());
        let may_wait = remaining > self.reserve_share();
        let allowed = users.iter().copied().filter(|user| self.may_look_up(&user.uid));
        let (urgent, others): (Vec<&Due>, Vec<&Due>) = allowed.partition(|user| is_urgent(user));
        self.plan_lookups_of(urgent, Urgency::Repair);
        self.plan_lookups_of(if may_wait { others } else { Vec::new() }, Urgency::Soon);
    }

    fn plan_lookups_of(&mut self, mut users: Vec<&Due>, urgency: Urgency) {
        if self.runs.iter().any(|run| run.urgency == urgency && matches!(run.work, Work::Lookups(_))) {
            return;
        }
        users.truncate(LOOKUPS_MAX);
        if self.lookups_hide_deleted() == Some(false) {
            users = self.plan_searches(users);
        }
        let queue: VecDeque<String> = users.iter().map(|user| user.uid.clone()).collect();
        // Whoever waits with the others and cannot any more goes first.
        for run in &mut self.runs {
            if let (Urgency::Soon, Work::Lookups(waiting)) = (run.urgency, &mut run.work) {
                waiting.retain(|uid| !queue.contains(uid));
            }
        }
        if !queue.is_empty() {
            self.start(Mode::Lookup, Work::Lookups(queue), (urgency, reasons(&users)));
        }
    }

    /// Where lookups show deleted users too, only the live listing tells whether candidates for deletion live, once enough time has
    /// passed, and whether others do of whom that is in doubt; returns the rest.
    fn plan_searches<'a>(&mut self, users: Vec<&'a Due>) -> Vec<&'a Due> {
        let (now, pause) = (self.means.tenant.time.now(), self.means.settings.confirm_deletes_after);
        let (mut candidates, mut others) = (Vec::new(), Vec::new());
        for user in users {
            match self.candidate(&user.uid) {
                Ok(Some(candidate)) if now >= candidate.began + pause => candidates.push(user),
                Ok(Some(_)) => {}
                Ok(None) if self.is_life_in_doubt(user) => candidates.push(user),
                _ => others.push(user),
            }
        }
        if !candidates.is_empty() && !self.runs.iter().any(|run| matches!(run.work, Work::Searches(_))) {
            let queue = candidates.iter().map(|user| user.uid.clone()).collect();
            self.start(Mode::Lookup, Work::Searches(Searches::of(queue)), (Urgency::Repair, reasons(&candidates)));
        }
        others
    }

    /// Whether only the live listing tells whether someone lives: an event came after the deletion, no pass confirmed the deletion, or a
    /// listing with deleted users showed a stranger, and no other.
    fn is_life_in_doubt(&self, user: &Due) -> bool {
        let record = self.means.store.record(&self.means.tenant.name, &user.uid).ok().flatten();
        record.is_some_and(|record| {
            let is_announced = record.life.deletion.is_some();
            let doubts = |reason: &Reason| *reason == Reason::EventAfterDelete || *reason == Reason::UnconfirmedEvent && is_announced;
            absence::is_suspected(&record) || user.gaps.iter().any(|(reason, _, _)| doubts(reason))
        })
    }

    /// Lookups that are kept for what cannot wait: a third.
    fn reserve_share(&self) -> u32 {
        self.means.tenant.budgets.capacity(Endpoint::Lookup) / 3
    }

    fn plan_pass(&mut self) {
        let Ok(state) = self.means.store.source(&self.means.tenant.name) else { return };
        if state.cursor.is_none() || self.runs.iter().any(|run| matches!(run.work, Work::Pass(_) | Work::Sweep(_))) {
            return;
        }
        let soon = self.means.tenant.time.now() + READ_AGAIN_AFTER;
        if answered_by_passes(&state).any(|gap| gap.gap.due <= soon) {
            // Its own pass, late enough to close it, comes as soon.
            return;
        }
        let settings = &self.means.settings;
        let broken = self.means.tenant.broken_by().or(self.is_silent().then_some(Reason::Silence));
        let every = match broken {
            Some(_) if !settings.degraded_every.is_zero() => settings.degraded_every,
            _ => settings.incremental_every,
        };
        // Within a process by the clock that nobody sets.
        let is_due = match self.pass_ended {
            Some(ended) => !every.is_zero() && self.means.clock.elapsed() >= ended + jittered(ended.as_millis(), every),
            None => is_over(state.passed_at.unwrap_or_default(), every, self.means.clock.now()),
        };
        if is_due && let Some(pass) = self.new_pass() {
            let reason = broken.map_or("schedule", Reason::name);
            self.start(Mode::Incremental, Work::Pass(Box::new(pass)), (Urgency::Scheduled, vec![reason]));
        }
    }

    /// Details that only a lookup carries, with what repairs leave over: asked for first, then the oldest.
    fn plan_details(&mut self) {
        if !self.means.settings.details_in_background || self.runs.iter().any(|run| matches!(run.work, Work::Lookups(_))) {
            return;
        }
        let remaining = self.lookup.remaining(self.means.clock.elapsed());
        // A third is for what cannot wait, a third for other repairs: details take the rest.
        if remaining <= 2 * self.reserve_share() {
            return;
        }
        let mut queue: VecDeque<String> = VecDeque::new();
        queue.extend(self.wanted());
        for uid in self.means.store.stale_details(&self.means.tenant.name, DUE_MAX) {
            if queue.len() >= BACKGROUND_MAX {
                break;
            }
            if self.may_look_up(&uid) && !queue.contains(&uid) {
                queue.push_back(uid);
            }
        }
        if !queue.is_empty() {
            self.start(Mode::Lookup, Work::Lookups(queue), (Urgency::Background, vec!["details"]));
        }
    }

    /// Looks one user up as soon as the budget has room.
    pub(super) fn plan_lookup(&mut self, uid: String, reason: &'static str) {
        self.start(Mode::Lookup, Work::Lookups(VecDeque::from([uid])), (Urgency::Repair, vec![reason]));
    }

    fn start(&mut self, mode: Mode, work: Work, (urgency, reasons): (Urgency, Vec<&'static str>)) {
        let reasons = reasons.into_iter().map(str::to_owned).collect();
        let record = run::record(&self.means.tenant.name, mode, reasons, self.means.clock.now());
        self.runs.push(Run::new(record, work, urgency));
    }
}

/// Whether a gap of the whole source is open.
fn is_open(state: &SourceState, reason: Reason) -> bool {
    state.gaps.iter().any(|gap| gap.reason == reason)
}

/// Open gaps of the whole source that a pass closes.
fn answered_by_passes(state: &SourceState) -> impl Iterator<Item = &SourceGap> {
    state.gaps.iter().filter(|gap| gap.uid.is_none() && ANSWERED.contains(&gap.reason))
}

/// Whether a schedule's time has come, by the wall clock.
fn is_over(last: Timestamp, every: Duration, now: Timestamp) -> bool {
    !every.is_zero() && now >= last + jittered(u128::from(last.as_millis().unsigned_abs()), every)
}

/// Each time a little earlier or later, so that many services do not ask at once.
fn jittered(last_millis: u128, every: Duration) -> Duration {
    let jitter = u32::try_from(last_millis % 101).unwrap_or(0);
    every.saturating_mul(950 + jitter).checked_div(1000).unwrap_or(every)
}

/// Whether someone may wrongly be active, or wrongly be there.
fn is_urgent(user: &Due) -> bool {
    use Reason::{EventAfterDelete, MissedDelivery, SameSecond, StatusContradiction, UnknownUser};
    user.gaps
        .iter()
        .any(|(reason, _, _)| matches!(reason, UnknownUser | StatusContradiction | SameSecond | EventAfterDelete | MissedDelivery))
}

/// The reasons of these users' gaps, each once.
fn reasons(users: &[&Due]) -> Vec<&'static str> {
    let mut reasons: Vec<&'static str> = users.iter().flat_map(|user| &user.gaps).map(|(reason, _, _)| reason.name()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    reasons
}
