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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_posting_holds_the_same_slots_in_either_form() {
        let (mut posting, mut model) = (Posting::default(), BTreeSet::new());
        // Packed closely, then a few far off, and back again.
        for slot in (0..300).chain((1..100).map(|step| step * 1_000)).chain(300..500) {
            posting.insert(slot);
            model.insert(slot);
            if slot % 3 == 0 {
                posting.remove(slot);
                model.remove(&slot);
            }
            assert!(posting.bits().iter().eq(model.iter().copied()), "after {slot}");
        }
        let mut all: Bits = [7, 64_001_u32].into_iter().collect();
        posting.enter(&mut all);
        model.extend([7, 64_001]);
        assert!(all.iter().eq(model.iter().copied()));
    }

    #[test]
    fn its_form_follows_how_many_share_a_text() {
        let mut posting = Posting::default();
        let is_many = |posting: &Posting| matches!(posting, Posting::Many { .. });
        (0..MANY_MIN as u32).for_each(|slot| posting.insert(slot));
        assert!(is_many(&posting));
        posting.insert(1_000_000);
        assert!(!is_many(&posting));
        (64..40_000).for_each(|slot| posting.insert(slot));
        assert!(is_many(&posting));
    }
}
