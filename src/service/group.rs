//! One group of jobs on its way to one commit: each is decided against what those before it decided.

mod misfits;
mod whole;

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;
use tokio::sync::oneshot;

use super::job::{Deliver, Job, Repair, Repaired};
use super::recent::{Recent, Who};
use super::replies::{self, Reply};
use super::tenant::Tenant;
use super::{Receipt, Refusal};
use crate::clock::Clock;
use crate::directory::{
    Cause, Change, ChangeKind, Circumstances, ClosedGap, Decision, Difference, Event, EventKind, Evidence, Known, Outcome, Reason, decide,
};
use crate::storage::entry::Numbers;
use crate::storage::{Batch, Call, Delivery, Error, RunState, SeenDelivery, SourceState, Store, StoredUser};
use crate::telemetry::Metrics;
use crate::upstream::mangoapps::delivery::{self, Content};

/// What a group needs around it.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The store.
    pub store: Arc<Store>,
    /// The sources, by name.
    pub tenants: Arc<BTreeMap<String, Arc<Tenant>>>,
    /// The clock.
    pub clock: Clock,
    /// The metrics.
    pub metrics: Arc<Metrics>,
}

/// A group that is being put together.
pub struct Group<'a> {
    around: &'a Surroundings,
    numbers: Numbers,
    batch: Batch,
    records: HashMap<Who, Arc<Known>>,
    recent: &'a mut Recent,
    states: BTreeMap<Arc<str>, SourceState>,
    seen: HashMap<(Arc<str>, String), SeenDelivery>,
    /// What is answered once the group is durable.
    replies: Vec<(Reply, Receipt)>,
    repaired: Vec<(oneshot::Sender<Result<Repaired, Refusal>>, Repaired)>,
    tally: Tally,
    /// Sources of which a delivery is answered 200.
    heard: Vec<Arc<str>>,
    /// What was held in memory, and is given back if it cannot be committed.
    held: Vec<(Arc<str>, Reason, u64)>,
    /// Failures in a row, as the store is told of them.
    streaks: Vec<(Arc<Tenant>, u32)>,
}

/// What a decision leaves to whoever asked for it.
struct Decided {
    outcome: Outcome,
    closed: u64,
    changed: bool,
}

/// What the metrics learn once the group is durable.
#[derive(Default)]
struct Tally {
    shown: Vec<(Arc<str>, Reason, u64)>,
    changed: Vec<(Arc<str>, ChangeKind, bool)>,
    ended: Vec<(Arc<str>, crate::storage::Mode, RunState)>,
}

impl<'a> Group<'a> {
    /// An empty group; its numbers follow those of the store.
    #[must_use]
    pub fn new(around: &'a Surroundings, recent: &'a mut Recent) -> Self {
        Self {
            around,
            numbers: around.store.numbers(),
            batch: Batch::default(),
            records: HashMap::new(),
            recent,
            states: BTreeMap::new(),
            seen: HashMap::new(),
            replies: Vec::new(),
            repaired: Vec::new(),
            tally: Tally::default(),
            heard: Vec::new(),
            held: Vec::new(),
            streaks: Vec::new(),
        }
    }

    /// Decides one job.
    ///
    /// # Errors
    /// When the store cannot be read; the whole group is refused then.
    pub fn take(&mut self, job: Job) -> Result<(), Error> {
        match job {
            // Nobody waits any more: a 503 was answered, so nothing of it may happen.
            Job::Deliver(deliver) if deliver.reply.is_closed() => Ok(()),
            Job::Repair(repair) if repair.reply.is_closed() => Ok(()),
            Job::Note => Ok(()),
            Job::Deliver(deliver) => self.deliver(*deliver),
            Job::Repair(repair) => self.repair(*repair),
        }
    }

    fn deliver(&mut self, deliver: Deliver) -> Result<(), Error> {
        let Deliver { source, delivery, body, received_at, again, reply } = deliver;
        let delivery::Delivery { event_id, event, uid, content } = delivery;
        let kind = event.as_deref().and_then(EventKind::from_name);
        let key = (Arc::clone(&source), event_id.clone());
        if !again && !self.heard.contains(&source) {
            self.heard.push(Arc::clone(&source));
        }
        let seen = match self.seen.get(&key) {
            Some(seen) => Some(*seen),
            None => self.around.store.seen(&source, &event_id)?,
        };
        if seen.is_some() && !again {
            self.replies.push((reply, Receipt { outcome: Outcome::Duplicate, event_id, event: kind }));
            return Ok(());
        }
        let (outcome, reason, stamp) = match content {
            Content::Ignored => (Outcome::Ignored, None, None),
            // Decided again and still not understood: what is kept of it stays as it is.
            Content::Quarantined(_) if again => {
                self.replies.push((reply, Receipt { outcome: Outcome::Quarantined, event_id, event: kind }));
                return Ok(());
            }
            Content::Quarantined(why) => {
                self.undecodable(&source, &event_id)?;
                (Outcome::Quarantined, Some(why.to_owned()), None)
            }
            Content::Event(event) => {
                let stamp = event.stamp;
                if !again {
                    self.lateness(&source, &event)?;
                }
                (self.hear(&source, event)?, None, Some(stamp))
            }
        };
        if again {
            self.understood(&source, &event_id)?;
        }
        self.numbers.delivery += 1;
        self.seen.insert(key, SeenDelivery { number: self.numbers.delivery, outcome });
        self.batch.deliveries.push(Delivery {
            number: self.numbers.delivery,
            source: Arc::clone(&source),
            event_id: event_id.clone(),
            event,
            uid,
            outcome,
            reason,
            received_at,
            // A stamp from the future must not be replayable once its id is forgotten.
            expires_at: stamp.map_or(received_at, |stamp| stamp.max(received_at)) + self.tenant(&source).remember_deliveries,
            body: (outcome == Outcome::Quarantined).then(|| body.to_vec()),
        });
        self.replies.push((reply, Receipt { outcome, event_id, event: kind }));
        Ok(())
    }

    fn hear(&mut self, source: &Arc<str>, event: Box<Event>) -> Result<Outcome, Error> {
        let (uid, cause) = (event.uid.clone(), Cause::EventId(event.id.clone()));
        Ok(self.decide((Arc::clone(source), uid), &Evidence::Event(event), cause)?.outcome)
    }

    fn repair(&mut self, repair: Repair) -> Result<(), Error> {
        let Repair { source, run, evidence, shown, closes, call, edit, reply } = repair;
        let mut done = Repaired::default();
        let mut run = run.map(|run| self.numbered(run));
        let id = run.as_ref().map_or(0, |run| run.id);
        for (uid, evidence) in evidence {
            let decided = self.decide((Arc::clone(&source), uid), &evidence, Cause::Reconciliation(id))?;
            done.gaps_closed += decided.closed;
            done.changed += u64::from(decided.changed);
        }
        for evidence in shown {
            self.show(&source, evidence)?;
        }
        for close in closes {
            done.gaps_closed += self.close(&source, close, id)?;
        }
        if let Some(edit) = edit {
            edit(self.state(&source)?);
        }
        if let Some(endpoint) = call {
            self.numbers.call += 1;
            let (number, at) = (self.numbers.call, self.around.clock.now());
            self.batch.calls.push(Call { source: source.to_string(), endpoint, number, at });
            done.call = number;
        }
        if let Some(run) = &mut run {
            run.progress.gaps_closed += done.gaps_closed;
            run.progress.changed += done.changed;
            let held = self.batch.reconciliations.iter().find(|held| held.id == run.id).cloned();
            let held = held.map_or_else(|| self.around.store.reconciliation(run.id), |held| Ok(Some(held)))?;
            if let Some(held) = held.as_ref().filter(|held| held.state == RunState::Cancelled) {
                // Whoever works on it has not heard of that yet.
                (run.state, run.finished_at) = (held.state, held.finished_at);
            }
            let ends = run.state.is_over() && held.is_none_or(|held| !held.state.is_over());
            if ends {
                self.tally.ended.push((Arc::clone(&source), run.mode, run.state));
            }
            self.batch.reconciliations.retain(|other| other.id != run.id);
            self.batch.reconciliations.push(run.clone());
        }
        done.run = run;
        self.repaired.push((reply, done));
        Ok(())
    }

    /// The run with a number of its own.
    fn numbered(&mut self, mut run: crate::storage::Reconciliation) -> crate::storage::Reconciliation {
        if run.id == 0 {
            self.numbers.reconciliation += 1;
            run.id = self.numbers.reconciliation;
        }
        run
    }

    /// Loads, decides, and keeps the decision for the commit.
    fn decide(&mut self, who: Who, evidence: &Evidence, cause: Cause) -> Result<Decided, Error> {
        let at = self.at(&who.0);
        let known = match self.records.remove(&who).or_else(|| self.recent.take(&who)) {
            Some(known) => Arc::unwrap_or_clone(known),
            None => self.around.store.record(&who.0, &who.1)?.into(),
        };
        let mut decision = decide(known, evidence, &at);
        let record = &mut decision.known.record;
        for (_, gap) in record.gaps.iter_mut().filter(|(_, gap)| gap.id == 0) {
            self.numbers.gap += 1;
            gap.id = self.numbers.gap;
        }
        for (reason, gap) in &mut decision.closed {
            if gap.id == 0 {
                self.numbers.gap += 1;
                gap.id = self.numbers.gap;
            }
            let closed_by = if let Cause::Reconciliation(id) = cause { id } else { 0 };
            let (source, uid, gap) = (who.0.to_string(), Some(who.1.clone()), gap.clone());
            self.batch.closed.push(ClosedGap { source, reason: *reason, uid, gap, closed_at: at.wall, closed_by });
        }
        self.tally.shown.extend(decision.shown.iter().map(|reason| (Arc::clone(&who.0), *reason, 1)));
        let Decision { mut known, outcome, closed, difference, .. } = decision;
        let decided = Decided { outcome, closed: closed.len() as u64, changed: difference.is_some() };
        let misfits = difference.as_ref().map(|difference| self.misfits(&who, difference, evidence)).transpose()?;
        if let Some(difference) = difference {
            known.record.last_change = self.change(&who, difference, (cause.clone(), known.record.last_change));
        }
        self.records.insert(who, Arc::new(known));
        for (who, misfit) in misfits.into_iter().flatten() {
            self.decide(who, &Evidence::Misfit(misfit), cause.clone())?;
        }
        Ok(decided)
    }

    fn change(&mut self, (source, uid): &Who, difference: Difference, (cause, previous): (Cause, u64)) -> u64 {
        let Difference { kind, from, user } = difference;
        self.numbers.cursor += 1;
        self.tally.changed.push((Arc::clone(source), kind, matches!(cause, Cause::EventId(_))));
        self.batch.changes.push(Change {
            cursor: self.numbers.cursor,
            at: self.around.clock.now(),
            source: Arc::clone(source),
            uid: uid.clone(),
            kind,
            from,
            cause,
            previous,
            user,
        });
        self.numbers.cursor
    }

    fn state(&mut self, source: &Arc<str>) -> Result<&mut SourceState, Error> {
        match self.states.entry(Arc::clone(source)) {
            std::collections::btree_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::btree_map::Entry::Vacant(entry) => Ok(entry.insert(self.around.store.source(source)?)),
        }
    }

    fn tenant(&self, source: &str) -> Arc<Tenant> {
        // Jobs are made for configured sources only; an empty tenant would merely have no rules of its own.
        self.around.tenants.get(source).cloned().unwrap_or_default()
    }

    fn at(&self, source: &str) -> Circumstances {
        let tenant = self.tenant(source);
        Circumstances { rules: tenant.rules, now: tenant.time.now(), wall: self.around.clock.now() }
    }

    /// The batch to be committed: nothing more is taken after it.
    #[must_use]
    pub fn batch(&mut self) -> &Batch {
        self.batch.users = self.records.drain().map(|((source, uid), known)| StoredUser { source, uid, known }).collect();
        // Users get their places in the index in this order: the same jobs must leave the same store.
        self.batch.users.sort_unstable_by(|one, other| (&one.source, &one.uid).cmp(&(&other.source, &other.uid)));
        self.batch.sources = std::mem::take(&mut self.states).into_iter().map(|(source, state)| (source.to_string(), state)).collect();
        &self.batch
    }

    /// Answers everyone: the group is durable.
    pub fn succeed(self) {
        let Batch { users, changes, .. } = self.batch;
        // They share what is shown: users that stand alone again are changed in place.
        drop(changes);
        for StoredUser { source, uid, known } in users {
            self.recent.put((source, uid), known);
        }
        for (tenant, failures) in self.streaks {
            tenant.vigil.set_failures_stored(failures);
        }
        for (source, reason, times) in self.tally.shown {
            self.around.metrics.gap_detected(&source, reason, times);
            if let Some(tenant) = self.around.tenants.get(&*source) {
                tenant.wake.notify_one();
            }
        }
        for (source, kind, by_delivery) in self.tally.changed {
            self.around.metrics.changed(&source, kind, by_delivery);
        }
        for (source, mode, state) in self.tally.ended {
            self.around.metrics.reconciled(&source, mode, state);
        }
        for (reply, repaired) in self.repaired {
            drop(reply.send(Ok(repaired)));
        }
        replies::send(self.replies.into_iter().map(|(reply, receipt)| (reply, Ok(receipt))));
    }

    /// Answers everyone: the group was not taken.
    pub fn fail(self) {
        for (source, reason, times) in self.held {
            if let Some(tenant) = self.around.tenants.get(&*source) {
                tenant.vigil.hold(reason, times);
            }
        }
        for (reply, _) in self.repaired {
            drop(reply.send(Err(Refusal::Unavailable)));
        }
        replies::send(self.replies.into_iter().map(|(reply, _)| (reply, Err(Refusal::Unavailable))));
    }

    /// How many deliveries wait for the commit.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        self.batch.deliveries.len()
    }
}
