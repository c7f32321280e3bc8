//! The engine's promises, each a test.

mod batches;
mod commits;
mod damage;
mod kill;
mod listing;
mod openings;
