//! The truth of a simulated tenant: its users, and the operations that make their lives. Pure and seeded: the same seed and the same
//! times tell the same story, byte for byte.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value};

use super::edit::Edit;
use super::event::Event;
use super::names::TERMINATIONS;
use super::person::{self, Person};
use super::view::{Detail, Row};
use crate::clock::Clock;
use crate::directory::{EventKind, Timestamp};

/// How far back the first users were created.
const HISTORY: Duration = Duration::from_secs(1000 * 24 * 3600);
/// Nothing happens in the last hour before the story begins.
const QUIET: Duration = Duration::from_secs(3600);
/// One user in so many manages others.
const SPAN_OF_CONTROL: u32 = 10;

/// A tenant that its API, its life and those who watch it share.
pub type Shared = Arc<Mutex<Tenant>>;

/// Users, numbered from 1 in the order of their creation; nobody ever leaves the list.
#[derive(Clone, Debug)]
pub struct Tenant {
    people: Vec<Person>,
    /// Numbers of those who were deleted for good.
    purged: BTreeSet<u32>,
    rng: SmallRng,
    clock: Clock,
    habits: Habits,
}

/// What a tenant does otherwise than its documentation lets one hope.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Habits {
    /// The clock that stamps events is so many milliseconds ahead of the one that stamps rows.
    pub events_ahead_millis: i64,
    /// Chance that an update leaves `updated_at` as it was.
    pub unbumped: f64,
    /// A visit moves `updated_at` too.
    pub visits_bump: bool,
}

/// What is true of one user now.
#[derive(Clone, Debug, PartialEq)]
pub struct Truth {
    /// Names the user.
    pub uid: String,
    /// As a listing would show them.
    pub listing: Map<String, Value>,
    /// As a lookup would show them.
    pub detail: Map<String, Value>,
    /// When they were deleted; `None` for a live user.
    pub deleted_at: Option<Timestamp>,
}

impl Tenant {
    /// A tenant of `users` users with some history, all of it more than an hour old.
    #[must_use]
    pub fn new(users: u32, seed: u64, clock: Clock) -> Self {
        let people = Vec::with_capacity(users as usize);
        let (purged, habits) = (BTreeSet::new(), Habits::default());
        let mut tenant = Self { people, purged, rng: SmallRng::seed_from_u64(seed), clock, habits };
        let now = tenant.now();
        let begin = now.back(HISTORY + QUIET);
        let step = HISTORY.checked_div(users.saturating_add(1)).unwrap_or_default();
        for number in 1..=users {
            let created = (begin + step.saturating_mul(number)).floor_to_second();
            let mut person = Person::random(number, created, &mut tenant.rng);
            let since = now.back(QUIET).since(created).as_secs();
            person.updated_at = created + Duration::from_secs(tenant.rng.random_range(0..=since));
            person.last_activity_at = person.updated_at;
            if tenant.rng.random_bool(0.12) {
                person.active = false;
                person.termination = Some((person.updated_at, TERMINATIONS.pick(&mut tenant.rng)));
            }
            tenant.enter(person, managers(users));
        }
        tenant
    }

    /// The same, to be shared.
    #[must_use]
    pub fn shared(self) -> Shared {
        Arc::new(Mutex::new(self))
    }

    /// From now on the tenant has these habits.
    pub const fn take_habits(&mut self, habits: Habits) {
        self.habits = habits;
    }

    /// How many users there are, deleted ones included.
    #[must_use]
    pub fn users(&self) -> u32 {
        u32::try_from(self.people.len()).unwrap_or(u32::MAX)
    }

    /// The tenant's time: whole seconds, as its stamps are.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now().floor_to_second()
    }

    /// What events are stamped with now.
    fn stamp(&self) -> Timestamp {
        let ahead = self.habits.events_ahead_millis;
        Timestamp::from_millis(self.now().as_millis().saturating_add(ahead)).floor_to_second()
    }

    /// Some user, as [`Truth`] names them; `None` while there is nobody.
    #[must_use]
    pub fn truth(&self, uid: &str) -> Option<Truth> {
        self.person(uid).map(|person| self.truth_of(person))
    }

    /// Whether there is such a user, not deleted.
    #[must_use]
    pub fn lives(&self, uid: &str) -> bool {
        self.person(uid).is_some_and(|person| person.deleted_at.is_none())
    }

    /// When a user's row last moved; `None` for nobody.
    #[must_use]
    pub fn updated_at(&self, uid: &str) -> Option<Timestamp> {
        self.person(uid).map(|person| person.updated_at)
    }

    /// Everybody, in the order of their creation.
    pub fn live_and_deleted(&self) -> impl Iterator<Item = Truth> {
        self.people().map(|person| self.truth_of(person))
    }

    /// The uid of the user with this number, counted from 1; what it says of nobody is nothing.
    #[must_use]
    pub fn uid(&self, number: u32) -> Option<String> {
        (1..=self.users()).contains(&number).then(|| person::uid(number))
    }

    /// Adds a user with random fields.
    pub fn create(&mut self) -> Event {
        let now = self.now();
        let number = self.users().saturating_add(1);
        let person = Person::random(number, now, &mut self.rng);
        let event = Event::new(EventKind::Created, &person, self.stamp(), None);
        self.enter(person, managers(number));
        event
    }

    /// Moves fields of a live user; `None` when there is no such user or nothing really changed.
    pub fn update(&mut self, uid: &str, edits: &[Edit]) -> Option<Event> {
        let (now, stamp, users) = (self.now(), self.stamp(), self.users());
        // Drawn only where it can matter, so that documented tenants' stories stay what they were.
        let unbumped = self.habits.unbumped > 0.0 && self.rng.random_bool(self.habits.unbumped);
        let person = self.live(uid)?;
        let before = person.manager;
        let mut changes: Vec<&'static str> = Vec::new();
        for edit in edits.iter().filter(|edit| edit.fits(users)) {
            for name in edit.apply(person) {
                if !changes.contains(name) {
                    changes.push(name);
                }
            }
        }
        if changes.is_empty() {
            return None;
        }
        person.updated_at = if unbumped { person.updated_at } else { now };
        let after = person.manager;
        let event = Event::new(EventKind::Updated, person, stamp, Some(&changes));
        self.count_report(before, false);
        self.count_report(after, true);
        Some(event)
    }

    /// Moves one to three random fields of a live user; about half of the moves are of fields that no snapshot carries.
    pub fn update_randomly(&mut self, uid: &str) -> Option<Event> {
        let person = self.person(uid).filter(|person| person.deleted_at.is_none())?.clone();
        let colleague = self.rng.random_range(1..=managers(self.users()));
        let edits: Vec<_> = (0..self.rng.random_range(1..=3)).map(|_| Edit::random(&person, colleague, &mut self.rng)).collect();
        self.update(uid, &edits)
    }

    /// Makes an inactive live user active; `None` when there is no such user.
    pub fn activate(&mut self, uid: &str) -> Option<Event> {
        let (now, stamp) = (self.now(), self.stamp());
        let person = self.live(uid).filter(|person| !person.active)?;
        person.active = true;
        person.updated_at = now;
        Some(Event::new(EventKind::Activated, person, stamp, None))
    }

    /// Makes an active live user inactive; `None` when there is no such user.
    pub fn deactivate(&mut self, uid: &str) -> Option<Event> {
        let (now, stamp) = (self.now(), self.stamp());
        let person = self.live(uid).filter(|person| person.active)?;
        person.active = false;
        person.updated_at = now;
        Some(Event::new(EventKind::Deactivated, person, stamp, None))
    }

    /// Deletes a live user, softly: `active` stays what it was. `None` when there is no such user.
    pub fn delete(&mut self, uid: &str) -> Option<Event> {
        let (now, stamp) = (self.now(), self.stamp());
        let person = self.live(uid)?;
        person.deleted_at = Some(now);
        person.updated_at = now;
        let manager = person.manager;
        let event = Event::new(EventKind::Deleted, person, stamp, None);
        self.count_report(manager, false);
        Some(event)
    }

    /// Deletes a user for good, silently: no answer tells of them any more. Tells whether there was such a user.
    pub fn purge(&mut self, uid: &str) -> bool {
        let Some(number) = self.person_mut(uid).map(|person| person.number) else { return false };
        drop(self.delete(uid));
        self.purged.insert(number)
    }

    /// Gives the uid of someone who was deleted, for good or not, to somebody new; `None` when there is nobody like that.
    pub fn rehire(&mut self, uid: &str) -> Option<Event> {
        let (now, stamp) = (self.now(), self.stamp());
        let number = person::number(uid)?;
        let place = usize::try_from(number.checked_sub(1)?).ok()?;
        let former = self.people.get(place)?;
        former.deleted_at?;
        let mut person = Person { predecessors: former.predecessors.saturating_add(1), ..Person::random(number, now, &mut self.rng) };
        person.manager = former.manager;
        let event = Event::new(EventKind::Created, &person, stamp, None);
        self.count_report(person.manager, true);
        self.purged.remove(&number);
        *self.people.get_mut(place)? = person;
        Some(event)
    }

    /// Brings a deleted user back, silently: no event is documented for it. Tells whether there was such a user.
    pub fn restore(&mut self, uid: &str) -> bool {
        let now = self.now();
        let Some(person) = self.person_mut(uid).filter(|person| person.deleted_at.is_some()) else { return false };
        person.deleted_at = None;
        person.updated_at = now;
        let manager = person.manager;
        self.count_report(manager, true);
        true
    }

    /// The user was seen: only `last_activity_at` moves, and nothing is announced.
    pub fn visit(&mut self, uid: &str) {
        let (now, bumps) = (self.now(), self.habits.visits_bump);
        if let Some(person) = self.live(uid) {
            person.last_activity_at = now;
            person.updated_at = if bumps { now } else { person.updated_at };
        }
    }

    /// Two live users change their e-mails, one after the other; what is announced of it, and nothing when they cannot.
    pub fn swap_emails(&mut self, one: &str, other: &str) -> Vec<Event> {
        let email = |tenant: &mut Self, uid: &str| tenant.live(uid).map(|person| person.email.clone());
        let (Some(first), Some(second)) = (email(self, one), email(self, other)) else { return Vec::new() };
        let moves = [(one, second), (other, first)];
        moves.into_iter().filter_map(|(uid, email)| self.update(uid, &[Edit::Email(email)])).collect()
    }

    /// Everyone who was not deleted for good.
    pub(super) fn people(&self) -> impl Iterator<Item = &Person> {
        self.people.iter().filter(|person| !self.purged.contains(&person.number))
    }

    pub(super) fn person(&self, uid: &str) -> Option<&Person> {
        self.numbered(person::number(uid)?)
    }

    pub(super) fn manager_of(&self, person: &Person) -> Option<&Person> {
        self.numbered(person.manager?)
    }

    fn numbered(&self, number: u32) -> Option<&Person> {
        self.people.get(number.checked_sub(1)? as usize).filter(|person| !self.purged.contains(&person.number))
    }

    fn person_mut(&mut self, uid: &str) -> Option<&mut Person> {
        let number = person::number(uid)?;
        if self.purged.contains(&number) {
            return None;
        }
        self.people.get_mut(person::number(uid)?.checked_sub(1)? as usize)
    }

    fn live(&mut self, uid: &str) -> Option<&mut Person> {
        self.person_mut(uid).filter(|person| person.deleted_at.is_none())
    }

    /// Takes a new user in, under a manager who is older than they are and one of the first `managers`.
    fn enter(&mut self, mut person: Person, managers: u32) {
        let above = person.number.saturating_sub(1).min(managers);
        person.manager = (above > 0).then(|| self.rng.random_range(1..=above));
        self.count_report(person.manager, true);
        self.people.push(person);
    }

    /// Counts a live user among their manager's reports, or no longer.
    fn count_report(&mut self, manager: Option<u32>, more: bool) {
        let Some(manager) = manager.and_then(|number| self.people.get_mut(number.checked_sub(1)? as usize)) else { return };
        manager.reports = if more { manager.reports.saturating_add(1) } else { manager.reports.saturating_sub(1) };
    }

    fn truth_of(&self, person: &Person) -> Truth {
        Truth {
            uid: person.uid(),
            listing: fields(&Row::new(self, person)),
            detail: fields(&Detail::new(self, person)),
            deleted_at: person.deleted_at,
        }
    }
}

/// How many of so many users may manage others.
fn managers(users: u32) -> u32 {
    (users / SPAN_OF_CONTROL).max(1)
}

/// A view as JSON; views are objects of texts, numbers and lists, which cannot fail to be written.
fn fields(view: &impl serde::Serialize) -> Map<String, Value> {
    match serde_json::to_value(view) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests;
