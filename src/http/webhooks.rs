//! The public listener: `POST /webhooks/{source}`, and nothing else (contract, section 3).

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix_http::body::BoxBody;
use actix_http::{ConnectionType, Request, RequestHead, Response};
use actix_server::Server;
use actix_web::HttpResponse;
use actix_web::http::Method;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE};

use super::body::Payload;
use super::listener::{self, Door};
use super::visitors::Visit;
use super::{JSON, Problem, body, client, leave, problem, tls};
use crate::service::{Receipt, Refusal, Service};

/// The header that carries `sha256=` and the hex HMAC of the body.
const SIGNATURE: &str = "X-MangoApps-Signature";
/// How late a refusal is answered whose address had too many of them.
const SLOWED_BY: Duration = Duration::from_secs(1);

/// Serves deliveries on `listener`, by HTTPS where there is a certificate; the answer must be awaited, and its handle stops it. Wants a
/// tokio runtime.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(service: Arc<Service>, listener: TcpListener) -> std::io::Result<Server> {
    if let Some(certificate) = &service.config.webhooks.tls {
        service.metrics.listener.set_expiry(certificate.live().expires_at_seconds);
        // It ends with the service.
        drop(tokio::spawn(tls::keep(Arc::downgrade(&service))));
    }
    listener::run(service, listener, answer)
}

/// Answers one request; while the service drains, the next one is to come on another connection.
async fn answer(door: Rc<Door>, visit: Arc<Visit>, request: Request) -> Response<BoxBody> {
    let mut response = deliver(Rc::clone(&door), visit, request).await;
    leave::closing(response.head_mut(), &door.service);
    response
}

/// One request, whatever its path: routing happens on the raw path, before anything is decoded.
async fn deliver(door: Rc<Door>, visit: Arc<Visit>, mut request: Request) -> Response<BoxBody> {
    let _underway = visit.begin();
    let service = &*door.service;
    let arrived = service.clock.elapsed();
    let mut payload = request.take_payload();
    let source = match addressee(request.method(), request.path()) {
        Ok(source) if service.has_source(source) => source,
        Ok(_) => return refuse(&door, &visit, (&request, &problem::unknown_source()), payload).await,
        Err(problem) => return refuse(&door, &visit, (&request, &problem), payload).await,
    };
    let taken = take(request.head(), &mut payload, service, source).await;
    if matches!(&taken, Ok(_) | Err(Declined { authentic: true, .. })) {
        door.visitors.prove(&visit);
    }
    match taken {
        Ok(receipt) => {
            let took = service.clock.elapsed().saturating_sub(arrived);
            service.metrics.delivered(source, receipt.event, receipt.outcome, took);
            tracing::debug!(
                source, event_id = receipt.event_id, outcome = receipt.outcome.name(), client = %client_of(service, &visit, &request),
                "took a delivery"
            );
            accepted(&receipt).into()
        }
        Err(Declined { problem, authentic }) => {
            service.metrics.rejected(source, problem.code);
            if authentic {
                tracing::debug!(source, code = problem.code, "refused a delivery");
                return body::refuse(&problem, payload).await.into();
            }
            refuse(&door, &visit, (&request, &problem), payload).await
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

/// Why a delivery was not taken, and whether it was one at all.
struct Declined {
    problem: Problem,
    authentic: bool,
}

impl From<Problem> for Declined {
    fn from(problem: Problem) -> Self {
        Self { problem, authentic: false }
    }
}

impl From<Refusal> for Declined {
    fn from(refusal: Refusal) -> Self {
        Self { authentic: refusal == Refusal::Unavailable, problem: refusal.into() }
    }
}

/// The checks that are left, in the contract's order, and the delivery itself.
async fn take(head: &RequestHead, payload: &mut (impl Payload + Unpin), service: &Service, source: &str) -> Result<Receipt, Declined> {
    let bytes_max = service.config.webhooks.body_bytes_max;
    let declared = head.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: u64| length > bytes_max as u64) {
        return Err(problem::body_too_large(bytes_max).into());
    }
    let signature = head.headers().get(SIGNATURE).ok_or(Refusal::MissingSignature)?;
    let body = body::read(payload, declared, bytes_max).await?;
    Ok(service.receive(source, Some(signature.as_bytes()), body).await?)
}

/// The answer to what was no delivery; it comes late where there were too many of them.
async fn refuse(
    door: &Door,
    visit: &Visit,
    (request, problem): (&Request, &Problem),
    payload: impl Payload + Unpin + 'static,
) -> Response<BoxBody> {
    let service = &*door.service;
    tracing::debug!(code = problem.code, client = %client_of(service, visit, request), "refused a request");
    let slow = !client::trusted(visit.peer, &service.config.webhooks.trusted_proxies)
        && door.visitors.refused(visit.peer, service.clock.elapsed());
    let mut response: Response<BoxBody> = body::refuse(problem, payload).await.into();
    if slow {
        service.metrics.listener.slowed();
        tokio::time::sleep(SLOWED_BY).await;
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}

/// Whose request it is, for the log.
fn client_of(service: &Service, visit: &Visit, request: &Request) -> std::net::IpAddr {
    client::address(visit.peer, request.head().headers(), &service.config.webhooks.trusted_proxies)
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
