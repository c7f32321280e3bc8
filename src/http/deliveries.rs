//! `/api/v1/deliveries`: what became of each delivery, and quarantined ones whole.

use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::query::Query;
use super::{Problem, answer, aside, list, problem, respond, sources};
use crate::directory::Outcome;
use crate::service::Service;
use crate::storage::Delivery;

/// A delivery as it is listed.
#[derive(Debug, Serialize)]
struct Shown {
    event_id: String,
    source: String,
    event: Option<String>,
    uid: Option<String>,
    outcome: Outcome,
    reason: Option<String>,
    received_at: String,
}

impl From<Delivery> for Shown {
    fn from(delivery: Delivery) -> Self {
        let Delivery { number: _, source, event_id, event, uid, outcome, reason, received_at, expires_at: _, body: _ } = delivery;
        Self { event_id, source: source.to_string(), event, uid, outcome, reason, received_at: received_at.to_string() }
    }
}

/// A delivery on its own: its body too, where that was kept.
#[derive(Debug, Serialize)]
struct Whole {
    #[serde(flatten)]
    delivery: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

impl From<Delivery> for Whole {
    fn from(mut delivery: Delivery) -> Self {
        let (body, body_base64) = match delivery.body.take().map(String::from_utf8) {
            None => (None, None),
            Some(Ok(text)) => (Some(text), None),
            Some(Err(bytes)) => (None, Some(STANDARD.encode(bytes.as_bytes()))),
        };
        Self { delivery: delivery.into(), body, body_base64 }
    }
}

/// `GET /api/v1/deliveries?outcome=…`
pub(super) async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let outcome = query.word("outcome", &Outcome::ALL.map(|outcome| (outcome.name(), outcome)))?;
    let (limit, before) = (query.limit()?, query.before()?);
    let body = aside(service, move |service| {
        let found = service.store.deliveries(outcome, before, limit + 1)?;
        list::page("deliveries", limit, found, (|delivery: &Delivery| delivery.number, Shown::from))
    });
    Ok(respond(HttpResponse::Ok(), body.await?))
}

/// The `{event_id}` of a path, decoded.
#[derive(Debug, Deserialize)]
pub(super) struct ByEventId {
    event_id: String,
}

/// `GET /api/v1/deliveries/{event_id}`
pub(super) async fn show(request: HttpRequest, path: web::Path<ByEventId>, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let source = sources::named(&request, &Query::of(&request)?, &service)?;
    let seen = service.store.seen(source, &path.event_id)?.ok_or_else(problem::not_found)?;
    let delivery = service.store.delivery(seen.number)?.ok_or_else(problem::not_found)?;
    answer(&Whole::from(delivery))
}

#[derive(Serialize)]
struct Replayed {
    status: &'static str,
    outcome: Outcome,
    event_id: String,
}

/// `POST /api/v1/deliveries/{event_id}/replay`
pub(super) async fn replay(request: HttpRequest, path: web::Path<ByEventId>, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let source = sources::named(&request, &Query::of(&request)?, &service)?;
    let receipt = service.replay(source, &path.event_id).await?;
    answer(&Replayed { status: "ok", outcome: receipt.outcome, event_id: receipt.event_id })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::directory::Timestamp;

    fn delivery(body: Option<&[u8]>) -> Delivery {
        let at = Timestamp::parse("2025-11-18T15:30:00Z").unwrap();
        Delivery {
            number: 3,
            source: "main".into(),
            event_id: "e-1".to_owned(),
            event: None,
            uid: None,
            outcome: Outcome::Quarantined,
            reason: Some("it is not JSON".to_owned()),
            received_at: at,
            expires_at: at,
            body: body.map(<[u8]>::to_vec),
        }
    }

    fn whole(body: Option<&[u8]>) -> Value {
        serde_json::to_value(Whole::from(delivery(body))).unwrap()
    }

    #[test]
    fn a_listed_delivery_has_the_promised_keys_and_no_body() {
        let shown = serde_json::to_value(Shown::from(delivery(Some(b"x")))).unwrap();
        let wanted = json!({
            "event_id": "e-1", "source": "main", "event": null, "uid": null, "outcome": "quarantined",
            "reason": "it is not JSON", "received_at": "2025-11-18T15:30:00Z"
        });
        assert_eq!(shown, wanted);
    }

    #[test]
    fn a_body_is_shown_as_text_where_it_is_text() {
        assert_eq!((whole(Some(b"this")).get("body"), whole(Some(b"this")).get("body_base64")), (Some(&json!("this")), None));
        let odd = b"{\xff\x00}";
        assert_eq!((whole(Some(odd)).get("body"), &whole(Some(odd))["body_base64"]), (None, &json!(STANDARD.encode(odd))));
        assert_eq!((whole(None).get("body"), whole(None).get("body_base64")), (None, None));
    }
}
