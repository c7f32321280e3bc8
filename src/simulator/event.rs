//! What a tenant announces: one of the documented events as the bytes of its delivery (guide, "Webhook Payload Format").

use bytes::Bytes;
use serde::Serialize;

use super::person::Person;
use crate::directory::{EventKind, Timestamp};

/// Something that happened to one user, ready to be signed and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which of the five.
    pub kind: EventKind,
    /// Whom it is about.
    pub uid: String,
    /// When it happened: a whole second.
    pub stamp: Timestamp,
    /// The delivery's body: compact JSON.
    pub body: Bytes,
}

#[derive(Serialize)]
struct Body<'a> {
    event: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    uid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<&'a [&'static str]>,
    user: Snapshot<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_by: Option<&'static str>,
}

/// The documented nine fields; a `user.deleted` carries the first five.
#[derive(Serialize)]
struct Snapshot<'a> {
    uid: &'a str,
    email: &'a str,
    first_name: &'a str,
    last_name: &'a str,
    full_name: String,
    #[serde(flatten)]
    rest: Option<Rest>,
}

#[derive(Serialize)]
struct Rest {
    active: bool,
    job_title: &'static str,
    employment_status: &'static str,
    employee_type: &'static str,
}

impl Event {
    /// The event of `kind` about a user as they are now; `changes` belong to `user.updated` alone.
    pub(super) fn new(kind: EventKind, person: &Person, stamp: Timestamp, changes: Option<&[&'static str]>) -> Self {
        let uid = person.uid();
        let deleted = kind == EventKind::Deleted;
        let rest = Rest {
            active: person.active,
            job_title: person.job_title,
            employment_status: person.employment.status,
            employee_type: person.employment.kind,
        };
        let user = Snapshot {
            uid: &uid,
            email: &person.email,
            first_name: person.first_name,
            last_name: person.last_name,
            full_name: person.full_name(),
            rest: (!deleted).then_some(rest),
        };
        let data = Data {
            uid: &uid,
            changes,
            user,
            deleted_at: person.deleted_at.filter(|_| deleted).map(|at| at.to_string()),
            deleted_by: deleted.then_some("hr.admin@example.com"),
        };
        // Texts, numbers and text keys alone: there is nothing that could fail to be written.
        let body = serde_json::to_vec(&Body { event: kind.name(), timestamp: stamp.to_string(), data }).unwrap_or_default();
        Self { kind, uid, stamp, body: body.into() }
    }
}
