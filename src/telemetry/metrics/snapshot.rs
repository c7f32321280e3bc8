//! What only the moment of a scrape can tell, and the text that it is told in.

use super::{Metrics, signed};
use crate::directory::Timestamp;
use crate::storage::{Counts, Endpoint, Mode, RunState};
use crate::telemetry::exposition::prometheus_text;
use crate::telemetry::labels::{ByMode, BySource, ByState};

/// What only the moment of a scrape can tell.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The service's clock.
    pub now: Timestamp,
    /// Whether the service was told to end.
    pub draining: bool,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// Bytes of the store on disk.
    pub store_bytes: u64,
    /// Bytes free for it; `None` where nobody tells.
    pub store_free_bytes: Option<u64>,
    /// One for each source.
    pub sources: Vec<SourceSnapshot>,
}

/// The same, of one source.
#[derive(Clone, Debug, Default)]
pub struct SourceSnapshot {
    /// The source's name.
    pub source: String,
    /// Users and open gaps.
    pub counts: Counts,
    /// When the last authentic delivery came.
    pub last_delivery: Option<Timestamp>,
    /// When the last whole pass and the last whole sweep were committed, or the epoch; `None` where there is no upstream.
    pub reconciled: Option<(Timestamp, Timestamp)>,
    /// Authentic deliveries answered 503 in a row.
    pub consecutive_failures: u32,
    /// Listings that the budget still holds.
    pub bulk_remaining: u32,
    /// Lookups that the budget still holds.
    pub lookup_remaining: u32,
    /// Listings and lookups that an hour may hold at present.
    pub caps: (u32, u32),
    /// Users found missing whose deletion is being confirmed, and those whose deletion awaits someone's approval.
    pub pending: (u64, u64),
}

impl Metrics {
    /// All metrics in the Prometheus text format 0.0.4, the gauges as `snapshot` tells them.
    #[must_use]
    pub fn render(&self, snapshot: &Snapshot) -> String {
        self.draining.set(snapshot.draining.into());
        self.ready.set(snapshot.ready.into());
        self.store_bytes.set(signed(snapshot.store_bytes));
        self.store_free_bytes.set(snapshot.store_free_bytes.map_or(0, signed));
        for told in &snapshot.sources {
            self.tell(told, snapshot.now);
        }
        let mut text = String::new();
        // Writing to a String cannot fail, and an empty answer would show in the scraper at once.
        if prometheus_client::encoding::text::encode_registry(&mut text, &self.registry).is_err() {
            text.clear();
        }
        prometheus_text(&text)
    }

    fn tell(&self, told: &SourceSnapshot, now: Timestamp) {
        let SourceSnapshot { source, counts, caps, pending, .. } = told;
        let Some(name) = self.known(source) else { return };
        let of_source = BySource { source: name.clone() };
        self.gaps_open.get_or_create(&of_source).set(signed(counts.gaps_open));
        self.oldest_gap.get_or_create(&of_source).set(counts.oldest_gap.map_or(0.0, |since| now.since(since).as_secs_f64()));
        self.last_delivery.get_or_create(&of_source).set(told.last_delivery.map_or(0.0, since_epoch));
        for (mode, at) in told.reconciled.into_iter().flat_map(|(pass, sweep)| [(Mode::Incremental, pass), (Mode::Full, sweep)]) {
            self.last_reconciliation.get_or_create(&ByMode { source: name.clone(), mode: mode.name() }).set(since_epoch(at));
        }
        for (state, users) in [("active", counts.active), ("inactive", counts.inactive), ("deleted", counts.deleted)] {
            self.users.get_or_create(&ByState { source: name.clone(), state }).set(signed(users));
        }
        for (state, users) in [(RunState::Confirming, pending.0), (RunState::AwaitingApproval, pending.1)] {
            self.pending.get_or_create(&ByState { source: name.clone(), state: state.name() }).set(signed(users));
        }
        self.set_consecutive_failures(source, told.consecutive_failures);
        self.set_budget(source, Endpoint::Bulk, (told.bulk_remaining, caps.0));
        self.set_budget(source, Endpoint::Lookup, (told.lookup_remaining, caps.1));
    }
}

fn since_epoch(at: Timestamp) -> f64 {
    at.since(Timestamp::from_millis(0)).as_secs_f64()
}
