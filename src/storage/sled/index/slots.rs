//! Which slot a user has: a hash of slots, whose uids stand elsewhere.

use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;

use super::texts::Texts;

/// Parts that grow one by one: a commit never waits until a million users have been hashed anew.
const SHARDS: usize = 256;

/// Slots by uid.
#[derive(Default)]
pub(super) struct Slots {
    shards: Vec<HashTable<u32>>,
    hasher: DefaultHashBuilder,
}

impl Slots {
    /// The slot of a user.
    pub(super) fn find(&self, uid: &str, uids: &Texts) -> Option<u32> {
        let hash = self.hasher.hash_one(uid.as_bytes());
        let shard = self.shards.get(shard_of(hash))?;
        shard.find(hash, |slot| uids.get(*slot) == uid.as_bytes()).copied()
    }

    /// Takes in a slot that is not there, whose uid is known.
    pub(super) fn insert(&mut self, slot: u32, uids: &Texts) {
        let hasher = &self.hasher;
        let hash = |slot: &u32| hasher.hash_one(uids.get(*slot));
        self.shards.resize_with(SHARDS, HashTable::new);
        let whole = hash(&slot);
        if let Some(shard) = self.shards.get_mut(shard_of(whole)) {
            shard.insert_unique(whole, slot, hash);
        }
    }
}

/// By bits in the middle: within a part, the lowest tell the place, the highest the tag.
const fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}
