//! Taking deliveries in: verify over the bytes of the wire, read, wait for the writer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::job::{Deliver, Job};
use super::replies::Reply;
use super::tenant::Tenant;
use super::vigil::FAILURES_MAX;
use super::{Error, Receipt, Refusal, Service};
use crate::directory::Reason;
use crate::upstream::mangoapps::delivery;
use crate::upstream::signature::Verdict;

/// How long a delivery waits for a busy writer before it is refused: upstream gives up some time after.
const WAIT_MAX: Duration = Duration::from_secs(8);
/// From so many failures in a row on the log tells.
const FAILURES_WARN: u32 = 3;

impl Service {
    /// Takes one delivery in: verifies it against every live secret, then waits until its effect is durable.
    ///
    /// `signature` is the value of `X-MangoApps-Signature` as it came.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing was stored then.
    pub async fn receive(&self, source: &str, signature: Option<&[u8]>, body: Bytes) -> Result<Receipt, Refusal> {
        let tenant = self.tenants.get(source).ok_or(Refusal::InvalidSignature)?;
        match self.verify(tenant, signature, &body) {
            Verdict::Authentic(_) => {}
            Verdict::Missing => return Err(Refusal::MissingSignature),
            Verdict::Invalid => {
                self.knocked(tenant);
                return Err(Refusal::InvalidSignature);
            }
        }
        let result = self.hand_over(tenant, body, false).await;
        match &result {
            Ok(receipt) => {
                let recovered = tenant.counters.failures() > 0;
                tenant.counters.taken(receipt.outcome, self.clock.now());
                if recovered {
                    self.metrics.set_consecutive_failures(source, 0);
                }
            }
            Err(_) => self.failed(tenant),
        }
        result
    }

    /// Judges a delivery by the secrets that count now, and counts the use of the one that signed it.
    fn verify(&self, tenant: &Tenant, signature: Option<&[u8]>, body: &[u8]) -> Verdict {
        let keys = tenant.keys.load();
        let verdict = keys.verify(signature, body);
        if let Verdict::Authentic(place) = verdict {
            keys.used(place, self.clock.now().as_millis());
        }
        verdict
    }

    /// A bad signature came: after good ones, many of them may mean that the secret was replaced.
    fn knocked(&self, tenant: &Tenant) {
        if tenant.counters.last_delivery().is_some() && tenant.vigil.knock(self.clock.elapsed()) {
            tracing::warn!(source = %tenant.name, "20 bad signatures within a minute: was the webhook's secret replaced?");
            tenant.vigil.hold(Reason::BadSignatures, 1);
            self.note();
        }
    }

    /// An authentic delivery is answered 503.
    fn failed(&self, tenant: &Tenant) {
        let failures = tenant.counters.refused();
        self.metrics.set_consecutive_failures(&tenant.name, failures);
        tenant.vigil.hold(Reason::RefusedDelivery, 1);
        match failures {
            FAILURES_WARN => tracing::warn!(source = %tenant.name, failures, "authentic deliveries are refused, one after the other"),
            FAILURES_MAX => {
                tracing::error!(
                    source = %tenant.name, failures,
                    "upstream may have switched the webhook off: look there; until a delivery is taken, it is asked more often"
                );
                tenant.wake.notify_one();
            }
            _ => {}
        }
        // A store in trouble is told by the writer once it works again.
        if self.store.healthy().is_ok() {
            self.note();
        }
    }

    /// Asks the writer to write what is held; one that is too busy does so with what it has to do.
    fn note(&self) {
        if let Some(jobs) = self.jobs.load_full() {
            drop(jobs.try_send(Job::Note));
        }
    }

    /// Reads an authentic delivery, gives it to the writer, and waits for the commit.
    async fn hand_over(&self, tenant: &Arc<Tenant>, body: Bytes, again: bool) -> Result<Receipt, Refusal> {
        let delivery = delivery::read(&body, tenant.time.now());
        let (reply, answer) = Reply::channel();
        let source = Arc::clone(&tenant.name);
        let job = Job::Deliver(Box::new(Deliver { source, delivery, body, received_at: self.clock.now(), again, reply }));
        let jobs = self.jobs.load_full().ok_or(Refusal::Unavailable)?;
        let waited = self.clock.within(WAIT_MAX, async move {
            jobs.send(job).await.map_err(|_| Refusal::Unavailable)?;
            answer.await.map_err(|_| Refusal::Unavailable)?
        });
        waited.await.ok_or(Refusal::Unavailable)?
    }

    /// Decides a quarantined delivery again from its kept body; answers what became of it now.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an unknown event id, [`Error::WrongState`] when its body was not kept.
    pub async fn replay(&self, source: &str, event_id: &str) -> Result<Receipt, Error> {
        let tenant = self.tenants.get(source).ok_or(Error::NotFound)?;
        let seen = self.store.seen(source, event_id)?.ok_or(Error::NotFound)?;
        let kept = self.store.delivery(seen.number)?.ok_or(Error::NotFound)?;
        let body = kept.body.ok_or(Error::WrongState(kept.outcome.name()))?;
        Ok(self.hand_over(tenant, Bytes::from(body), true).await?)
    }
}
