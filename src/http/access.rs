//! Who may ask what on the ops listener (contract, section 4).

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::Method;
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::{HttpMessage as _, HttpRequest, web};

use super::{Problem, body, problem};
use crate::config::Scope;
use crate::service::Service;

/// What answers without a token: it tells nothing about users.
const OPEN: [&str; 3] = ["/livez", "/readyz", "/metrics"];

/// The scope that a request was let through with.
struct Granted(Scope);

/// Lets a request through, or answers 401 or 403 before its path is even looked up.
pub(super) async fn check(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(service) = request.app_data::<web::Data<Service>>() else { return Err(problem::internal(&"no service").into()) };
    let header = request.headers().get(AUTHORIZATION).map(|value| value.as_bytes());
    let judged = match OPEN.contains(&request.path()) {
        true => Ok(Scope::Read),
        false => judge(service, header, request.method()),
    };
    match judged {
        Ok(scope) => {
            request.extensions_mut().insert(Granted(scope));
            next.call(request).await.map(ServiceResponse::map_into_boxed_body)
        }
        Err(problem) => {
            let payload = request.extract::<web::Payload>().await?;
            let response = body::refuse(&problem, payload).await;
            Ok(request.into_response(response))
        }
    }
}

/// 403 for what only whoever may act may read. The file that answers asks: by its path alone a request could be judged wrongly, for there is
/// more than one way to write a path.
pub(super) fn operate(request: &HttpRequest) -> Result<(), Problem> {
    match request.extensions().get() {
        Some(Granted(Scope::Operate)) => Ok(()),
        _ => Err(problem::insufficient_scope()),
    }
}

/// Judges by the header `Authorization` as it came: 401 without a live token, 403 for acting with a token that only reads.
fn judge(service: &Service, header: Option<&[u8]>, method: &Method) -> Result<Scope, Problem> {
    let tokens = &service.config.ops.tokens;
    if !tokens.guarded() {
        return Ok(Scope::Operate);
    }
    let token = header.and_then(bearer).and_then(|token| tokens.find(token)).ok_or_else(problem::unauthorized)?;
    token.usage.note(service.clock.now().as_millis());
    match token.scope {
        Scope::Read if method == Method::POST => Err(problem::insufficient_scope()),
        scope => Ok(scope),
    }
}

/// The token of `Bearer TOKEN`; the scheme's case does not count (RFC 9110, section 11.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked("Bearer ".len())?;
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_bearer_scheme_carries_a_token() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for none in ["", "Bearer", "Bearer ", "Bearer    ", "Basic abc", "Token abc", "abc", "Bearerabc"] {
            assert_eq!(bearer(none.as_bytes()), None, "{none}");
        }
    }
}
