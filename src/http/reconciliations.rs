//! `/api/v1/reconciliations`: repairs asked for by hand, and how each goes.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::query::Query;
use super::{Problem, answer, aside, body, list, problem, respond, written};
use crate::directory::Timestamp;
use crate::service::{Ask, Service};
use crate::storage::{Mode, Progress, Reconciliation, RunState};

/// A larger request gets 413. Bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// A longer uid is nobody's. Characters.
const UID_CHARACTERS_MAX: usize = 200;

/// A reconciliation as the API shows it.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    id: u64,
    source: String,
    mode: Mode,
    uid: Option<String>,
    dry_run: bool,
    reasons: Vec<String>,
    state: RunState,
    requested_at: String,
    started_at: Option<String>,
    finished_at: Option<String>,
    progress: Progress,
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    differences: Option<Vec<Value>>,
}

impl From<Reconciliation> for Shown {
    fn from(run: Reconciliation) -> Self {
        let written = |time: Option<Timestamp>| time.map(|time| time.to_string());
        Self {
            id: run.id,
            source: run.source,
            mode: run.mode,
            uid: run.uid,
            dry_run: run.dry_run,
            reasons: run.reasons,
            state: run.state,
            requested_at: run.requested_at.to_string(),
            started_at: written(run.started_at),
            finished_at: written(run.finished_at),
            progress: run.progress,
            message: run.message,
            differences: run.dry_run.then_some(run.differences),
        }
    }
}

/// `GET /api/v1/reconciliations`
pub(super) async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let (limit, before) = (query.limit()?, query.before()?);
    let body = aside(service, move |service| {
        let found = service.store.reconciliations(before, limit + 1)?;
        list::page("reconciliations", limit, found, (|run: &Reconciliation| run.id, Shown::from))
    });
    Ok(respond(HttpResponse::Ok(), body.await?))
}

/// The `{id}` of a path; one that is no number names nothing.
#[derive(Debug, Deserialize)]
pub(super) struct ById {
    id: String,
}

impl ById {
    fn number(&self) -> Result<u64, Problem> {
        self.id.parse().map_err(|_| problem::not_found())
    }
}

/// `GET /api/v1/reconciliations/{id}`
pub(super) async fn show(path: web::Path<ById>, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let found = service.store.reconciliation(path.number()?)?.ok_or_else(problem::not_found)?;
    answer(&Shown::from(found))
}

/// `POST /api/v1/reconciliations`
pub(super) async fn ask(mut payload: web::Payload, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let body = body::read(&mut payload, None, BODY_BYTES_MAX).await?;
    let asked = read(&body, service.only_source())?;
    if !service.has_source(&asked.source) {
        return Err(problem::unknown_source());
    }
    let run = service.reconcile(asked).await?;
    Ok(respond(HttpResponse::Accepted(), written(&Shown::from(run))?))
}

/// `POST /api/v1/reconciliations/{id}/cancel`
pub(super) async fn cancel(path: web::Path<ById>, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let run = service.cancel(path.number()?).await?;
    answer(&Shown::from(run))
}

/// `POST /api/v1/reconciliations/{id}/approve`
pub(super) async fn approve(path: web::Path<ById>, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let run = service.approve(path.number()?).await?;
    answer(&Shown::from(run))
}

/// Reads `{"source","mode","uid","dry_run"}`; `only` is the source when none is named.
fn read(body: &[u8], only: Option<&str>) -> Result<Ask, Problem> {
    let fields: Map<String, Value> = serde_json::from_slice(body)
        .map_err(|_| problem::invalid_request(r#"the body must be a JSON object such as {"source":"main","mode":"full"}"#))?;
    let source = match fields.get("source") {
        None | Some(Value::Null) => only.ok_or_else(problem::source_required)?,
        Some(source) => source.as_str().ok_or_else(|| problem::invalid_request("source must be a source's name"))?,
    };
    let mode = fields.get("mode").and_then(Value::as_str);
    let mode = Mode::ALL.into_iter().find(|known| Some(known.name()) == mode);
    let mode = mode.ok_or_else(|| problem::invalid_request("mode must be one of full, incremental, lookup"))?;
    let dry_run = match fields.get("dry_run") {
        None | Some(Value::Null) => false,
        Some(dry_run) => dry_run.as_bool().ok_or_else(|| problem::invalid_request("dry_run must be true or false"))?,
    };
    let uid = read_uid(fields.get("uid"), mode)?;
    Ok(Ask { source: source.to_owned(), mode, uid, dry_run })
}

fn read_uid(uid: Option<&Value>, mode: Mode) -> Result<Option<String>, Problem> {
    match (mode, uid) {
        (Mode::Lookup, Some(Value::String(uid))) if !uid.is_empty() && uid.chars().count() <= UID_CHARACTERS_MAX => Ok(Some(uid.clone())),
        (Mode::Lookup, _) => Err(problem::invalid_request("mode lookup wants the uid of one user, a text of 1 to 200 characters")),
        (_, None | Some(Value::Null)) => Ok(None),
        (_, Some(_)) => Err(problem::invalid_request("uid goes with mode lookup only")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(body: &Value) -> Result<Ask, Problem> {
        read(body.to_string().as_bytes(), Some("main"))
    }

    #[test]
    fn the_only_source_need_not_be_named() {
        let ask = Ask { source: "main".to_owned(), mode: Mode::Full, uid: None, dry_run: false };
        assert_eq!(asked(&json!({"mode": "full"})).unwrap(), ask);
        assert_eq!(asked(&json!({"source": "main", "mode": "full", "uid": null, "dry_run": null})).unwrap(), ask);
        assert_eq!(read(br#"{"mode":"full"}"#, None).unwrap_err().code, "source_required");
    }

    #[test]
    fn a_lookup_names_its_user_and_others_do_not() {
        let ask = asked(&json!({"source": "other", "mode": "lookup", "uid": "E1", "dry_run": true})).unwrap();
        assert_eq!(ask, Ask { source: "other".to_owned(), mode: Mode::Lookup, uid: Some("E1".to_owned()), dry_run: true });
        let long = "x".repeat(201);
        for bad in [json!({"mode": "lookup"}), json!({"mode": "lookup", "uid": ""}), json!({"mode": "lookup", "uid": 7})] {
            assert!(asked(&bad).unwrap_err().message.contains("uid"), "{bad}");
        }
        assert!(asked(&json!({"mode": "lookup", "uid": long})).is_err());
        assert_eq!(asked(&json!({"mode": "full", "uid": "E1"})).unwrap_err().message, "uid goes with mode lookup only");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bad, word) in [
            (json!([]), "JSON object"),
            (json!({"source": 5, "mode": "full"}), "source"),
            (json!({"mode": 5}), "mode"),
            (json!({"mode": "sideways"}), "mode"),
            (json!({"mode": "full", "dry_run": "yes"}), "dry_run"),
        ] {
            let problem = asked(&bad).unwrap_err();
            assert_eq!((problem.status.as_u16(), problem.code), (400, "invalid_request"));
            assert!(problem.message.contains(word), "{bad}: {}", problem.message);
        }
        for bad in [&b""[..], b"{", b"\xff", b"null", b"{}"] {
            assert!(read(bad, Some("main")).is_err());
        }
    }
}
