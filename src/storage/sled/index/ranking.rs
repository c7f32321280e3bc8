//! Users in one order, found by their place in it.
//!
//! A list of short sorted lists, each counting its live users: a place is found by adding up the counts, which at a million
//! users are a few thousand numbers in a row. Four bytes a user; what a user is compared by stands elsewhere. Each list has a
//! fence, a prefix of what it is sorted by, so that the right list is mostly found without looking at any user.

use std::cmp::Ordering;

/// Slots a list may hold before it is divided; below a quarter of it a list joins its neighbour. Between lists one halves by their fences,
/// within one by its users, of whom each is somewhere else in memory.
const CHUNK_SLOTS_MAX: usize = 128;
/// Room that a list is given at a time; twice as much is taken back.
const CHUNK_SLOTS_MORE: usize = 16;
const DELETED: u32 = 1 << 31;

/// A user's slot and whether the user is deleted, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member(u32);

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

struct Chunk {
    /// No member's prefix is above it, and none of the next list's below.
    fence: u128,
    members: Vec<Member>,
    live: usize,
}

impl Chunk {
    fn new(fence: u128, members: Vec<Member>) -> Self {
        let live = members.iter().filter(|member| member.is_seen(true)).count();
        Self { fence, members, live }
    }

    const fn seen(&self, live_only: bool) -> usize {
        if live_only { self.live } else { self.members.len() }
    }

    fn insert(&mut self, within: usize, member: Member) {
        if self.members.len() == self.members.capacity() {
            self.members.reserve_exact(CHUNK_SLOTS_MORE);
        }
        self.members.insert(within.min(self.members.len()), member);
        self.live += usize::from(member.is_seen(true));
    }

    fn remove(&mut self, within: usize) {
        let member = self.members.remove(within);
        self.live = self.live.saturating_sub(usize::from(member.is_seen(true)));
        if self.members.len() + 2 * CHUNK_SLOTS_MORE < self.members.capacity() {
            self.members.shrink_to(self.members.len() + CHUNK_SLOTS_MORE);
        }
    }
}

/// What a user is looked for by: the prefix, and then whether another slot stands before.
pub(super) struct Target<F> {
    /// Prefixes never contradict the order.
    pub(super) prefix: u128,
    /// Whether a slot stands before the target.
    pub(super) before: F,
}

/// Users in one order.
#[derive(Default)]
pub(super) struct Ranking {
    chunks: Vec<Chunk>,
}

impl Ranking {
    /// Makes a ranking of members and their prefixes that are in order already.
    pub(super) fn from_sorted(members: &[(u128, Member)]) -> Self {
        let chunk = |part: &[(u128, Member)]| {
            let fence = part.last().map_or(0, |(prefix, _)| *prefix);
            Chunk::new(fence, part.iter().map(|(_, member)| *member).collect())
        };
        Self { chunks: members.chunks(CHUNK_SLOTS_MAX * 3 / 4).map(chunk).collect() }
    }

    /// Puts a member in where `target` says; `prefix_of` tells any slot's prefix, the new one's too.
    pub(super) fn insert(&mut self, member: Member, target: &Target<impl Fn(u32) -> bool>, prefix_of: impl Fn(u32) -> u128) {
        let (place, within) = self.locate(target);
        // Behind all others: the order of what just happened mostly grows there, and leaves full lists behind.
        let Some(within) = within else { return self.append(member, target.prefix) };
        let Some(chunk) = self.chunks.get_mut(place) else { return };
        if chunk.members.len() < CHUNK_SLOTS_MAX {
            return chunk.insert(within, member);
        }
        let mut upper = Chunk::new(chunk.fence, chunk.members.split_off(CHUNK_SLOTS_MAX / 2));
        chunk.live = chunk.live.saturating_sub(upper.live);
        chunk.members.shrink_to(CHUNK_SLOTS_MAX / 2 + CHUNK_SLOTS_MORE);
        if within > CHUNK_SLOTS_MAX / 2 {
            upper.insert(within - CHUNK_SLOTS_MAX / 2, member);
        } else {
            chunk.insert(within, member);
        }
        chunk.fence = chunk.members.last().map_or(chunk.fence, |last| prefix_of(last.slot()));
        self.chunks.insert(place + 1, upper);
    }

    fn append(&mut self, member: Member, prefix: u128) {
        match self.chunks.last_mut().filter(|chunk| chunk.members.len() < CHUNK_SLOTS_MAX) {
            Some(chunk) => {
                chunk.insert(usize::MAX, member);
                chunk.fence = prefix;
            }
            None => self.chunks.push(Chunk::new(prefix, vec![member])),
        }
    }

    /// Takes a slot out that stands where `target` says. Its list is read through: that is one place in memory, where halving it would
    /// look at users in many.
    pub(super) fn remove(&mut self, slot: u32, target: &Target<impl Fn(u32) -> bool>) {
        let place = self.chunk_of(target);
        let Some(chunk) = self.chunks.get_mut(place) else { return };
        let Some(within) = chunk.members.iter().position(|member| member.slot() == slot) else { return };
        chunk.remove(within);
        self.tidy(place);
    }

    /// How many there are.
    pub(super) fn len(&self, live_only: bool) -> usize {
        self.chunks.iter().map(|chunk| chunk.seen(live_only)).sum()
    }

    /// How many stand before the target.
    pub(super) fn rank(&self, live_only: bool, target: &Target<impl Fn(u32) -> bool>) -> usize {
        let (place, within) = self.locate(target);
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

    /// The slots that do not stand before the target, upwards.
    pub(super) fn behind(&self, target: &Target<impl Fn(u32) -> bool>) -> impl Iterator<Item = u32> {
        let (place, within) = self.locate(target);
        let members = self.chunks.iter().skip(place).flat_map(|chunk| chunk.members.iter());
        members.skip(within.unwrap_or(0)).map(|member| member.slot())
    }

    /// Of those that match, upwards or downwards, `count` behind the first `skipped` ones.
    pub(super) fn pick(&self, ascending: bool, matches: impl Fn(u32) -> bool, skipped: usize, count: usize) -> Vec<u32> {
        let (mut picked, mut rest) = (Vec::with_capacity(count), skipped);
        let mut take = |chunk: &Chunk| {
            if rest > 0 {
                let inside = chunk.members.iter().filter(|member| matches(member.slot())).count();
                if let Some(left) = rest.checked_sub(inside) {
                    rest = left;
                    return false;
                }
            }
            let last = chunk.members.len().saturating_sub(1);
            let places = (0..chunk.members.len()).map(|place| if ascending { place } else { last - place });
            let slots = places.filter_map(|place| chunk.members.get(place)).map(|member| member.slot());
            picked.extend(slots.filter(|slot| matches(*slot)).skip(rest).take(count - picked.len()));
            rest = 0;
            picked.len() >= count
        };
        let full = if ascending { self.chunks.iter().any(&mut take) } else { self.chunks.iter().rev().any(&mut take) };
        debug_assert!(full || count == 0, "as many match as were counted");
        picked
    }

    /// The first list that does not stand before the target as a whole, and the place in it; `None` behind the last list.
    fn locate(&self, target: &Target<impl Fn(u32) -> bool>) -> (usize, Option<usize>) {
        let place = self.chunk_of(target);
        let within = |chunk: &Chunk| chunk.members.partition_point(|member| (target.before)(member.slot()));
        (place, self.chunks.get(place).map(within))
    }

    fn chunk_of(&self, target: &Target<impl Fn(u32) -> bool>) -> usize {
        self.chunks.partition_point(|chunk| match chunk.fence.cmp(&target.prefix) {
            Ordering::Less => true,
            Ordering::Equal => chunk.members.last().is_none_or(|member| (target.before)(member.slot())),
            Ordering::Greater => false,
        })
    }

    /// Joins a list that has become short with the next one, so that their number follows the number of users.
    fn tidy(&mut self, place: usize) {
        let length = |place: usize| self.chunks.get(place).map(|chunk| chunk.members.len());
        let Some(here) = length(place).filter(|here| *here < CHUNK_SLOTS_MAX / 4) else { return };
        let joined = length(place + 1).is_some_and(|next| here + next <= CHUNK_SLOTS_MAX / 2);
        if joined {
            let next = self.chunks.remove(place + 1);
            if let Some(chunk) = self.chunks.get_mut(place) {
                chunk.fence = next.fence;
                chunk.live += next.live;
                chunk.members.reserve_exact(next.members.len());
                chunk.members.extend(next.members);
            }
        } else if here == 0 {
            self.chunks.remove(place);
        }
    }
}

/// How many lists lie wholly within the first `skipped` members, and how many members are then left to skip.
fn skip_chunks<'a>(chunks: impl Iterator<Item = &'a Chunk>, live_only: bool, skipped: usize) -> (usize, usize) {
    let (mut count, mut rest) = (0, skipped);
    for chunk in chunks {
        let Some(left) = rest.checked_sub(chunk.seen(live_only)) else { break };
        (count, rest) = (count + 1, left);
    }
    (count, rest)
}
