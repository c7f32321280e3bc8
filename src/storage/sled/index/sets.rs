//! Users by what filters ask: how they stand, and the texts that many of them share.

use hashbrown::HashMap;

use super::bits::Bits;
use super::posting::Posting;
use super::projection::Standing;
use super::row::Word;
use crate::storage::Counts;

/// Users by standing: each is in one of the sets.
#[derive(Default)]
pub(super) struct Standings {
    pub(super) hidden: Bits,
    pub(super) active: Bits,
    pub(super) inactive: Bits,
    untold: Bits,
    pub(super) deleted: Bits,
    counts: Counts,
}

impl Standings {
    /// How a user stands.
    pub(super) fn of(&self, slot: u32) -> Standing {
        let sets = [
            (&self.active, Standing::Active),
            (&self.inactive, Standing::Inactive),
            (&self.deleted, Standing::Deleted),
            (&self.untold, Standing::Untold),
        ];
        sets.into_iter().find(|(set, _)| set.contains(slot)).map_or(Standing::Hidden, |(_, standing)| standing)
    }

    /// Takes a user in.
    pub(super) fn enter(&mut self, slot: u32, standing: Standing) {
        let (set, count) = self.part(standing);
        set.insert(slot);
        if let Some(count) = count {
            *count += 1;
        }
    }

    /// Takes a user out who stands so.
    pub(super) fn leave(&mut self, slot: u32, standing: Standing) {
        let (set, count) = self.part(standing);
        set.remove(slot);
        if let Some(count) = count {
            *count = count.saturating_sub(1);
        }
    }

    /// All users but hidden ones.
    pub(super) fn shown(&self) -> Bits {
        let mut shown = self.active.clone();
        [&self.inactive, &self.untold, &self.deleted].into_iter().for_each(|set| shown.unite(set));
        shown
    }

    /// How many users stand how; gaps are not told.
    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    const fn part(&mut self, standing: Standing) -> (&mut Bits, Option<&mut u64>) {
        let counts = &mut self.counts;
        match standing {
            Standing::Hidden => (&mut self.hidden, None),
            Standing::Active => (&mut self.active, Some(&mut counts.active)),
            Standing::Inactive => (&mut self.inactive, Some(&mut counts.inactive)),
            Standing::Untold => (&mut self.untold, Some(&mut counts.inactive)),
            Standing::Deleted => (&mut self.deleted, Some(&mut counts.deleted)),
        }
    }
}

/// Users by a text that many of them share. Texts are never forgotten: departments and statuses are few.
#[derive(Default)]
pub(super) struct Postings {
    words: HashMap<Box<str>, Word>,
    lists: Vec<Posting>,
}

impl Postings {
    /// The number of a text, given now if need be.
    pub(super) fn intern(&mut self, text: &str) -> Option<Word> {
        if let Some(word) = self.words.get(text) {
            return Some(*word);
        }
        self.lists.push(Posting::default());
        let word = Word::new(u32::try_from(self.lists.len()).ok()?)?;
        self.words.insert(text.into(), word);
        Some(word)
    }

    /// The number of a text, given now only while there are fewer than `max`.
    pub(super) fn intern_below(&mut self, max: usize, text: &str) -> Option<Word> {
        if self.lists.len() < max { self.intern(text) } else { self.words.get(text).copied() }
    }

    /// Moves a user from one text to another.
    pub(super) fn shift(&mut self, slot: u32, from: Option<Word>, to: Option<Word>) {
        if from == to {
            return;
        }
        if let Some(list) = from.and_then(|word| self.list_mut(word)) {
            list.remove(slot);
        }
        if let Some(list) = to.and_then(|word| self.list_mut(word)) {
            list.insert(slot);
        }
    }

    /// The users with a text.
    pub(super) fn of(&self, text: &str) -> Bits {
        self.words.get(text).and_then(|word| self.list(*word)).map(Posting::bits).unwrap_or_default()
    }

    /// The users with any text that holds up.
    pub(super) fn of_any(&self, holds_up: impl Fn(&str) -> bool) -> Bits {
        let lists = self.words.iter().filter(|(text, _)| holds_up(text)).filter_map(|(_, word)| self.list(*word));
        let mut all = Bits::default();
        lists.for_each(|list| list.enter(&mut all));
        all
    }

    fn list(&self, word: Word) -> Option<&Posting> {
        self.lists.get((word.get() as usize).checked_sub(1)?)
    }

    fn list_mut(&mut self, word: Word) -> Option<&mut Posting> {
        self.lists.get_mut((word.get() as usize).checked_sub(1)?)
    }
}
