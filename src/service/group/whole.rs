//! Gaps of whole sources in a group: shown, counted once more, closed.

use std::sync::Arc;
use std::time::Duration;

use super::Group;
use crate::directory::{ClosedGap, Event, Gap, Outcome, Reason, gap, late};
use crate::service::job::{Close, READ_AGAIN_AFTER, SourceEvidence};
use crate::storage::{Delivery, Error, Reconciliation, SourceGap};

/// How long before its gap was shown a quarantined delivery may have arrived: it waits for the writer, at most 8 s.
const ARRIVED_BEFORE: Duration = Duration::from_secs(10);
/// Quarantined deliveries that are looked through for one that is still not understood.
const QUARANTINED_MAX: usize = 1000;
/// Reconciliations that are looked through for one that someone still waits for.
const ASKED_MAX: usize = 1000;

impl Group<'_> {
    /// Adds what is held in memory about whole sources; called once, when the group has all its jobs.
    ///
    /// # Errors
    /// When the store cannot be read; the whole group is refused then.
    pub fn tell_held(&mut self) -> Result<(), Error> {
        if self.around.store.healthy().is_err() {
            // Nothing would be committed, and what needs no commit, a duplicate, must not fail for it.
            return Ok(());
        }
        for tenant in self.around.tenants.values() {
            let source = &tenant.name;
            let held = tenant.vigil.take();
            // First of all, so that nothing is lost if the store cannot be read.
            self.held.extend(held.iter().map(|(reason, count)| (Arc::clone(source), *reason, *count)));
            for (reason, count) in held {
                let at = self.at(source);
                let gap = Gap { count, ..gap::open(None, at.now, &at) };
                self.show(source, SourceEvidence { reason, uid: None, gap })?;
                let pulse = &mut self.state(source)?.pulse;
                match reason {
                    Reason::Downtime => pulse.down_at = tenant.vigil.down_at(),
                    Reason::BadSignatures => pulse.knocked_at = Some(at.wall),
                    _ => {}
                }
            }
            // What this group answers 200 ends the streak.
            let failures = if self.heard.contains(source) { 0 } else { tenant.counters.failures() };
            if failures != tenant.vigil.failures_stored() {
                self.state(source)?.failures = failures;
                self.streaks.push((Arc::clone(tenant), failures));
            }
        }
        Ok(())
    }

    /// Opens `undecodable`.
    pub(super) fn undecodable(&mut self, source: &Arc<str>, event_id: &str) -> Result<(), Error> {
        self.show_by(Reason::Undecodable, source, event_id)
    }

    /// Opens `late_delivery` if a new event arrives about one retry step after its own timestamp.
    pub(super) fn lateness(&mut self, source: &Arc<str>, event: &Event) -> Result<(), Error> {
        if late::is_retry(event.received.since(event.stamp), self.tenant(source).rules.tolerance) {
            return self.show_by(Reason::LateDelivery, source, &event.id);
        }
        Ok(())
    }

    fn show_by(&mut self, reason: Reason, source: &Arc<str>, event_id: &str) -> Result<(), Error> {
        let at = self.at(source);
        let gap = gap::open(Some(event_id.to_owned()), at.now, &at);
        self.show(source, SourceEvidence { reason, uid: None, gap })
    }

    /// Opens a gap of the whole source, or counts it once more.
    pub(super) fn show(&mut self, source: &Arc<str>, evidence: SourceEvidence) -> Result<(), Error> {
        let SourceEvidence { reason, uid, mut gap } = evidence;
        gap.count = gap.count.max(1);
        self.tally.shown.push((Arc::clone(source), reason, gap.count));
        let id = self.numbers.gap + 1;
        let state = self.state(source)?;
        if let Some(held) = state.gaps.iter_mut().find(|held| held.reason == reason && held.uid == uid) {
            held.gap.count = held.gap.count.saturating_add(gap.count);
            held.gap.event_id = gap.event_id.or(held.gap.event_id.take());
            held.gap.happened = held.gap.happened.max(gap.happened);
            return Ok(());
        }
        gap.id = id;
        state.gaps.push(SourceGap { reason, uid, gap });
        self.numbers.gap = id;
        Ok(())
    }

    /// Closes a gap of the whole source if that answers it; returns how many were closed.
    pub(super) fn close(&mut self, source: &Arc<str>, close: Close, by: u64) -> Result<u64, Error> {
        let Close { reason, uid, began } = close;
        if reason == Reason::Operator && self.is_asked(source, uid.as_ref(), by)? {
            return Ok(0);
        }
        let at = self.at(source);
        let state = self.state(source)?;
        let Some(index) = state.gaps.iter().position(|held| held.reason == reason && held.uid == uid) else { return Ok(0) };
        if let Some(began) = began
            && let Some(SourceGap { gap, .. }) = state.gaps.get_mut(index)
            && began <= gap.happened + at.rules.tolerance
        {
            if gap.due <= began {
                gap.due = gap::due(gap.happened, &at).max(began + READ_AGAIN_AFTER);
            }
            return Ok(0);
        }
        let SourceGap { reason, uid, gap } = state.gaps.remove(index);
        self.batch.closed.push(ClosedGap { source: source.to_string(), reason, uid, gap, closed_at: at.wall, closed_by: by });
        Ok(1)
    }

    /// Whether someone waits for another reconciliation of the whole source, or of this user, than the one that ends.
    fn is_asked(&self, source: &Arc<str>, uid: Option<&String>, ending: u64) -> Result<bool, Error> {
        let waits = |run: &Reconciliation| {
            let ours = *run.source == **source && run.uid.as_ref() == uid && run.id != ending;
            ours && !run.dry_run && !run.state.is_left() && run.reasons.iter().any(|reason| reason == Reason::Operator.name())
        };
        let ours = &self.batch.reconciliations;
        let stored = self.around.store.reconciliations(u64::MAX, ASKED_MAX)?;
        Ok(ours.iter().any(waits) || stored.iter().any(|run| waits(run) && ours.iter().all(|newer| newer.id != run.id)))
    }

    /// A quarantined delivery was replayed and is understood now: closes `undecodable` if it was the last one since that was opened.
    pub(super) fn understood(&mut self, source: &Arc<str>, event_id: &str) -> Result<(), Error> {
        let gaps = &self.state(source)?.gaps;
        let Some(held) = gaps.iter().find(|held| held.reason == Reason::Undecodable) else { return Ok(()) };
        let since = held.gap.detected_at - ARRIVED_BEFORE;
        let quarantined = self.around.store.deliveries(Some(Outcome::Quarantined), u64::MAX, QUARANTINED_MAX)?;
        if quarantined.len() == QUARANTINED_MAX && quarantined.last().is_some_and(|oldest| oldest.received_at >= since) {
            // Too many to look through: the next pass closes it.
            return Ok(());
        }
        let others = |kept: &&Delivery| kept.source == *source && kept.received_at >= since && kept.event_id != event_id;
        for kept in quarantined.iter().chain(&self.batch.deliveries).filter(others) {
            if self.outcome_of(source, &kept.event_id)? == Some(Outcome::Quarantined) {
                return Ok(());
            }
        }
        self.close(source, Close { reason: Reason::Undecodable, uid: None, began: None }, 0).map(drop)
    }

    /// What became of a delivery, as this group leaves it.
    fn outcome_of(&self, source: &Arc<str>, event_id: &str) -> Result<Option<Outcome>, Error> {
        match self.seen.get(&(Arc::clone(source), event_id.to_owned())) {
            Some(seen) => Ok(Some(seen.outcome)),
            None => Ok(self.around.store.seen(source, event_id)?.map(|seen| seen.outcome)),
        }
    }
}
