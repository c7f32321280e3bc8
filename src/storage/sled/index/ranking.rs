//! Users in one order, found by their place in it.
//!
//! A list of short sorted lists, each counting its live users: a place is found by adding up the counts, which at a million
//! users are a few thousand numbers in a row. Four bytes a user; what a user is compared by stands elsewhere.

use std::cmp::Ordering;

/// Slots a list may hold before it is halved; below a quarter of it a list joins its neighbour.
const CHUNK_SLOTS_MAX: usize = 512;
const DELETED: u32 = 1 << 31;

/// A user's slot and whether the user is deleted, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage::sled) struct Member(u32);

impl Member {
    /// A member. Slots are below 2^31.
    pub(super) const fn new(slot: u32, deleted: bool) -> Self {
        Self(if deleted { slot | DELETED } else { slot & !DELETED })
    }

    /// Its slot.
    pub(super) const fn slot(self) -> u32 {
        self.0 & !DELETED
    }

    const fn is_seen(self, live_only: bool) -> bool {
        !live_only || self.0 & DELETED == 0
    }
}

#[derive(Default)]
struct Chunk {
    members: Vec<Member>,
    live: usize,
}

impl Chunk {
    fn new(members: Vec<Member>) -> Self {
        let live = members.iter().filter(|member| member.is_seen(true)).count();
        Self { members, live }
    }

    const fn seen(&self, live_only: bool) -> usize {
        if live_only { self.live } else { self.members.len() }
    }
}

/// Users in one order.
#[derive(Default)]
pub(in crate::storage::sled) struct Ranking {
    chunks: Vec<Chunk>,
}

impl Ranking {
    /// Makes a ranking of members that are in order already.
    pub(super) fn from_sorted(members: &[Member]) -> Self {
        Self { chunks: members.chunks(CHUNK_SLOTS_MAX / 2).map(|part| Chunk::new(part.to_vec())).collect() }
    }

    /// Puts a member in; `order` compares another slot with the new one.
    pub(super) fn insert(&mut self, member: Member, order: impl Fn(u32) -> Ordering) {
        let (place, within) = self.locate(|slot| order(slot).is_lt());
        let place = place.min(self.chunks.len().saturating_sub(1));
        if self.chunks.is_empty() {
            self.chunks.push(Chunk::default());
        }
        let Some(chunk) = self.chunks.get_mut(place) else { return };
        chunk.members.insert(within.unwrap_or(chunk.members.len()).min(chunk.members.len()), member);
        chunk.live += usize::from(member.is_seen(true));
        if chunk.members.len() > CHUNK_SLOTS_MAX {
            let half = Chunk::new(chunk.members.split_off(CHUNK_SLOTS_MAX / 2));
            chunk.live = chunk.live.saturating_sub(half.live);
            self.chunks.insert(place + 1, half);
        }
    }

    /// Takes a slot out; `order` compares another slot with it.
    pub(super) fn remove(&mut self, slot: u32, order: impl Fn(u32) -> Ordering) {
        let (place, within) = self.locate(|other| order(other).is_lt());
        let (Some(within), Some(chunk)) = (within, self.chunks.get_mut(place)) else { return };
        if chunk.members.get(within).is_none_or(|member| member.slot() != slot) {
            return;
        }
        let member = chunk.members.remove(within);
        chunk.live = chunk.live.saturating_sub(usize::from(member.is_seen(true)));
        self.tidy(place);
    }

    /// How many there are.
    pub(super) fn len(&self, live_only: bool) -> usize {
        self.chunks.iter().map(|chunk| chunk.seen(live_only)).sum()
    }

    /// How many stand before the first slot for which `before` no longer holds.
    pub(super) fn rank(&self, live_only: bool, before: impl Fn(u32) -> bool) -> usize {
        let (place, within) = self.locate(before);
        let whole: usize = self.chunks.iter().take(place).map(|chunk| chunk.seen(live_only)).sum();
        let part = self.chunks.get(place).and_then(|chunk| chunk.members.get(..within?));
        whole + part.map_or(0, |members| members.iter().filter(|member| member.is_seen(live_only)).count())
    }

    /// The slots behind the first `skipped` ones, upwards or downwards.
    pub(super) fn walk(&self, live_only: bool, ascending: bool, skipped: usize) -> Box<dyn Iterator<Item = u32> + '_> {
        if ascending {
            let (chunk, rest) = skip_chunks(self.chunks.iter(), live_only, skipped);
            let members = self.chunks.iter().skip(chunk).flat_map(|chunk| chunk.members.iter());
            Box::new(members.filter(move |member| member.is_seen(live_only)).skip(rest).map(|member| member.slot()))
        } else {
            let (chunk, rest) = skip_chunks(self.chunks.iter().rev(), live_only, skipped);
            let members = self.chunks.iter().rev().skip(chunk).flat_map(|chunk| chunk.members.iter().rev());
            Box::new(members.filter(move |member| member.is_seen(live_only)).skip(rest).map(|member| member.slot()))
        }
    }

    /// The chunk and the place in it of the first slot for which `before` does not hold; past the end where it always holds.
    fn locate(&self, before: impl Fn(u32) -> bool) -> (usize, Option<usize>) {
        let all_before = |chunk: &Chunk| chunk.members.last().is_none_or(|member| before(member.slot()));
        let place = self.chunks.partition_point(all_before);
        let within = self.chunks.get(place).map(|chunk| chunk.members.partition_point(|member| before(member.slot())));
        (place, within)
    }

    /// Joins a chunk that has become short with the next one, so that their number follows the number of users.
    fn tidy(&mut self, place: usize) {
        let length = |place: usize| self.chunks.get(place).map(|chunk| chunk.members.len());
        let Some(here) = length(place).filter(|here| *here < CHUNK_SLOTS_MAX / 4) else { return };
        let joined = length(place + 1).is_some_and(|next| here + next <= CHUNK_SLOTS_MAX / 2);
        if joined {
            let next = self.chunks.remove(place + 1);
            if let Some(chunk) = self.chunks.get_mut(place) {
                chunk.live += next.live;
                chunk.members.extend(next.members);
            }
        } else if here == 0 {
            self.chunks.remove(place);
        }
    }
}

/// How many chunks lie wholly within the first `skipped` members, and how many members are then left to skip.
fn skip_chunks<'a>(chunks: impl Iterator<Item = &'a Chunk>, live_only: bool, skipped: usize) -> (usize, usize) {
    let (mut count, mut rest) = (0, skipped);
    for chunk in chunks {
        let Some(left) = rest.checked_sub(chunk.seen(live_only)) else { break };
        (count, rest) = (count + 1, left);
    }
    (count, rest)
}
