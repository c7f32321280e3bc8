//! `GET /api/v1/users/{uid}/explain`: where each field of a user comes from, and what is still open.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use serde_json::Value;

use super::mirror::ByUid;
use super::query::Query;
use super::{Problem, answer, problem, sources};
use crate::directory::{Gap, Need, Read, Record, Timestamp, User, merge};
use crate::service::Service;

/// One user, explained.
#[derive(Debug, Serialize)]
struct Explained<'a> {
    source: &'a str,
    uid: &'a str,
    deleted: Option<Origin<'a>>,
    fields: BTreeMap<&'a str, Field<'a>>,
    gaps: Vec<Open<'a>>,
}

/// A field's value and where it comes from.
#[derive(Debug, Serialize)]
struct Field<'a> {
    value: &'a Value,
    #[serde(flatten)]
    origin: Option<Origin<'a>>,
}

/// The read or the event that something comes from, and since when it stands.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Origin<'a> {
    from: From,
    /// Of an event, where its id is kept and not its time alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    since: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum From {
    /// A delivery.
    Event,
    /// A row of a listing.
    Listing,
    /// An answer to a lookup.
    Detail,
}

impl<'a> Origin<'a> {
    fn event(event_id: Option<&'a str>, stamp: Timestamp) -> Self {
        Self { from: From::Event, event_id, since: stamp.to_string() }
    }

    fn read(from: From, began: Timestamp) -> Self {
        Self { from, event_id: None, since: began.to_string() }
    }
}

#[derive(Debug, Serialize)]
struct Open<'a> {
    reason: &'static str,
    count: u64,
    detected_at: String,
    event_id: Option<&'a str>,
    needs: Need,
    due: String,
}

/// `GET /api/v1/users/{uid}/explain`
pub(super) async fn explain(request: HttpRequest, path: web::Path<ByUid>, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let source = sources::named(&request, &query, &service)?;
    let unknown = || problem::user_not_found(&format!("UID '{}'", path.uid));
    let record = service.store.record(source, &path.uid)?.ok_or_else(unknown)?;
    let user = merge::view(&record).ok_or_else(unknown)?;
    let fields = user.fields.iter().map(|(name, value)| (name.as_str(), Field { value, origin: origin(name, &user, &record) }));
    let gaps = record.gaps.iter().map(|(reason, gap)| open(reason.name(), gap));
    let deleted = user.deleted_at.as_deref().and_then(|_| deletion(&record));
    answer(&Explained { source, uid: &path.uid, deleted, fields: fields.collect(), gaps: gaps.collect() })
}

/// Where a field comes from, by the order of [`merge::view`]: claims over reads, the newer read over the older.
fn origin<'a>(field: &str, user: &User, record: &'a Record) -> Option<Origin<'a>> {
    let life = &record.life;
    if field == "active" && user.is_deleted() {
        return deletion(record);
    }
    if let Some(claim) = record.claims.get(field) {
        return Some(Origin::event(Some(&claim.by.event_id), claim.by.stamp));
    }
    let shows = |time: Timestamp| user.text(field) == Some(time.to_string().as_str());
    let touched = life.touched.map(|(stamp, _)| stamp).filter(|stamp| field == "updated_at" && shows(*stamp));
    let created = life.created.filter(|stamp| field == "created_at" && shows(*stamp));
    if let Some(stamp) = touched.or(created) {
        return Some(Origin::event(None, stamp));
    }
    let carries = |read: &&(From, &Read)| read.1.fields.contains_key(field);
    let reads = [record.listing.as_ref().map(|read| (From::Listing, read)), record.detail.as_ref().map(|read| (From::Detail, read))];
    let (from, read) = reads.iter().flatten().filter(carries).max_by_key(|(_, read)| read.order())?;
    Some(Origin::read(*from, read.began))
}

/// What says that a user is deleted.
fn deletion(record: &Record) -> Option<Origin<'_>> {
    if let Some(deletion) = &record.life.deletion {
        return Some(Origin::event(Some(&deletion.event_id), deletion.stamp));
    }
    let sight = record.life.sight.as_ref().filter(|sight| !sight.alive)?;
    Some(Origin::read(From::Listing, sight.began))
}

fn open<'a>(reason: &'static str, gap: &'a Gap) -> Open<'a> {
    let Gap { id: _, count, detected_at, event_id, need, happened: _, due } = gap;
    let (detected_at, due) = (detected_at.to_string(), due.to_string());
    Open { reason, count: *count, detected_at, event_id: event_id.as_deref(), needs: *need, due }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use std::sync::Arc;

    use crate::directory::{Claim, EventKind, Sight, Witness};

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn read(fields: Value, began: &str) -> Read {
        Read { fields: fields.as_object().cloned().unwrap().into(), began: at(began), call: 0 }
    }

    fn record() -> Record {
        let mut record = Record {
            listing: Some(read(json!({"uid": "E1", "phone": "1", "department": "A"}), "2025-11-18T10:00:00Z")),
            detail: Some(read(json!({"uid": "E1", "phone": "1", "time_zone": "UTC"}), "2025-11-18T09:00:00Z")),
            ..Record::default()
        };
        let stamp = at("2025-11-18T11:00:00Z");
        let (rank, event_id) = (EventKind::Updated, "e-7".to_owned());
        let by = Arc::new(Witness { stamp, rank, digest: 1, received: stamp, event_id });
        record.claims.insert("phone".to_owned(), Claim { value: json!("2"), by });
        record.life.sight = Some(Sight { alive: true, began: at("2025-11-18T10:00:00Z"), call: 0, deleted_at: None });
        record
    }

    fn told(field: &str) -> Value {
        let record = record();
        let user = merge::view(&record).unwrap();
        serde_json::to_value(origin(field, &user, &record)).unwrap()
    }

    #[test]
    fn a_claim_goes_before_reads() {
        assert_eq!(told("phone"), json!({"from": "event", "event_id": "e-7", "since": "2025-11-18T11:00:00Z"}));
    }

    #[test]
    fn the_newest_read_that_carries_a_field_is_where_it_comes_from() {
        assert_eq!(told("uid"), json!({"from": "listing", "since": "2025-11-18T10:00:00Z"}));
        assert_eq!(told("time_zone"), json!({"from": "detail", "since": "2025-11-18T09:00:00Z"}));
        assert_eq!(told("unheard_of"), Value::Null);
    }

    #[test]
    fn the_end_of_a_user_is_explained() {
        let mut record = record();
        record.life.sight = Some(Sight { alive: false, began: at("2025-11-18T12:00:00Z"), call: 0, deleted_at: None });
        let user = merge::view(&record).unwrap();
        let told = serde_json::to_value(origin("active", &user, &record)).unwrap();
        assert_eq!(told, json!({"from": "listing", "since": "2025-11-18T12:00:00Z"}));
    }
}
