//! Users in one order, found by their place in it.
//!
//! A list of short sorted lists, each counting its live users: a place is found by adding up the counts, which at a million
//! users are a few thousand numbers in a row. Eight bytes a user; what a user is compared by stands elsewhere.
//!
//! # Why heads and fences
//! What a user is compared by is somewhere else in memory for each: a place among 100,000 names took 20 such looks, half the time of showing
//! a delivery. So each list has a fence, the first bytes of the last key, and each user in it a head: the four bytes behind those in which
//! all keys of the list begin alike. Whole keys are looked at only where these are equal.

use super::row::{Key, Prefix};

/// Users a list may hold before it is divided; below a quarter of it a list joins its neighbour.
const CHUNK_USERS_MAX: usize = 128;
/// Room that a list is given at a time; twice as much is taken back.
const CHUNK_USERS_MORE: usize = 16;
const DELETED: u32 = 1 << 31;

/// Bytes of a head.
const HEAD_BYTES: usize = size_of::<u32>();
/// Heads begin at most here, so that they end within a prefix.
const SKIP_MAX: usize = size_of::<Prefix>() - HEAD_BYTES;

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

/// A member in its list.
#[derive(Clone, Copy)]
struct Placed {
    /// Bytes of its key, from where the list tells.
    head: u32,
    member: Member,
}

struct Chunk {
    /// All keys begin alike, up to here at least; heads begin here.
    skip: usize,
    placed: Vec<Placed>,
    live: usize,
}

impl Chunk {
    /// A list of members in order, none of whose prefixes is above the fence.
    fn new<'a>(members: impl Iterator<Item = Member>, fence: &Prefix, key_of: impl Fn(u32) -> Key<'a>) -> Self {
        let mut skip = None;
        let mut live = 0;
        let placed = members.map(|member| {
            let prefix = key_of(member.slot()).prefix();
            live += usize::from(member.is_seen(true));
            Placed { head: head(&prefix, *skip.get_or_insert_with(|| alike(&prefix, fence))), member }
        });
        let placed = placed.collect();
        Self { skip: skip.unwrap_or(SKIP_MAX), placed, live }
    }

    fn members(&self) -> impl DoubleEndedIterator<Item = Member> {
        self.placed.iter().map(|placed| placed.member)
    }

    const fn seen(&self, live_only: bool) -> usize {
        if live_only { self.live } else { self.placed.len() }
    }

    /// How many stand before a key whose prefix is not above the fence.
    fn before<'a>(&self, key: (&Key<'a>, &Prefix), fence: &Prefix, key_of: impl Fn(u32) -> Key<'a>) -> usize {
        let (key, prefix) = key;
        if alike(prefix, fence) < self.skip {
            return 0;
        }
        let sought = head(prefix, self.skip);
        self.placed.partition_point(|placed| placed.head < sought || (placed.head == sought && key_of(placed.member.slot()) < *key))
    }

    /// Has heads begin elsewhere.
    fn begin_heads<'a>(&mut self, skip: usize, key_of: impl Fn(u32) -> Key<'a>) {
        self.skip = skip;
        self.placed.iter_mut().for_each(|placed| placed.head = head(&key_of(placed.member.slot()).prefix(), skip));
    }

    /// Takes the users from a place on out, as a list of their own.
    fn split_off(&mut self, at: usize) -> Self {
        let placed = self.placed.split_off(at);
        self.placed.shrink_to(at + CHUNK_USERS_MORE);
        let live = placed.iter().filter(|placed| placed.member.is_seen(true)).count();
        self.live = self.live.saturating_sub(live);
        Self { skip: self.skip, placed, live }
    }

    /// Lets heads begin as far behind as they can.
    fn narrow<'a>(&mut self, fence: &Prefix, key_of: impl Fn(u32) -> Key<'a>) {
        let first = self.members().next().map(|first| key_of(first.slot()).prefix());
        if let Some(skip) = first.map(|first| alike(&first, fence)).filter(|skip| *skip > self.skip) {
            self.begin_heads(skip, key_of);
        }
    }

    /// Where to divide it: not far from the middle, between neighbours that differ as soon as any, so that each half has much in common.
    fn seam(&self) -> usize {
        let (len, half) = (self.placed.len(), self.placed.len() / 2);
        let differ = |at: usize| {
            let (one, other) = (self.placed.get(at.checked_sub(1)?)?, self.placed.get(at)?);
            Some((one.head ^ other.head).leading_zeros() / u8::BITS)
        };
        (len / 4..len * 3 / 4).min_by_key(|at| (differ(*at), at.abs_diff(half))).unwrap_or(half)
    }

    fn insert(&mut self, within: usize, member: Member, prefix: &Prefix) {
        if self.placed.len() == self.placed.capacity() {
            self.placed.reserve_exact(CHUNK_USERS_MORE);
        }
        self.placed.insert(within, Placed { head: head(prefix, self.skip), member });
        self.live += usize::from(member.is_seen(true));
    }

    fn remove(&mut self, within: usize) {
        let Placed { member, .. } = self.placed.remove(within);
        self.live = self.live.saturating_sub(usize::from(member.is_seen(true)));
        if self.placed.len() + 2 * CHUNK_USERS_MORE < self.placed.capacity() {
            self.placed.shrink_to(self.placed.len() + CHUNK_USERS_MORE);
        }
    }
}

/// The head of a key whose list's heads begin at `skip`.
fn head(prefix: &Prefix, skip: usize) -> u32 {
    prefix.get(skip..).and_then(|rest| rest.first_chunk::<HEAD_BYTES>()).map_or(0, |head| u32::from_be_bytes(*head))
}

/// In how many of their first bytes two keys are alike, as far as heads may begin.
fn alike(one: &Prefix, other: &Prefix) -> usize {
    one.iter().zip(other).take(SKIP_MAX).take_while(|(one, other)| one == other).count()
}

/// Users in one order. Whoever asks tells any slot's key, those of new and former members too.
#[derive(Default)]
pub(super) struct Ranking {
    /// Of each list: no member's prefix is above it, and none of the next list's below. In a row of their own, through which each
    /// search goes.
    fences: Vec<Prefix>,
    chunks: Vec<Chunk>,
}

impl Ranking {
    /// Makes a ranking of members that are in order already.
    pub(super) fn from_sorted<'a>(members: &[Member], key_of: impl Fn(u32) -> Key<'a>) -> Self {
        let mut ranking = Self::default();
        for part in members.chunks(CHUNK_USERS_MAX * 3 / 4) {
            let Some(last) = part.last() else { continue };
            let fence = key_of(last.slot()).prefix();
            ranking.chunks.push(Chunk::new(part.iter().copied(), &fence, &key_of));
            ranking.fences.push(fence);
        }
        ranking
    }

    /// Puts a member in where its key says.
    pub(super) fn insert<'a>(&mut self, member: Member, key_of: impl Fn(u32) -> Key<'a>) {
        let key = key_of(member.slot());
        let prefix = key.prefix();
        let mut place = self.chunk_of(&key, &prefix, &key_of);
        if place == self.chunks.len() {
            // Behind all others: the order of what just happened mostly grows there, and leaves full lists behind.
            match self.chunks.last().filter(|chunk| chunk.placed.len() < CHUNK_USERS_MAX) {
                Some(_) => place -= 1,
                None => self.chunks.push(Chunk { skip: SKIP_MAX, placed: Vec::new(), live: 0 }),
            }
        } else if self.chunks.get(place).is_some_and(|chunk| chunk.placed.len() >= CHUNK_USERS_MAX) {
            self.divide(place, &key_of);
            place = self.chunk_of(&key, &prefix, &key_of);
        }
        self.put(place, member, (&key, &prefix), &key_of);
    }

    fn put<'a>(&mut self, place: usize, member: Member, (key, prefix): (&Key<'a>, &Prefix), key_of: impl Fn(u32) -> Key<'a>) {
        let Some(chunk) = self.chunks.get_mut(place) else { return };
        match self.fences.get_mut(place) {
            None => self.fences.push(*prefix),
            Some(fence) => {
                let alike = alike(prefix, fence);
                if alike < chunk.skip {
                    chunk.begin_heads(alike, &key_of);
                }
                *fence = (*fence).max(*prefix);
            }
        }
        let within = self.fences.get(place).map_or(0, |fence| chunk.before((key, prefix), fence, &key_of));
        chunk.insert(within, member, prefix);
    }

    /// Divides a list.
    fn divide<'a>(&mut self, place: usize, key_of: impl Fn(u32) -> Key<'a>) {
        let (Some(chunk), Some(fence)) = (self.chunks.get_mut(place), self.fences.get(place).copied()) else { return };
        let mut upper = chunk.split_off(chunk.seam());
        let lower_fence = chunk.members().next_back().map_or(fence, |last| key_of(last.slot()).prefix());
        chunk.narrow(&lower_fence, &key_of);
        upper.narrow(&fence, &key_of);
        self.chunks.insert(place + 1, upper);
        self.fences.insert(place, lower_fence);
    }

    /// Takes a slot out that stands where its key says. Its list is read through: that is one place in memory, where halving it might
    /// look at users in many.
    pub(super) fn remove<'a>(&mut self, slot: u32, key_of: impl Fn(u32) -> Key<'a>) {
        let key = key_of(slot);
        let place = self.chunk_of(&key, &key.prefix(), &key_of);
        let Some(chunk) = self.chunks.get_mut(place) else { return };
        let Some(within) = chunk.members().position(|member| member.slot() == slot) else { return };
        chunk.remove(within);
        self.tidy(place, key_of);
    }

    /// How many there are.
    pub(super) fn len(&self, live_only: bool) -> usize {
        self.chunks.iter().map(|chunk| chunk.seen(live_only)).sum()
    }

    /// How many stand before a key.
    pub(super) fn rank<'a>(&self, live_only: bool, key: Key<'a>, key_of: impl Fn(u32) -> Key<'a>) -> usize {
        let (place, within) = self.locate(&key, key_of);
        let whole: usize = self.chunks.iter().take(place).map(|chunk| chunk.seen(live_only)).sum();
        let part = self.chunks.get(place).map(|chunk| chunk.members().take(within));
        whole + part.map_or(0, |members| members.filter(|member| member.is_seen(live_only)).count())
    }

    /// The slots behind the first `skipped` ones, upwards or downwards.
    pub(super) fn walk(&self, live_only: bool, ascending: bool, skipped: usize) -> Box<dyn Iterator<Item = u32> + '_> {
        if ascending {
            let (chunk, rest) = skip_chunks(self.chunks.iter(), live_only, skipped);
            let members = self.chunks.iter().skip(chunk).flat_map(Chunk::members);
            Box::new(members.filter(move |member| member.is_seen(live_only)).skip(rest).map(Member::slot))
        } else {
            let (chunk, rest) = skip_chunks(self.chunks.iter().rev(), live_only, skipped);
            let members = self.chunks.iter().rev().skip(chunk).flat_map(|chunk| chunk.members().rev());
            Box::new(members.filter(move |member| member.is_seen(live_only)).skip(rest).map(Member::slot))
        }
    }

    /// The slots that do not stand before a key, upwards.
    pub(super) fn behind<'a>(&self, key: Key<'a>, key_of: impl Fn(u32) -> Key<'a>) -> impl Iterator<Item = u32> {
        let (place, within) = self.locate(&key, key_of);
        self.chunks.iter().skip(place).flat_map(Chunk::members).skip(within).map(Member::slot)
    }

    /// Of those that match, upwards or downwards, `count` behind the first `skipped` ones.
    pub(super) fn pick(&self, ascending: bool, matches: impl Fn(u32) -> bool, skipped: usize, count: usize) -> Vec<u32> {
        let (mut picked, mut rest) = (Vec::with_capacity(count), skipped);
        let mut take = |chunk: &Chunk| {
            if rest > 0 {
                let inside = chunk.members().filter(|member| matches(member.slot())).count();
                if let Some(left) = rest.checked_sub(inside) {
                    rest = left;
                    return false;
                }
            }
            let last = chunk.placed.len().saturating_sub(1);
            let places = (0..chunk.placed.len()).map(|place| if ascending { place } else { last - place });
            let slots = places.filter_map(|place| chunk.placed.get(place)).map(|placed| placed.member.slot());
            picked.extend(slots.filter(|slot| matches(*slot)).skip(rest).take(count - picked.len()));
            rest = 0;
            picked.len() >= count
        };
        let full = if ascending { self.chunks.iter().any(&mut take) } else { self.chunks.iter().rev().any(&mut take) };
        debug_assert!(full || count == 0, "as many match as were counted");
        picked
    }

    /// The first list that does not stand before a key as a whole, and how many of it do.
    fn locate<'a>(&self, key: &Key<'a>, key_of: impl Fn(u32) -> Key<'a>) -> (usize, usize) {
        let prefix = key.prefix();
        let place = self.chunk_of(key, &prefix, &key_of);
        let chunk = self.chunks.get(place).zip(self.fences.get(place));
        (place, chunk.map_or(0, |(chunk, fence)| chunk.before((key, &prefix), fence, key_of)))
    }

    fn chunk_of<'a>(&self, key: &Key<'a>, prefix: &Prefix, key_of: impl Fn(u32) -> Key<'a>) -> usize {
        let begin = self.fences.partition_point(|fence| fence < prefix);
        let end = self.fences.partition_point(|fence| fence <= prefix);
        // Whose fences tell nothing.
        let alike = self.chunks.get(begin..end).unwrap_or_default();
        begin + alike.partition_point(|chunk| chunk.members().next_back().is_none_or(|last| key_of(last.slot()) < *key))
    }

    /// Joins a list that has become short with the next one, so that their number follows the number of users.
    fn tidy<'a>(&mut self, place: usize, key_of: impl Fn(u32) -> Key<'a>) {
        let length = |place: usize| self.chunks.get(place).map(|chunk| chunk.placed.len());
        let Some(here) = length(place).filter(|here| *here < CHUNK_USERS_MAX / 4) else { return };
        let joined = length(place + 1).is_some_and(|next| here + next <= CHUNK_USERS_MAX / 2);
        if joined && let Some(fence) = self.fences.get(place + 1) {
            let members = self.chunks.iter().skip(place).take(2).flat_map(Chunk::members);
            let chunk = Chunk::new(members, fence, key_of);
            self.chunks.splice(place..=place + 1, [chunk]);
            self.fences.remove(place);
        } else if here == 0 {
            self.chunks.remove(place);
            self.fences.remove(place);
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::row::Value;
    use super::*;

    /// Few beginnings, shorter and longer than a prefix, and few ends: much is alike, and some of it beyond what heads tell.
    fn some_text() -> impl Strategy<Value = String> {
        ("(|a|ab|anna|anna maria von der langen wiese zu|\u{0}|\u{1})", "[a-c\u{0}]{0,3}").prop_map(|(begin, end)| begin + &end)
    }

    fn key((text, uid): &(String, String)) -> Key<'_> {
        Key { value: Value::Text(text.as_bytes()), uid: uid.as_bytes() }
    }

    proptest! {
        #[test]
        fn a_prefix_never_contradicts_the_order(one in (some_text(), some_text()), other in (some_text(), some_text())) {
            let order = key(&one).prefix().cmp(&key(&other).prefix());
            prop_assert!(order.is_eq() || order == key(&one).cmp(&key(&other)));
        }

        #[test]
        fn users_stand_as_if_sorted(steps in proptest::collection::vec((0..600_u32, some_text()), 1..3_000), asked in some_text()) {
            let (mut ranking, mut keys) = (Ranking::default(), BTreeMap::<u32, (String, String)>::new());
            for (slot, text) in steps {
                if keys.contains_key(&slot) {
                    ranking.remove(slot, |slot| key(&keys[&slot]));
                }
                // Some go for good.
                if text.ends_with('c') {
                    keys.remove(&slot);
                    continue;
                }
                keys.insert(slot, (text, format!("{:03}", slot.wrapping_mul(7) % 600)));
                ranking.insert(Member::new(slot, slot.is_multiple_of(3)), |slot| key(&keys[&slot]));
            }
            let mut sorted: Vec<u32> = keys.keys().copied().collect();
            sorted.sort_by_key(|slot| key(&keys[slot]));
            prop_assert_eq!(ranking.walk(false, true, 0).collect::<Vec<_>>(), sorted.clone());
            let members: Vec<Member> = sorted.iter().map(|slot| Member::new(*slot, slot.is_multiple_of(3))).collect();
            let made = Ranking::from_sorted(&members, |slot| key(&keys[&slot]));
            let first = Key { value: Value::Text(asked.as_bytes()), uid: &[] };
            let before = sorted.partition_point(|slot| key(&keys[slot]) < first);
            for ranking in [ranking, made] {
                prop_assert_eq!(ranking.rank(false, first, |slot| key(&keys[&slot])), before);
                prop_assert_eq!(ranking.behind(first, |slot| key(&keys[&slot])).collect::<Vec<_>>(), &sorted[before..]);
                prop_assert_eq!(ranking.len(true), sorted.iter().filter(|slot| !slot.is_multiple_of(3)).count());
            }
        }
    }
}
