//! What the index holds of one user: what lists sort and filter by.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::num::NonZeroU32;

use serde_json::Value;

use crate::directory::{Need, Reason, Record, Timestamp, User, merge};

/// Whether a user is shown, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::storage::sled) enum Standing {
    /// It is not known whether the user lives.
    Hidden,
    /// Alive, by `active`; `None` where that is unknown.
    Live(Option<bool>),
    /// Deleted.
    Deleted,
}

/// One user. Absent times are the earliest ones, so that they come first upwards; names and e-mails are in lower case.
#[derive(Clone, Debug)]
pub(in crate::storage::sled) struct Entry {
    pub(super) uid: Box<str>,
    pub(super) name: Option<Box<str>>,
    pub(super) email: Option<Box<str>>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    /// When the last lookup began.
    pub(super) detail_began: Timestamp,
    /// The newest arrival of any claim.
    pub(super) claimed: Timestamp,
    pub(super) department: Option<Word>,
    pub(super) employment_status: Option<Word>,
    pub(super) standing: Standing,
    pub(super) detail_stale: bool,
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

/// What a record comes to in the index, computed before anything is locked.
pub(in crate::storage::sled) struct Projection {
    pub(super) entry: Entry,
    pub(super) department: Option<String>,
    pub(super) employment_status: Option<String>,
    pub(super) gaps: Box<[OpenGap]>,
}

impl Projection {
    /// Projects a record and the directory's own view of it.
    pub(in crate::storage::sled) fn of(uid: &str, record: &Record, view: Option<&User>) -> Self {
        let text = |field| view.and_then(|view| view.text(field));
        let lower = |field| text(field).map(|text| text.to_lowercase().into_boxed_str());
        let time = |field| view.and_then(|view| merge::time(&view.fields, field)).unwrap_or(Timestamp::MIN);
        let entry = Entry {
            uid: uid.into(),
            name: lower("full_name"),
            email: lower("email"),
            created_at: time("created_at"),
            updated_at: time("updated_at"),
            detail_began: record.detail.as_ref().map_or(Timestamp::MIN, |read| read.began),
            claimed: newest_claim(record).unwrap_or(Timestamp::MIN),
            department: None,
            employment_status: None,
            standing: standing(view),
            detail_stale: merge::detail_stale(record),
        };
        let gap = |(reason, gap): (&Reason, &crate::directory::Gap)| OpenGap {
            id: gap.id,
            reason: *reason,
            need: gap.need,
            due: gap.due,
            detected_at: gap.detected_at,
        };
        Self {
            department: text("department").map(str::to_owned),
            employment_status: text("employment_status").map(str::to_owned),
            gaps: record.gaps.iter().map(gap).collect(),
            entry,
        }
    }
}

fn standing(view: Option<&User>) -> Standing {
    match view {
        None => Standing::Hidden,
        Some(view) if view.is_deleted() => Standing::Deleted,
        Some(view) => Standing::Live(view.fields.get("active").and_then(Value::as_bool)),
    }
}

/// Claims are those of fields, a deletion, and what bumps `updated_at`.
fn newest_claim(record: &Record) -> Option<Timestamp> {
    let fields = record.claims.values().map(|claim| claim.by.received);
    let deletion = record.life.deletion.as_ref().map(|deletion| deletion.received);
    let touched = record.life.touched.map(|(_, received)| received);
    fields.chain(deletion).chain(touched).max()
}

/// The orders that the index keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Uid,
    CreatedAt,
    UpdatedAt,
    Name,
    Email,
    Detail,
}

impl Order {
    pub(super) const ALL: [Self; 6] = [Self::Uid, Self::CreatedAt, Self::UpdatedAt, Self::Name, Self::Email, Self::Detail];

    /// Ties go by uid.
    pub(super) fn compare(self, one: &Entry, other: &Entry) -> Ordering {
        let by_value = match self {
            Self::Uid => Ordering::Equal,
            Self::CreatedAt => one.created_at.cmp(&other.created_at),
            Self::UpdatedAt => one.updated_at.cmp(&other.updated_at),
            Self::Name => one.name.cmp(&other.name),
            Self::Email => one.email.cmp(&other.email),
            Self::Detail => one.detail_began.cmp(&other.detail_began),
        };
        by_value.then_with(|| one.uid.cmp(&other.uid))
    }

    /// Whether this order holds such a user.
    pub(super) fn holds(self, entry: &Entry) -> bool {
        match self {
            Self::Uid => true,
            Self::CreatedAt | Self::UpdatedAt | Self::Name => entry.standing != Standing::Hidden,
            Self::Email => entry.standing != Standing::Hidden && entry.email.is_some(),
            Self::Detail => entry.detail_stale,
        }
    }
}

/// A text that many users share.
pub(super) type Word = NonZeroU32;

/// Such texts by number. They are never forgotten: departments and statuses are few.
#[derive(Default)]
pub(super) struct Words(HashMap<Box<str>, Word>);

impl Words {
    /// The number of a text, given now if need be.
    pub(super) fn intern(&mut self, text: String) -> Word {
        let next = u32::try_from(self.0.len()).ok().and_then(|count| NonZeroU32::MIN.checked_add(count)).unwrap_or(Word::MAX);
        *self.0.entry(text.into_boxed_str()).or_insert(next)
    }

    /// The number of a text, if any user has it.
    pub(super) fn get(&self, text: &str) -> Option<Word> {
        self.0.get(text).copied()
    }
}
