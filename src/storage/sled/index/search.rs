//! Searches through all names and e-mails: run while nothing is locked, and remembered for the next page.

use std::collections::VecDeque;
use std::sync::Arc;

use memchr::memmem::Finder;
use parking_lot::Mutex;

use super::bits::Bits;
use super::texts::{Scan, Texts};

/// Searches that are remembered: at a million users a quarter of a MiB each.
const RECENT_MAX: usize = 8;

/// A search to be run.
pub(in crate::storage) struct Search {
    texts: Texts,
    finder: Finder<'static>,
    /// Who matches without being looked at.
    marked: Bits,
    earlier: Option<Arc<Scan>>,
}

/// A search that was run, as of when it was taken from the index.
pub(in crate::storage) struct Searched(Arc<Scan>);

impl Search {
    /// Runs it: at a million users some milliseconds, unless it was run shortly before.
    pub(in crate::storage) fn run(self) -> Searched {
        Searched(Arc::new(self.texts.scan(&self.finder, &self.marked, self.earlier.as_deref())))
    }
}

/// The searches of late, the newest last.
#[derive(Default)]
pub(super) struct Recent(Mutex<VecDeque<Run>>);

struct Run {
    needle: Box<[u8]>,
    scan: Arc<Scan>,
}

impl Run {
    fn is_of(&self, finder: &Finder<'_>) -> bool {
        *self.needle == *finder.needle()
    }
}

impl Recent {
    /// A search through texts, which goes by what it found before, and by who is known to match.
    pub(super) fn search(&self, texts: &Texts, finder: Finder<'static>, marked: Bits) -> Search {
        let earlier = self.0.lock().iter().find(|run| run.is_of(&finder)).map(|run| Arc::clone(&run.scan));
        Search { texts: texts.clone(), finder, marked, earlier }
    }

    /// What a search finds in texts now; only what changed since it was run is looked at.
    pub(super) fn found(&self, texts: &Texts, finder: &Finder<'_>, searched: Option<&Searched>) -> Bits {
        let scan = Arc::new(texts.scan(finder, &Bits::default(), searched.map(|searched| searched.0.as_ref())));
        let found = scan.found.clone();
        let mut recent = self.0.lock();
        recent.retain(|run| !run.is_of(finder));
        recent.push_back(Run { needle: finder.needle().into(), scan });
        if recent.len() > RECENT_MAX {
            recent.pop_front();
        }
        found
    }
}
