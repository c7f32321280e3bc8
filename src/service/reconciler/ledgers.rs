//! What the two ledgers learn apart from calls: how far the wall clock may be trusted, and what upstream refuses.

use std::time::Duration;

use super::{Edit, Reconciler, Trouble};
use crate::storage::{CallsClock, Endpoint};
use crate::upstream::budget;

impl Reconciler {
    /// Upstream told its time: is the wall clock still as far from it as when the calls of earlier processes were logged?
    pub(super) fn judge_ages(&mut self, offset_millis: i64) {
        // Only the first answer tells it: later on the wall clock may have been set again.
        if std::mem::replace(&mut self.ages_judged, true) {
            return;
        }
        let now = self.means.clock.elapsed();
        let held = self.means.store.source(&self.means.tenant.name).ok().and_then(|state| state.calls_clock);
        let agrees = held.is_some_and(|clock| budget::agree(clock.offset_millis, offset_millis));
        if held.is_some() && !agrees {
            tracing::warn!(source = %self.means.tenant.name, "the clock was set since the last start: its calls count for an hour from now");
        }
        for endpoint in Endpoint::ALL {
            match agrees {
                true => self.ledger_mut(endpoint).trust(now),
                false => self.ledger_mut(endpoint).distrust(),
            }
        }
    }

    /// Notes how the wall clock differs from upstream's, where that is news: calls are logged by it.
    pub(super) fn clock_edit(&self) -> Result<Option<Edit>, Trouble> {
        let time = &self.means.tenant.time;
        if time.offset_millis().is_none() {
            return Ok(None);
        }
        let offset_millis = time.now().as_millis().saturating_sub(self.means.clock.now().as_millis());
        let held = self.means.store.source(&self.means.tenant.name)?.calls_clock;
        if held.is_some_and(|clock| budget::agree(clock.offset_millis, offset_millis)) {
            return Ok(None);
        }
        let clock = CallsClock { offset_millis, from_call: self.means.store.numbers().call + 1 };
        Ok(Some(Box::new(move |state| state.calls_clock = Some(clock))))
    }

    /// Notes whether the next call is the one that is kept for asking for the time, where that is news.
    pub(super) fn asked_edit(&self, endpoint: Endpoint, asks: bool) -> Result<Option<Edit>, Trouble> {
        if self.means.store.source(&self.means.tenant.name)?.asked.contains(&endpoint) == asks {
            return Ok(None);
        }
        Ok(Some(Box::new(move |state| {
            let _ = if asks { state.asked.insert(endpoint) } else { state.asked.remove(&endpoint) };
        })))
    }

    /// Upstream answered 429.
    pub(super) fn refused(&mut self, endpoint: Endpoint, retry_after: Option<Duration>) {
        let now = self.means.clock.elapsed();
        let was_lowered = self.ledger(endpoint).cap(now) < self.means.tenant.budgets.capacity(endpoint);
        if let Some(cap) = self.ledger_mut(endpoint).refused(now, retry_after).filter(|_| !was_lowered) {
            tracing::warn!(
                source = %self.means.tenant.name, endpoint = endpoint.name(), cap,
                "upstream refuses calls below the budget: someone else seems to use the token; fewer are made for two hours"
            );
        }
    }
}
