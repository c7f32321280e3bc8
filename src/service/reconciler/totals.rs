//! Counting: whether upstream lists as many users as the directory holds.

use std::time::Duration;

use super::run::{Run, Urgency, Work};
use super::{Reconciler, Trouble};
use crate::directory::{Reason, gap};
use crate::service::job::SourceEvidence;
use crate::storage::Endpoint;

/// However little is left, the total is asked for so often.
const TOTAL_EVERY: Duration = Duration::from_secs(3600);

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
    /// Whether a pass may spend one more call on what nobody waits for: only one that the schedule asked for, while more than half of the
    /// budget is left for repairs, and once an hour in any case: passes in degraded mode may leave less than that for ever.
    pub(super) fn has_room_to_ask(&self, run: &Run) -> bool {
        let (capacity, now) = (self.means.tenant.budgets.capacity(Endpoint::Bulk), self.means.clock.elapsed());
        let is_roomy = self.ledger(Endpoint::Bulk).remaining(now) > capacity / 2;
        let may_ask = is_roomy || self.totalled.is_none_or(|asked| now >= asked + TOTAL_EVERY);
        matches!(run.work, Work::Pass(_)) && run.urgency == Urgency::Scheduled && !run.record.dry_run && may_ask
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
