//! The faces: what answers on the two listeners. Only the file `problem` turns errors into statuses.

mod access;
mod backup;
mod body;
mod changes;
mod client;
pub mod compaction;
mod deliveries;
mod explain;
pub(crate) mod gaps;
mod health;
mod http2;
mod leave;
mod line;
mod list;
mod listener;
pub mod mirror;
pub mod operations;
mod problem;
mod query;
mod reconciliations;
mod rows;
mod sources;
mod stream;
pub mod tls;
mod visitors;
pub mod webhooks;

use actix_web::http::header::{CONTENT_TYPE, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder, web};
use serde::Serialize;

use crate::service::Service;

use problem::Problem;

/// The type of every answer but metrics and the stream.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A value on the wire.
fn written(value: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(value).map_err(|error| problem::internal(&error))
}

/// What is written already, as an answer.
fn respond(mut response: HttpResponseBuilder, body: Vec<u8>) -> HttpResponse {
    response.insert_header((CONTENT_TYPE, JSON)).body(body)
}

/// 200 with `value`.
fn answer(value: &impl Serialize) -> Result<HttpResponse, Problem> {
    Ok(respond(HttpResponse::Ok(), written(value)?))
}

/// Does what may scan the store on a thread of its own, so that other requests go on meanwhile.
async fn aside<T: Send + 'static>(
    service: web::Data<Service>,
    work: impl FnOnce(&Service) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let service = service.into_inner();
    web::block(move || work(&service)).await?
}
