//! The label sets of the metrics. Words are fixed, and sources and names come from the configuration, so every set is closed.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// A label set: a struct whose fields are its labels, in order.
macro_rules! labels {
    ($($name:ident { $($label:ident: $kind:ty),* })*) => {
        $(#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub(super) struct $name { $(pub(super) $label: $kind),* })*
    };
}

labels! {
    BySource { source: Arc<str> }
    ByOutcome { source: Arc<str>, event: &'static str, outcome: &'static str }
    ByReason { source: Arc<str>, reason: &'static str }
    ByResult { source: Arc<str>, mode: &'static str, result: &'static str }
    ByStatus { source: Arc<str>, endpoint: &'static str, status: Status }
    ByEndpoint { source: Arc<str>, endpoint: &'static str }
    ByState { source: Arc<str>, state: &'static str }
    ByCause { source: Arc<str>, kind: &'static str, cause: &'static str }
    BySecret { source: Arc<str>, secret: u64 }
    ByName { name: String, secret: u64 }
    ByCut { reason: &'static str }
    ByMode { source: Arc<str>, mode: &'static str }
    ByEnd { result: &'static str }
    Build { version: &'static str }
}

/// An HTTP status, or `none` where no answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Status(pub(super) Option<u16>);

impl EncodeLabelValue for Status {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
        match self.0 {
            Some(status) => status.encode(encoder),
            None => "none".encode(encoder),
        }
    }
}
