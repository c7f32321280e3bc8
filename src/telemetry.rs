//! What an operator sees from outside: metrics and logs.

mod exposition;
mod labels;
pub mod log;
pub mod metrics;

pub use metrics::{Backup, Cut, Metrics, Snapshot, SourceSnapshot};
