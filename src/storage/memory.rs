//! The engine of simulations: it keeps in memory what another one would keep on disk, and fails when it is told to.
//!
//! # Why
//! A simulation kills a process thousands of times within a minute, each time at another await, and looks at what the next one makes of
//! what was committed. A disk would take nearly all of that minute, and prove nothing more: what an engine makes of a disk is proved
//! elsewhere, by cutting its power. Index and contract are those of the embedded engine.

mod reads;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use parking_lot::{Mutex, RwLock};

use super::entry::Numbers;
use super::sled::index::{Index, Projection, Written};
use super::{Batch, Call, Compaction, Delivery, Error, Reconciliation, SeenDelivery, Snapshot};
use crate::directory::{Change, ClosedGap, Record, Timestamp};

/// What outlives whoever opens it.
#[derive(Debug, Default)]
pub struct Memory {
    kept: RwLock<Kept>,
    fate: Mutex<Fate>,
}

/// What is durable.
#[derive(Default)]
struct Kept {
    sources: BTreeMap<String, Index>,
    /// By source, then by uid.
    records: HashMap<String, HashMap<String, Record>>,
    /// By source, then by event id.
    seen: HashMap<String, HashMap<String, SeenDelivery>>,
    deliveries: BTreeMap<u64, Delivery>,
    changes: BTreeMap<u64, Change>,
    closed: BTreeMap<u64, ClosedGap>,
    reconciliations: BTreeMap<u64, Reconciliation>,
    numbers: Numbers,
}

/// Whether the next commit fails, and what is left of the last one that did.
#[derive(Debug, Default)]
enum Fate {
    #[default]
    Well,
    /// The next commit fails; it reaches the disk all the same, or does not.
    Fails { reaches: bool },
    /// A commit failed, and this much of it is on disk.
    Failed(Option<Box<Batch>>),
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kept").field("numbers", &self.numbers).finish_non_exhaustive()
    }
}

impl Memory {
    /// The next commit fails. Whether it reaches the disk nevertheless, nobody knows until the store is opened anew, or mended.
    pub fn fail_next(&self, reaches: bool) {
        let mut fate = self.fate.lock();
        if matches!(*fate, Fate::Well) {
            *fate = Fate::Fails { reaches };
        }
    }

    /// What reached the disk is there from now on.
    pub(super) fn open(&self) -> bool {
        let fate = std::mem::take(&mut *self.fate.lock());
        let Fate::Failed(left) = fate else { return false };
        if let Some(batch) = left {
            self.kept.write().take_in(&batch);
        }
        true
    }

    pub(super) fn commit(&self, batch: &Batch) -> Result<(), Error> {
        self.healthy()?;
        if batch.is_empty() {
            return Ok(());
        }
        let mut fate = self.fate.lock();
        if let Fate::Fails { reaches } = *fate {
            *fate = Fate::Failed(reaches.then(|| Box::new(batch.clone())));
            return Err(unavailable("a commit failed on purpose"));
        }
        self.kept.read().check(batch)?;
        self.kept.write().take_in(batch);
        Ok(())
    }

    pub(super) fn mend(&self) -> Result<bool, Error> {
        Ok(matches!(*self.fate.lock(), Fate::Failed(_)) && self.open())
    }

    pub(super) fn healthy(&self) -> Result<(), Error> {
        match *self.fate.lock() {
            Fate::Failed(_) => Err(unavailable("a commit failed on purpose")),
            Fate::Well | Fate::Fails { .. } => Ok(()),
        }
    }

    pub(super) fn expire(&self, deliveries: Timestamp, changes: Option<Timestamp>) -> Result<usize, Error> {
        self.healthy()?;
        let kept = &mut *self.kept.write();
        let held = kept.deliveries.len() + kept.changes.len();
        kept.deliveries.retain(|_, delivery| delivery.expires_at >= deliveries);
        kept.changes.retain(|_, change| changes.is_none_or(|before| change.at >= before));
        let remembered = &kept.deliveries;
        kept.seen.values_mut().for_each(|seen| seen.retain(|_, seen| remembered.contains_key(&seen.number)));
        Ok(held.saturating_sub(kept.deliveries.len() + kept.changes.len()))
    }

    pub(super) const fn tidy(&self) -> Result<(), Error> {
        Ok(())
    }

    pub(super) fn compact(&self, _: &dyn Fn() -> bool) -> Result<Compaction, Error> {
        Err(unavailable("it is only in memory"))
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot, Error> {
        Err(unavailable("it is only in memory"))
    }

    pub(super) const fn tree_file_bytes(&self) -> u64 {
        0
    }

    pub(super) fn content_bytes(&self, _: &dyn Fn() -> bool) -> Result<u64, Error> {
        Err(unavailable("it is only in memory"))
    }

    pub(super) const fn bytes(&self) -> u64 {
        0
    }

    pub(super) const fn free_bytes(&self) -> Option<u64> {
        None
    }
}

impl Kept {
    /// Numbers follow one another without a hole.
    fn check(&self, batch: &Batch) -> Result<(), Error> {
        let follows = |last: u64, mut numbers: Box<dyn Iterator<Item = u64> + '_>| {
            let mut last = last;
            numbers.all(|next| std::mem::replace(&mut last, next).checked_add(1) == Some(next))
        };
        let deliveries = follows(self.numbers.delivery, Box::new(batch.deliveries.iter().map(|delivery| delivery.number)));
        let changes = follows(self.numbers.cursor, Box::new(batch.changes.iter().map(|change| change.cursor)));
        if deliveries && changes {
            Ok(())
        } else {
            Err(unavailable("a number does not follow the one before: this is a fault of rollcall"))
        }
    }

    fn take_in(&mut self, batch: &Batch) {
        let Batch { deliveries, users, changes, closed, sources, reconciliations, calls } = batch;
        for delivery in deliveries {
            let seen = SeenDelivery { number: delivery.number, outcome: delivery.outcome };
            self.seen.entry(delivery.source.to_string()).or_default().insert(delivery.event_id.clone(), seen);
            self.deliveries.insert(delivery.number, delivery.clone());
            self.numbers.delivery = delivery.number;
        }
        for user in users {
            let record = user.known.record.clone();
            let gaps = record.gaps.values().map(|gap| gap.id).max();
            self.numbers.gap = self.numbers.gap.max(gaps.unwrap_or(0));
            let projection = Projection::of(&user.uid, &record, user.known.view.as_deref(), Written::default());
            self.source_mut(&user.source).put(projection);
            self.records.entry(user.source.to_string()).or_default().insert(user.uid.clone(), record);
        }
        for change in changes {
            self.changes.insert(change.cursor, change.clone());
            self.numbers.cursor = change.cursor;
        }
        for gap in closed {
            self.numbers.gap = self.numbers.gap.max(gap.gap.id);
            self.closed.insert(gap.gap.id, gap.clone());
        }
        for (source, state) in sources {
            self.numbers.gap = self.numbers.gap.max(state.gaps.iter().map(|gap| gap.gap.id).max().unwrap_or(0));
            self.source_mut(source).put_state(state.clone());
        }
        for run in reconciliations {
            self.numbers.reconciliation = self.numbers.reconciliation.max(run.id);
            self.reconciliations.insert(run.id, run.clone());
        }
        calls.iter().for_each(|call| self.log(call));
    }

    fn log(&mut self, call: &Call) {
        self.numbers.call = self.numbers.call.max(call.number);
        let calls = &mut self.source_mut(&call.source).calls;
        calls.retain(|old| !old.is_over(call));
        calls.push(call.clone());
    }

    fn source_mut(&mut self, source: &str) -> &mut Index {
        self.sources.entry(source.to_owned()).or_default()
    }
}

fn unavailable(what: &str) -> Error {
    Error::Unavailable { folder: PathBuf::from("memory"), what: what.to_owned() }
}
