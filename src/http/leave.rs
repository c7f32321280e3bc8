//! Taking leave of connections: once the service drains, whoever keeps one is told to open another, elsewhere.

use actix_web::body::MessageBody;
use actix_web::dev::{ResponseHead, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::web;

use super::problem;
use crate::service::Service;

/// Closes the connection behind an answer, with `Connection: close`, once the service drains.
pub(super) fn closing(answer: &mut ResponseHead, service: &Service) {
    if service.is_draining() {
        answer.set_connection_type(ConnectionType::Close);
    }
}

/// The same for every answer of a listener.
pub(super) async fn close<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, actix_web::Error> {
    let Some(service) = request.app_data::<web::Data<Service>>().cloned() else { return Err(problem::internal(&"no service").into()) };
    let mut response = next.call(request).await?;
    closing(response.response_mut().head_mut(), &service);
    Ok(response)
}
