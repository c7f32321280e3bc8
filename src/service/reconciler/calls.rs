//! What a step exchanges: calls with upstream, evidence with the writer.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::run::Run;
use super::{EVIDENCE_MAX, Reconciler, Trouble};
use crate::directory::{Evidence, Reason, Timestamp, change, decide};
use crate::service::Refusal;
use crate::service::job::{Close, Edit, Job, Repair, Repaired, SourceEvidence};
use crate::storage::{Endpoint, RunState};
use crate::upstream::mangoapps::client::{Answer, Failure};

/// Differences that a dry run shows, at most.
const DIFFERENCES_MAX: usize = 1000;

/// A call that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sent {
    /// When, in upstream's time.
    pub began: Timestamp,
    /// Its place in the ledger of requests.
    pub call: u64,
}

impl Sent {
    /// The same call, once its answer was there at `ended` and told `date`, both in upstream's time. A `Date` is set when the answer is, so the
    /// request began at least as long before it as all of it took; what was assumed stays where that is earlier, since a read must not seem
    /// to cover what it may not have seen.
    #[must_use]
    pub fn dated(self, ended: Timestamp, date: Timestamp) -> Self {
        Self { began: self.began.min(date - ended.since(self.began)), ..self }
    }
}

/// What one step of a run commits.
#[derive(Default)]
pub struct Step {
    /// Evidence about users, in the order in which it was read.
    pub evidence: Vec<(String, Evidence)>,
    /// Gaps of the whole source that it shows.
    pub shown: Vec<SourceEvidence>,
    /// Gaps of the whole source that it closes.
    pub closes: Vec<Close>,
    /// What changes in the source's state.
    pub edit: Option<Edit>,
}

/// One edit after the other.
pub(super) fn both(one: Option<Edit>, other: Option<Edit>) -> Option<Edit> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Box::new(move |state| {
            one(state);
            other(state);
        })),
        (one, other) => one.or(other),
    }
}

impl Reconciler {
    /// Logs a call durably before it is sent, and notes it in the budget.
    pub(super) async fn reserve(&mut self, endpoint: Endpoint) -> Result<Sent, Trouble> {
        let asks = self.ledger(endpoint).asks(self.means.clock.elapsed());
        let edit = both(self.clock_edit()?, self.asked_edit(endpoint, asks)?);
        let (reply, answer) = oneshot::channel();
        self.send(Repair { call: Some(endpoint), edit, ..self.nothing(reply) }).await?;
        let call = answer.await.map_err(|_| Trouble::Refused)??.call;
        let now = self.means.clock.elapsed();
        self.ledger_mut(endpoint).note(now);
        Ok(Sent { began: self.means.tenant.time.now(), call })
    }

    /// What an answer tells apart from its content: the status, upstream's time and with it when the call began, the limit.
    pub(super) fn observe<T>(&mut self, endpoint: Endpoint, sent: &mut Sent, answer: Answer<T>) -> Result<T, Trouble> {
        self.means.metrics.upstream_answered(&self.means.tenant.name, endpoint, answer.status);
        if let Some(date) = answer.date {
            *sent = sent.dated(self.means.tenant.time.now(), date);
            let offset = self.means.tenant.time.learn(date);
            self.judge_ages(offset);
        }
        if let Err(Failure::Limited { retry_after }) = &answer.result {
            self.refused(endpoint, *retry_after);
        }
        answer.result.map_err(Trouble::Upstream)
    }

    /// Commits what a step learnt, with the run as it now stands. A dry run only shows what would differ.
    pub(super) async fn commit(&mut self, run: &mut Run, step: Step) -> Result<Repaired, Trouble> {
        let Step { evidence, shown, closes, edit } = step;
        if run.record.state != RunState::Cancelled && self.means.tenant.cancelled.lock().contains(&run.record.id) {
            return Err(Trouble::Cancelled);
        }
        let (evidence, edit) = if run.record.dry_run {
            self.preview(run, &evidence)?;
            (Vec::new(), None)
        } else {
            (evidence, edit)
        };
        let edit = both(edit, self.clock_edit()?);
        let (reply, answer) = oneshot::channel();
        let record = Some(run.record.clone());
        self.send(Repair { run: record, evidence, shown, closes, edit, ..self.nothing(reply) }).await?;
        let repaired = answer.await.map_err(|_| Trouble::Refused).and_then(|repaired| Ok(repaired?));
        // What failed may be there nevertheless, under a number that it does not know.
        self.orphaned |= repaired.is_err() && run.record.id == 0;
        let repaired = repaired?;
        let before = run.record.state;
        if let Some(record) = &repaired.run {
            run.record = record.clone();
        }
        if run.record.state == RunState::Cancelled && before != RunState::Cancelled {
            return Err(Trouble::Cancelled);
        }
        Ok(repaired)
    }

    pub(super) async fn send(&self, repair: Repair) -> Result<(), Trouble> {
        self.means.jobs.send(Job::Repair(Box::new(repair))).await.map_err(|_| Trouble::Refused)
    }

    pub(super) fn nothing(&self, reply: oneshot::Sender<Result<Repaired, Refusal>>) -> Repair {
        let source = Arc::clone(&self.means.tenant.name);
        Repair { source, run: None, evidence: Vec::new(), shown: Vec::new(), closes: Vec::new(), call: None, edit: None, reply }
    }

    /// Commits evidence, a page's worth at a time.
    pub(super) async fn commit_all(&mut self, run: &mut Run, mut evidence: Vec<(String, Evidence)>) -> Result<(), Trouble> {
        while !evidence.is_empty() {
            let rest = evidence.split_off(evidence.len().min(EVIDENCE_MAX));
            self.commit(run, Step { evidence, ..Step::default() }).await?;
            evidence = rest;
        }
        Ok(())
    }

    /// Decides without committing, and notes the differences in the run.
    fn preview(&self, run: &mut Run, evidence: &[(String, Evidence)]) -> Result<(), Trouble> {
        let at = self.at();
        for (uid, evidence) in evidence {
            let decision = decide(self.means.store.record(&self.means.tenant.name, uid)?, evidence, &at);
            let suspected = matches!(evidence, Evidence::Missing(_)) && decision.shown.contains(&Reason::MissedDelivery);
            if suspected {
                run.record.progress.candidates += 1;
                self.note(run, serde_json::json!({"uid": uid, "kind": "deleted", "fields": {}, "confirmed": false}));
            }
            let Some(difference) = decision.difference else { continue };
            run.record.progress.changed += 1;
            let to = |field: &str| change::value_now(&difference.user, field);
            let fields =
                difference.from.iter().map(|(field, from)| (field.as_str().to_owned(), serde_json::json!({"from": from, "to": to(field)})));
            let fields: serde_json::Map<_, _> = fields.collect();
            self.note(run, serde_json::json!({"uid": uid, "kind": difference.kind.name(), "fields": fields}));
        }
        Ok(())
    }

    fn note(&self, run: &mut Run, difference: serde_json::Value) {
        if run.record.differences.len() < DIFFERENCES_MAX {
            run.record.differences.push(difference);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_call_began_no_later_than_its_answers_date_lets_it() {
        let at = |second: i64| Timestamp::from_millis(second * 1000);
        let sent = Sent { began: at(100), call: 7 };
        let ended = at(100) + Duration::from_secs(4);
        for (date, began) in [(at(104), at(100)), (at(102), at(98)), (at(90), at(86)), (at(5000), at(100))] {
            assert_eq!(sent.dated(ended, date), Sent { began, call: 7 });
        }
    }
}
