//! A user's fields, and which of them each kind of answer carries (upstream guide, steps 2 and 3, "Webhook Payload Format").

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Fields, Name};

/// The fields of a row of `GET /api/v1/users`, in the documented order.
pub const LISTING_FIELDS: [&str; 22] = [
    "uid",
    "id",
    "email",
    "first_name",
    "last_name",
    "full_name",
    "active",
    "job_title",
    "department",
    "organizational_role",
    "hire_date",
    "original_hire_date",
    "employment_status",
    "employee_type",
    "phone",
    "manager",
    "locations",
    "termination_date",
    "termination_type",
    "created_at",
    "updated_at",
    "last_activity_at",
];

/// The fields of `GET /api/v1/users/{uid}`, in the documented order.
pub const DETAIL_FIELDS: [&str; 29] = [
    "uid",
    "id",
    "email",
    "first_name",
    "last_name",
    "full_name",
    "active",
    "job_title",
    "department",
    "organizational_role",
    "hire_date",
    "employment_status",
    "employee_type",
    "phone",
    "manager",
    "direct_reports_count",
    "locations",
    "organizational_department",
    "flsa_status",
    "worker_classification",
    "time_zone",
    "external_employee_id",
    "skills_count",
    "certifications_count",
    "termination_date",
    "termination_type",
    "created_at",
    "updated_at",
    "last_activity_at",
];

/// Fields whose move alone is no change: they say when something happened, not what.
pub const RESTLESS_FIELDS: [&str; 2] = ["updated_at", "last_activity_at"];

/// What kind of REST answer a read is: each carries other fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// A row of a listing.
    Listing,
    /// The answer to a lookup of one user.
    Detail,
}

impl Shape {
    /// The documented fields of this shape.
    #[must_use]
    pub const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Listing => &LISTING_FIELDS,
            Self::Detail => &DETAIL_FIELDS,
        }
    }

    /// Whether answers of this shape are documented to carry `field`.
    #[must_use]
    pub fn carries(self, field: &str) -> bool {
        self.fields().contains(&field)
    }
}

/// Whether any documented answer carries `field`.
#[must_use]
pub fn is_documented(field: &str) -> bool {
    Name::documented(field).is_some()
}

/// A user as the directory shows them: reads overlaid by what events say beyond them.
///
/// `fields` has the detail's shape (`locations` are objects, `manager` has a title where known) and holds only what is
/// known; a deleted user's `active` is false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What is known, by upstream's names.
    pub fields: Fields,
    /// When the user was deleted, as the mirror tells it; `None` for a live user.
    pub deleted_at: Option<String>,
}

impl User {
    /// A text field's value; `None` when it is unknown, null or no text.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(Value::as_str)
    }

    /// Whether the user is deleted.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.deleted_at.is_some()
    }

    /// Whether the user is active: known to be so, and not deleted.
    #[must_use]
    pub fn is_active(&self) -> bool {
        !self.is_deleted() && self.fields.get("active").and_then(Value::as_bool) == Some(true)
    }
}
