//! The heartbeat: tells the store that the service lives, so that the next process knows how long it was down.

use std::sync::Arc;
use std::time::Duration;

use super::tenant::Tenant;
use super::vigil::BEAT_EVERY;
use super::{Service, job};
use crate::directory::Reason;
use crate::storage::SourceState;

/// How often it is looked, at most, whether a beat is due, by the system's clock: simulated minutes may be short.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Beats until the service ends.
pub(super) async fn run(service: Arc<Service>) {
    let mut last = service.clock.elapsed();
    loop {
        tokio::time::sleep(service.clock.real(BEAT_EVERY).max(LOOK_EVERY)).await;
        let now = service.clock.elapsed();
        if now >= last + BEAT_EVERY {
            last = now;
            service.beat(false).await;
        }
    }
}

impl Service {
    /// Takes over what an earlier process kept of a source's deliveries, and holds `downtime` if it is too long gone.
    pub(super) fn take_over(&self, tenant: &Tenant, state: &SourceState) {
        if let Some(heard) = state.pulse.heard_at {
            tenant.counters.restore(heard);
        }
        tenant.counters.restore_failures(state.failures);
        self.metrics.set_consecutive_failures(&tenant.name, state.failures);
        if tenant.vigil.restore(state, (self.clock.now(), self.clock.elapsed())) {
            tracing::warn!(source = %tenant.name, "the service was down for longer than upstream waits to try again: deliveries may be lost");
            tenant.vigil.hold(Reason::Downtime, 1);
        }
    }

    /// Tells the store that the service lives, or that it has `ended` well. A store that does not take it is told elsewhere, and
    /// asked again with the next beat.
    pub(super) async fn beat(&self, ended: bool) {
        for tenant in self.tenants.values() {
            let (now, heard) = (self.clock.now(), tenant.counters.last_delivery());
            let edit: job::Edit = Box::new(move |state| {
                let pulse = &mut state.pulse;
                (pulse.alive_at, pulse.ended, pulse.heard_at) = (Some(now), ended, heard.max(pulse.heard_at));
            });
            drop(self.repair(tenant, |repair| repair.edit = Some(edit)).await);
        }
    }
}
