//! The tenant's REST API on a port of its own.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, ContentType, DATE, HttpDate, RETRY_AFTER};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::desk::{Ask, Desk, Reply, Rules};
use super::limits::Traffic;
use super::tenant::Shared;
use crate::clock::Clock;
use crate::directory::Timestamp;

/// How long a stopping server waits for answers under way.
const SHUTDOWN_SECONDS: u64 = 1;

/// A REST API that answers until it is stopped.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
    server: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

#[derive(Clone)]
struct Counter {
    desk: Arc<Mutex<Desk>>,
    clock: Clock,
}

impl Api {
    /// Starts the API of `tenant` at `listen`; port 0 takes a free one. Wants a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub fn start(tenant: Shared, rules: Rules, listen: SocketAddr, clock: &Clock) -> io::Result<Self> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let desk = Arc::new(Mutex::new(Desk::new(tenant, rules, clock.clone())));
        let counter = Counter { desk: Arc::clone(&desk), clock: clock.clone() };
        let app = move || {
            App::new()
                .app_data(web::Data::new(counter.clone()))
                .route("/api/v1/users", web::to(page))
                .route("/api/v1/users/{uid}", web::to(by_uid))
                .route("/api/v1/users/by_email/{email}", web::to(by_email))
                .default_service(web::to(elsewhere))
        };
        let server = HttpServer::new(app).workers(1).shutdown_timeout(SHUTDOWN_SECONDS).disable_signals().listen(listener)?.run();
        Ok(Self { address, desk, server: server.handle(), task: tokio::spawn(server) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a client takes as its base URL.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Changes how it behaves from now on; hourly limits stay as they were.
    pub fn behave(&self, change: impl FnOnce(&mut Rules)) {
        change(self.desk.lock().rules_mut());
    }

    /// What became of the requests for listings.
    #[must_use]
    pub fn bulk_traffic(&self) -> Traffic {
        self.desk.lock().bulk_traffic()
    }

    /// What became of the lookups.
    #[must_use]
    pub fn lookup_traffic(&self) -> Traffic {
        self.desk.lock().lookup_traffic()
    }

    /// Stops answering and waits until nothing of the server is left.
    pub async fn stop(self) {
        self.server.stop(true).await;
        // How it ended is of no use to anyone any more.
        drop(self.task.await);
    }
}

async fn page(counter: web::Data<Counter>, request: HttpRequest) -> HttpResponse {
    match web::Query::<HashMap<String, String>>::from_query(request.query_string()) {
        Ok(parameters) => counter.answer(&request, Ask::Page(&parameters)).await,
        Err(_) => counter.answer(&request, Ask::Page(&HashMap::from([("page".to_owned(), "unreadable".to_owned())]))).await,
    }
}

async fn by_uid(counter: web::Data<Counter>, uid: web::Path<String>, request: HttpRequest) -> HttpResponse {
    counter.answer(&request, Ask::Uid(&uid)).await
}

async fn by_email(counter: web::Data<Counter>, email: web::Path<String>, request: HttpRequest) -> HttpResponse {
    counter.answer(&request, Ask::Email(&email)).await
}

async fn elsewhere(counter: web::Data<Counter>, request: HttpRequest) -> HttpResponse {
    counter.answer(&request, Ask::Unknown).await
}

impl Counter {
    async fn answer(&self, request: &HttpRequest, ask: Ask<'_>) -> HttpResponse {
        let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let Reply { status, body, retry_after, delay } = self.desk.lock().answer(request.method() == "GET", token, ask);
        if !delay.is_zero() {
            self.clock.sleep(delay).await;
        }
        let mut response = HttpResponse::build(StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        // The server would tell the real time; a client must learn the simulated one.
        response.insert_header((DATE, http_date(self.clock.now()))).content_type(ContentType::json());
        if let Some(wait) = retry_after {
            response.insert_header((RETRY_AFTER, wait.as_secs().saturating_add(1)));
        }
        response.body(body)
    }
}

fn http_date(now: Timestamp) -> HttpDate {
    HttpDate::from(UNIX_EPOCH + Duration::from_secs(u64::try_from(now.as_seconds()).unwrap_or(0)))
}

#[cfg(test)]
mod tests;
