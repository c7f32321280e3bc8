//! Learning whether upstream's `updated_after` takes in the moment itself, which its guide does not say.
//!
//! A pass that the schedule asked for asks once, for the row that was updated longest ago, by its own `updated_at`. Until it is known, and where
//! it is not so, windows begin a second earlier.

use std::time::Duration;

use super::run::{Run, Work};
use super::{Reconciler, Trouble};
use crate::directory::{Timestamp, merge};
use crate::storage::{Listing, SortBy};
use crate::upstream::mangoapps::client::{PageQuery, UserPage};

/// Whether `updated_after` takes in the moment itself, as far as a pass asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// It was not asked.
    #[default]
    Unasked,
    /// The next call asks for what was updated after this, which is when someone was.
    Asked(Timestamp),
    /// What the answer showed; `None` where it showed nothing.
    Told(Option<bool>),
}

/// How far before a moment to ask, so that rows of that very moment are told.
#[must_use]
pub const fn margin(inclusive: Option<bool>) -> Duration {
    match inclusive {
        Some(true) => Duration::ZERO,
        Some(false) | None => Duration::from_secs(1),
    }
}

impl Reconciler {
    /// The moment by which a pass may learn it; `None` where it is known, or nobody's row tells when it was updated.
    pub(super) fn edge_to_ask(&self, run: &Run) -> Result<Option<Timestamp>, Trouble> {
        let name = &self.means.tenant.name;
        let Work::Pass(pass) = &run.work else { return Ok(None) };
        if pass.edge != Edge::Unasked || self.means.store.source(name)?.updated_after_inclusive.is_some() {
            return Ok(None);
        }
        let (updated_after, sort_by) = (Some(Timestamp::default()), SortBy::UpdatedAt);
        let oldest = Listing { limit: 1, updated_after, include_deleted: true, sort_by, ascending: true, ..Listing::default() };
        let found = self.means.store.list(name, &oldest)?.users.into_iter().next();
        Ok(found.and_then(|(_, record)| merge::time(&record.listing?.fields, "updated_at")))
    }
}

/// What asks for the first row from a moment on.
pub(super) const fn query(moment: Timestamp) -> PageQuery {
    PageQuery { page: 1, per_page: 1, sort_by: "updated_at", updated_after: Some(moment), include_deleted: true, search: None }
}

/// What the answer shows: whoever was updated at the moment is there, or only later ones are. Whoever was updated meanwhile looks like the
/// latter, which is the safe side.
pub(super) fn shown(page: &UserPage, moment: Timestamp) -> Option<bool> {
    let first = page.rows.first().and_then(|(_, fields)| merge::time(fields, "updated_at"))?;
    (first >= moment).then_some(first == moment)
}
