//! Users whom the writer decided about lately, as they stand on disk: their records need not be read again.

use std::sync::Arc;

use hashbrown::{HashMap, hash_map};

use crate::directory::Known;

/// Whose record: source and uid.
pub type Who = (Arc<str>, String);

/// Users in one generation; there are at most two.
const GENERATION_USERS_MAX: usize = 1024;
/// Forgotten users who leave memory with each one who comes: all of a generation at once would hold up a commit.
const LEAVING: usize = 2;

/// The last users in two generations: when the younger one is full, the older one is forgotten.
#[derive(Debug, Default)]
pub struct Recent {
    younger: HashMap<Who, Arc<Known>>,
    older: HashMap<Who, Arc<Known>>,
    /// Those forgotten, on their way out of memory.
    leaving: hash_map::IntoIter<Who, Arc<Known>>,
}

impl Recent {
    /// Takes a user out: whoever decides about them puts them back once the decision is durable. A decision that fails leaves nothing.
    pub fn take(&mut self, who: &Who) -> Option<Arc<Known>> {
        self.younger.remove(who).or_else(|| self.older.remove(who))
    }

    /// Puts a user in, as they now stand on disk.
    pub fn put(&mut self, who: Who, known: Arc<Known>) {
        if self.younger.len() >= GENERATION_USERS_MAX {
            self.leaving = std::mem::replace(&mut self.older, std::mem::take(&mut self.younger)).into_iter();
        }
        self.leaving.by_ref().take(LEAVING).for_each(drop);
        self.younger.insert(who, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_seen_for_two_generations_is_forgotten() {
        let who = |number: usize| (Arc::from("main"), number.to_string());
        let mut recent = Recent::default();
        (0..=3 * GENERATION_USERS_MAX).for_each(|number| recent.put(who(number), Arc::default()));
        assert!(recent.take(&who(0)).is_none());
        assert!(recent.take(&who(3 * GENERATION_USERS_MAX)).is_some());
        assert!(recent.take(&who(3 * GENERATION_USERS_MAX)).is_none(), "it was taken out");
    }
}
