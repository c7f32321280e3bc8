//! What the feed tells: differences of views.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::user::RESTLESS_FIELDS;
use super::{Fields, Name, Record, Timestamp, User, merge};

/// What became of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// The directory did not show this user before.
    Created,
    /// Some field differs.
    Updated,
    /// The user is active again.
    Activated,
    /// The user is no longer active.
    Deactivated,
    /// The user was deleted.
    Deleted,
    /// The user was deleted, and lives.
    Restored,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 6] = [Self::Created, Self::Updated, Self::Activated, Self::Deactivated, Self::Deleted, Self::Restored];

    /// The word in the feed and in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Activated => "activated",
            Self::Deactivated => "deactivated",
            Self::Deleted => "deleted",
            Self::Restored => "restored",
        }
    }
}

/// What made a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A delivery, by its event id.
    EventId(String),
    /// A reconciliation, by its id.
    Reconciliation(u64),
}

/// One effective difference between two views of one user.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// What became of the user.
    pub kind: ChangeKind,
    /// The former values of the fields that differ, `deleted_at` among them; null where there was none.
    pub from: Fields,
    /// The user after the change.
    pub user: Arc<User>,
}

/// The values that the fields of a difference have now, `deleted_at` among them.
#[must_use]
pub fn value_now(user: &User, field: &str) -> Value {
    match field {
        "deleted_at" => user.deleted_at.clone().map_or(Value::Null, Value::String),
        field => user.fields.get(field).cloned().unwrap_or_default(),
    }
}

/// One entry of the feed.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Its place in the one total order; contiguous, from 1.
    pub cursor: u64,
    /// When it was made, by the service's clock.
    pub at: Timestamp,
    /// The source's name.
    pub source: Arc<str>,
    /// About whom.
    pub uid: String,
    /// What became of the user.
    pub kind: ChangeKind,
    /// The former values of the fields that differ; null where there was none.
    pub from: Fields,
    /// What made it.
    pub cause: Cause,
    /// The cursor of this user's change before this one; 0 when there is none.
    pub previous: u64,
    /// The user after the change.
    pub user: Arc<User>,
}

/// The effective difference between what was shown and what is shown now; `None` when there is none.
#[must_use]
pub fn between(before: Option<&User>, after: Option<&Arc<User>>) -> Option<Difference> {
    let after = after?;
    let empty = Fields::new();
    let old = before.map_or(&empty, |user| &user.fields);
    let mut from = Fields::new();
    for (field, value) in &after.fields {
        if old.get(field) != Some(value) && (before.is_none() || !RESTLESS_FIELDS.contains(&field.as_str())) {
            from.insert(field.clone(), old.get(field).cloned().unwrap_or_default());
        }
    }
    for (field, value) in old {
        if !after.fields.contains_key(field) && !value.is_null() {
            from.insert(field.clone(), value.clone());
        }
    }
    from.retain(|field, value| before.is_none() || after.fields.get(field).unwrap_or(&Value::Null) != value);
    let ended = before.and_then(|user| user.deleted_at.as_ref());
    if ended != after.deleted_at.as_ref() {
        from.insert("deleted_at".to_owned(), ended.map_or(Value::Null, |time| Value::String(time.clone())));
    }
    difference(kind_of(before.map(Standing::of), Standing::of(after)), from, after)
}

/// What is shown once the claims of `moved` fields are laid over what was shown `before`, and the effective difference. The same as
/// a view computed anew and [`between`], for as much work as there are such fields.
pub(super) fn overlaid(before: Arc<User>, record: &Record, moved: &[Name]) -> (Option<Arc<User>>, Option<Difference>) {
    let (former, mut user) = (Standing::of(&before), before);
    let from = merge::overlay(Arc::make_mut(&mut user), record, moved);
    let difference = difference(kind_of(Some(former), Standing::of(&user)), from, &user);
    (Some(user), difference)
}

fn difference(kind: ChangeKind, from: Fields, user: &Arc<User>) -> Option<Difference> {
    let moved = !from.is_empty() || kind != ChangeKind::Updated;
    moved.then(|| Difference { kind, from, user: Arc::clone(user) })
}

/// What the kind of a change goes by.
#[derive(Clone, Copy)]
struct Standing {
    deleted: bool,
    active: Option<bool>,
}

impl Standing {
    fn of(user: &User) -> Self {
        Self { deleted: user.is_deleted(), active: user.fields.get("active").and_then(Value::as_bool) }
    }
}

fn kind_of(before: Option<Standing>, after: Standing) -> ChangeKind {
    let Some(before) = before else {
        // Whoever provisions on `created` must not do so for a user who is gone already.
        return if after.deleted { ChangeKind::Deleted } else { ChangeKind::Created };
    };
    match (before.deleted, after.deleted) {
        (false, true) => return ChangeKind::Deleted,
        (true, false) => return ChangeKind::Restored,
        _ => {}
    }
    match (before.active, after.active) {
        (Some(false) | None, Some(true)) if !after.deleted => ChangeKind::Activated,
        (Some(true) | None, Some(false)) if !after.deleted => ChangeKind::Deactivated,
        _ => ChangeKind::Updated,
    }
}
