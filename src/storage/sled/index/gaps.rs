//! The open gaps of one source: by user, by id, by when they are due and by when they were detected.

use std::collections::{BTreeMap, BTreeSet};

use super::projection::OpenGap;
use crate::directory::{Need, Reason, Timestamp};
use crate::storage::SourceState;

/// Open gaps.
#[derive(Default)]
pub(super) struct Gaps {
    users: BTreeMap<u32, Box<[OpenGap]>>,
    source: Vec<(u64, Timestamp)>,
    ids: BTreeMap<u64, Option<u32>>,
    due: BTreeSet<(Timestamp, u32)>,
    detected: BTreeSet<(Timestamp, u64)>,
}

impl Gaps {
    /// Takes in the gaps that a user now has.
    pub(super) fn put(&mut self, slot: u32, gaps: Box<[OpenGap]>) {
        if gaps == *self.users.get(&slot).unwrap_or(&Box::default()) {
            return;
        }
        for gap in self.users.remove(&slot).iter().flatten() {
            self.forget(gap.id, gap.detected_at, Some(slot));
            self.due.remove(&(gap.due, slot));
        }
        let Some(due) = gaps.iter().map(|gap| gap.due).min() else { return };
        self.due.insert((due, slot));
        for gap in &gaps {
            self.ids.insert(gap.id, Some(slot));
            self.detected.insert((gap.detected_at, gap.id));
        }
        self.users.insert(slot, gaps);
    }

    /// Takes in the gaps that the source as a whole now has.
    pub(super) fn put_source(&mut self, state: &SourceState) {
        for (id, detected_at) in std::mem::take(&mut self.source) {
            self.forget(id, detected_at, None);
        }
        for gap in state.gaps.iter().map(|gap| &gap.gap) {
            self.ids.entry(gap.id).or_insert(None);
            self.detected.insert((gap.detected_at, gap.id));
            self.source.push((gap.id, gap.detected_at));
        }
    }

    /// A gap that has meanwhile become another's stays: one about a stranger becomes the user's once there is a record.
    fn forget(&mut self, id: u64, detected_at: Timestamp, owner: Option<u32>) {
        if self.ids.get(&id) == Some(&owner) {
            self.ids.remove(&id);
            self.detected.remove(&(detected_at, id));
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.ids.len() as u64
    }

    /// When the oldest was detected.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.detected.first().map(|(detected_at, _)| *detected_at)
    }

    /// Users with gaps by when the first of them is due.
    pub(super) fn due(&self) -> impl Iterator<Item = (Timestamp, u32)> {
        self.due.iter().copied()
    }

    /// One user's gaps.
    pub(super) fn of(&self, slot: u32) -> Vec<(Reason, Need, Timestamp)> {
        self.users.get(&slot).into_iter().flatten().map(|gap| (gap.reason, gap.need, gap.due)).collect()
    }

    /// Gaps with ids below `before`, the greatest first, and whose they are.
    pub(super) fn below(&self, before: u64) -> impl Iterator<Item = (u64, Option<u32>)> {
        self.ids.range(..before).rev().map(|(id, slot)| (*id, *slot))
    }
}
