//! The ops listener: which path is answered by which file (contract, section 4).

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::web::{ServiceConfig, resource, scope};
use actix_web::{App, FromRequest, Handler, HttpServer, Resource, Responder, middleware, web};

use super::{
    Problem, access, backup, changes, compaction, deliveries, explain, gaps, health, leave, mirror, problem, reconciliations, sources,
    stream,
};
use crate::service::Service;

/// Open connections for each worker, streams and long polls included.
const CONNECTIONS_MAX: usize = 1024;
/// Threads for reads that may scan, for each worker; more such requests wait.
const SCANS_MAX: usize = 4;
/// Two, so that health is told while a long answer is written.
const WORKERS: usize = 2;
/// Idle connections close after this.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// Requests under way at SIGTERM have this long. Seconds.
const DRAIN_SECONDS_MAX: u64 = 8;

/// Serves health, metrics and the API on `listener`; the answer must be awaited, and its handle stops it.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(service: Arc<Service>, listener: TcpListener) -> std::io::Result<Server> {
    let service = web::Data::from(service);
    let app = move || {
        App::new()
            .app_data(service.clone())
            .wrap(middleware::from_fn(access::check))
            .wrap(middleware::from_fn(leave::close))
            .configure(paths)
    };
    let server = HttpServer::new(app)
        .workers(WORKERS)
        .worker_max_blocking_threads(SCANS_MAX)
        .max_connections(CONNECTIONS_MAX)
        .keep_alive(IDLE_MAX)
        .disable_signals()
        .shutdown_timeout(DRAIN_SECONDS_MAX)
        .listen(listener)?;
    Ok(server.run())
}

/// Every path; whatever is not here is 404.
fn paths(config: &mut ServiceConfig) {
    config
        .app_data(web::PathConfig::default().error_handler(|_, _| problem::not_found().into()))
        .service(get("/livez", health::live))
        .service(get("/readyz", health::ready))
        .service(get("/metrics", health::metrics))
        .service(scope("/sources/{source}/api/v1").configure(users))
        .service(scope("/api/v1").configure(users).configure(operations))
        .default_service(web::to(|| async { Err::<String, _>(problem::not_found()) }));
}

/// The mirror and what else is about one user: on the bare paths and under each source's own base URL.
fn users(config: &mut ServiceConfig) {
    config
        .service(get("/users", mirror::list))
        .service(get("/users/by_email/{email}", mirror::by_email))
        .service(get("/users/{uid}", mirror::by_uid))
        .service(get("/users/{uid}/history", changes::history))
        .service(get("/users/{uid}/explain", explain::explain));
}

/// What is about all sources.
fn operations(config: &mut ServiceConfig) {
    let reconciliations = resource("/reconciliations")
        .get(reconciliations::list)
        .post(reconciliations::ask)
        .default_service(web::to(|| async { wrong_method("GET, POST") }));
    config
        .service(get("/changes", changes::list))
        .service(get("/changes/stream", stream::open))
        .service(get("/backup", backup::take))
        .service(post("/compaction", compaction::run))
        .service(get("/sources", sources::list))
        .service(get("/gaps", gaps::list))
        .service(get("/deliveries", deliveries::list))
        .service(get("/deliveries/{event_id}", deliveries::show))
        .service(post("/deliveries/{event_id}/replay", deliveries::replay))
        .service(reconciliations)
        .service(get("/reconciliations/{id}", reconciliations::show))
        .service(post("/reconciliations/{id}/approve", reconciliations::approve))
        .service(post("/reconciliations/{id}/cancel", reconciliations::cancel));
}

/// A path that is read.
fn get<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource(path).get(handler).default_service(web::to(|| async { wrong_method("GET") }))
}

/// A path that acts.
fn post<F, Args>(path: &str, handler: F) -> Resource
where
    F: Handler<Args>,
    Args: FromRequest + 'static,
    F::Output: Responder + 'static,
{
    resource(path).post(handler).default_service(web::to(|| async { wrong_method("POST") }))
}

fn wrong_method(allowed: &'static str) -> Result<String, Problem> {
    Err(problem::method_not_allowed(allowed))
}
