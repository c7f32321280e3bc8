//! The engine's promises, each a test.

mod batches;
mod commits;
mod compaction;
mod copies;
mod damage;
mod healing;
mod kill;
mod listing;
mod openings;
mod room;
