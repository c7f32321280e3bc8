//! Taking deliveries in: verify over the bytes of the wire, read, wait for the writer.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::job::{Deliver, Job};
use super::tenant::Tenant;
use super::{Error, Receipt, Refusal, Service};
use crate::upstream::mangoapps::delivery;
use crate::upstream::signature::Verdict;

/// How long a delivery waits for a busy writer before it is refused: upstream gives up some time after.
const WAIT_MAX: Duration = Duration::from_secs(8);

impl Service {
    /// Takes one delivery in: verifies it against every live secret, then waits until its effect is durable.
    ///
    /// `signature` is the value of `X-MangoApps-Signature` as it came.
    ///
    /// # Errors
    /// A [`Refusal`]; nothing was stored then.
    pub async fn receive(&self, source: &str, signature: Option<&[u8]>, body: Bytes) -> Result<Receipt, Refusal> {
        let tenant = self.tenants.get(source).ok_or(Refusal::InvalidSignature)?;
        match tenant.keys.load().verify(signature, &body) {
            Verdict::Authentic => {}
            Verdict::Missing => return Err(Refusal::MissingSignature),
            Verdict::Invalid => return Err(Refusal::InvalidSignature),
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
            Err(_) => self.metrics.set_consecutive_failures(source, tenant.counters.refused()),
        }
        result
    }

    /// Reads an authentic delivery, gives it to the writer, and waits for the commit.
    async fn hand_over(&self, tenant: &Arc<Tenant>, body: Bytes, again: bool) -> Result<Receipt, Refusal> {
        let delivery = delivery::read(&body, tenant.time.now());
        let (reply, answer) = oneshot::channel();
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
