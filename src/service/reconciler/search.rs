//! Asking for single users among the live ones: how a deletion is confirmed where lookups show deleted users as well.

use serde_json::Value;

use super::run::{Run, Work};
use super::walk::PAGE_ROWS_MAX;
use super::{Reconciler, Step, Trouble};
use crate::directory::{Evidence, Missing, Shape, Sighting, Sign, absence, merge};
use crate::storage::Endpoint;
use crate::upstream::mangoapps::client::{Lookup, PageQuery};

impl Reconciler {
    /// Searches the live listing for the next user of the run, by e-mail.
    pub(super) async fn search(&mut self, run: &mut Run) -> Result<(), Trouble> {
        let Work::Searches(queue) = &run.work else { return Ok(()) };
        let Some(uid) = queue.front().cloned() else { return self.looked_up(run).await };
        // As with lookups: before someone's absence may count, someone else has to be found.
        let witness = if self.is_suspected(&uid)? { self.witness_needed() } else { None };
        let (uid, is_witness) = (witness.clone().unwrap_or(uid), witness.is_some());
        let Some(email) = self.present_email(run, (&uid, is_witness)).await? else { return Ok(()) };
        let mut sent = self.reserve(Endpoint::Bulk).await?;
        let search = Some(email);
        let query =
            PageQuery { page: 1, per_page: PAGE_ROWS_MAX, sort_by: "created_at", updated_after: None, include_deleted: false, search };
        let answer = self.means.client.page(&query).await;
        run.record.progress.calls += 1;
        run.record.message = None;
        let page = self.observe(Endpoint::Bulk, &mut sent, answer)?;
        run.record.progress.rows += page.rows.len() as u64;
        let (complete, is_found) = (page.pages <= 1, page.rows.iter().any(|(found, _)| *found == uid));
        self.witnessed(is_found, is_witness);
        let evidence = match page.rows.into_iter().find(|(found, _)| *found == uid) {
            Some((_, fields)) => {
                let (began, call, fields) = (sent.began, sent.call, absence::unmarked(fields));
                let sighting = Sighting { shape: Shape::Listing, fields, began, call, sign: Sign::Alive, expected: true, swept: None };
                Some(Evidence::Sighting(Box::new(sighting)))
            }
            // A lookup just showed them, which shows deleted users as well: with that, this is as good as two listings.
            None if complete && self.is_shown(&uid)? && !self.candidate(&uid)?.is_some_and(|candidate| candidate.listed) => {
                Some(Evidence::Missing(Missing { listed: true, began: sent.began, call: sent.call, found_by: run.record.id }))
            }
            None if complete => Some(Evidence::NotFound(self.not_found(run, &uid, sent)?)),
            // Too many match: the next sweep tells.
            None => None,
        };
        if let Work::Searches(queue) = &mut run.work {
            queue.retain(|waiting| *waiting != uid);
        }
        let evidence = evidence.map(|evidence| (uid.clone(), evidence)).into_iter().collect();
        self.commit(run, Step { evidence, ..Step::default() }).await?;
        self.attempted(&uid)?;
        match &run.work {
            Work::Searches(queue) if queue.is_empty() => self.looked_up(run).await,
            _ => Ok(()),
        }
    }

    /// Whether the directory shows the user, alive or deleted: what it does not hold wants more than one search.
    fn is_shown(&self, uid: &str) -> Result<bool, Trouble> {
        Ok(self.means.store.record(&self.means.tenant.name, uid)?.as_ref().and_then(merge::view).is_some())
    }

    /// The user's e-mail as upstream tells it now: whoever is sought by an old one is not found. `None` where that is not to be had yet, or
    /// the user is settled by it.
    async fn present_email(&mut self, run: &mut Run, (uid, is_witness): (&str, bool)) -> Result<Option<String>, Trouble> {
        let wait = self.wait(Endpoint::Lookup);
        if !wait.is_zero() {
            run.not_before = self.means.clock.elapsed() + wait;
            return Ok(None);
        }
        let mut sent = self.reserve(Endpoint::Lookup).await?;
        let answer = self.means.client.lookup(uid).await;
        run.record.progress.calls += 1;
        let found = self.observe(Endpoint::Lookup, &mut sent, answer)?;
        let email = match &found {
            Lookup::Found(fields) => fields.get("email").and_then(Value::as_str).filter(|email| !email.is_empty()).map(str::to_owned),
            Lookup::NotFound => {
                self.witnessed(false, is_witness);
                None
            }
        };
        let evidence = self.evidence(run, (uid, self.lookups_hide_deleted()), (found, sent))?;
        if email.is_none()
            && let Work::Searches(queue) = &mut run.work
        {
            queue.retain(|waiting| waiting != uid);
        }
        self.commit(run, Step { evidence: vec![(uid.to_owned(), evidence)], ..Step::default() }).await?;
        if email.is_none() {
            self.attempted(uid)?;
        }
        Ok(email)
    }
}
