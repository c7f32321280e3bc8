//! Noticing that nothing comes any more.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Reconciler;
use crate::directory::{Gap, Reason, gap};
use crate::service::job::{Repair, SourceEvidence};

impl Reconciler {
    /// Opens `silence` when no authentic delivery came for too long, once in that time.
    pub(super) async fn listen(&mut self) {
        if !self.is_silent() || self.means.clock.elapsed() < self.silent_again {
            return;
        }
        self.silent_again = self.means.clock.elapsed() + self.means.settings.silence_after;
        let at = self.at();
        // What may have been missed is old enough for a read to begin at once.
        let happened = at.now - at.rules.tolerance - Duration::from_secs(1);
        let gap = Gap { due: at.now, ..gap::open(None, happened, &at) };
        let shown = vec![SourceEvidence { reason: Reason::Silence, uid: None, gap }];
        let (reply, answer) = oneshot::channel();
        if self.send(Repair { shown, ..self.nothing(reply) }).await.is_ok() {
            // A store in trouble is told elsewhere; silence shows itself again.
            drop(answer.await);
        }
    }

    /// Whether no authentic delivery came for `silence_after`, nor since the process began.
    pub(super) fn is_silent(&self) -> bool {
        let after = self.means.settings.silence_after;
        let last = self.means.tenant.counters.last_delivery();
        !after.is_zero() && self.means.clock.elapsed() > after && last.is_none_or(|last| self.means.clock.now().since(last) > after)
    }
}
