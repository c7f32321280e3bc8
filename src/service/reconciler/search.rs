//! Asking for single users among the live ones: how a deletion is confirmed where lookups show deleted users as well.
//!
//! A search goes by e-mail, and e-mails move: so a lookup tells it first, and once more where the search found nobody. Two users who
//! swap theirs in between would else count as gone.

use std::collections::VecDeque;

use serde_json::Value;

use super::run::{Run, Work};
use super::walk::PAGE_ROWS_MAX;
use super::{Reconciler, Sent, Step, Trouble};
use crate::directory::{Evidence, Missing, NotFound, Shape, Sighting, Sign, absence, merge};
use crate::storage::Endpoint;
use crate::upstream::mangoapps::client::{Lookup, PageQuery};

/// Users who are sought one after the other.
#[derive(Debug)]
pub struct Searches {
    /// Who is still to be sought.
    pub queue: VecDeque<String>,
    /// Whom the last search did not find.
    unfound: Option<Unfound>,
}

/// A search that found nobody; it counts once another lookup tells that it sought the right e-mail.
#[derive(Clone, Debug)]
struct Unfound {
    uid: String,
    is_witness: bool,
    email: String,
    sent: Sent,
    /// Whether someone had just been found.
    witnessed: bool,
}

impl Searches {
    /// Searches for all of these.
    #[must_use]
    pub const fn of(queue: VecDeque<String>) -> Self {
        Self { queue, unfound: None }
    }
}

impl Reconciler {
    /// Searches the live listing for the next user of the run, by e-mail.
    pub(super) async fn search(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Work::Searches(Searches { queue, unfound }) = &run.work else { return Ok(()) };
        if let Some(unfound) = unfound.clone() {
            return self.confirm_unfound(run, unfound).await;
        }
        let Some(uid) = queue.front().cloned() else { return self.looked_up(run).await };
        // As with lookups: before someone's absence may count, someone else has to be found.
        let witness = if self.is_suspected(&uid)? { self.witness_needed() } else { None };
        let (uid, is_witness) = (witness.clone().unwrap_or(uid), witness.is_some());
        let Some((found, sent)) = self.ask_for(run, &uid).await? else { return Ok(()) };
        let (email, is_gone) = (email_of(&found), matches!(found, Lookup::NotFound));
        let evidence = self.evidence(run, (&uid, self.lookups_hide_deleted()), (found, sent))?;
        let Some(email) = email else {
            if is_gone {
                self.witnessed(false, is_witness);
            }
            return self.sought(run, uid, vec![evidence]).await;
        };
        self.commit(run, Step { evidence: vec![(uid.clone(), evidence)], ..Step::default() }).await?;
        let mut sent = self.reserve(Endpoint::Bulk).await?;
        let search = Some(email.clone());
        let query =
            PageQuery { page: 1, per_page: PAGE_ROWS_MAX, sort_by: "created_at", updated_after: None, include_deleted: false, search };
        let answer = self.means.client.page(&query).await;
        run.record.progress.calls += 1;
        run.record.message = None;
        let page = self.observe(Endpoint::Bulk, &mut sent, answer)?;
        run.record.progress.rows += page.rows.len() as u64;
        let is_complete = page.pages <= 1;
        match page.rows.into_iter().find(|(found, _)| *found == uid) {
            Some((_, fields)) => {
                self.witnessed(true, is_witness);
                let (began, call, fields) = (sent.began, sent.call, absence::unmarked(fields));
                let sighting = Sighting { shape: Shape::Listing, fields, began, call, sign: Sign::Alive, expected: true, swept: None };
                self.sought(run, uid, vec![Evidence::Sighting(Box::new(sighting))]).await
            }
            None if is_complete => {
                let witnessed = self.is_witnessed();
                if let Work::Searches(searches) = &mut run.work {
                    searches.unfound = Some(Unfound { uid, is_witness, email, sent, witnessed });
                }
                Ok(())
            }
            // Too many match: the next sweep tells.
            None => self.sought(run, uid, Vec::new()).await,
        }
    }

    /// Nobody was found: was the e-mail still theirs?
    async fn confirm_unfound(&mut self, run: &mut Run, unfound: Unfound) -> Result<(), Trouble> {
        let Unfound { uid, is_witness, email, sent, witnessed } = unfound;
        let Some((found, asked)) = self.ask_for(run, &uid).await? else { return Ok(()) };
        let (is_same, is_gone) = (email_of(&found).as_ref() == Some(&email), matches!(found, Lookup::NotFound));
        let told = self.evidence(run, (&uid, self.lookups_hide_deleted()), (found, asked))?;
        if is_same || is_gone {
            self.witnessed(false, is_witness);
        }
        let mut evidence = vec![told];
        if is_same {
            // A lookup shows them, which shows deleted users as well: with that, this is as good as two listings.
            let is_new = self.is_shown(&uid)? && !self.candidate(&uid)?.is_some_and(|candidate| candidate.listed);
            let missing = Missing { listed: true, began: sent.began, call: sent.call, found_by: run.record.id };
            let not_found = NotFound { witnessed, ..self.not_found(run, &uid, sent)? };
            evidence.insert(0, if is_new { Evidence::Missing(missing) } else { Evidence::NotFound(not_found) });
        }
        self.sought(run, uid, evidence).await
    }

    /// Commits what was learnt of someone who is not sought any more in this run.
    async fn sought(&mut self, run: &mut Run, uid: String, evidence: Vec<Evidence>) -> Result<(), Trouble> {
        if let Work::Searches(Searches { queue, unfound }) = &mut run.work {
            queue.retain(|waiting| *waiting != uid);
            *unfound = None;
        }
        let evidence = evidence.into_iter().map(|evidence| (uid.clone(), evidence)).collect();
        self.commit(run, Step { evidence, ..Step::default() }).await?;
        self.attempted(&uid)?;
        match &run.work {
            Work::Searches(searches) if searches.queue.is_empty() => self.looked_up(run).await,
            _ => Ok(()),
        }
    }

    /// Whether the directory shows the user, alive or deleted: what it does not hold wants more than one search.
    fn is_shown(&self, uid: &str) -> Result<bool, Trouble> {
        Ok(self.means.store.record(&self.means.tenant.name, uid)?.as_ref().and_then(merge::view).is_some())
    }

    /// Looks someone up; `None` where that cannot be asked yet.
    async fn ask_for(&mut self, run: &mut Run, uid: &str) -> Result<Option<(Lookup, Sent)>, Trouble> {
        let wait = self.wait(Endpoint::Lookup);
        if !wait.is_zero() {
            run.not_before = self.means.clock.elapsed() + wait;
            return Ok(None);
        }
        let mut sent = self.reserve(Endpoint::Lookup).await?;
        let answer = self.means.client.lookup(uid).await;
        run.record.progress.calls += 1;
        Ok(Some((self.observe(Endpoint::Lookup, &mut sent, answer)?, sent)))
    }
}

/// The e-mail as upstream tells it now: whoever is sought by an old one is not found.
fn email_of(found: &Lookup) -> Option<String> {
    let Lookup::Found(fields) = found else { return None };
    fields.get("email").and_then(Value::as_str).filter(|email| !email.is_empty()).map(str::to_owned)
}
