//! What one user's change shows about others: `identity_collision`, `dangling_manager`.

use std::sync::Arc;

use super::{Group, Who};
use crate::directory::{Difference, Evidence, Misfit, Reason, misfit};
use crate::storage::Error;

impl Group<'_> {
    /// Who else does not fit to what became of a user: whoever already has the e-mail, together with the user, and a manager of whom no
    /// record is held.
    ///
    /// Rows of a sweep show nothing: their managers and the owners of their e-mails may stand on a later page.
    pub(super) fn misfits(&self, who: &Who, difference: &Difference, evidence: &Evidence) -> Result<Vec<(Who, Misfit)>, Error> {
        let mut misfits = Vec::new();
        let (happened, event_id) = match evidence {
            Evidence::Event(event) => (event.happened(), Some(event.id.clone())),
            Evidence::Sighting(sighting) if sighting.swept.is_none() => (sighting.began, None),
            _ => return Ok(misfits),
        };
        let misfit = |reason| Misfit { reason, happened, event_id: event_id.clone() };
        let (source, uid) = who;
        if let Some(email) = misfit::new_email(difference)
            && let Some(other) = self.other_with(who, email)?
        {
            let collision = misfit(Reason::IdentityCollision);
            misfits.push(((Arc::clone(source), other), collision.clone()));
            misfits.push((who.clone(), collision));
        }
        if let Some(manager) = misfit::new_manager(difference).filter(|manager| manager != uid) {
            let manager = (Arc::clone(source), manager.to_owned());
            if !self.records.contains_key(&manager) && !self.around.store.holds(source, &manager.1) {
                misfits.push((manager, misfit(Reason::DanglingManager)));
            }
        }
        Ok(misfits)
    }

    /// Another live user who has this e-mail.
    fn other_with(&self, who: &Who, email: &str) -> Result<Option<String>, Error> {
        let (source, uid) = who;
        for other in self.around.store.by_email(source, email)? {
            if other == *uid {
                continue;
            }
            let key = (Arc::clone(source), other);
            // What this group has decided already counts.
            let shown = match self.records.get(&key) {
                Some(known) => known.view.as_deref().cloned(),
                None => self.around.store.record(source, &key.1)?.as_ref().and_then(crate::directory::merge::view),
            };
            let same = |user: &crate::directory::User| user.text("email").is_some_and(|held| held.to_lowercase() == email.to_lowercase());
            if shown.is_some_and(|user| !user.is_deleted() && same(&user)) {
                return Ok(Some(key.1));
            }
        }
        Ok(None)
    }
}
