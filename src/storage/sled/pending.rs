//! Rows that are in the journal and not yet in the tree: where each one's newest value stands.
//!
//! All but short values stay in the journal, so that memory holds a key and a place for each row, whatever it says.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io;
use std::iter::Peekable;
use std::ops::Bound;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use sled::IVec;

use super::journal::frame::{Frame, Told, Value, checksum};
use super::keys;

/// A short value, which takes no more room than a place: reading many of them, of ids, back one by one would take long.
#[derive(Clone, Copy)]
pub(super) struct Short {
    len: u8,
    bytes: [u8; SHORT_BYTES],
}

/// Bytes of a short value, at most.
const SHORT_BYTES: usize = 11;

/// A value's place in a file of the journal, which is shorter than 4 GiB.
#[derive(Clone, Copy)]
pub(super) struct Place {
    offset: u32,
    len: u32,
    /// CRC-32C of the key and the value.
    checksum: u32,
}

/// What is pending in one file: a value, itself or where it stands; or that the row is taken away.
#[derive(Clone, Copy)]
pub(super) enum Row {
    At(Place),
    Short(Short),
    Gone,
}

/// The pending rows of one file of the journal.
#[derive(Clone)]
pub(super) struct Generation {
    /// Most keys are so short that they stand in the map itself: a search follows no pointers.
    pub(super) rows: BTreeMap<IVec, Row>,
    file: Arc<File>,
    /// What it costs to let them settle, about.
    cost: u64,
}

/// All pending rows.
pub(super) struct Pending {
    /// Those of the file that is being written.
    pub(super) young: Generation,
    /// Those of the file before it, which settle.
    pub(super) old: Option<Generation>,
    /// What those cost in all.
    old_cost: u64,
}

/// How much sooner than the young file is full the older one shall have settled.
const HURRY: f64 = 1.25;

/// What it costs to let a row settle, in units of about a microsecond.
fn cost(key: &[u8], row: Row) -> u64 {
    match (keys::kind_of(key), row) {
        (keys::SEEN, _) => 4,
        (keys::CHANGES | keys::DELIVERIES, Row::At(place)) => 4 + u64::from(place.len) / 256,
        _ => 12,
    }
}

/// Where a range of keys begins and ends.
pub(super) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Rows in the order of their keys.
pub(super) type BoxedRows<'a, V> = Box<dyn Iterator<Item = (&'a [u8], V)> + 'a>;

/// What is pending at a key.
#[derive(Clone)]
pub(super) enum Held {
    /// A value in a file.
    At(Arc<File>, Place),
    /// A short value.
    Short(Short),
    /// The row is taken away.
    Gone,
}

impl Generation {
    /// The rows of a file from which none was read yet.
    pub(super) const fn new(file: Arc<File>) -> Self {
        Self { rows: BTreeMap::new(), file, cost: 0 }
    }

    /// Takes in a row of the frame that stands at `begin`.
    pub(super) fn put(&mut self, (key, value): Told<'_>, begin: u64) {
        let row = value.map_or(Row::Gone, |(value, content)| Row::of(value, content, begin));
        match self.rows.entry(key.into()) {
            Entry::Occupied(mut held) => *held.get_mut() = row,
            Entry::Vacant(free) => {
                self.cost += cost(key, row);
                free.insert(row);
            }
        }
    }

    /// Leaves out rows that have settled already.
    pub(super) fn retain(&mut self, pending: impl Fn(&[u8]) -> bool) {
        self.rows.retain(|key, _| pending(key));
        self.cost = self.rows.iter().map(|(key, row)| cost(key, *row)).sum();
    }

    /// What is pending there.
    pub(super) fn held(&self, row: Row) -> Held {
        match row {
            Row::At(place) => Held::At(Arc::clone(&self.file), place),
            Row::Short(short) => Held::Short(short),
            Row::Gone => Held::Gone,
        }
    }

    fn range<'a>(&'a self, bounds: Bounds<'_>, upwards: bool) -> BoxedRows<'a, Held> {
        let rows = self.rows.range::<[u8], _>(bounds).map(|(key, row)| (key.as_ref(), self.held(*row)));
        if upwards { Box::new(rows) } else { Box::new(rows.rev()) }
    }
}

impl Pending {
    /// The rows of both files.
    pub(super) fn new(young: Generation, old: Option<Generation>) -> Self {
        let old_cost = old.as_ref().map_or(0, |old| old.cost);
        Self { young, old, old_cost }
    }

    /// The young rows are to settle from now on; new ones go to `file`. What was to settle before has.
    pub(super) fn turn(&mut self, file: Arc<File>) {
        let old = std::mem::replace(&mut self.young, Generation::new(file));
        self.old_cost = old.cost;
        self.old = Some(old);
    }

    /// The first `count` rows of the older file have settled.
    pub(super) fn settle(&mut self, count: usize) {
        let Some(old) = &mut self.old else { return };
        for (key, row) in std::iter::from_fn(|| old.rows.pop_first()).take(count) {
            old.cost = old.cost.saturating_sub(cost(&key, row));
        }
    }

    /// By how much less of the older file has settled than should have by now (up to 1, below 0 where it is more), when the young file is
    /// `filled` (0 to 1) and everything has to be done some time before it is full. `None`: all has.
    pub(super) fn lag(&self, filled: f64) -> Option<f64> {
        let left = self.old.as_ref()?.cost as f64 / self.old_cost.max(1) as f64;
        Some(left - (1.0 - filled * HURRY).max(0.0))
    }

    /// What is pending at a key; `None` where the tree tells.
    pub(super) fn get(&self, key: &[u8]) -> Option<Held> {
        let young = self.young.rows.get(key).map(|row| self.young.held(*row));
        young.or_else(|| self.old.as_ref().and_then(|old| old.rows.get(key).map(|row| old.held(*row))))
    }

    /// Takes in a frame that is durable now, and stands at `begin` in the young file.
    pub(super) fn take_in(&mut self, frame: &Frame, begin: u64) {
        frame.rows().for_each(|row| self.young.put(row, begin));
    }

    /// The pending rows of a range, upwards or downwards by key.
    pub(super) fn range<'a>(&'a self, bounds: Bounds<'_>, upwards: bool) -> BoxedRows<'a, Held> {
        range_of(&self.young, self.old.as_ref(), bounds, upwards)
    }

    /// How many rows are pending.
    pub(super) fn len(&self) -> usize {
        self.young.rows.len() + self.old.as_ref().map_or(0, |old| old.rows.len())
    }
}

/// The rows of a range in two files of the journal.
pub(super) fn range_of<'a>(young: &'a Generation, old: Option<&'a Generation>, bounds: Bounds<'_>, upwards: bool) -> BoxedRows<'a, Held> {
    let old: BoxedRows<'a, Held> = match old {
        Some(old) => old.range(bounds, upwards),
        None => Box::new(std::iter::empty()),
    };
    Box::new(merge(young.range(bounds, upwards), old, upwards))
}

/// Two ordered sequences as one; where both have a key, the first one tells.
fn merge<'a, V>(first: BoxedRows<'a, V>, second: BoxedRows<'a, V>, upwards: bool) -> impl Iterator<Item = (&'a [u8], V)> + use<'a, V> {
    let (mut first, mut second) = (first.peekable(), second.peekable());
    std::iter::from_fn(move || {
        let order = comes_first(key_of(&mut first), key_of(&mut second), upwards);
        match order {
            Ordering::Less => first.next(),
            Ordering::Greater => second.next(),
            Ordering::Equal => {
                drop(second.next());
                first.next()
            }
        }
    })
}

fn key_of<'a, V>(rows: &mut Peekable<impl Iterator<Item = (&'a [u8], V)>>) -> Option<&'a [u8]> {
    rows.peek().map(|(key, _)| *key)
}

/// Which of two sequences goes on, by their next keys: less is the first one. `None` is a sequence at its end.
pub(super) fn comes_first(first: Option<&[u8]>, second: Option<&[u8]>, upwards: bool) -> Ordering {
    match (first, second) {
        (Some(first), Some(second)) if upwards => first.cmp(second),
        (Some(first), Some(second)) => second.cmp(first),
        (_, None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

impl Row {
    /// A value of the frame that stands at `begin`.
    fn of(value: Value, content: &[u8], begin: u64) -> Self {
        let mut bytes = [0; SHORT_BYTES];
        if let (Some(place), Ok(len)) = (bytes.get_mut(..content.len()), u8::try_from(content.len())) {
            place.copy_from_slice(content);
            return Self::Short(Short { len, bytes });
        }
        let offset = u32::try_from(begin.saturating_add(value.offset as u64)).unwrap_or(u32::MAX);
        Self::At(Place { offset, len: value.len, checksum: value.checksum })
    }
}

impl Short {
    /// The value.
    pub(super) fn content(&self) -> &[u8] {
        self.bytes.get(..self.len.into()).unwrap_or_default()
    }
}

impl Place {
    /// Reads the value, which stands at `key`, and checks it.
    pub(super) fn read(&self, file: &File, key: &[u8]) -> io::Result<Vec<u8>> {
        let mut value = vec![0; self.len as usize];
        file.read_exact_at(&mut value, self.offset.into())?;
        if checksum(key, &value) == self.checksum {
            Ok(value)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is wrong"))
        }
    }
}
