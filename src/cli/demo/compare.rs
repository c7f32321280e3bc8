//! Whether the directory equals the tenant, field by field.

use serde_json::Value;

use super::{SOURCE, Stage};
use crate::cli::Failure;
use crate::directory::user::LISTING_FIELDS;
use crate::http::mirror;
use crate::simulator::tenant::Truth;

/// As of the last read, says the promise, so not compared.
const AS_OF_LAST_READ: &str = "last_activity_at";

/// How many users the directory has right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Identical in every field that listings carry, and alive or deleted as upstream.
    pub right: usize,
    /// Not yet, or no longer.
    pub wrong: usize,
    /// Of the wrong ones, those whom the directory does not hold or whose life it has wrong.
    pub wrong_life: usize,
    /// Fields compared.
    pub fields: usize,
}

impl Verdict {
    /// Whether every user is right.
    #[must_use]
    pub const fn is_identical(&self) -> bool {
        self.wrong == 0
    }
}

/// Compares every user of the tenant with what the mirror would show.
pub(super) fn compare(stage: &Stage) -> Result<Verdict, Failure> {
    let truth: Vec<Truth> = stage.tenant.lock().live_and_deleted().collect();
    let mut verdict = Verdict::default();
    for user in &truth {
        let row = mirror::row(&stage.running.service.store, SOURCE, &user.uid).map_err(|error| Failure::Failed(error.to_string()))?;
        let lives = row.as_ref().is_some_and(|row| row.get("deleted_at").is_some() == user.deleted_at.is_some());
        let fields = row.as_ref().map_or(0, |row| LISTING_FIELDS.iter().filter(|field| is_right(user, row, field)).count());
        verdict.fields += LISTING_FIELDS.len();
        verdict.wrong_life += usize::from(!lives);
        if lives && fields == LISTING_FIELDS.len() { verdict.right += 1 } else { verdict.wrong += 1 }
    }
    Ok(verdict)
}

fn is_right(user: &Truth, row: &Value, field: &str) -> bool {
    match field {
        AS_OF_LAST_READ => true,
        // A deleted user is shown as not active, whatever upstream still says.
        "active" if user.deleted_at.is_some() => row.get(field) == Some(&Value::Bool(false)),
        field => row.get(field).unwrap_or(&Value::Null) == user.listing.get(field).unwrap_or(&Value::Null),
    }
}
