//! The users who share a text: their slots in a row while they are few, a bit for each slot once they are many.
//!
//! # Why no compressed bitmap
//! A page counts and crosses whole sets. Unpacking a third of a million users from roaring's containers took 2 ms; these bits are
//! there already. The price is four bytes a user at most, where roaring takes two.

use super::bits::Bits;

/// Fewer stay in a row.
const MANY_MIN: usize = 64;
/// Slots for each user at which both take the same room.
const SHARE_EVEN: usize = 32;
/// Slots for each user from which on they are few again: a directory grows under its texts.
const SHARE_FEW: usize = 128;

/// Slots of users.
pub(super) enum Posting {
    /// Upwards.
    Few(Vec<u32>),
    Many {
        slots: Bits,
        len: usize,
    },
}

impl Default for Posting {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Posting {
    /// Puts a slot in that is not there.
    pub(super) fn insert(&mut self, slot: u32) {
        match self {
            Self::Few(slots) => {
                let place = slots.partition_point(|other| *other < slot);
                slots.insert(place, slot);
                let last = slots.last().map_or(0, |last| *last as usize);
                if slots.len() >= MANY_MIN && slots.len() * SHARE_EVEN > last {
                    *self = Self::Many { slots: slots.iter().copied().collect(), len: slots.len() };
                }
            }
            Self::Many { slots, len } => {
                slots.insert(slot);
                *len += 1;
                if *len * SHARE_FEW < slot as usize {
                    *self = Self::Few(slots.iter().collect());
                }
            }
        }
    }

    /// Takes a slot out that is there.
    pub(super) fn remove(&mut self, slot: u32) {
        match self {
            Self::Few(slots) => {
                if let Ok(place) = slots.binary_search(&slot) {
                    slots.remove(place);
                }
            }
            Self::Many { slots, len } => {
                slots.remove(slot);
                *len = len.saturating_sub(1);
            }
        }
    }

    /// Its slots.
    pub(super) fn bits(&self) -> Bits {
        match self {
            Self::Few(slots) => slots.iter().copied().collect(),
            Self::Many { slots, .. } => slots.clone(),
        }
    }

    /// Puts its slots into others.
    pub(super) fn enter(&self, all: &mut Bits) {
        match self {
            Self::Few(slots) => slots.iter().for_each(|slot| all.insert(*slot)),
            Self::Many { slots, .. } => all.unite(slots),
        }
    }
}
