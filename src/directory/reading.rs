//! How a read is taken in: what it replaces, what it covers, and the gaps that it closes.

use super::record::{Read, Record, Sight};
use super::user::RESTLESS_FIELDS;
use super::{Broken, Circumstances, Difference, Fields, Gap, Need, Outcome, Reason, Shape, Sighting, Sign, Timestamp, User, Verdict, gap};
use super::{absence, merge};

/// Fields that upstream computes: they move without any event.
const COMPUTED_FIELDS: [&str; 3] = ["direct_reports_count", "skills_count", "certifications_count"];

/// Takes an answer that shows the user into `record`.
pub(super) fn sight(record: &mut Record, sighting: &Sighting, at: &Circumstances) -> Verdict {
    let unexplained = record.gaps.is_empty() && record.claims.is_empty() && !sighting.expected;
    let is_late = is_of_predecessor(record, sighting, at);
    let held = match sighting.shape {
        Shape::Listing => &mut record.listing,
        Shape::Detail => &mut record.detail,
    };
    if is_late || held.as_ref().is_some_and(|held| held.order() > (sighting.call, sighting.began)) {
        return Verdict::of(Outcome::Stale);
    }
    let former = held.take().map(|held| held.fields).filter(|former| !is_somebody_else(former, &sighting.fields));
    let mut fields = former.unwrap_or_default();
    fields.extend(sighting.fields.iter().map(|(field, value)| (field.clone(), value.clone())));
    *held = Some(Read { fields, began: sighting.began, call: sighting.call });
    forget_predecessor(record, sighting);
    let covered = |happened: Timestamp| sighting.began > happened + at.rules.tolerance;
    let survives = at.rules.breaks(Broken::ClaimsSurvive);
    record.claims.retain(|field, claim| survives || !covered(claim.by.happened()) || !sighting.fields.contains_key(field));
    if record.life.touched.is_some_and(|(stamp, received)| covered(stamp.min(received))) && sighting.fields.contains_key("updated_at") {
        record.life.touched = None;
    }
    if let Some((place, listing)) = sighting.swept.map(|swept| (usize::from(swept.with_deleted), swept.listing))
        && let Some(mark) = record.life.swept.get_mut(place)
    {
        *mark = listing;
    }
    // Whoever turns up in any answer was not deleted for good; only two listings, or a mark, tell of someone who is deleted and listed.
    if record.life.candidate.as_ref().is_some_and(|candidate| !candidate.listed && candidate.began < sighting.began) {
        record.life.candidate = None;
    }
    if sighting.sign == Sign::Alive || at.rules.breaks(Broken::RowsRevive) {
        live(record, (sighting.began, sighting.call), at);
    }
    let closed = close(record, sighting.shape, sighting.began, at);
    Verdict { closed, unexplained, ..Verdict::of(Outcome::Applied) }
}

/// Whether a late answer tells of whoever bore the uid before: it began within the tolerance of a read of somebody who came later. Where a
/// later answer says so too, it is believed.
fn is_of_predecessor(record: &Record, sighting: &Sighting, at: &Circumstances) -> bool {
    let created = |fields| merge::time(fields, "created_at");
    [&record.listing, &record.detail].into_iter().flatten().any(|read| {
        let is_later = created(&read.fields).zip(created(&sighting.fields)).is_some_and(|(held, told)| held > told);
        is_later && is_somebody_else(&read.fields, &sighting.fields) && sighting.began <= read.began + at.rules.tolerance
    })
}

fn is_somebody_else(one: &Fields, other: &Fields) -> bool {
    let number = |fields: &Fields| fields.get("id").filter(|id| !id.is_null()).cloned();
    number(one).zip(number(other)).is_some_and(|(one, other)| one != other)
}

/// A uid that was given to somebody else: what the other read tells is about whoever had it before.
fn forget_predecessor(record: &mut Record, sighting: &Sighting) {
    let other = match sighting.shape {
        Shape::Listing => &mut record.detail,
        Shape::Detail => &mut record.listing,
    };
    if other.as_ref().is_some_and(|read| is_somebody_else(&read.fields, &sighting.fields)) {
        *other = None;
    }
}

/// A pass that began after the user's newest claim arrived did not return the user: `unconfirmed_event`.
///
/// Nothing, when a read covers every claim or the claims are younger than the tolerance.
pub(super) fn doubt(record: &mut Record, began: Timestamp, at: &Circumstances) -> Verdict {
    let mut shown = Vec::new();
    // Whoever was seen to be gone is not returned any more, and nothing is left to be confirmed.
    let gone = record.life.sight.iter().filter(|sight| !sight.alive).map(|sight| sight.began);
    let reads = [&record.listing, &record.detail].into_iter().flatten().map(|read| read.began).chain(gone).max();
    let is_open = |happened: Timestamp, read: Option<Timestamp>| read.is_none_or(|read| read <= happened + at.rules.tolerance);
    let claims = record.claims.values().filter(|claim| is_open(claim.by.happened(), reads));
    let claims = claims.map(|claim| (claim.by.received, claim.by.happened(), claim.by.event_id.clone()));
    let sight = record.life.sight.as_ref().map(|sight| sight.began);
    let deletion = record.life.deletion.iter().filter(|deletion| is_open(deletion.stamp.min(deletion.received), sight));
    let deletion = deletion.map(|deletion| (deletion.received, deletion.stamp.min(deletion.received), deletion.event_id.clone()));
    if let Some((received, happened, event_id)) = claims.chain(deletion).max().filter(|_| !at.rules.breaks(Broken::Unconfirmed))
        && received + at.rules.tolerance < began
    {
        for (_, held) in record.gaps.iter_mut().filter(|(_, held)| held.need == Need::Listing) {
            held.need = Need::Any;
        }
        gap::show(record, Reason::UnconfirmedEvent, Need::Lookup, (happened, Some(&event_id)), at);
        shown.push(Reason::UnconfirmedEvent);
    }
    Verdict { shown, ..Verdict::of(Outcome::Applied) }
}

/// Whether a difference that a listing brought was announced by no delivery: older than the tolerance, and of fields that
/// deliveries announce.
pub(super) fn was_missed(before: Option<&User>, sighting: &Sighting, difference: &Difference, at: &Circumstances) -> bool {
    let settled = merge::time(&sighting.fields, "updated_at").is_some_and(|row| row + at.rules.tolerance < sighting.began);
    let Some(before) = before else { return settled && sighting.shape == Shape::Listing };
    let moved = difference.from.keys().any(|field| {
        let silent = RESTLESS_FIELDS.contains(&field.as_str()) || COMPUTED_FIELDS.contains(&field.as_str());
        !silent && before.fields.contains_key(field)
    });
    settled && moved && sighting.shape == Shape::Listing
}

/// The user was seen alive: deletions announced before, by more than the tolerance, are over.
fn live(record: &mut Record, (began, call): (Timestamp, u64), at: &Circumstances) {
    if is_outdated(record, (began, call)) {
        return;
    }
    record.life.sight = Some(Sight { alive: true, began, call, deleted_at: None });
    if record.life.candidate.as_ref().is_some_and(|candidate| candidate.began < began) {
        record.life.candidate = None;
    }
    if record.life.deletion.as_ref().is_some_and(|deletion| began > deletion.stamp.min(deletion.received) + at.rules.tolerance) {
        record.life.deletion = None;
    }
}

/// Whether a later read already told alive from deleted.
fn is_outdated(record: &Record, (began, call): (Timestamp, u64)) -> bool {
    record.life.sight.as_ref().is_some_and(|held| (held.call, held.began) > (call, began))
}

/// Closes the gaps that a read of this shape answers; the others are due when a read can.
fn close(record: &mut Record, shape: Shape, began: Timestamp, at: &Circumstances) -> Vec<(Reason, Gap)> {
    let told_life = record.life.sight.as_ref().map(|sight| sight.began);
    let is_missing = absence::is_suspected(record);
    let mut closed = Vec::new();
    record.gaps.retain(|reason, held| {
        let covers = |read: Timestamp| read > held.happened + at.rules.tolerance;
        let fits = match held.need {
            Need::Any => true,
            Need::Listing => shape == Shape::Listing,
            Need::Lookup => shape == Shape::Detail,
        };
        let answered = match reason {
            Reason::EventAfterDelete => told_life.is_some_and(covers),
            // Someone who is missing stays in doubt until a read tells whether they live.
            Reason::MissedDelivery => !is_missing && began > held.happened,
            _ => fits && covers(began),
        };
        if answered {
            closed.push((*reason, held.clone()));
        }
        !answered
    });
    for (_, held) in record.gaps.iter_mut() {
        held.due = gap::due(held.happened, at);
    }
    closed
}
