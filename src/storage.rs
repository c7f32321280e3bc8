//! What remembers: one atomic, durable commit for each group, and reads of what is durable.
//!
//! Two engines, one seam: nobody outside this room asks which. A [`Batch`] is one atomic step; when [`Store::commit`]
//! returns `Ok`, all of it is on disk for good, and only then do readers see it. After an `Err` the batch may or may not
//! have reached the disk; readers still see none of it.

pub mod backup;
mod call;
pub mod entry;
mod error;
pub mod listing;
pub mod memory;
pub mod pulse;
pub mod sled;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

pub use backup::{Restored, Row, Snapshot};
pub use call::Call;
pub use entry::{
    Absent, Batch, CallsClock, Delivery, Endpoint, Mode, Progress, Reconciliation, RunState, SeenDelivery, SourceGap, SourceState,
    StoredUser, Sweep, Toll,
};
pub use error::Error;
pub use listing::{Counts, Due, Listing, OpenGap, Page, SortBy};
pub use pulse::Pulse;

use crate::directory::{Change, ClosedGap, Outcome, Record, Timestamp};

/// How well the engine's file is filled, in bytes. What is still in the journal is in neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// The file's own.
    pub file: u64,
    /// What it holds, keys and values.
    pub content: u64,
}

/// What a compaction did, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compaction {
    /// The files' before.
    pub before: u64,
    /// The files' after.
    pub after: u64,
    /// What they hold, keys and values.
    pub content: u64,
}

/// The one seam to storage. All methods may block on disk; reads are microseconds.
#[derive(Debug)]
pub enum Store {
    /// sled, embedded: one process.
    Sled(Box<sled::Sled>),
    /// Nothing but memory, which outlives whoever opens it: for simulations.
    Memory(Arc<memory::Memory>),
}

/// Forwards to the engine.
macro_rules! engine {
    ($self:ident, $store:ident => $call:expr) => {
        match $self {
            Self::Sled($store) => $call,
            Self::Memory($store) => $call,
        }
    };
}

impl Store {
    /// Opens the embedded store in `folder`, creating it where there is none. Reads what is there into the index.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Damaged`] or [`Error::Unavailable`].
    pub fn open_sled(folder: &Path) -> Result<Self, Error> {
        Ok(Self::Sled(Box::new(sled::Sled::open(folder)?)))
    }

    /// Opens what is kept in memory as a process would that starts anew.
    #[must_use]
    pub fn open_memory(memory: &Arc<memory::Memory>) -> Self {
        memory.open();
        Self::Memory(Arc::clone(memory))
    }

    /// Makes `batch` durable, in one atomic step, then visible. One caller at a time: the writer.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the disk did not take it, or is about to be full; from then on every commit fails until [`Store::mend`] succeeds.
    pub fn commit(&self, batch: &Batch) -> Result<(), Error> {
        engine!(self, store => store.commit(batch))
    }

    /// Tries to make a store fit for commits again that is not ([`Store::healthy`]); returns whether it was opened anew for that.
    /// Cheap when there is nothing to do or an attempt was made just before. After opening, the batch that failed is there as a
    /// whole, in every respect, or not at all: what was read before, numbers too, no longer counts. Called by the writer,
    /// between commits.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it still cannot commit, and why.
    pub fn mend(&self) -> Result<bool, Error> {
        engine!(self, store => store.mend())
    }

    /// Writes what is stored into a new file and gives the room of the old one back; commits and reads go on meanwhile. Asks now and
    /// then whether it is still `wanted`.
    ///
    /// # Errors
    /// [`Error::Busy`] while someone holds a snapshot; [`Error::Unavailable`], also when it was no longer wanted. The store is as before then.
    pub fn compact(&self, wanted: &dyn Fn() -> bool) -> Result<Compaction, Error> {
        engine!(self, store => store.compact(wanted))
    }

    /// Bytes of the file that a compaction would write anew; cheap.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        engine!(self, store => store.tree_file_bytes())
    }

    /// How well that file is filled: looks at everything in it, as long as that is `wanted`.
    ///
    /// # Errors
    /// As [`Store::record`]; [`Error::Unavailable`] when it was no longer wanted.
    pub fn fill(&self, wanted: &dyn Fn() -> bool) -> Result<Fill, Error> {
        let content = engine!(self, store => store.content_bytes(wanted))?;
        Ok(Fill { file: self.file_bytes(), content })
    }

    /// All rows as of one durable commit, while others commit.
    ///
    /// # Errors
    /// [`Error::Busy`] while someone holds another snapshot; [`Error::Unavailable`] too where nothing can be committed.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        engine!(self, store => store.snapshot())
    }

    /// Makes a store of rows, in ascending order of their keys, in a folder that is empty or not there; opens it with all checks and reads
    /// every row back. It is in its place only when it is [kept](Restored::keep).
    ///
    /// # Errors
    /// [`Error::NotEmpty`], [`Error::Unsound`] or [`Error::Unavailable`], and whatever `rows` says. The folder is as before then.
    pub fn restore<E: From<Error>>(folder: &Path, rows: impl Iterator<Item = Result<Row, E>>) -> Result<Restored, E> {
        let building = backup::building::Building::begin(folder)?;
        let summary = sled::Sled::restore(building.at(), rows)?;
        Ok(Restored { building, summary, mark: sled::MARK })
    }

    /// One user's record.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Damaged`], as for every read here.
    pub fn record(&self, source: &str, uid: &str) -> Result<Option<Record>, Error> {
        engine!(self, store => store.record(source, uid))
    }

    /// Whether anything is held of a user.
    #[must_use]
    pub fn holds(&self, source: &str, uid: &str) -> bool {
        engine!(self, store => store.holds(source, uid))
    }

    /// What became of the delivery with this event id, if it was seen and is still remembered.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn seen(&self, source: &str, event_id: &str) -> Result<Option<SeenDelivery>, Error> {
        engine!(self, store => store.seen(source, event_id))
    }

    /// A page of the directory.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn list(&self, source: &str, listing: &Listing) -> Result<Page, Error> {
        engine!(self, store => store.list(source, listing))
    }

    /// The uids of the users with this e-mail, without case, live ones first, then by uid.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn by_email(&self, source: &str, email: &str) -> Result<Vec<String>, Error> {
        engine!(self, store => store.by_email(source, email))
    }

    /// How many users there are in each state, and how many open gaps.
    #[must_use]
    pub fn counts(&self, source: &str) -> Counts {
        engine!(self, store => store.counts(source))
    }

    /// The feed after `after`: at most `limit` changes in order of their cursors, of all sources.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn changes(&self, after: u64, limit: usize) -> Result<Vec<Change>, Error> {
        engine!(self, store => store.changes(after, limit))
    }

    /// One change by its cursor.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn change(&self, cursor: u64) -> Result<Option<Change>, Error> {
        engine!(self, store => store.change(cursor))
    }

    /// The newest durable change's cursor; 0 when there is none.
    #[must_use]
    pub fn watermark(&self) -> u64 {
        engine!(self, store => store.watermark())
    }

    /// Deliveries, newest first: at most `limit` with a number below `before`, of one outcome where given. Duplicates are
    /// not listed: a delivery stands once, with what became of it first.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn deliveries(&self, outcome: Option<Outcome>, before: u64, limit: usize) -> Result<Vec<Delivery>, Error> {
        engine!(self, store => store.deliveries(outcome, before, limit))
    }

    /// The delivery with this number, its body with it where that was kept.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn delivery(&self, number: u64) -> Result<Option<Delivery>, Error> {
        engine!(self, store => store.delivery(number))
    }

    /// Open gaps of all sources, of users and of whole sources, newest (greatest id) first: at most `limit` with an id below `before`.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn open_gaps(&self, before: u64, limit: usize) -> Result<Vec<OpenGap>, Error> {
        engine!(self, store => store.open_gaps(before, limit))
    }

    /// Closed gaps, newest (greatest id) first: at most `limit` with an id below `before`.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn closed_gaps(&self, before: u64, limit: usize) -> Result<Vec<ClosedGap>, Error> {
        engine!(self, store => store.closed_gaps(before, limit))
    }

    /// Users with open gaps, those due first at the top: at most `limit`. Candidates for deletion whom one of the reconciliations `held`
    /// found are not among them.
    #[must_use]
    pub fn due(&self, source: &str, limit: usize, held: &[u64]) -> Vec<Due> {
        engine!(self, store => store.due(source, limit, held))
    }

    /// Users with claims all of which arrived before `before` (upstream's time), in order of uid.
    #[must_use]
    pub fn claimed_before(&self, source: &str, before: Timestamp) -> Vec<String> {
        engine!(self, store => store.claimed_before(source, before))
    }

    /// Live users whose details were never read, or were read before they changed (see [`crate::directory::merge::detail_stale`]),
    /// the oldest read first, then by uid: at most `limit`.
    #[must_use]
    pub fn stale_details(&self, source: &str, limit: usize) -> Vec<String> {
        engine!(self, store => store.stale_details(source, limit))
    }

    /// Whom a sweep's listings did not show: the live one, and the one with deleted users if it was read. Each is named by the place in
    /// the ledger of requests of its first page.
    #[must_use]
    pub fn absent(&self, source: &str, listings: (u64, Option<u64>)) -> Absent {
        engine!(self, store => store.absent(source, listings))
    }

    /// How many candidates for deletion each reconciliation found.
    #[must_use]
    pub fn candidates(&self, source: &str) -> BTreeMap<u64, u64> {
        engine!(self, store => store.candidates(source))
    }

    /// The candidates that one reconciliation found, by uid: at most `limit`.
    #[must_use]
    pub fn candidates_of(&self, source: &str, found_by: u64, limit: usize) -> Vec<String> {
        engine!(self, store => store.candidates_of(source, found_by, limit))
    }

    /// Some active user who is no candidate for deletion, another one for another `place`; `None` when there is none.
    #[must_use]
    pub fn someone(&self, source: &str, place: usize) -> Option<String> {
        engine!(self, store => store.someone(source, place))
    }

    /// What is kept of a source as a whole; the default when nothing is.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn source(&self, source: &str) -> Result<SourceState, Error> {
        engine!(self, store => store.source(source))
    }

    /// Calls logged for a source that are younger than two hours by the clock that logged them.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn calls(&self, source: &str) -> Result<Vec<Call>, Error> {
        engine!(self, store => store.calls(source))
    }

    /// Reconciliations, newest (greatest id) first: at most `limit` with an id below `before`.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn reconciliations(&self, before: u64, limit: usize) -> Result<Vec<Reconciliation>, Error> {
        engine!(self, store => store.reconciliations(before, limit))
    }

    /// One reconciliation.
    ///
    /// # Errors
    /// As [`Store::record`].
    pub fn reconciliation(&self, id: u64) -> Result<Option<Reconciliation>, Error> {
        engine!(self, store => store.reconciliation(id))
    }

    /// The greatest numbers given so far.
    #[must_use]
    pub fn numbers(&self) -> entry::Numbers {
        engine!(self, store => store.numbers())
    }

    /// Puts in order what commits leave to be done, a bounded piece. Called by the writer between commits, once after each, when
    /// it has answered.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn tidy(&self) -> Result<(), Error> {
        engine!(self, store => store.tidy())
    }

    /// Forgets deliveries whose `expires_at` is before `deliveries` (the time now, by the service's clock) and changes made before
    /// `changes`, a bounded piece at a time; returns how many went: after 0 there is nothing to forget for now. Called by the
    /// writer, between commits.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn expire(&self, deliveries: Timestamp, changes: Option<Timestamp>) -> Result<usize, Error> {
        engine!(self, store => store.expire(deliveries, changes))
    }

    /// Bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        engine!(self, store => store.bytes())
    }

    /// Bytes that are free for it on the disk; `None` where that cannot be told.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        engine!(self, store => store.free_bytes())
    }

    /// Whether it can commit; else why not.
    ///
    /// # Errors
    /// [`Error::Unavailable`] from the commit that failed until the store is mended.
    pub fn healthy(&self) -> Result<(), Error> {
        engine!(self, store => store.healthy())
    }
}
