//! Looking single users up.

use std::time::Duration;

use super::run::{Run, Urgency, Work};
use super::{Reconciler, Sent, Step, Trouble};
use crate::directory::{Candidate, Evidence, NotFound, Shape, Sighting, Sign, absence, merge};
use crate::storage::Endpoint;
use crate::upstream::mangoapps::client::{Failure, Lookup};

/// Users of whom it is remembered when they were last looked up.
const ATTEMPTS_MAX: usize = 20_000;
/// The longest pause between two lookups of one user who stays in doubt.
const PAUSE_MAX: Duration = Duration::from_secs(15 * 60);

/// How long someone who was found stands for the others who are there.
const WITNESSED_FOR: Duration = Duration::from_secs(60);

/// After a witness was not found either, how long nobody else is asked for: lookups may find nobody at all, and must not go through everyone.
const NO_WITNESS_FOR: Duration = Duration::from_secs(15 * 60);

/// Whether lookups still find those who are there: before that is known, a 404 says little. Times by the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Witness {
    /// When a lookup last found someone.
    found: Option<Duration>,
    /// When someone who should be there was last not found.
    missed: Option<Duration>,
    /// How many were asked for just to see whether they are found.
    asked: usize,
}

/// When a user may be looked up again.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// Lookups that left something open, in a row.
    count: u32,
    /// Not before this, by the monotonic clock.
    not_before: Duration,
}

impl Reconciler {
    /// Looks the next user of the run up.
    pub(super) async fn look_up(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Work::Lookups(queue) = &mut run.work else { return Ok(()) };
        if run.urgency == Urgency::Background
            && let Some(wanted) = self.wanted()
        {
            // Someone just asked for this user: the others have waited for days, and can wait a little longer.
            queue.retain(|uid| *uid != wanted);
            queue.push_front(wanted);
        }
        let Some(uid) = queue.front().cloned() else { return self.looked_up(run).await };
        // Before someone's absence may count, someone else has to be found.
        let witness = if self.is_suspected(&uid)? { self.witness_needed() } else { None };
        let (uid, is_witness) = (witness.clone().unwrap_or(uid), witness.is_some());
        let mut sent = self.reserve(Endpoint::Lookup).await?;
        let answer = self.means.client.lookup(&uid).await;
        run.record.progress.calls += 1;
        run.record.message = None;
        let found = match self.observe(Endpoint::Lookup, &mut sent, answer) {
            Err(Trouble::Upstream(failure)) => return Err(self.set_aside(run, &uid, failure)),
            found => found?,
        };
        let probe = self.probe(&uid, &found)?;
        let is_found = matches!(found, Lookup::Found(_));
        self.witnessed(is_found, is_witness);
        if is_found {
            self.plan_probe(&uid)?;
        }
        let hides = probe.or(self.lookups_hide_deleted());
        let evidence = self.evidence(run, (&uid, hides), (found, sent))?;
        if let Work::Lookups(queue) = &mut run.work {
            queue.retain(|waiting| *waiting != uid);
        }
        let edit: Option<super::Edit> =
            probe.map(|hidden| -> super::Edit { Box::new(move |state| state.lookups_hide_deleted = Some(hidden)) });
        self.commit(run, Step { evidence: vec![(uid.clone(), evidence)], edit, ..Step::default() }).await?;
        self.attempted(&uid)?;
        match &run.work {
            Work::Lookups(queue) if queue.is_empty() => self.looked_up(run).await,
            _ => Ok(()),
        }
    }

    /// Lets the others go first: an answer that is unusable for one user must not keep them from theirs.
    fn set_aside(&mut self, run: &mut Run, uid: &str, failure: Failure) -> Trouble {
        if matches!(failure, Failure::Status(_) | Failure::Unusable(_))
            && let Work::Lookups(queue) = &mut run.work
        {
            queue.rotate_left(1);
            if let Err(trouble) = self.attempted(uid) {
                return trouble;
            }
        }
        Trouble::Upstream(failure)
    }

    pub(super) async fn looked_up(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let edit = self.judge(run)?;
        run.record.finished_at = run.record.state.is_over().then(|| self.means.clock.now());
        let closes = self.answered_by(run);
        self.commit(run, Step { closes, edit, ..Step::default() }).await.map(drop)
    }

    pub(super) fn evidence(
        &self,
        run: &mut Run,
        (uid, hides): (&str, Option<bool>),
        (found, sent): (Lookup, Sent),
    ) -> Result<Evidence, Trouble> {
        let Lookup::Found(fields) = found else { return Ok(Evidence::NotFound(self.not_found(run, uid, sent)?)) };
        run.record.progress.rows += 1;
        let mark = absence::mark(&fields);
        if mark == Some(true) {
            // It tells by itself that the user was deleted: as good as a 404.
            return Ok(Evidence::NotFound(self.not_found(run, uid, sent)?));
        }
        // Where lookups might show deleted users as well, being found says nothing about life.
        let sign = if hides == Some(true) || mark == Some(false) { Sign::Alive } else { Sign::Silent };
        let fields = absence::unmarked(fields);
        let Sent { began, call } = sent;
        let sighting = Sighting { shape: Shape::Detail, fields, began, call, sign, expected: true, swept: None };
        Ok(Evidence::Sighting(Box::new(sighting)))
    }

    /// What it says that someone was not found.
    pub(super) fn not_found(&self, run: &Run, uid: &str, Sent { began, call }: Sent) -> Result<NotFound, Trouble> {
        let candidate = self.candidate(uid)?;
        let cleared = candidate.map_or(Ok(false), |candidate| self.is_cleared(candidate.found_by))?;
        Ok(NotFound { began, call, found_by: run.record.id, witnessed: self.is_witnessed(), cleared })
    }

    /// What polling says against someone who is held as alive.
    pub(super) fn candidate(&self, uid: &str) -> Result<Option<Candidate>, Trouble> {
        Ok(self.means.store.record(&self.means.tenant.name, uid)?.and_then(|record| record.life.candidate))
    }

    pub(super) fn is_suspected(&self, uid: &str) -> Result<bool, Trouble> {
        Ok(self.means.store.record(&self.means.tenant.name, uid)?.is_some_and(|record| absence::is_suspected(&record)))
    }

    /// Whether someone was found lately.
    pub(super) fn is_witnessed(&self) -> bool {
        self.witness.found.is_some_and(|found| found + WITNESSED_FOR > self.means.clock.elapsed())
    }

    /// Someone was found, or not; perhaps one who should be there.
    pub(super) fn witnessed(&mut self, is_found: bool, is_witness: bool) {
        let now = Some(self.means.clock.elapsed());
        if is_found {
            self.witness.found = now;
        } else if is_witness {
            self.witness.missed = now;
        }
    }

    /// Whom to look up to see that lookups still find anyone; `None` when that is known, or nobody is there to be found.
    pub(super) fn witness_needed(&mut self) -> Option<String> {
        let now = self.means.clock.elapsed();
        let is_known = self.witness.found.is_some_and(|found| found + WITNESSED_FOR / 2 > now);
        if is_known || self.witness.missed.is_some_and(|missed| missed + NO_WITNESS_FOR > now) {
            return None;
        }
        self.witness.asked += 1;
        self.means.store.someone(&self.means.tenant.name, self.witness.asked)
    }

    pub(super) fn lookups_hide_deleted(&self) -> Option<bool> {
        self.means.store.source(&self.means.tenant.name).ok().and_then(|state| state.lookups_hide_deleted)
    }

    /// A user who was seen to be deleted shows whether lookups hide deleted users; `None` when nothing new was learnt.
    ///
    /// That they do is believed until a lookup finds someone whom two listings show to be deleted: whoever was not found may have been
    /// deleted for good, and those are found by no lookup anywhere.
    fn probe(&self, uid: &str, found: &Lookup) -> Result<Option<bool>, Trouble> {
        let (known, hidden) = (self.lookups_hide_deleted(), matches!(found, Lookup::NotFound));
        if known == Some(false) || known == Some(hidden) {
            return Ok(None);
        }
        let record = self.means.store.record(&self.means.tenant.name, uid)?;
        let seen_deleted = record.is_some_and(|record| {
            let listed = record.life.candidate.is_some_and(|candidate| candidate.listed);
            listed || known.is_none() && record.life.sight.is_some_and(|sight| !sight.alive)
        });
        Ok(seen_deleted.then_some(hidden))
    }

    /// An answer shows a user who is not held as alive: whether it says anything about life depends on what lookups do with
    /// deleted users, so one who was seen to be deleted is asked for. Only then: with nobody in doubt it costs a call for nothing.
    fn plan_probe(&mut self, uid: &str) -> Result<(), Trouble> {
        let state = self.means.store.source(&self.means.tenant.name)?;
        let record = self.means.store.record(&self.means.tenant.name, uid)?;
        let in_doubt = record.as_ref().and_then(merge::view).is_none_or(|user| user.is_deleted());
        if let (None, true, Some(gone)) = (state.lookups_hide_deleted, in_doubt, state.seen_deleted)
            && gone != uid
            && self.may_look_up(&gone)
        {
            self.plan_lookup(gone, "probe");
        }
        Ok(())
    }

    /// The next user whose details someone asked for.
    pub(super) fn wanted(&self) -> Option<String> {
        std::iter::from_fn(|| self.means.tenant.wanted.pop()).find(|uid| self.may_look_up(uid))
    }

    /// Whether the user was not looked up too recently.
    pub(super) fn may_look_up(&self, uid: &str) -> bool {
        self.attempts.get(uid).is_none_or(|attempt| attempt.not_before <= self.means.clock.elapsed())
    }

    /// Notes a lookup: the next one waits, longer each time that something stays open.
    pub(super) fn attempted(&mut self, uid: &str) -> Result<(), Trouble> {
        let record = self.means.store.record(&self.means.tenant.name, uid)?;
        let open = record.is_some_and(|record| !record.gaps.is_empty() || merge::detail_stale(&record));
        let (now, interval) = (self.means.clock.elapsed(), self.means.settings.lookup_interval);
        let count = if open { self.attempts.get(uid).map_or(0, |attempt| attempt.count) + 1 } else { 0 };
        let pause = match count {
            0 => interval,
            count => interval.max(Duration::from_secs(1)).saturating_mul(1 << count.min(12)).min(PAUSE_MAX.max(interval)),
        };
        if self.attempts.len() >= ATTEMPTS_MAX {
            self.attempts.retain(|_, attempt| attempt.not_before > now);
        }
        if !pause.is_zero() && self.attempts.len() < ATTEMPTS_MAX {
            self.attempts.insert(uid.to_owned(), Attempt { count, not_before: now + pause });
        } else {
            self.attempts.remove(uid);
        }
        Ok(())
    }
}
