//! `/livez`, `/readyz` and `/metrics`: what answers without a token.

use std::collections::BTreeMap;

use actix_web::http::header::CONTENT_TYPE;
use actix_web::{HttpResponse, web};
use serde::Serialize;

use super::{Problem, respond, written};
use crate::directory::Timestamp;
use crate::service::Service;
use crate::storage::RunState;
use crate::telemetry::{Snapshot, SourceSnapshot};

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Alive {
    status: &'static str,
}

/// `GET /livez`
pub(super) async fn live(service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let (response, status) = match service.alive() {
        true => (HttpResponse::Ok(), "alive"),
        false => (HttpResponse::ServiceUnavailable(), "stuck"),
    };
    Ok(respond(response, written(&Alive { status })?))
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Readiness {
    status: &'static str,
    checks: BTreeMap<&'static str, Check>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Check {
    status: &'static str,
    message: String,
}

impl Readiness {
    fn of(checks: Vec<(&'static str, Result<(), String>)>) -> Self {
        let ready = checks.iter().all(|(_, check)| check.is_ok());
        let shown = checks.into_iter().map(|(name, check)| match check {
            Ok(()) => (name, Check { status: "ok", message: String::new() }),
            Err(message) => (name, Check { status: "failing", message }),
        });
        Self { status: if ready { "ready" } else { "unready" }, checks: shown.collect() }
    }
}

/// `GET /readyz`
pub(super) async fn ready(service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let readiness = Readiness::of(service.checks());
    let response = match readiness.status {
        "ready" => HttpResponse::Ok(),
        _ => HttpResponse::ServiceUnavailable(),
    };
    Ok(respond(response, written(&readiness)?))
}

/// `GET /metrics`
pub(super) async fn metrics(service: web::Data<Service>) -> HttpResponse {
    let sources = service.config.sources.keys().map(|name| snapshot(&service, name)).collect();
    let (store_bytes, store_free_bytes) = (service.store.bytes(), service.store.free_bytes());
    let ready = service.checks().iter().all(|(_, check)| check.is_ok());
    let (now, draining) = (service.clock.now(), service.is_draining());
    let snapshot = Snapshot { now, draining, ready, store_bytes, store_free_bytes, sources };
    let text = service.metrics.render(&snapshot);
    HttpResponse::Ok().insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")).body(text)
}

fn snapshot(service: &Service, source: &str) -> SourceSnapshot {
    let standing = service.standing(source);
    let mut pending = (0, 0);
    for (found_by, users) in service.store.candidates(source) {
        let state = service.store.reconciliation(found_by).ok().flatten().map(|run| run.state);
        let count = if state == Some(RunState::AwaitingApproval) { &mut pending.1 } else { &mut pending.0 };
        *count += users;
    }
    SourceSnapshot {
        source: source.to_owned(),
        counts: service.store.counts(source),
        last_delivery: standing.last_delivery,
        reconciled: reconciled(service, source),
        consecutive_failures: standing.consecutive_failures,
        bulk_remaining: standing.bulk_remaining,
        lookup_remaining: standing.lookup_remaining,
        caps: (standing.bulk_cap, standing.lookup_cap),
        pending,
    }
}

/// When the last whole pass and the last whole sweep were committed. Where upstream ignores what passes ask for, none is whole.
fn reconciled(service: &Service, source: &str) -> Option<(Timestamp, Timestamp)> {
    service.config.sources.get(source)?.base_url.as_ref()?;
    let state = service.store.source(source).ok()?;
    let passed = state.passed_at.filter(|_| state.passes_usable != Some(false));
    Some((passed.unwrap_or_default(), state.swept_at.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failing_check_is_enough_to_be_unready() {
        let checks = |store: Result<(), String>| Readiness::of(vec![("started", Ok(())), ("store", store)]);
        assert_eq!(checks(Ok(())).status, "ready");
        let unready = checks(Err("the disk is full".to_owned()));
        assert_eq!(unready.status, "unready");
        let shown = serde_json::to_value(&unready).unwrap();
        assert_eq!(shown["checks"]["store"], serde_json::json!({"status": "failing", "message": "the disk is full"}));
        assert_eq!(shown["checks"]["started"]["status"], "ok");
    }
}
