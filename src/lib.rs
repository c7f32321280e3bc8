//! rollcall keeps a local people directory equal to its MangoApps tenant.

pub mod cli;
pub mod clock;
pub mod config;
pub mod directory;
pub mod http;
pub mod service;
pub mod simulator;
pub mod storage;
pub mod telemetry;
pub mod upstream;
