//! Taking leave of connections: once the service drains, whoever keeps one is told to open another, elsewhere.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::middleware::Next;
use actix_web::{HttpResponse, web};

use super::problem;
use crate::service::Service;

/// Closes the connection behind an answer, with `Connection: close`, once the service drains.
pub(super) fn closing(mut response: HttpResponse, service: &Service) -> HttpResponse {
    if service.is_draining() {
        response.head_mut().set_connection_type(ConnectionType::Close);
    }
    response
}

/// The same for every answer of a listener.
pub(super) async fn close<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, actix_web::Error> {
    let Some(service) = request.app_data::<web::Data<Service>>().cloned() else { return Err(problem::internal(&"no service").into()) };
    let mut response = next.call(request).await?;
    if service.is_draining() {
        response.response_mut().head_mut().set_connection_type(ConnectionType::Close);
    }
    Ok(response)
}
