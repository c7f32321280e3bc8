//! The public listener's connections: taken, encrypted where that is set, and given to the protocol that they speak.
//!
//! # Why
//! The web library's own server takes connections as well, but nobody can count them by address before their handshake, nor end
//! one from outside. So this is built of the library's parts: its accept loop, its workers and its HTTP/1.1.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use actix_http::body::BoxBody;
use actix_http::error::DispatchError;
use actix_http::{HttpService, Protocol, Request, Response};
use actix_server::{GracefulShutdownSignal, Server};
use actix_service::{Service as _, ServiceFactory as _, fn_factory, fn_service};
use rustix::process::{Resource, getrlimit};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::line::{IDLE_MAX, Line, Stream};
use super::visitors::{Guest, Visit, Visitors};
use super::{client, http2, tls};
use crate::service::Service;
use crate::telemetry::Cut;

/// Open connections for each worker; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4096;
/// A TLS handshake must be done within this.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection that is to be closed is read, so that its client sees the answer.
const LINGER_MAX: Duration = Duration::from_secs(2);
/// Deliveries under way at SIGTERM have this long. Seconds.
const DRAIN_SECONDS_MAX: u64 = 8;
/// More threads than this bring nothing: the writer is one.
const WORKERS_MAX: usize = 8;

/// What the connections of one worker share.
pub(super) struct Door {
    /// The service.
    pub(super) service: Arc<Service>,
    /// Who is connected, to any worker.
    pub(super) visitors: Arc<Visitors>,
    acceptor: Option<TlsAcceptor>,
    ending: GracefulShutdownSignal,
}

/// Gives each request of each connection to `answer`.
///
/// # Errors
/// When the listener cannot be used.
pub(super) fn run<A, F>(service: Arc<Service>, listener: TcpListener, answer: A) -> std::io::Result<Server>
where
    A: Fn(Rc<Door>, Arc<Visit>, Request) -> F + Copy + Send + 'static,
    F: Future<Output = Response<BoxBody>> + 'static,
{
    let settings = &service.config.webhooks;
    let acceptor = settings.tls.clone().map(tls::acceptor).transpose().map_err(std::io::Error::other)?;
    let descriptors = getrlimit(Resource::Nofile).current;
    let visitors = Arc::new(Visitors::new(settings.connections_per_address, settings.refusals_per_minute, descriptors));
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(WORKERS_MAX);
    let server =
        Server::build().workers(workers).max_concurrent_connections(CONNECTIONS_MAX).disable_signals().shutdown_timeout(DRAIN_SECONDS_MAX);
    let ending = server.graceful_shutdown_signal();
    let server = server.listen("webhooks", listener, move || {
        let (service, visitors) = (Arc::clone(&service), Arc::clone(&visitors));
        let door = Rc::new(Door { service, visitors, acceptor: acceptor.clone(), ending: ending.clone() });
        fn_factory(move || worker(Rc::clone(&door), answer))
    })?;
    Ok(server.run())
}

/// What one worker does with its connections.
async fn worker<A, F>(door: Rc<Door>, answer: A) -> Result<impl actix_service::Service<TcpStream, Response = (), Error = Infallible>, ()>
where
    A: Fn(Rc<Door>, Arc<Visit>, Request) -> F + Copy + 'static,
    F: Future<Output = Response<BoxBody>> + 'static,
{
    let (asked, at_end) = (Rc::clone(&door), door.ending.clone());
    let http1 = HttpService::build()
        .keep_alive(IDLE_MAX)
        // The line below has the time-out of every head, not only of the first.
        .client_request_timeout(Duration::ZERO)
        .client_disconnect_timeout(LINGER_MAX)
        .graceful_shutdown_signal(move || {
            let ending = at_end.clone();
            async move { ending.notified().await }
        })
        .on_connect_ext(|line: &Line, more| {
            more.insert(Arc::clone(line.visit()));
        })
        .finish(fn_service(move |request: Request| {
            let (asked, visit) = (Rc::clone(&asked), request.conn_data::<Arc<Visit>>().map(Arc::clone));
            async move {
                // Each connection was given its visit above.
                let Some(visit) = visit else { return Ok(Response::internal_server_error()) };
                Ok::<_, Infallible>(answer(asked, visit, request).await)
            }
        }));
    let http1 = Rc::new(http1.new_service(()).await?);
    Ok(fn_service(move |stream: TcpStream| {
        let (door, http1) = (Rc::clone(&door), Rc::clone(&http1));
        async move {
            let guest = door.enter(&stream);
            let served = async {
                let (stream, protocol) = door.encrypt(stream).await?;
                let visit = Arc::clone(&guest.visit);
                if protocol == Protocol::Http2 {
                    let answer = |request| answer(Rc::clone(&door), Arc::clone(&visit), request);
                    return http2::serve(stream, &visit, answer, door.ending.notified()).await;
                }
                http1.call((Line::new(stream, visit), protocol, None)).await.or_else(|error| match error {
                    DispatchError::Io(error) if error.kind() == ErrorKind::TimedOut => Err(Cut::Slow),
                    // Its client left, or was answered that this is no HTTP.
                    _ => Ok(()),
                })
            };
            if let Some(Err(why)) = unless_unwanted(&guest, served).await {
                door.service.metrics.listener.cut(why);
            }
            door.service.metrics.listener.closed();
            Ok(())
        }
    }))
}

impl Door {
    /// Counts a new connection, perhaps to the loss of an older one.
    fn enter(&self, stream: &TcpStream) -> Guest {
        // It may be gone already.
        let peer = stream.peer_addr().map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.ip());
        let trusted = client::trusted(peer, &self.service.config.webhooks.trusted_proxies);
        let (guest, gone) = self.visitors.enter(peer, trusted, self.service.clock.elapsed());
        self.service.metrics.listener.opened();
        for _ in 0..gone {
            self.service.metrics.listener.cut(Cut::Crowded);
        }
        guest
    }

    /// Makes the TLS handshake, where there is a certificate.
    async fn encrypt(&self, stream: TcpStream) -> Result<(Stream, Protocol), Cut> {
        let Some(acceptor) = &self.acceptor else { return Ok((Stream::Plain(stream), Protocol::Http1)) };
        let shaken = tokio::select! {
            shaken = timeout(HANDSHAKE_WITHIN, acceptor.accept(stream)) => shaken,
            // Nothing that matters is under way in it.
            () = self.ending.notified() => return Err(Cut::Handshake),
        };
        let stream = shaken.map_err(|_| Cut::Handshake)?.map_err(|_| Cut::Handshake)?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP_2);
        Ok((Stream::Tls(Box::new(stream)), if http2 { Protocol::Http2 } else { Protocol::Http1 }))
    }
}

/// What a connection comes to; `None` when it had to go before.
async fn unless_unwanted<T>(guest: &Guest, served: impl Future<Output = T>) -> Option<T> {
    let mut served = pin!(served);
    poll_fn(|cx| match served.as_mut().poll(cx) {
        Poll::Ready(came_to) => Poll::Ready(Some(came_to)),
        Poll::Pending => guest.visit.poll_unwanted(cx).map(|()| None),
    })
    .await
}
