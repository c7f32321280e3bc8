//! What a record comes to in the index, computed before anything is locked.

use serde_json::Value;

use super::row;
use crate::directory::{Need, Reason, Record, Timestamp, User, merge};

/// Whether a user is shown, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is not known whether the user lives.
    Hidden,
    /// Alive and active.
    Active,
    /// Alive and not active.
    Inactive,
    /// Alive; whether active is unknown.
    Untold,
    /// Deleted.
    Deleted,
}

/// One open gap of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenGap {
    pub(super) id: u64,
    pub(super) reason: Reason,
    pub(super) need: Need,
    pub(super) due: Timestamp,
    pub(super) detected_at: Timestamp,
}

/// How a user's record is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct Written {
    /// CRC-32C of its key and itself.
    pub(in crate::storage) checksum: u32,
    /// Whether it is cut into pieces, or may be.
    pub(in crate::storage) cut: bool,
}

/// A user for the index. Absent times are the earliest ones.
pub(in crate::storage) struct Projection {
    pub(super) uid: Box<str>,
    /// Name and e-mail, see [`row::text`].
    pub(super) text: Box<[u8]>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) detail_began: Timestamp,
    pub(super) claimed: Timestamp,
    pub(super) department: Option<Box<str>>,
    pub(super) employment_status: Option<Box<str>>,
    pub(super) standing: Standing,
    pub(super) detail_stale: bool,
    pub(super) gaps: Box<[OpenGap]>,
    pub(super) written: Written,
    /// The sweeps' listings that last showed the user, see [`crate::directory::Life::swept`].
    pub(super) swept: [u64; 2],
    /// The reconciliation that found the user missing, while that is neither confirmed nor refuted.
    pub(super) candidate: Option<u64>,
}

impl Projection {
    /// Projects a record, the directory's own view of it, and how it is written down.
    pub(in crate::storage) fn of(uid: &str, record: &Record, view: Option<&User>, written: Written) -> Self {
        let text = |field| view.and_then(|view| view.text(field));
        let time = |field| view.and_then(|view| merge::time(&view.fields, field)).unwrap_or(Timestamp::MIN);
        let gap = |(reason, gap): (&Reason, &crate::directory::Gap)| OpenGap {
            id: gap.id,
            reason: *reason,
            need: gap.need,
            due: gap.due,
            detected_at: gap.detected_at,
        };
        Self {
            uid: uid.into(),
            text: row::text(text("full_name"), text("email")),
            created_at: time("created_at"),
            updated_at: time("updated_at"),
            detail_began: record.detail.as_ref().map_or(Timestamp::MIN, |read| read.began),
            claimed: newest_claim(record).unwrap_or(Timestamp::MIN),
            department: text("department").map(Into::into),
            employment_status: text("employment_status").map(Into::into),
            standing: standing(view),
            detail_stale: merge::detail_stale(record),
            gaps: record.gaps.iter().map(gap).collect(),
            written,
            swept: record.life.swept,
            candidate: record.life.candidate.as_ref().map(|candidate| candidate.found_by),
        }
    }
}

fn standing(view: Option<&User>) -> Standing {
    let Some(view) = view else { return Standing::Hidden };
    match view.fields.get("active").and_then(Value::as_bool) {
        _ if view.is_deleted() => Standing::Deleted,
        Some(true) => Standing::Active,
        Some(false) => Standing::Inactive,
        None => Standing::Untold,
    }
}

/// Claims are those of fields, a deletion, and what bumps `updated_at`.
fn newest_claim(record: &Record) -> Option<Timestamp> {
    let fields = record.claims.values().map(|claim| claim.by.received);
    let deletion = record.life.deletion.as_ref().map(|deletion| deletion.received);
    let touched = record.life.touched.map(|(_, received)| received);
    fields.chain(deletion).chain(touched).max()
}
