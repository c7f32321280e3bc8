//! Byte strings by slot, 64 of them in a block: a string costs its bytes and four more.
//!
//! Blocks are shared with whoever scans them: a scan needs no lock, a change meanwhile is made in a copy, and a later scan for the same
//! looks only at the blocks that are others by then.

use std::sync::Arc;

use memchr::memmem::Finder;

use super::bits::{self, Bits, WORD_SLOTS};

/// Slots of a block: what a scan finds in it is one word of bits.
const BLOCK_SLOTS: usize = WORD_SLOTS as usize;
/// Not more strings of a block than this are looked at one by one.
const OPEN_FEW: u32 = 16;

#[derive(Clone)]
struct Block {
    /// Tells it from every other state of these strings.
    version: u64,
    ends: [u32; BLOCK_SLOTS],
    bytes: Vec<u8>,
}

/// Byte strings by slot; one that was never set is empty.
#[derive(Clone, Default)]
pub(super) struct Texts {
    blocks: Vec<Arc<Block>>,
    version: u64,
}

/// What a scan found, and in what.
pub(super) struct Scan {
    /// The slots whose string contains what was sought.
    pub(super) found: Bits,
    versions: Vec<u64>,
}

impl Texts {
    /// The string of a slot.
    pub(super) fn get(&self, slot: u32) -> &[u8] {
        let (block, place) = place_of(slot);
        self.blocks.get(block).and_then(|block| block.bytes.get(block.range(place))).unwrap_or_default()
    }

    /// Replaces the string of a slot.
    pub(super) fn set(&mut self, slot: u32, text: &[u8]) {
        let (block, place) = place_of(slot);
        while self.blocks.len() <= block {
            self.blocks.push(Arc::new(Block { version: 0, ends: [0; BLOCK_SLOTS], bytes: Vec::new() }));
        }
        self.version += 1;
        if let Some(block) = self.blocks.get_mut(block).map(Arc::make_mut) {
            block.version = self.version;
            block.set(place, text);
        }
    }

    /// Looks through all strings but the `marked` ones, which contain what is sought; where an `earlier` scan for the same is given,
    /// only through what changed since.
    pub(super) fn scan(&self, finder: &Finder<'_>, marked: &Bits, earlier: Option<&Scan>) -> Scan {
        let known = |place, version| earlier.filter(|scan| scan.versions.get(place) == Some(&version)).map(|scan| scan.found.word(place));
        let look =
            |(place, block): (usize, &Arc<Block>)| known(place, block.version).unwrap_or_else(|| block.scan(finder, marked.word(place)));
        let versions = self.blocks.iter().map(|block| block.version).collect();
        Scan { found: self.blocks.iter().enumerate().map(look).collect(), versions }
    }

    /// Whether the string of a slot contains what is sought.
    pub(super) fn has(&self, slot: u32, finder: &Finder<'_>) -> bool {
        contains(self.get(slot), finder)
    }
}

impl Block {
    fn range(&self, place: usize) -> std::ops::Range<usize> {
        let end = |place: usize| self.ends.get(place).map_or(0, |end| *end as usize);
        place.checked_sub(1).map_or(0, end)..end(place)
    }

    /// Room is made exactly, so that a block that is full of strings has none left.
    fn set(&mut self, place: usize, text: &[u8]) {
        let range = self.range(place);
        let former = range.len();
        self.bytes.reserve_exact(text.len().saturating_sub(former));
        self.bytes.splice(range, text.iter().copied());
        for end in self.ends.iter_mut().skip(place) {
            let moved = (*end as usize + text.len()).saturating_sub(former);
            *end = u32::try_from(moved).unwrap_or(u32::MAX);
        }
    }

    /// The places whose strings contain what is sought, as bits.
    fn scan(&self, finder: &Finder<'_>, marked: u64) -> u64 {
        if (!marked).count_ones() > OPEN_FEW {
            return marked | self.scan_all(finder);
        }
        let text = |place| self.bytes.get(self.range(place)).unwrap_or_default();
        let found = bits::slots_of(!marked, 0).filter(|place| contains(text(*place as usize), finder));
        found.fold(marked, |word, place| word | 1 << place)
    }

    /// After a hit the scan goes on behind that string.
    fn scan_all(&self, finder: &Finder<'_>) -> u64 {
        let (mut word, mut place, mut from) = (0, 0, 0);
        while let Some(at) = self.bytes.get(from..).and_then(|rest| finder.find(rest)) {
            let at = from + at;
            let behind = |end: &u32| *end as usize > at;
            let Some(step) = self.ends.get(place..).and_then(|ends| ends.iter().position(behind)) else { break };
            place += step;
            word |= 1 << place;
            from = self.range(place).end;
        }
        word
    }
}

/// An empty string contains nothing.
fn contains(text: &[u8], finder: &Finder<'_>) -> bool {
    !text.is_empty() && finder.find(text).is_some()
}

const fn place_of(slot: u32) -> (usize, usize) {
    ((slot / WORD_SLOTS) as usize, (slot % WORD_SLOTS) as usize)
}
