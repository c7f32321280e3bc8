//! All users by slot, and where each stands in an order.

use super::bits::Bits;
use super::column::Column;
use super::projection::Written;
use super::ranking::Member;
use super::row::{Entry, Key, Order, Row, Value};
use super::sets::Standings;
use super::texts::Texts;
use crate::directory::Timestamp;

/// All users by slot.
#[derive(Default)]
pub(super) struct Table {
    entries: Column<Entry>,
    pub(super) uids: Texts,
    /// Names and e-mails, see [`super::row::text`].
    pub(super) texts: Texts,
    pub(super) standings: Standings,
    stale: Bits,
    /// Of records as they are written down.
    checksums: Column<u32>,
    /// Whose record is cut into pieces, or was once.
    cut: Bits,
}

impl Table {
    /// How many slots there are; also the next one.
    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX)
    }

    /// A user's uid.
    pub(super) fn uid(&self, slot: u32) -> Option<&str> {
        str::from_utf8(self.uids.get(slot)).ok()
    }

    /// When a user was updated.
    pub(super) fn updated_at(&self, slot: u32) -> Timestamp {
        self.entries.get(slot).map_or(Timestamp::MIN, |entry| entry.updated_at)
    }

    /// A user.
    pub(super) fn row(&self, slot: u32) -> Option<Row<'_>> {
        let entry = *self.entries.get(slot)?;
        let (standing, detail_stale) = (self.standings.of(slot), self.stale.contains(slot));
        Some(Row { entry, standing, detail_stale, text: self.texts.get(slot) })
    }

    /// Takes a new user in.
    pub(super) fn add(&mut self, uid: &str, row: &Row<'_>) -> u32 {
        let slot = self.slots();
        self.uids.set(slot, uid.as_bytes());
        self.texts.set(slot, row.text);
        self.entries.set(slot, row.entry);
        self.standings.enter(slot, row.standing);
        self.note_stale(slot, row.detail_stale);
        slot
    }

    /// Takes a user in as the user now is.
    pub(super) fn set(&mut self, slot: u32, row: &Row<'_>) {
        if self.texts.get(slot) != row.text {
            self.texts.set(slot, row.text);
        }
        self.entries.set(slot, row.entry);
        let standing = self.standings.of(slot);
        if standing != row.standing {
            self.standings.leave(slot, standing);
            self.standings.enter(slot, row.standing);
        }
        self.note_stale(slot, row.detail_stale);
    }

    /// All users whom an order holds, in that order.
    pub(super) fn sorted(&self, order: Order) -> Vec<Member> {
        let placed = |slot| {
            let (_, deleted) = order.place(&self.row(slot)?)?;
            Some((first_of(self.key(order, slot)), Member::new(slot, deleted)))
        };
        let mut members: Vec<(u128, Member)> = (0..self.slots()).filter_map(placed).collect();
        members.sort_unstable_by(|(first, one), (other_first, other)| {
            first.cmp(other_first).then_with(|| self.key(order, one.slot()).cmp(&self.key(order, other.slot())))
        });
        members.into_iter().map(|(_, member)| member).collect()
    }

    /// What a user is ordered by; looks at the text only where the order does.
    pub(super) fn value(&self, order: Order, slot: u32) -> Value<'_> {
        let Some(entry) = self.entries.get(slot) else { return Value::Time(Timestamp::MIN) };
        let text = if order.is_by_text() { self.texts.get(slot) } else { &[] };
        order.value(entry, text)
    }

    /// Where a user stands in an order.
    pub(super) fn key(&self, order: Order, slot: u32) -> Key<'_> {
        Key { value: self.value(order, slot), uid: self.uids.get(slot) }
    }

    /// Of the slots in a range, those all of whose claims arrived before a time.
    pub(super) fn claimed_before(&self, slots: std::ops::Range<u32>, before: Timestamp) -> impl Iterator<Item = u32> {
        let claimed =
            move |slot: &u32| self.entries.get(*slot).is_some_and(|entry| entry.claimed > Timestamp::MIN && entry.claimed < before);
        slots.filter(claimed)
    }

    /// How a user's record is written down.
    pub(super) fn written(&self, slot: u32) -> Option<Written> {
        self.checksums.get(slot).map(|checksum| Written { checksum: *checksum, cut: self.cut.contains(slot) })
    }

    /// Takes in how a user's record is written down now. Once cut it counts as cut: the tree may still hold the pieces.
    pub(super) fn note_written(&mut self, slot: u32, written: Written) {
        self.checksums.set(slot, written.checksum);
        if written.cut {
            self.cut.insert(slot);
        }
    }

    fn note_stale(&mut self, slot: u32, stale: bool) {
        if stale {
            self.stale.insert(slot);
        } else {
            self.stale.remove(slot);
        }
    }
}

/// Half of a key's prefix: enough to sort most users by, and half of the memory that this takes for a moment.
fn first_of(key: Key<'_>) -> u128 {
    key.prefix().first_chunk().copied().map_or(0, u128::from_be_bytes)
}
