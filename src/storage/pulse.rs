//! What is kept of a source so that the next process knows what this one saw and when it ended.

use serde::{Deserialize, Serialize};

use crate::directory::Timestamp;

/// Times by the service's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Pulse {
    /// When the service last lived, to within a minute; `None` before the first start.
    pub alive_at: Option<Timestamp>,
    /// Whether that was its end, in good order.
    pub ended: bool,
    /// When the last authentic delivery arrived, as of then.
    pub heard_at: Option<Timestamp>,
    /// When the service last came back after it was down for too long.
    pub down_at: Option<Timestamp>,
    /// When `bad_signatures` was last shown.
    pub knocked_at: Option<Timestamp>,
}
