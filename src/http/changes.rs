//! The change feed: by pages, by waiting, and each user's history (contract, section 4).

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::Value;

use super::mirror::ByUid;
use super::query::Query;
use super::rows::Row;
use super::{Problem, aside, problem, respond, sources, written};
use crate::directory::{Cause, Change, ChangeKind, change};
use crate::service::Service;
use crate::storage::Store;

/// A longer `wait` counts as this. Seconds.
const WAIT_SECONDS_MAX: u64 = 60;

/// A change as the feed tells it.
#[derive(Debug, serde::Serialize)]
pub(super) struct Told<'a> {
    cursor: u64,
    at: String,
    source: &'a str,
    uid: &'a str,
    kind: ChangeKind,
    fields: Moves<'a>,
    cause: &'a Cause,
    user: Row<'a>,
}

impl<'a> From<&'a Change> for Told<'a> {
    fn from(change: &'a Change) -> Self {
        let Change { cursor, at, source, uid, kind, from: _, cause, previous: _, user } = change;
        // The manager stays as it was told: a cursor gives the same answer for ever.
        Self { cursor: *cursor, at: at.to_string(), source, uid, kind: *kind, fields: Moves(change), cause, user: Row::of(user) }
    }
}

/// `{"job_title":{"from":…,"to":…}}`
#[derive(Debug)]
struct Moves<'a>(&'a Change);

impl Serialize for Moves<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Change { from, user, .. } = self.0;
        let mut moves = serializer.serialize_map(Some(from.len()))?;
        for (field, from) in from {
            moves.serialize_entry(field, &Move { from, to: &change::value_now(user, field) })?;
        }
        moves.end()
    }
}

#[derive(serde::Serialize)]
struct Move<'a> {
    from: &'a Value,
    to: &'a Value,
}

#[derive(serde::Serialize)]
struct Page<'a> {
    changes: Vec<Told<'a>>,
    next: Option<u64>,
}

/// `GET /api/v1/changes?after=CURSOR&limit=N&wait=SECONDS`
pub(super) async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let after = query.number("after")?.unwrap_or(0);
    let limit = query.limit()?;
    let wait = query.number("wait")?.unwrap_or(0).min(WAIT_SECONDS_MAX);
    if wait > 0 && service.store.watermark() <= after {
        // Whether something came, the time is over or the service drains: what is there now is the answer.
        drop(tokio::time::timeout(Duration::from_secs(wait), service.changed_after(after)).await);
    }
    let body = aside(service, move |service| {
        let changes = read_after(&service.store, after, limit)?;
        let next = changes.last().map_or(after, |change| change.cursor);
        written(&Page { changes: changes.iter().map(Told::from).collect(), next: Some(next) })
    });
    Ok(respond(HttpResponse::Ok(), body.await?))
}

/// The feed after a cursor, without a hole.
///
/// # Errors
/// 410 when changes right after `after` are no longer kept.
pub(super) fn read_after(store: &Store, after: u64, limit: usize) -> Result<Vec<Change>, Problem> {
    let watermark = store.watermark();
    let changes = store.changes(after, limit)?;
    if expired(after, changes.first().map(|change| change.cursor), watermark) {
        return Err(problem::cursor_expired());
    }
    Ok(changes)
}

/// Cursors are contiguous: whatever is missing right after `after` was forgotten.
fn expired(after: u64, first: Option<u64>, watermark: u64) -> bool {
    match first {
        Some(first) => first > after.saturating_add(1),
        None => watermark > after,
    }
}

/// `GET /api/v1/users/{uid}/history`
pub(super) async fn history(request: HttpRequest, path: web::Path<ByUid>, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let source = sources::named(&request, &query, &service)?.to_owned();
    let (after, limit) = (query.number("after")?, query.limit()?);
    let body = aside(service, move |service| {
        let mut from = first_of_history(&service.store, &source, &path.uid, after)?;
        let mut changes = Vec::new();
        while from > 0 && changes.len() < limit {
            // One that is no longer kept ends the history.
            let Some(change) = service.store.change(from)? else { break };
            from = change.previous;
            changes.push(change);
        }
        let more = from > 0 && changes.len() == limit && service.store.change(from)?.is_some();
        let next = changes.last().filter(|_| more).map(|change| change.cursor);
        written(&Page { changes: changes.iter().map(Told::from).collect(), next })
    });
    Ok(respond(HttpResponse::Ok(), body.await?))
}

/// The cursor of the newest change to be told: the user's last one, or the one before `after`.
fn first_of_history(store: &Store, source: &str, uid: &str, after: Option<u64>) -> Result<u64, Problem> {
    let Some(record) = store.record(source, uid)? else { return Err(problem::user_not_found(&format!("UID '{uid}'"))) };
    let Some(after) = after else { return Ok(record.last_change) };
    match store.change(after)? {
        Some(change) if *change.source == *source && change.uid == uid => Ok(change.previous),
        Some(_) => Err(problem::invalid_parameter("after", "the `next` of a former answer about this user")),
        None => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::directory::User;
    use crate::directory::{Fields, Timestamp};

    fn fields(value: Value) -> Fields {
        value.as_object().cloned().unwrap().into()
    }

    fn change(kind: ChangeKind, from: Value, user: Value, deleted_at: Option<&str>) -> Change {
        Change {
            cursor: 7,
            at: Timestamp::parse("2025-11-18T15:30:00Z").unwrap(),
            source: "main".into(),
            uid: "E1".to_owned(),
            kind,
            from: fields(from),
            cause: Cause::EventId("e-1".to_owned()),
            previous: 3,
            user: User { fields: fields(user), deleted_at: deleted_at.map(str::to_owned) }.into(),
        }
    }

    fn told(change: &Change) -> Value {
        serde_json::to_value(Told::from(change)).unwrap()
    }

    #[test]
    fn a_change_tells_from_and_to() {
        let change = change(ChangeKind::Updated, json!({"job_title": "A", "gone": 1}), json!({"uid": "E1", "job_title": "B"}), None);
        let told = told(&change);
        assert_eq!(told["fields"], json!({"job_title": {"from": "A", "to": "B"}, "gone": {"from": 1, "to": null}}));
        assert_eq!(told["cause"], json!({"event_id": "e-1"}));
        assert_eq!((&told["cursor"], &told["kind"], &told["at"]), (&json!(7), &json!("updated"), &json!("2025-11-18T15:30:00Z")));
        assert_eq!((&told["user"]["job_title"], &told["user"]["phone"]), (&json!("B"), &Value::Null));
        let keys = ["cursor", "at", "source", "uid", "kind", "fields", "cause", "user"];
        assert!(keys.iter().all(|key| told.get(key).is_some()) && told.as_object().unwrap().len() == keys.len());
    }

    #[test]
    fn a_deletion_shows_the_user_as_deleted() {
        let change = change(ChangeKind::Deleted, json!({"active": true}), json!({"active": false}), Some("2025-11-18T15:29:00Z"));
        let told = told(&change);
        assert_eq!(told["fields"], json!({"active": {"from": true, "to": false}}));
        assert_eq!(told["user"]["deleted_at"], "2025-11-18T15:29:00Z");
    }

    #[test]
    fn a_reconciliation_is_a_cause_by_its_id() {
        let mut change = change(ChangeKind::Created, json!({"uid": null}), json!({"uid": "E1"}), None);
        change.cause = Cause::Reconciliation(12);
        assert_eq!(told(&change)["cause"], json!({"reconciliation": 12}));
    }

    #[test]
    fn only_a_hole_right_after_the_cursor_is_an_expired_one() {
        assert!(!expired(0, None, 0) && !expired(5, None, 5) && !expired(9, None, 5), "nothing new");
        assert!(!expired(4, Some(5), 9) && !expired(u64::MAX, None, 9), "the next one is there");
        assert!(expired(0, Some(3), 9) && expired(3, None, 9), "it was forgotten");
    }
}
