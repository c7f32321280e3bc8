//! What is held by fields' names: few entries, in one piece of memory, in the order of the names.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use super::Name;

/// Fields by upstream's names. An absent field is unknown; a null one is known to be empty.
pub type Fields = ByName<Value>;

/// Values by name, each name once. Written down it is a JSON object; where one holds a key twice, the last one counts, as
/// everywhere in `serde_json`.
///
/// # Why not a map
/// The writer touches every field of a user for each delivery. A tree of texts spends an allocation on each name and compares
/// texts on each step; here documented names are numbers, and the entries stand side by side. The price is that an entry put in
/// front moves those behind it: whoever has many puts them in at once ([`Extend`]), which sorts them once.
#[derive(Clone, PartialEq, Eq)]
pub struct ByName<V> {
    entries: Vec<(Name, V)>,
    names: Names,
}

/// Which names there are.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Names {
    /// The documented ones, by their bits: while there are no others, they tell where each stands.
    documented: u32,
    /// How many others there are.
    others: usize,
}

impl Names {
    const NONE: Self = Self { documented: 0, others: 0 };

    const fn add(&mut self, name: &Name) {
        match name.bit() {
            Some(bit) => self.documented |= bit,
            None => self.others += 1,
        }
    }

    const fn take(&mut self, name: &Name) {
        match name.bit() {
            Some(bit) => self.documented &= !bit,
            None => self.others -= 1,
        }
    }
}

/// How many entries are made room for at first: what a delivery's snapshot usually has.
const ENTRIES_AT_FIRST: usize = 12;

impl<V> ByName<V> {
    /// Nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: Vec::new(), names: Names::NONE }
    }

    /// Nothing, with room for so many entries.
    #[must_use]
    pub(super) fn with_room(entries: usize) -> Self {
        Self { entries: Vec::with_capacity(entries), names: Names::NONE }
    }

    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Where an entry stands, or would stand.
    pub(super) fn place(&self, name: &Name) -> Result<usize, usize> {
        match name.bit() {
            Some(bit) if self.names.others == 0 => {
                let before = (self.names.documented & (bit - 1)).count_ones() as usize;
                if self.names.documented & bit == 0 { Err(before) } else { Ok(before) }
            }
            _ => self.entries.binary_search_by(|(held, _)| held.cmp(name)),
        }
    }

    fn place_of_text(&self, name: &str) -> Option<usize> {
        match Name::documented(name) {
            Some(name) => self.place(&name).ok(),
            None if self.names.others == 0 => None,
            None => self.entries.binary_search_by(|(held, _)| held.as_str().cmp(name)).ok(),
        }
    }

    /// The value of a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&V> {
        self.place_of_text(name).and_then(|place| self.at(place))
    }

    /// The value of a name, which is known as such: cheaper than by its text.
    #[must_use]
    pub fn value(&self, name: &Name) -> Option<&V> {
        self.place(name).ok().and_then(|place| self.at(place))
    }

    /// The value at a place.
    pub(super) fn at(&self, place: usize) -> Option<&V> {
        self.entries.get(place).map(|(_, value)| value)
    }

    /// The value at a place, to be changed.
    pub(super) fn at_mut(&mut self, place: usize) -> Option<&mut V> {
        self.entries.get_mut(place).map(|(_, value)| value)
    }

    /// The value of a name, to be changed.
    #[must_use]
    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.place_of_text(name).and_then(|place| self.at_mut(place))
    }

    /// Whether there is a value of a name.
    #[must_use]
    pub fn contains_key(&self, name: &str) -> bool {
        self.place_of_text(name).is_some()
    }

    /// Puts a value in; returns the one that it replaces.
    pub fn insert(&mut self, name: impl Into<Name>, value: V) -> Option<V> {
        let name = name.into();
        match self.place(&name) {
            Ok(place) => self.at_mut(place).map(|held| std::mem::replace(held, value)),
            Err(place) => {
                self.names.add(&name);
                self.entries.insert(place, (name, value));
                None
            }
        }
    }

    /// Takes a value out.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        let (name, value) = self.place_of_text(name).map(|place| self.entries.remove(place))?;
        self.names.take(&name);
        Some(value)
    }

    /// Keeps the entries for which `keeps` says so.
    pub fn retain(&mut self, mut keeps: impl FnMut(&Name, &mut V) -> bool) {
        self.entries.retain_mut(|(name, value)| keeps(name, value));
        self.count();
    }

    /// The entries, in the order of the names.
    pub fn iter(&self) -> Iter<'_, V> {
        self.entries.iter().map(|(name, value)| (name, value))
    }

    /// The names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Name> {
        self.entries.iter().map(|(name, _)| name)
    }

    /// The values, in the order of the names.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().map(|(_, value)| value)
    }

    fn count(&mut self) {
        self.names = Names::NONE;
        self.entries.iter().for_each(|(name, _)| self.names.add(name));
    }

    /// Entries in any order become entries in order, of which the last of each name counts.
    fn settle(&mut self) {
        if !self.entries.is_sorted_by(|(one, _), (next, _)| one < next) {
            self.entries.sort_by(|(one, _), (other, _)| one.cmp(other));
            self.entries.dedup_by(|(name, value), (kept, held)| {
                let again = name == kept;
                if again {
                    std::mem::swap(value, held);
                }
                again
            });
        }
        self.count();
    }
}

/// The entries, in the order of the names.
pub type Iter<'a, V> = std::iter::Map<std::slice::Iter<'a, (Name, V)>, fn(&'a (Name, V)) -> (&'a Name, &'a V)>;

impl<'a, V> IntoIterator for &'a ByName<V> {
    type Item = (&'a Name, &'a V);
    type IntoIter = Iter<'a, V>;

    fn into_iter(self) -> Iter<'a, V> {
        self.iter()
    }
}

impl<V> IntoIterator for ByName<V> {
    type Item = (Name, V);
    type IntoIter = std::vec::IntoIter<(Name, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<V> Default for ByName<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<N: Into<Name>, V> Extend<(N, V)> for ByName<V> {
    fn extend<I: IntoIterator<Item = (N, V)>>(&mut self, entries: I) {
        self.entries.extend(entries.into_iter().map(|(name, value)| (name.into(), value)));
        self.settle();
    }
}

impl<N: Into<Name>, V> FromIterator<(N, V)> for ByName<V> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let mut all = Self::new();
        all.extend(entries);
        all
    }
}

impl From<Map<String, Value>> for Fields {
    fn from(map: Map<String, Value>) -> Self {
        map.into_iter().collect()
    }
}

impl From<Fields> for Map<String, Value> {
    fn from(fields: Fields) -> Self {
        fields.into_iter().map(|(name, value)| (name.as_str().to_owned(), value)).collect()
    }
}

impl<V: fmt::Debug> fmt::Debug for ByName<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self).finish()
    }
}

impl<V: Serialize> Serialize for ByName<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de, V: Deserialize<'de>> Deserialize<'de> for ByName<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for Entries<V> {
            type Value = ByName<V>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByName<V>, A::Error> {
                let mut all = ByName::new();
                while let Some(entry) = map.next_entry()? {
                    if all.is_empty() {
                        all.entries.reserve_exact(ENTRIES_AT_FIRST);
                    }
                    all.entries.push(entry);
                }
                all.settle();
                Ok(all)
            }
        }

        deserializer.deserialize_map(Entries(PhantomData))
    }
}

#[cfg(test)]
mod tests;
