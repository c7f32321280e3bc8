//! The metrics of the public listener: its connections, its certificate, and what strangers had to wait for.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Total;
use crate::telemetry::labels::{ByCut, ByEnd};

/// Ends of looks at changed files.
const RELOADS: [&str; 2] = ["done", "failed"];

/// Why a connection was ended before its client wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It made room for a newer one.
    Crowded,
    /// Its TLS handshake failed, or took too long.
    Handshake,
    /// A request's head took too long or was too long, an answer was not read, or it spoke no proper HTTP/2.
    Slow,
}

impl Cut {
    const ALL: [Self; 3] = [Self::Crowded, Self::Handshake, Self::Slow];

    const fn name(self) -> &'static str {
        match self {
            Self::Crowded => "crowded",
            Self::Handshake => "handshake",
            Self::Slow => "slow",
        }
    }
}

/// The metrics of the public listener.
#[derive(Debug, Default)]
pub struct Listener {
    open: Gauge,
    cut: Total<ByCut>,
    slowed: Counter,
    reloads: Total<ByEnd>,
    /// Without a certificate there is no time to tell, and 0 would look like one that expired.
    expiry: Family<Vec<(String, String)>, Gauge>,
}

impl Listener {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("rollcall_webhook_connections_open", "Open connections to the webhook listener", self.open.clone());
        registry.register("rollcall_webhook_connections_cut", "Connections ended by the webhook listener, by reason", self.cut.clone());
        registry.register(
            "rollcall_refusals_slowed",
            "Refusals answered late because their address had too many of them",
            self.slowed.clone(),
        );
        registry.register("rollcall_tls_reloads", "Changed certificates that were read anew, by result", self.reloads.clone());
        registry.register(
            "rollcall_tls_certificate_expiry_timestamp_seconds",
            "When the certificate in use expires; absent without HTTPS",
            self.expiry.clone(),
        );
        for reason in Cut::ALL.map(Cut::name) {
            drop(self.cut.get_or_create(&ByCut { reason }));
        }
        for result in RELOADS {
            drop(self.reloads.get_or_create(&ByEnd { result }));
        }
    }

    /// A connection was opened.
    pub fn opened(&self) {
        self.open.inc();
    }

    /// A connection is gone.
    pub fn closed(&self) {
        self.open.dec();
    }

    /// A connection was ended.
    pub fn cut(&self, why: Cut) {
        self.cut.get_or_create(&ByCut { reason: why.name() }).inc();
    }

    /// A refusal is answered late.
    pub fn slowed(&self) {
        self.slowed.inc();
    }

    /// A changed certificate was read anew, or could not be.
    pub fn reloaded(&self, done: bool) {
        let [well, failed] = RELOADS;
        self.reloads.get_or_create(&ByEnd { result: if done { well } else { failed } }).inc();
    }

    /// When the certificate in use expires, in seconds since 1970.
    pub fn set_expiry(&self, seconds: i64) {
        self.expiry.get_or_create(&Vec::new()).set(seconds);
    }
}
