//! Tells of most event ids that they are new, without looking for them.

use fastbloom::BloomFilter;
use hashbrown::DefaultHashBuilder;

/// Ids in the first filter; each further one has room for twice as many.
const FIRST_IDS: usize = 64 * 1024;
/// Of new ids so many are looked for in vain.
const FALSE_SHARE: f64 = 0.005;
/// Ids that are noted at most, in some 35 MB; with more each one is looked for.
const IDS_MAX: usize = 24 * 1024 * 1024;

/// Bloom filters, each with room for twice the ids of the one before. Ids that were forgotten go when the store is opened.
#[derive(Default)]
pub(super) struct Filter {
    layers: Vec<Layer>,
    count: usize,
}

struct Layer {
    bits: BloomFilter<DefaultHashBuilder>,
    /// Ids that it still has room for.
    room: usize,
}

impl Filter {
    /// Notes an id.
    pub(super) fn insert(&mut self, id: &[u8]) {
        if self.count >= IDS_MAX {
            return;
        }
        if self.layers.last().is_none_or(|layer| layer.room == 0) {
            let room = FIRST_IDS << self.layers.len();
            let bits = BloomFilter::with_false_pos(FALSE_SHARE).hasher(DefaultHashBuilder::default()).expected_items(room);
            self.layers.push(Layer { bits, room });
        }
        self.count += 1;
        if let Some(layer) = self.layers.last_mut() {
            layer.room -= 1;
            layer.bits.insert(id);
        }
    }

    /// Whether an id may have been noted; `false` is certain.
    pub(super) fn may_hold(&self, id: &[u8]) -> bool {
        self.count >= IDS_MAX || self.layers.iter().any(|layer| layer.bits.contains(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_never_denied_and_little_else_is_held() {
        let mut filter = Filter::default();
        let id = |number: u64| number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes();
        let count = 200_000;
        assert!(!filter.may_hold(&id(0)));
        (0..count).for_each(|number| filter.insert(&id(number)));
        assert!((0..count).all(|number| filter.may_hold(&id(number))));
        let wrong = (count..2 * count).filter(|number| filter.may_hold(&id(*number))).count();
        assert!(wrong < 5_000, "{wrong} of {count} new ids are held");
    }
}
