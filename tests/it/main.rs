//! What holds of rollcall as a whole, seen from outside; one file a subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking, in its verbs and fixtures too"
)]

mod alerts;
mod answers;
mod backup;
mod budgets;
mod certificates;
mod clients;
mod commands;
mod compaction;
mod configuration;
mod deliveries;
mod demo;
mod departures;
mod deploy;
mod descriptors;
mod full;
mod gaps;
mod hostile;
mod house;
mod identities;
mod joined;
mod kill;
mod metrics;
mod ops;
mod power;
mod program;
mod repair;
mod rotation;
mod shutdown;
mod signatures;
mod simulator;
mod sources;
mod start;
mod syncs;
mod tidy;
mod tls;
mod trace;
mod wire;
