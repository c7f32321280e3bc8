//! What of two users does not fit together: an e-mail that both have, a manager whom nobody knows.

use super::record::Record;
use super::{Circumstances, Difference, Need, Outcome, Reason, Timestamp, User, Verdict, gap};

/// Evidence from another user's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// `identity_collision` or `dangling_manager`.
    pub reason: Reason,
    /// When what shows it happened, in upstream's time.
    pub happened: Timestamp,
    /// The event that shows it, if it was one.
    pub event_id: Option<String>,
}

/// Opens the gap, or counts it once more.
pub(super) fn show(record: &mut Record, misfit: &Misfit, at: &Circumstances) -> Verdict {
    gap::show(record, misfit.reason, Need::Any, (misfit.happened, misfit.event_id.as_deref()), at);
    Verdict { shown: vec![misfit.reason], ..Verdict::of(Outcome::Applied) }
}

/// The e-mail that a user newly has, if they have one and live: nobody else may have it.
#[must_use]
pub fn new_email(difference: &Difference) -> Option<&str> {
    let email = moved(difference, "email")?.text("email")?;
    Some(email).filter(|email| !email.is_empty())
}

/// The uid of the manager that a user newly has, if they have one and live: somebody has to be known by it.
#[must_use]
pub fn new_manager(difference: &Difference) -> Option<&str> {
    moved(difference, "manager")?.fields.get("manager")?.get("uid")?.as_str().filter(|uid| !uid.is_empty())
}

fn moved<'a>(difference: &'a Difference, field: &str) -> Option<&'a User> {
    let user = &*difference.user;
    (difference.from.contains_key(field) && !user.is_deleted()).then_some(user)
}
