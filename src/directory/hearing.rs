//! How an event is taken in: its claims, its effect on the user's life, and the gaps that it shows.

use std::sync::Arc;

use serde_json::Value;

use super::record::{Claim, Deletion, Read, Record, Witness};
use super::{Circumstances, Event, EventKind, Name, Need, Outcome, Reason, Shape, Timestamp, User, Verdict, gap, merge};

/// Fields that no documented answer carries are kept up to this many for each user, the newest claims first.
const UNKNOWN_FIELDS_MAX: usize = 100;

/// Takes `event` into `record`; `before` is what was shown until now.
pub(super) fn hear(record: &mut Record, before: Option<&User>, event: &Event, at: &Circumstances) -> Verdict {
    let mut hearing = Hearing::new(record, before, event, at);
    hearing.shows_unknown();
    hearing.shows_life();
    hearing.shows_status();
    hearing.shows_identity();
    hearing.claims();
    hearing.lives();
    hearing.shows_uncarried();
    hearing.end()
}

/// One event on its way into one record.
struct Hearing<'a> {
    record: &'a mut Record,
    before: Option<&'a User>,
    event: &'a Event,
    at: &'a Circumstances,
    /// What stands behind all its claims.
    by: Arc<Witness>,
    /// Which reads cover it: the listing's, the detail's.
    covering: [bool; 2],
    /// The newest row tells a later `updated_at`, and nothing else speaks against the event: not applied, looked up instead.
    doubted: bool,
    /// Whether any of its evidence was taken in.
    taken: bool,
    /// The fields whose claims now say something else.
    moved: Vec<Name>,
    /// Whether it did more to the view than that and its times.
    reshaped: bool,
    shown: Vec<(Reason, Need)>,
}

impl<'a> Hearing<'a> {
    fn new(record: &'a mut Record, before: Option<&'a User>, event: &'a Event, at: &'a Circumstances) -> Self {
        let doubted = is_doubted(record, event, at);
        let covering = both(record).map(|read| read.is_some_and(|read| covers(read, event, at)));
        let Event { id, kind, stamp, received, digest, .. } = event;
        let by = Arc::new(Witness { stamp: *stamp, rank: *kind, digest: *digest, received: *received, event_id: id.clone() });
        let (moved, shown) = (Vec::new(), Vec::new());
        Self { record, before, event, at, by, covering, doubted, taken: false, moved, reshaped: false, shown }
    }

    fn show(&mut self, reason: Reason, need: Need) {
        if !self.shown.iter().any(|(shown, _)| *shown == reason) {
            self.shown.push((reason, need));
        }
    }

    /// Whether any read covers the event as a whole.
    fn is_covered(&self) -> bool {
        self.covering.contains(&true)
    }

    /// The reads that cover the event, where there are any.
    fn covering(&self) -> impl Iterator<Item = (Shape, &Read)> {
        let shapes = [Shape::Listing, Shape::Detail].into_iter().zip(both(self.record)).zip(self.covering);
        shapes.filter_map(|((shape, read), covers)| Some((shape, read.filter(|_| covers)?)))
    }

    /// Whether a read that told alive from deleted covers the event.
    fn life_is_covered(&self) -> bool {
        self.record.life.sight.as_ref().is_some_and(|sight| sight.began > self.event.happened() + self.at.rules.tolerance)
    }

    /// `unknown_user`, `incomplete_record`.
    fn shows_unknown(&mut self) {
        if self.is_covered() {
            return;
        }
        if self.before.is_none() && self.event.kind != EventKind::Created {
            self.show(Reason::UnknownUser, Need::Any);
        }
        if self.event.kind != EventKind::Deleted && reads(self.record).next().is_none() {
            self.show(Reason::IncompleteRecord, Need::Listing);
        }
    }

    /// `event_after_delete`: only a read may bring a user back.
    fn shows_life(&mut self) {
        let deleted = self.before.is_some_and(User::is_deleted);
        if !deleted || self.event.kind == EventKind::Deleted || self.life_is_covered() || self.revives() {
            return;
        }
        if self.record.life.deletion.as_ref().is_none_or(|deletion| self.event.stamp >= deletion.stamp) {
            self.show(Reason::EventAfterDelete, Need::Lookup);
        }
    }

    /// Without an upstream to read from, a `created` newer than the deletion brings a user back.
    fn revives(&self) -> bool {
        let newer = |deletion: &Deletion| self.event.stamp > deletion.stamp;
        !self.at.rules.reads && self.event.kind == EventKind::Created && self.record.life.deletion.as_ref().is_some_and(newer)
    }

    /// `status_contradiction`: what the event says became so, was so already, by older evidence.
    fn shows_status(&mut self) {
        let Some(before) = self.before.filter(|user| !user.is_deleted() && !self.is_covered()) else { return };
        let active = before.fields.get("active").and_then(Value::as_bool);
        let contradicted = match self.event.kind {
            EventKind::Created => self.oldest_evidence().is_some_and(|time| time < self.event.stamp),
            EventKind::Activated => active == Some(true) && self.status_evidence() < Some(self.event.stamp),
            EventKind::Deactivated => active == Some(false) && self.status_evidence() < Some(self.event.stamp),
            EventKind::Updated | EventKind::Deleted => false,
        };
        if contradicted {
            self.show(Reason::StatusContradiction, Need::Any);
        }
    }

    /// `identity_collision`: the uid was somebody else's until now, by the other number.
    fn shows_identity(&mut self) {
        let numbers = [self.before.and_then(|user| user.fields.get("id")), self.event.user.get("id")];
        if let [Some(held), Some(told)] = numbers
            && !held.is_null()
            && !told.is_null()
            && held != told
            && !self.is_covered()
        {
            self.show(Reason::IdentityCollision, Need::Any);
        }
    }

    /// When what is shown as `active` was said; reads count when they began.
    fn status_evidence(&self) -> Option<Timestamp> {
        let claimed = self.record.claims.value(&Name::ACTIVE).map(|claim| claim.by.stamp);
        claimed.or_else(|| reads(self.record).filter(|read| read.fields.contains_key("active")).map(|read| read.began).max())
    }

    /// When the user was first spoken of, as far as is still held.
    fn oldest_evidence(&self) -> Option<Timestamp> {
        let claims = self.record.claims.values().map(|claim| claim.by.stamp);
        claims.chain(reads(self.record).map(|read| read.began)).chain(self.record.life.created).min()
    }

    /// Each field of the snapshot, and the status that a status event carries by its name.
    fn claims(&mut self) {
        let event = self.event;
        match event.user.value(&Name::UID) {
            Some(uid) if uid.as_str() == Some(event.uid.as_str()) => self.claim(&Name::UID, uid),
            _ => self.claim(&Name::UID, &Value::String(event.uid.clone())),
        }
        if event.kind == EventKind::Deleted {
            return;
        }
        let status = match event.kind {
            EventKind::Activated => Some(Value::Bool(true)),
            EventKind::Deactivated => Some(Value::Bool(false)),
            _ => None,
        };
        if let Some(status) = &status {
            self.claim(&Name::ACTIVE, status);
        }
        for (field, value) in &event.user {
            if *field != Name::UID && (status.is_none() || *field != Name::ACTIVE) {
                self.claim(field, value);
            }
        }
        self.reshaped |= bound_unknown(self.record);
    }

    /// A claim that no read covers stands, unless the one that is held is greater.
    fn claim(&mut self, field: &Name, value: &Value) {
        if self.covering().any(|(_, read)| read.fields.value(field).is_some()) {
            return;
        }
        let place = self.record.claims.place(field);
        let held = place.ok().and_then(|place| self.record.claims.at(place));
        let same = held.is_some_and(|held| held.value == *value);
        let beaten = self.doubted || held.is_some_and(|held| held.by.order() >= self.by.order());
        let undecided = |held: &Claim| is_undecided(field, self.event, &held.by, self.at);
        if !self.doubted && !same && held.is_some_and(undecided) {
            self.show(Reason::SameSecond, Need::Any);
        }
        let is_status = *field == Name::ACTIVE && matches!(self.event.kind, EventKind::Activated | EventKind::Deactivated);
        if beaten {
            if (is_status || self.doubted) && self.differs(field, value) {
                self.show(if is_status { Reason::StatusContradiction } else { Reason::UnannouncedChange }, Need::Any);
            }
            return;
        }
        self.taken = true;
        self.hold(place, field, (value, same));
        let expected = is_status || self.event.kind == EventKind::Created;
        if !expected && self.differs(field, value) && !is_announced(self.event, field) {
            self.show(Reason::UnannouncedChange, Need::Any);
        }
    }

    /// Whether another value is shown.
    fn differs(&self, field: &Name, value: &Value) -> bool {
        self.before.and_then(|user| user.fields.value(field)).is_some_and(|shown| shown != value)
    }

    /// Holds a claim at its place. A value that is claimed again stays where it is: most of a snapshot says what was said before.
    fn hold(&mut self, place: Result<usize, usize>, field: &Name, (value, same): (&Value, bool)) {
        let by = Arc::clone(&self.by);
        match place.map(|place| self.record.claims.at_mut(place)) {
            Ok(Some(held)) if same => {
                held.by = by;
                return;
            }
            Ok(Some(held)) => *held = Claim { value: value.clone(), by },
            _ => drop(self.record.claims.insert(field.clone(), Claim { value: value.clone(), by })),
        }
        self.moved.push(field.clone());
    }

    /// The event's effect on the user's life: `deleted` touches nothing else.
    fn lives(&mut self) {
        let event = self.event;
        // Whoever is spoken of later is no longer merely missing.
        if self.record.life.candidate.as_ref().is_some_and(|candidate| event.happened() + self.at.rules.tolerance > candidate.began) {
            self.record.life.candidate = None;
        }
        if event.kind == EventKind::Deleted {
            self.is_deleted();
        } else if !self.is_covered() {
            self.reshaped |= !self.record.life.known;
            self.record.life.known = true;
        }
        if event.kind == EventKind::Created && !self.doubted {
            if self.revives() {
                self.record.life.deletion = None;
                (self.taken, self.reshaped) = (true, true);
            }
            let newest = self.record.life.created.is_none_or(|held| event.stamp > held);
            self.record.life.created = if newest { Some(event.stamp) } else { self.record.life.created };
        }
        let newer = self.record.life.touched.is_none_or(|(held, _)| event.stamp > held);
        if self.taken && newer && !self.is_covered() {
            self.record.life.touched = Some((event.stamp, event.received));
        }
    }

    fn is_deleted(&mut self) {
        let event = self.event;
        let life = &self.record.life;
        let beaten = life.deletion.as_ref().is_some_and(|held| (held.stamp, held.digest) >= (event.stamp, event.digest));
        let outlived = !self.at.rules.reads && life.created.is_some_and(|created| created > event.stamp);
        if self.life_is_covered() || beaten || outlived {
            return;
        }
        if self.doubted && self.before.is_some_and(|user| !user.is_deleted()) {
            self.show(Reason::StatusContradiction, Need::Lookup);
        }
        self.record.life.known = true;
        self.record.life.deletion = Some(Deletion {
            stamp: event.stamp,
            digest: event.digest,
            received: event.received,
            deleted_at: event.deleted_at.clone().unwrap_or_else(|| event.stamp.to_string()),
            event_id: event.id.clone(),
        });
        (self.taken, self.reshaped) = (true, true);
    }

    /// `uncarried_change`: `changes` names what the snapshot lacks, and no later read carries it.
    fn shows_uncarried(&mut self) {
        let missing = |field: &&String| {
            let carried = |(shape, read): (Shape, &Read)| shape.carries(field) || read.fields.contains_key(field);
            !self.event.user.contains_key(field) && !self.covering().any(carried)
        };
        let need = self.event.changes.iter().filter(missing).map(|field| need_of(field)).max();
        if let Some(need) = need {
            self.show(Reason::UncarriedChange, need);
        }
    }

    fn end(self) -> Verdict {
        let evidence = (self.event.happened(), Some(self.event.id.as_str()));
        for (reason, need) in &self.shown {
            gap::show(self.record, *reason, *need, evidence, self.at);
        }
        let outcome = if self.taken { Outcome::Applied } else { Outcome::Stale };
        let shown = self.shown.into_iter().map(|(reason, _)| reason).collect();
        let moved = (!self.reshaped).then_some(self.moved);
        Verdict { outcome, shown, closed: Vec::new(), unexplained: false, moved }
    }
}

/// The listing's row and the detail.
const fn both(record: &Record) -> [Option<&Read>; 2] {
    [record.listing.as_ref(), record.detail.as_ref()]
}

/// Both reads, where there are any.
fn reads(record: &Record) -> impl Iterator<Item = &Read> {
    both(record).into_iter().flatten()
}

fn covers(read: &Read, event: &Event, at: &Circumstances) -> bool {
    read.began > event.happened() + at.rules.tolerance
}

/// The newest read tells a later `updated_at` than the event's stamp, and began too early to cover it.
fn is_doubted(record: &Record, event: &Event, at: &Circumstances) -> bool {
    let newest = reads(record).max_by_key(|read| read.began);
    newest.is_some_and(|read| !covers(read, event, at) && merge::time(&read.fields, "updated_at").is_some_and(|row| event.stamp < row))
}

/// Whether `changes` accounts for a difference in `field`: `full_name` follows its parts.
fn is_announced(event: &Event, field: &str) -> bool {
    let named = |name: &str| event.changes.iter().any(|change| change == name);
    named(field) || field == "full_name" && (named("first_name") || named("last_name"))
}

/// Whether nothing decides between the event and a claim of another value: one second, or two stamps from the future.
///
/// What `created` says comes first, and a status event comes after a snapshot of the same second that shows the status
/// before it; these are ordinary.
fn is_undecided(field: &Name, event: &Event, held: &Witness, at: &Circumstances) -> bool {
    let from_future = |stamp: Timestamp, received: Timestamp| stamp > received + at.rules.tolerance;
    if from_future(event.stamp, event.received) && from_future(held.stamp, held.received) {
        return event.id != held.event_id;
    }
    let is_status = |kind: EventKind| matches!(kind, EventKind::Activated | EventKind::Deactivated);
    let ordinary = event.kind == EventKind::Created && held.rank != EventKind::Created
        || held.rank == EventKind::Created && event.kind != EventKind::Created
        || *field == Name::ACTIVE && is_status(event.kind) != is_status(held.rank);
    event.stamp == held.stamp && event.id != held.event_id && !ordinary
}

/// Which read carries a field that `changes` names.
fn need_of(field: &str) -> Need {
    match (Shape::Listing.carries(field), Shape::Detail.carries(field)) {
        (true, true) => Need::Any,
        (true, false) => Need::Listing,
        (false, _) => Need::Lookup,
    }
}

/// Drops the least claims of unknown fields beyond the limit; which ones stay does not depend on the order of arrival. Tells
/// whether any had to go.
fn bound_unknown(record: &mut Record) -> bool {
    if record.claims.len() <= UNKNOWN_FIELDS_MAX {
        return false;
    }
    let unknown = record.claims.iter().filter(|(field, _)| !field.is_documented());
    let mut orders: Vec<_> = unknown.map(|(field, claim)| (claim.by.order(), field.clone())).collect();
    orders.sort();
    let surplus = orders.len().saturating_sub(UNKNOWN_FIELDS_MAX);
    for (_, field) in orders.into_iter().take(surplus) {
        record.claims.remove(&field);
    }
    surplus > 0
}
