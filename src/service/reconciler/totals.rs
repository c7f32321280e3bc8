//! Counting: whether upstream lists as many users as the directory holds.

use super::run::{Run, Urgency, Work};
use super::{Reconciler, Trouble};
use crate::directory::{Reason, gap};
use crate::service::job::SourceEvidence;
use crate::storage::Endpoint;
use crate::upstream::mangoapps::client::PageQuery;

/// How a pass stands with upstream's total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Total {
    /// It was not asked for.
    #[default]
    Unasked,
    /// The next call asks for it.
    Asked,
    /// So many users live, upstream says.
    Told(u64),
}

impl Reconciler {
    /// Whether a pass may spend one more call on upstream's total: only one that the schedule asked for, while more than half of the
    /// budget is left for repairs.
    pub(super) fn has_room_for_totals(&self, run: &Run) -> bool {
        let capacity = self.means.tenant.budgets.capacity(Endpoint::Bulk);
        let left = self.ledger(Endpoint::Bulk).remaining(self.means.clock.elapsed());
        matches!(run.work, Work::Pass(_)) && run.urgency == Urgency::Scheduled && !run.record.dry_run && left > capacity / 2
    }

    /// Whether upstream's total differs from the directory's, where it was told; the second time in a row shows `count_mismatch`.
    ///
    /// Whoever is a candidate for deletion explains a difference, and so does whoever is not fully known yet: while there are open gaps
    /// about users nothing is concluded.
    pub(super) fn mismatch(&self, total: Total) -> Result<(Option<bool>, Vec<SourceEvidence>), Trouble> {
        let Total::Told(upstream) = total else { return Ok((None, Vec::new())) };
        let state = self.means.store.source(&self.means.tenant.name)?;
        let counts = self.means.store.counts(&self.means.tenant.name);
        if counts.gaps_open > state.gaps.len() as u64 {
            return Ok((None, Vec::new()));
        }
        let differs = counts.active + counts.inactive != upstream;
        if !differs || !state.count_differs {
            return Ok((Some(differs), Vec::new()));
        }
        let at = self.at();
        Ok((Some(true), vec![SourceEvidence { reason: Reason::CountMismatch, uid: None, gap: gap::open(None, at.now, &at) }]))
    }
}

/// What asks only how many users live.
pub(super) const fn all_query() -> PageQuery {
    PageQuery { page: 1, per_page: 1, sort_by: "created_at", updated_after: None, include_deleted: false, search: None }
}
