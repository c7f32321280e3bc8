//! The only map from errors to statuses; every error body is `{"error":{"code","message"}}`.

use std::borrow::Cow;
use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;

use crate::service::{self, Refusal};
use crate::storage;

/// Seconds after which to try again when the store is unavailable.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("5");

/// An answer that is not a success.
#[derive(Debug)]
pub(super) struct Problem {
    /// The status.
    pub(super) status: StatusCode,
    /// The word that programs act upon.
    pub(super) code: &'static str,
    /// The sentence for people: what is wrong and what would be right.
    pub(super) message: Cow<'static, str>,
    header: Option<(HeaderName, HeaderValue)>,
}

impl Problem {
    fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), header: None }
    }

    fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.header = Some((name, value));
        self
    }

    /// The body on the wire, spaced as upstream's are: scripts that compare answers as text go on working.
    #[must_use]
    pub(super) fn body(&self) -> String {
        format!(r#"{{"error": {{"code": {}, "message": {}}}}}"#, json!(self.code), json!(self.message))
    }

    /// A response without its body, for those who send a body of their own making.
    pub(super) fn head(&self) -> actix_web::HttpResponseBuilder {
        let mut response = HttpResponse::build(self.status);
        response.insert_header((CONTENT_TYPE, super::JSON));
        if let Some((name, value)) = &self.header {
            response.insert_header((name.clone(), value.clone()));
        }
        response
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        self.head().body(self.body())
    }
}

/// 404: no such path, or no such thing.
pub(super) fn not_found() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here")
}

/// 404: no source has this name.
pub(super) fn unknown_source() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "unknown_source", "no source has this name: see `sources` in the configuration")
}

/// 404 in upstream's own words; `whom` is `UID '…'` or `email '…'`.
pub(super) fn user_not_found(whom: &str) -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "user_not_found", format!("User with {whom} not found in current business"))
}

/// 405: the path is there, and takes other methods.
pub(super) fn method_not_allowed(allowed: &'static str) -> Problem {
    let message = format!("this path takes {allowed} only");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message).with(ALLOW, HeaderValue::from_static(allowed))
}

/// 400: there are several sources, and none was named.
pub(super) fn source_required() -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "source_required", "there are several sources: name one with ?source= or under /sources/NAME")
}

/// 400: a parameter that cannot be read; `wanted` is what it takes.
pub(super) fn invalid_parameter(name: &str, wanted: &str) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_parameter", format!("{name} must be {wanted}"))
}

/// 400: a request that cannot be read.
pub(super) fn invalid_request(message: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_request", message)
}

/// 401: no token, or not one of ours.
pub(super) fn unauthorized() -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", "send one of ops.tokens as `Authorization: Bearer TOKEN`")
        .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
}

/// 403: the token only reads, and this acts or tells everything.
pub(super) fn insufficient_scope() -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "insufficient_scope", "this token has scope read, and this needs scope operate")
        .with(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer error=\"insufficient_scope\", scope=\"operate\""))
}

/// 408: the body did not come in time.
pub(super) fn request_timeout() -> Problem {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", "the body took longer than 10 s")
}

/// 409: the thing is in a state in which this cannot be done.
pub(super) fn wrong_state(state: &str) -> Problem {
    Problem::new(StatusCode::CONFLICT, "wrong_state", format!("it is {state}, and that cannot be done to it"))
}

/// 410: the feed no longer reaches back to this cursor.
pub(super) fn cursor_expired() -> Problem {
    let message = "changes after this cursor are no longer all kept: list the users anew, and go on from that listing's Rollcall-Cursor";
    Problem::new(StatusCode::GONE, "cursor_expired", message)
}

/// 413: more bytes than this listener takes.
pub(super) fn body_too_large(bytes_max: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("the body is larger than {bytes_max} bytes"))
}

/// 500: something failed inside; the log says what, the answer does not.
pub(super) fn internal(cause: &dyn fmt::Display) -> Problem {
    tracing::error!(%cause, "a request failed inside");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "something failed inside; the log says what")
}

fn unavailable() -> Problem {
    let message = "the store cannot take this at the moment: try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message).with(RETRY_AFTER, RETRY_AFTER_SECONDS)
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::MissingSignature => Self::new(StatusCode::UNAUTHORIZED, "missing_signature", refusal.to_string()),
            Refusal::InvalidSignature => Self::new(StatusCode::UNAUTHORIZED, "invalid_signature", refusal.to_string()),
            Refusal::Unavailable => unavailable(),
        }
    }
}

impl From<storage::Error> for Problem {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Unavailable { .. } => {
                tracing::warn!(%error, "a request met an unavailable store");
                unavailable()
            }
            storage::Error::Busy => Self::new(StatusCode::CONFLICT, "backup_running", error.to_string()),
            storage::Error::InUse { .. }
            | storage::Error::Damaged { .. }
            | storage::Error::NotEmpty { .. }
            | storage::Error::Unsound { .. } => internal(&error),
        }
    }
}

impl From<service::Error> for Problem {
    fn from(error: service::Error) -> Self {
        match error {
            service::Error::NotFound => not_found(),
            service::Error::WrongState(state) => wrong_state(state),
            service::Error::NoUpstream(_) => Self::new(StatusCode::CONFLICT, "no_upstream", error.to_string()),
            service::Error::Busy => Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_waiting", error.to_string()),
            service::Error::Refused(refusal) => refusal.into(),
            service::Error::Store(error) => error.into(),
        }
    }
}

/// The pool of blocking threads is shutting down.
impl From<actix_web::error::BlockingError> for Problem {
    fn from(_: actix_web::error::BlockingError) -> Self {
        unavailable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_body_has_the_same_shape() {
        let problem = invalid_parameter("per_page", "a whole number from 1");
        assert_eq!(problem.body(), r#"{"error": {"code": "invalid_parameter", "message": "per_page must be a whole number from 1"}}"#);
        assert_eq!(problem.error_response().headers().get(CONTENT_TYPE), Some(&super::super::JSON));
    }

    #[test]
    fn a_failure_inside_tells_a_code_and_nothing_else() {
        let damaged = storage::Error::Damaged { folder: "/srv/secret".into(), what: "row 7".to_owned() };
        let problem = Problem::from(damaged);
        assert_eq!((problem.status.as_u16(), problem.code), (500, "internal"));
        assert!(!problem.body().contains("secret") && !problem.body().contains("row 7"));
    }

    #[test]
    fn an_unavailable_store_says_when_to_come_back() {
        let response = Problem::from(Refusal::Unavailable).error_response();
        assert_eq!((response.status().as_u16(), response.headers().get(RETRY_AFTER)), (503, Some(&RETRY_AFTER_SECONDS)));
    }

    #[test]
    fn a_wrong_method_names_the_right_ones() {
        assert_eq!(method_not_allowed("POST").error_response().headers().get(ALLOW), Some(&HeaderValue::from_static("POST")));
    }
}
