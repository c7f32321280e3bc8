//! The public listener: `POST /webhooks/{source}`, and nothing else (contract, section 3).

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};

use super::{JSON, Problem, body, leave, problem};
use crate::service::{Receipt, Refusal, Service};

/// The header that carries `sha256=` and the hex HMAC of the body.
const SIGNATURE: &str = "X-MangoApps-Signature";
/// Open connections for each worker; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4096;
/// A request's head must be there within this.
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// Idle connections close after this.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// How long a connection that is to be closed is read, so that its client sees the answer.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// Deliveries under way at SIGTERM have this long. Seconds.
const DRAIN_SECONDS_MAX: u64 = 8;
/// More threads than this bring nothing: the writer is one.
const WORKERS_MAX: usize = 8;

/// Serves deliveries on `listener`; the answer must be awaited, and its handle stops it.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(service: Arc<Service>, listener: TcpListener) -> std::io::Result<Server> {
    let service = web::Data::from(service);
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(WORKERS_MAX);
    let app = move || App::new().app_data(service.clone()).default_service(web::to(answer));
    let server = HttpServer::new(app)
        .workers(workers)
        .max_connections(CONNECTIONS_MAX)
        .client_request_timeout(HEAD_WITHIN)
        .client_disconnect_timeout(LINGER_MAX)
        .keep_alive(IDLE_MAX)
        .disable_signals()
        .shutdown_timeout(DRAIN_SECONDS_MAX)
        .listen(listener)?;
    Ok(server.run())
}

/// Answers one request; while the service drains, the next one is to come on another connection.
async fn answer(request: HttpRequest, payload: web::Payload, service: web::Data<Service>) -> HttpResponse {
    let response = deliver(request, payload, service.clone()).await;
    leave::closing(response, &service)
}

/// One request, whatever its path: routing happens on the raw path, before anything is decoded.
async fn deliver(request: HttpRequest, mut payload: web::Payload, service: web::Data<Service>) -> HttpResponse {
    let arrived = service.clock.elapsed();
    let source = match addressee(request.method(), request.path()) {
        Ok(source) if service.has_source(source) => source,
        Ok(_) => return body::refuse(&problem::unknown_source(), payload).await,
        Err(problem) => return body::refuse(&problem, payload).await,
    };
    match take(&request, &mut payload, &service, source).await {
        Ok(receipt) => {
            let took = service.clock.elapsed().saturating_sub(arrived);
            service.metrics.delivered(source, receipt.event, receipt.outcome, took);
            tracing::debug!(source, event_id = receipt.event_id, outcome = receipt.outcome.name(), "took a delivery");
            accepted(&receipt)
        }
        Err(problem) => {
            service.metrics.rejected(source, problem.code);
            tracing::debug!(source, code = problem.code, "refused a delivery");
            body::refuse(&problem, payload).await
        }
    }
}

/// Whom a request is for: path first, then method. The path is taken as it came, so that nothing encoded slips through.
fn addressee<'a>(method: &Method, path: &'a str) -> Result<&'a str, Problem> {
    let source = path.strip_prefix("/webhooks/").filter(|rest| could_be_a_name(rest)).ok_or_else(problem::not_found)?;
    if method != Method::POST {
        return Err(problem::method_not_allowed("POST"));
    }
    Ok(source)
}

/// Whether one path segment might be meant as a source's name.
fn could_be_a_name(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// The checks that are left, in the contract's order, and the delivery itself.
async fn take(request: &HttpRequest, payload: &mut web::Payload, service: &Service, source: &str) -> Result<Receipt, Problem> {
    let bytes_max = service.config.webhooks.body_bytes_max;
    let declared = request.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > bytes_max as u64) {
        return Err(problem::body_too_large(bytes_max));
    }
    let signature = request.headers().get(SIGNATURE).ok_or(Refusal::MissingSignature)?;
    let body = body::read(payload, declared, bytes_max).await?;
    Ok(service.receive(source, Some(signature.as_bytes()), body).await?)
}

/// `{"status":"ok","outcome":O,"event_id":I}`, without building a tree first.
fn accepted(receipt: &Receipt) -> HttpResponse {
    let mut text = Vec::with_capacity(128);
    text.extend_from_slice(br#"{"status":"ok","outcome":""#);
    text.extend_from_slice(receipt.outcome.name().as_bytes());
    text.extend_from_slice(br#"","event_id":"#);
    if let Err(error) = serde_json::to_writer(&mut text, &receipt.event_id) {
        return problem::internal(&error).head().finish();
    }
    text.push(b'}');
    HttpResponse::Ok().insert_header((CONTENT_TYPE, JSON)).body(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Outcome;
    use actix_web::body::MessageBody as _;

    fn code(method: Method, path: &str) -> &'static str {
        addressee(&method, path).map_or_else(|problem| problem.code, |_| "addressed")
    }

    #[test]
    fn only_one_path_is_served() {
        assert_eq!(addressee(&Method::POST, "/webhooks/main").unwrap(), "main");
        for path in ["/", "/webhooks", "/webhooks/", "/webhooks/main/", "/webhooks/main/more", "/webhooks/../metrics", "/metrics", ""] {
            assert_eq!(code(Method::POST, path), "not_found", "{path}");
            assert_eq!(code(Method::GET, path), "not_found", "{path}");
        }
    }

    #[test]
    fn encoded_and_dotted_names_are_no_names() {
        for path in ["/webhooks/%6dain", "/webhooks/%2e%2e", "/webhooks/..", "/webhooks/main%2Fmore", "/webhooks/main;x", "/WEBHOOKS/main"]
        {
            assert_eq!(code(Method::POST, path), "not_found", "{path}");
        }
    }

    #[test]
    fn the_method_is_judged_before_the_source() {
        for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
            assert_eq!(code(method, "/webhooks/nobody"), "method_not_allowed");
        }
    }

    #[test]
    fn an_event_id_is_escaped_in_the_answer() {
        let receipt = Receipt { outcome: Outcome::Applied, event_id: "a\"b\\c\u{1}é".to_owned(), event: None };
        let body = accepted(&receipt).into_body().try_into_bytes().unwrap();
        let read: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read, serde_json::json!({"status": "ok", "outcome": "applied", "event_id": "a\"b\\c\u{1}é"}));
    }
}
