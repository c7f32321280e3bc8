//! Who was not seen: what the listings of sweeps showed, and who became a candidate for deletion.

use std::collections::BTreeMap;

use super::column::Column;
use super::projection::Standing;
use super::sets::Standings;
use crate::storage::Absent;

/// Marks and candidates by slot.
#[derive(Default)]
pub(super) struct Absences {
    /// By which listings a user was shown last, the live one and the one with deleted users; 0 for none.
    swept: Column<[u64; 2]>,
    /// The reconciliation that found the user missing.
    candidates: BTreeMap<u32, u64>,
    /// How many each of them found.
    found: BTreeMap<u64, u64>,
}

impl Absences {
    /// Takes in what a record now says of a user.
    pub(super) fn put(&mut self, slot: u32, (swept, candidate): (&[u64; 2], Option<u64>)) {
        self.swept.set(slot, *swept);
        if self.candidates.get(&slot).copied() == candidate {
            return;
        }
        if let Some(former) = self.candidates.remove(&slot)
            && let Some(count) = self.found.get_mut(&former)
        {
            *count -= 1;
        }
        self.found.retain(|_, count| *count > 0);
        if let Some(found_by) = candidate {
            self.candidates.insert(slot, found_by);
            *self.found.entry(found_by).or_default() += 1;
        }
    }

    /// Whom a sweep's listings, the live one and the one with deleted users, did not show, where it read that one at all.
    pub(super) fn absent(&self, standings: &Standings, (live, all): (u64, Option<u64>)) -> Absent<u32> {
        let mut absent = Absent { only_deleted: Vec::new(), nowhere: Vec::new() };
        for (slot, [in_live, in_all]) in (0..).zip(self.swept.iter()) {
            if *in_live == live {
                continue;
            }
            if all == Some(*in_all) {
                absent.only_deleted.push(slot);
            } else if matches!(standings.of(slot), Standing::Active | Standing::Inactive | Standing::Untold) {
                absent.nowhere.push(slot);
            }
        }
        absent
    }

    /// How many candidates each reconciliation found.
    pub(super) const fn found(&self) -> &BTreeMap<u64, u64> {
        &self.found
    }

    /// The candidates that one reconciliation found.
    pub(super) fn found_in(&self, found_by: u64) -> impl Iterator<Item = u32> {
        self.candidates.iter().filter(move |(_, by)| **by == found_by).map(|(slot, _)| *slot)
    }

    /// The reconciliation that found a candidate.
    pub(super) fn found_by(&self, slot: u32) -> Option<u64> {
        self.candidates.get(&slot).copied()
    }
}
