//! A set of slots as one bit each: a million users are 122 KiB, which two sets cross in some microseconds.

/// Slots that share a word of bits.
pub(super) const WORD_SLOTS: u32 = u64::BITS;

/// A set of slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits(Vec<u64>);

impl Bits {
    /// Whether a slot is in it.
    pub(super) fn contains(&self, slot: u32) -> bool {
        self.0.get((slot / WORD_SLOTS) as usize).is_some_and(|word| word >> (slot % WORD_SLOTS) & 1 == 1)
    }

    /// Puts a slot in.
    pub(super) fn insert(&mut self, slot: u32) {
        let at = (slot / WORD_SLOTS) as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, 0);
        }
        if let Some(word) = self.0.get_mut(at) {
            *word |= 1 << (slot % WORD_SLOTS);
        }
    }

    /// Takes a slot out.
    pub(super) fn remove(&mut self, slot: u32) {
        if let Some(word) = self.0.get_mut((slot / WORD_SLOTS) as usize) {
            *word &= !(1 << (slot % WORD_SLOTS));
        }
    }

    /// Keeps what is also in `other`.
    pub(super) fn cross(&mut self, other: &Self) {
        self.0.truncate(other.0.len());
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= other);
    }

    /// Takes out what is in `other`.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word &= !other);
    }

    /// Takes in what is in `other`.
    pub(super) fn unite(&mut self, other: &Self) {
        self.0.resize(self.0.len().max(other.0.len()), 0);
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    /// Keeps the slots for which `keep` holds.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        for (word, first) in self.0.iter_mut().zip((0..).step_by(WORD_SLOTS as usize)) {
            for slot in slots_of(*word, first).filter(|slot| !keep(*slot)) {
                *word &= !(1 << (slot - first));
            }
        }
    }

    /// How many slots are in it.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The bits of the slots from 64 times `at` on.
    pub(super) fn word(&self, at: usize) -> u64 {
        self.0.get(at).copied().unwrap_or_default()
    }

    /// The slots, upwards.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.0.iter().zip((0..).step_by(WORD_SLOTS as usize)).flat_map(|(word, first)| slots_of(*word, first))
    }
}

/// Words of bits, those of the first slots first.
impl FromIterator<u64> for Bits {
    fn from_iter<I: IntoIterator<Item = u64>>(words: I) -> Self {
        Self(words.into_iter().collect())
    }
}

impl FromIterator<u32> for Bits {
    fn from_iter<I: IntoIterator<Item = u32>>(slots: I) -> Self {
        let mut bits = Self::default();
        slots.into_iter().for_each(|slot| bits.insert(slot));
        bits
    }
}

/// The slots of a word that begins with the slot `first`.
pub(super) fn slots_of(word: u64, first: u32) -> impl Iterator<Item = u32> {
    let rests = std::iter::successors(Some(word), |rest| Some(rest & rest.wrapping_sub(1)));
    rests.take_while(|rest| *rest != 0).map(move |rest| first + rest.trailing_zeros())
}
