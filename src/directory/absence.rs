//! What polling says against a user who is held as alive: suspicion, confirmation, acquittal (design, section 6).
//!
//! # Why nothing is deleted at once
//! A listing that was cut short, a token that lost its scope or a search that lags all look like people who left. So absence makes a
//! candidate, whom a lookup that begins later has to confirm; presence, or any later event, clears them. How many may be confirmed
//! without someone's word is not decided here: whoever looks up says whether the candidate is cleared for it.

use super::record::{Candidate, Record, Sight};
use super::{Circumstances, Fields, Gap, Need, Outcome, Reason, Timestamp, User, Verdict, gap, merge};

/// Fields by which some listings tell who was deleted.
const MARKS: [&str; 2] = ["deleted_at", "deleted"];

/// What a listing, or two, say of someone by not showing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Whether a listing with deleted users shows them, marked or as a whole, so that they are deleted and not merely missing.
    pub listed: bool,
    /// When the listing that lacks them began, in upstream's time.
    pub began: Timestamp,
    /// Its place in the ledger of requests.
    pub call: u64,
    /// The reconciliation that read it.
    pub found_by: u64,
}

/// A lookup that answered 404 `user_not_found`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotFound {
    /// When it began, in upstream's time.
    pub began: Timestamp,
    /// Its place in the ledger of requests.
    pub call: u64,
    /// The reconciliation that asked.
    pub found_by: u64,
    /// Whether someone known to be alive was found in the same minute: the token still sees this tenant.
    pub witnessed: bool,
    /// Whether the user may be deleted if this confirms it: few enough are, or someone approved.
    pub cleared: bool,
}

/// What a row itself says of whether its user was deleted; `None` where it has no such field, as the documented one.
#[must_use]
pub fn mark(fields: &Fields) -> Option<bool> {
    match (fields.get("deleted_at"), fields.get("deleted")) {
        (Some(at), _) => Some(at.as_str().is_some_and(|at| !at.is_empty())),
        (None, Some(deleted)) => deleted.as_bool(),
        (None, None) => None,
    }
}

/// Takes the mark off a row, so that it is not shown among the user's fields.
#[must_use]
pub fn unmarked(mut fields: Fields) -> Fields {
    MARKS.into_iter().for_each(|field| drop(fields.remove(field)));
    fields
}

/// A complete listing did not show the user.
pub(super) fn suspect(record: &mut Record, before: Option<&User>, missing: &Missing, at: &Circumstances) -> Verdict {
    let mut verdict = Verdict::of(Outcome::Applied);
    let alive = before.is_some_and(|user| !user.is_deleted());
    if !alive {
        // A stranger who came, or came back, while the listings were read is missing from the one that was read before.
        let is_told = before.is_some() || !may_have_moved(record, missing.began, at);
        if missing.listed && is_newest(record, (missing.began, missing.call)) {
            if is_told {
                die(record, (missing.began, missing.call));
                verdict.closed = close(record, missing.began, at);
            } else {
                gap::show(record, Reason::MissedDelivery, Need::Any, (missing.began, None), at);
                verdict.shown.push(Reason::MissedDelivery);
            }
        }
        return verdict;
    }
    if record.life.candidate.is_some() || !is_newest(record, (missing.began, missing.call)) || is_younger(record, missing.began, at) {
        return verdict;
    }
    let Missing { listed, began, found_by, .. } = *missing;
    become_candidate(record, Candidate { listed, began, missed: None, found_by }, at);
    verdict.shown.push(Reason::MissedDelivery);
    verdict
}

/// A lookup did not find the user: it confirms a deletion that was announced, or one that an earlier read showed.
pub(super) fn miss(record: &mut Record, before: Option<&User>, missing: &NotFound, at: &Circumstances) -> Verdict {
    let mut verdict = Verdict::of(Outcome::Applied);
    let NotFound { began, call, found_by, witnessed, cleared } = *missing;
    if merge::deleted_at(record).is_some() {
        die(record, (began, call));
        verdict.closed = close(record, began, at);
        return verdict;
    }
    if before.is_none() {
        // A stranger who is in doubt wants a witness too; whoever was only mentioned is nobody upstream knows.
        let in_doubt = is_suspected(record);
        if in_doubt && !(witnessed && is_newest(record, (began, call))) {
            ask_again(record, at);
            return verdict;
        }
        if in_doubt {
            die(record, (began, call));
        }
        verdict.closed = close(record, began, at);
        return verdict;
    }
    if !is_newest(record, (began, call)) || is_younger(record, began, at) {
        return verdict;
    }
    let Some(candidate) = record.life.candidate.clone() else {
        become_candidate(record, Candidate { listed: false, began, missed: Some(began), found_by }, at);
        verdict.shown.push(Reason::MissedDelivery);
        return verdict;
    };
    let Some(missed) = candidate.missed.or_else(|| candidate.listed.then_some(began)) else {
        become_candidate(record, Candidate { missed: Some(began), ..candidate }, at);
        return verdict;
    };
    let confirmed = witnessed && (candidate.listed || began >= missed + at.rules.confirm);
    if confirmed && cleared {
        die(record, (began, call));
        verdict.closed = close(record, began, at);
        return verdict;
    }
    ask_again(record, at);
    verdict
}

/// Whoever waits for someone's word, or for a witness, is asked about again.
fn ask_again(record: &mut Record, at: &Circumstances) {
    for (_, held) in record.gaps.iter_mut() {
        held.due = held.due.max(at.now + at.rules.settle);
    }
}

/// Whether something speaks against someone's life: a read of a user who is held as alive, or a stranger's row that is in no live listing.
#[must_use]
pub fn is_suspected(record: &Record) -> bool {
    record.life.candidate.is_some()
        || record.listing.is_some() && record.life.sight.is_none() && record.gaps.contains_key(&Reason::MissedDelivery)
}

/// What is known of whether someone lives whose row moved as `row` tells; `None` where a listing has to tell.
///
/// Whoever was seen to be gone after that moment is gone still: to come back moves the row.
#[must_use]
pub fn standing(record: &Record, row: &Fields, at: &Circumstances) -> Option<bool> {
    let view = merge::view(record)?;
    if !view.is_deleted() {
        return Some(true);
    }
    let sight = record.life.sight.as_ref().filter(|sight| !sight.alive)?;
    merge::time(row, "updated_at").is_some_and(|moved| moved + at.rules.tolerance < sight.began).then_some(false)
}

/// Someone decided that a candidate stays.
pub(super) fn acquit(record: &mut Record) -> Verdict {
    let mut verdict = Verdict::of(Outcome::Applied);
    if record.life.candidate.take().is_some()
        && let Some(gap) = record.gaps.remove(&Reason::MissedDelivery)
    {
        verdict.closed.push((Reason::MissedDelivery, gap));
    }
    verdict
}

/// The user is a candidate for deletion, and a lookup is due: at once, or a while after one that found nobody.
fn become_candidate(record: &mut Record, candidate: Candidate, at: &Circumstances) {
    let gap = gap::instant(candidate.began, at);
    let due = candidate.missed.map_or(gap.due, |missed| gap.due.max(missed + at.rules.confirm));
    let held = record.gaps.entry(Reason::MissedDelivery).or_insert(gap);
    (held.need, held.happened, held.due) = (Need::Lookup, candidate.began, due);
    record.life.candidate = Some(candidate);
}

/// Whether no later read told alive from deleted.
fn is_newest(record: &Record, (began, call): (Timestamp, u64)) -> bool {
    record.life.sight.as_ref().is_none_or(|held| (held.call, held.began) < (call, began))
}

/// Whether the user may have come into being, or was spoken of, after the read began: then it says nothing.
fn is_younger(record: &Record, began: Timestamp, at: &Circumstances) -> bool {
    let claims = record.claims.values().map(|claim| claim.by.received);
    let touched = record.life.touched.map(|(_, received)| received);
    let row = record.listing.as_ref().and_then(|read| merge::time(&read.fields, "created_at"));
    let newest = claims.chain(touched).chain(row).chain(record.life.created).max();
    newest.is_some_and(|newest| newest + at.rules.tolerance >= began)
}

/// Whether the user's row may have moved, or become visible, after the read began.
fn may_have_moved(record: &Record, began: Timestamp, at: &Circumstances) -> bool {
    let time = |field| record.listing.as_ref().and_then(|read| merge::time(&read.fields, field));
    time("created_at").max(time("updated_at")).is_some_and(|moved| moved + at.rules.tolerance > began)
}

/// The user was seen to be deleted; the time that an event told is kept.
pub(super) fn die(record: &mut Record, (began, call): (Timestamp, u64)) {
    if !is_newest(record, (began, call)) {
        return;
    }
    let deleted_at = merge::deleted_at(record);
    record.life.sight = Some(Sight { alive: false, began, call, deleted_at });
    (record.life.deletion, record.life.candidate) = (None, None);
}

/// Closes the gaps of someone who is gone: no read can tell more.
fn close(record: &mut Record, began: Timestamp, at: &Circumstances) -> Vec<(Reason, Gap)> {
    let answered = |reason: &Reason, held: &Gap| *reason == Reason::MissedDelivery || began > held.happened + at.rules.tolerance;
    let (closed, open): (Vec<_>, Vec<_>) = std::mem::take(&mut record.gaps).into_iter().partition(|(reason, held)| answered(reason, held));
    record.gaps = open.into_iter().collect();
    for (_, held) in record.gaps.iter_mut() {
        held.due = gap::due(held.happened, at);
    }
    closed
}

#[cfg(test)]
mod laws;
