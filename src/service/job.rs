//! What the writer is asked to do.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Refusal;
use super::replies::Reply;
use crate::directory::{Evidence, Gap, Reason, Timestamp};
use crate::storage::{Endpoint, Reconciliation, SourceState};
use crate::upstream::mangoapps::delivery::Delivery;

/// One thing to be decided and committed; jobs that wait together share one commit.
#[derive(Debug)]
pub enum Job {
    /// An authentic delivery.
    Deliver(Box<Deliver>),
    /// What a reconciler learnt or is about to do.
    Repair(Box<Repair>),
    /// What is held about whole sources is to be written; nothing besides.
    Note,
}

/// An authentic delivery on its way to the store.
#[derive(Debug)]
pub struct Deliver {
    /// The source's name.
    pub source: Arc<str>,
    /// What it says.
    pub delivery: Delivery,
    /// The raw body, kept if it is quarantined.
    pub body: Bytes,
    /// When it arrived, by the service's clock.
    pub received_at: Timestamp,
    /// Decide it although its event id was seen: a replay of a quarantined one.
    pub again: bool,
    /// Where the answer goes, once it is durable.
    pub reply: Reply,
}

/// How a repair changes what is kept of its source.
pub type Edit = Box<dyn FnOnce(&mut SourceState) + Send>;

/// What a reconciler learnt, all of it one atomic step.
pub struct Repair {
    /// The source's name.
    pub source: Arc<str>,
    /// The reconciliation that it belongs to, as it now stands; id 0 asks for a new number.
    pub run: Option<Reconciliation>,
    /// Evidence about users, in the order in which it was read.
    pub evidence: Vec<(String, Evidence)>,
    /// Gaps of the whole source that are shown.
    pub shown: Vec<SourceEvidence>,
    /// Gaps of the whole source that this closes.
    pub closes: Vec<Close>,
    /// A call that is about to be sent.
    pub call: Option<Endpoint>,
    /// What changes in the source's state.
    pub edit: Option<Edit>,
    /// Where the answer goes, once it is durable.
    pub reply: oneshot::Sender<Result<Repaired, Refusal>>,
}

/// A gap of a whole source that a read began too early to close asks for no further one sooner than this after it: while it is shown
/// again and again, each read would come too early.
pub const READ_AGAIN_AFTER: Duration = Duration::from_secs(120);

/// A gap of a whole source that something answers, judged by the writer against the gap as it then stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Close {
    /// Why it was opened.
    pub reason: Reason,
    /// About whom, where it is about one user.
    pub uid: Option<String>,
    /// When the read began, in upstream's time: it covers what happened before that by more than the tolerance, and closes no gap that
    /// was shown later. `None` where no read has to cover it.
    pub began: Option<Timestamp>,
}

/// A gap of a whole source is shown.
#[derive(Debug)]
pub struct SourceEvidence {
    /// Why.
    pub reason: Reason,
    /// About whom, where it is about one user.
    pub uid: Option<String>,
    /// The gap, if it is a new one. Its count is how often it is shown by this; 0 is once.
    pub gap: Gap,
}

/// What a repair did.
#[derive(Debug, Default)]
pub struct Repaired {
    /// The reconciliation as it was stored.
    pub run: Option<Reconciliation>,
    /// How many changes the evidence made.
    pub changed: u64,
    /// How many gaps were closed.
    pub gaps_closed: u64,
    /// The place in the ledger of the call that was logged; 0 when there was none.
    pub call: u64,
}

impl std::fmt::Debug for Repair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Repair").field("source", &self.source).field("evidence", &self.evidence.len()).finish_non_exhaustive()
    }
}
