//! What always holds, and what holds once everything is at rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use rollcall::directory::change::value_now;
use rollcall::directory::{Cause, Change, ChangeKind, Outcome, Record, User, merge};
use rollcall::service::Receipt;
use rollcall::simulator::tenant::{Tenant, Truth};
use rollcall::storage::{RunState, Store};
use serde_json::Value;

use crate::happenings::Happening;
use crate::plan::Plan;
use crate::world::{SOURCE, World};

/// How long a read may be on its way into a change: the answer, the queue.
const READ_AGE_MAX: Duration = Duration::from_secs(120);
/// Users whom a poll may take for deleted within an hour while the token hides them; more need someone's word.
const HIDDEN_DELETIONS_MAX: usize = 5;
/// What a reconciliation may take, clock steps included; faults stopped longer ago.
const RUN_MAX: Duration = Duration::from_secs(4 * 3600);
/// Calls of one reconciliation, at most: none reads for ever.
const CALLS_OF_A_RUN_MAX: u64 = 400;

/// What was seen so far.
#[derive(Default)]
pub(crate) struct Checks {
    /// The feed was checked up to here.
    pub(crate) cursor: u64,
    /// Who was deleted when, for how long: begin, and end if they were restored.
    deleted: BTreeMap<String, Vec<(Duration, Option<Duration>)>>,
    /// Event ids that were answered 200.
    acknowledged: BTreeMap<String, Outcome>,
    /// Event ids that made a change.
    applied: BTreeSet<String>,
    /// Users as the feed tells them.
    told: BTreeMap<String, Arc<User>>,
    /// When the token began to hide users, and until when.
    hidden: Option<(Duration, Duration)>,
    wrongly: Vec<Duration>,
}

impl Checks {
    /// Notes who is deleted now.
    pub(crate) fn witness(&mut self, tenant: &Tenant, now: Duration) {
        for number in 1..=tenant.users() {
            let uid = tenant.uid(number).unwrap();
            let gone = !tenant.lives(&uid);
            let spans = self.deleted.entry(uid).or_default();
            match spans.last_mut() {
                Some((_, end @ None)) if !gone => *end = Some(now),
                Some((_, Some(_))) | None if gone => spans.push((now, None)),
                _ => {}
            }
        }
    }

    pub(crate) fn hides(&mut self, happening: &Happening, now: Duration) {
        match happening {
            Happening::Hide(Some(_)) => self.hidden = Some((now, Duration::MAX)),
            Happening::Hide(None) => self.hidden = self.hidden.map(|(begin, _)| (begin, now)),
            _ => {}
        }
    }

    pub(crate) fn acknowledged(&mut self, receipt: &Receipt) {
        // Of two that were on their way at once the second may hear first.
        let held = self.acknowledged.insert(receipt.event_id.clone(), receipt.outcome).filter(|held| *held != Outcome::Duplicate);
        assert!(held.is_none() || receipt.outcome == Outcome::Duplicate, "{} was taken twice", receipt.event_id);
        if let Some(held) = held {
            self.acknowledged.insert(receipt.event_id.clone(), held);
        }
    }

    /// Checks what the feed tells since it was last looked at.
    pub(crate) fn feed(&mut self, store: &Store, plan: &Plan, now: Duration) {
        for change in store.changes(self.cursor, 1000).unwrap() {
            assert_eq!(change.cursor, self.cursor + 1, "the feed has a hole");
            self.cursor = change.cursor;
            self.change(&change, store, (plan, now));
            self.told.insert(change.uid.clone(), change.user);
        }
    }

    fn change(&mut self, change: &Change, store: &Store, (plan, now): (&Plan, Duration)) {
        let uid = &change.uid;
        if let Cause::EventId(id) = &change.cause {
            assert!(self.applied.insert(id.clone()), "{id} was applied twice");
            assert_ne!(change.kind, ChangeKind::Restored, "an event revived {uid}");
        }
        let told = self.told.get(uid);
        for (field, from) in &change.from {
            let before = told.map_or(Value::Null, |user| value_now(user, field));
            assert_eq!(*from, before, "the feed tells another {field:?} of {uid} from what it told before");
        }
        if change.kind == ChangeKind::Deleted && matches!(change.cause, Cause::Reconciliation(_)) {
            let read = store.record(SOURCE, uid).unwrap().and_then(|record| record.life.sight).map(|sight| plan.elapsed_at(sight.began));
            let read = read.unwrap_or(now).min(now.saturating_sub(READ_AGE_MAX)).saturating_sub(plan.rules.lag);
            let spans = self.deleted.get(uid).map(Vec::as_slice).unwrap_or_default();
            if !spans.iter().any(|(_, end)| end.is_none_or(|end| end >= read)) {
                self.deleted_wrongly(uid, (read, now), &format!("{:?} {spans:?}", change.cause));
            }
        }
    }

    /// A poll deleted someone who lives: excused of few, while the token hides them.
    fn deleted_wrongly(&mut self, uid: &str, (read, now): (Duration, Duration), why: &str) {
        let hidden = self.hidden.is_some_and(|(begin, end)| now >= begin && read <= end);
        assert!(hidden, "{uid} lives and was deleted: {why}");
        self.wrongly.push(now);
        // What was found in two hours may be confirmed within one, where upstream answers late.
        let of_the_hour = self.wrongly.iter().filter(|then| **then + Duration::from_secs(3600) > now).count();
        let most = 2 * HIDDEN_DELETIONS_MAX.max(self.told.len() / 20);
        assert!(of_the_hour <= most, "{uid} lives and was deleted, with {of_the_hour} others within an hour");
    }

    /// Reconciliations that wait for someone's word.
    pub(crate) fn awaiting(&self, store: &Store) -> Vec<u64> {
        let waits = |run: &u64| store.reconciliation(*run).unwrap().is_some_and(|run| run.state == RunState::AwaitingApproval);
        store.candidates(SOURCE).into_keys().filter(waits).collect()
    }

    /// What is too costly to be checked after each step.
    pub(crate) fn now_and_then(&self, world: &World) {
        let Some(store) = world.store() else { return };
        let (bulk, lookups) = (world.wired.bulk_traffic(), world.wired.lookup_traffic());
        let most = (world.plan.budgets.0 as usize, world.plan.budgets.1 as usize);
        assert!(bulk.worst_hour <= most.0, "{} listings within an hour", bulk.worst_hour);
        assert!(lookups.worst_hour <= most.1, "{} lookups within an hour", lookups.worst_hour);
        let state = store.source(SOURCE).unwrap();
        let (Some(cursor), Some(_)) = (state.cursor, state.swept_at) else { return };
        // Upstream may swear that it has no users at all: whoever was never read then waits for the next sweep.
        let lies = world.plan.rules.faults.empty > 0.0;
        let tenant = world.tenant.lock();
        for uid in (1..=tenant.users()).filter_map(|number| tenant.uid(number)) {
            let Some(updated) = tenant.updated_at(&uid).filter(|updated| *updated < cursor) else { continue };
            let record = store.record(SOURCE, &uid).unwrap();
            if world.plan.narrowed && uid.ends_with(['0', '2', '4', '6', '8']) {
                // The token was not shown half of the users for a while, and nobody could tell.
                continue;
            }
            let read = record.and_then(|record| merge::time(&record.listing?.fields, "updated_at"));
            assert!(read >= Some(updated) || lies && read.is_none(), "the cursor {cursor} passed {uid} of {updated}, read {read:?}");
        }
    }

    /// Faults stopped long ago, and nothing happens any more.
    pub(crate) fn at_rest(&self, world: &World) {
        let store = world.store().expect("it runs");
        self.now_and_then(world);
        for (id, outcome) in &self.acknowledged {
            let seen = store.seen(SOURCE, id).unwrap();
            assert!(seen.is_some(), "{id} was answered 200, {outcome:?}, and is lost");
        }
        let mut ids = BTreeSet::new();
        for delivery in store.deliveries(None, u64::MAX, usize::MAX).unwrap() {
            assert!(ids.insert(delivery.event_id.clone()), "{} stands twice", delivery.event_id);
        }
        for run in store.reconciliations(u64::MAX, 10_000).unwrap() {
            let state = (run.id, run.state, &run.message);
            // Within a small budget a sweep, or a batch of details, takes its time.
            let is_young = world.clock.now().since(run.requested_at) < RUN_MAX;
            let left = store.candidates_of(SOURCE, run.id, 10);
            let left =
                left.iter().map(|uid| (uid, world.tenant.lock().truth(uid).map(|truth| truth.deleted_at), store.record(SOURCE, uid)));
            assert!(
                run.state.is_over() || is_young,
                "a reconciliation never ended: {run:?} at {} {:?} {:?}",
                world.clock.now(),
                left.collect::<Vec<_>>(),
                store.source(SOURCE)
            );
            assert!(run.progress.calls <= CALLS_OF_A_RUN_MAX, "a reconciliation made {} calls: {state:?}", run.progress.calls);
        }
        assert_eq!(self.cursor, store.watermark());
        let mut wrong = String::new();
        let tenant = world.tenant.lock();
        // A manager who was deleted for good, or is there again, changes rows that do not move by that: only a sweep sees it.
        let lacks_sweeps = world.plan.full_every == "7d";
        let mut alive = 0;
        for number in 1..=tenant.users() {
            let uid = tenant.uid(number).unwrap();
            let record = store.record(SOURCE, &uid).unwrap();
            let view = record.as_ref().and_then(merge::view);
            alive += u64::from(view.as_ref().is_some_and(|view| !view.is_deleted()));
            self.check_told(&uid, view.as_ref());
            differences(&uid, (tenant.truth(&uid).as_ref(), view.as_ref()), lacks_sweeps, &mut wrong);
            if !wrong.is_empty() {
                if let Some(Record { listing, detail, claims, life, gaps, .. }) = &record {
                    let began = |read: &Option<rollcall::directory::Read>| read.as_ref().map(|read| (read.began.to_string(), read.call));
                    let _ = writeln!(wrong, "  listing {:?} detail {:?}\n  {life:?}\n  {gaps:?}", began(listing), began(detail));
                    let _ = writeln!(wrong, "  {claims:?}");
                }
                let _ = writeln!(wrong, "  deleted {:?}\n  now {:?}", self.deleted.get(&uid), world.now());
            }
        }
        let counts = store.counts(SOURCE);
        assert_eq!(counts.active + counts.inactive, alive, "the directory counts others than it shows");
        assert!(
            wrong.is_empty(),
            "the directory is not the tenant:\n{wrong}\n{:?} {:?} open gaps {:?}",
            store.source(SOURCE).unwrap(),
            store.counts(SOURCE),
            store.open_gaps(u64::MAX, 10).unwrap()
        );
    }

    /// Whoever follows the feed holds what is shown.
    fn check_told(&self, uid: &str, view: Option<&User>) {
        let told = self.told.get(uid).map(AsRef::as_ref);
        assert_eq!(told.is_some(), view.is_some(), "the feed and the directory differ in whether there is a {uid}");
        let (Some(told), Some(view)) = (told, view) else { return };
        for (field, value) in &view.fields {
            let restless = ["updated_at", "last_activity_at"].contains(&field.as_str());
            assert!(restless || value_now(told, field) == *value, "the feed tells another {field:?} of {uid} from what is shown");
        }
        assert_eq!(told.deleted_at, view.deleted_at, "the feed tells another deletion of {uid}");
    }
}

/// Where what is shown is not what is true.
fn differences(uid: &str, (truth, view): (Option<&Truth>, Option<&User>), lacks_sweeps: bool, wrong: &mut String) {
    let live = truth.filter(|truth| truth.deleted_at.is_none());
    let _ = match (live, view) {
        (None, None) => Ok(()),
        (None, Some(view)) if view.is_deleted() => Ok(()),
        (None, Some(_)) => writeln!(wrong, "{uid} is deleted and shown as alive"),
        (Some(_), None) => writeln!(wrong, "{uid} lives and is not shown"),
        (Some(_), Some(view)) if view.is_deleted() => writeln!(wrong, "{uid} lives and is shown as deleted"),
        (Some(live), Some(view)) => {
            for (field, value) in &live.listing {
                let shown = view.fields.get(field).cloned().unwrap_or_default();
                let unseen = lacks_sweeps && field == "manager" && (value.is_null() || shown.is_null());
                if field != "last_activity_at" && !unseen && essence(field, value) != essence(field, &shown) {
                    let _ = writeln!(wrong, "{uid} has {field} {value} and is shown with {shown}");
                }
            }
            Ok(())
        }
    };
}

/// A value as every shape tells it. What is told of a manager follows the manager's own record.
fn essence(field: &str, value: &Value) -> Value {
    match (field, value) {
        ("manager", manager) => manager.get("uid").cloned().unwrap_or_default(),
        ("locations", Value::Array(places)) => places.iter().map(|place| place.get("name").unwrap_or(place).clone()).collect(),
        (_, value) => value.clone(),
    }
}
