//! A connection that speaks HTTP/2, which clients choose in the TLS handshake.
//!
//! # Why
//! The HTTP library has a server of its own for it, without limits: a connection may open any number of streams, send heads of 16 MiB,
//! and stay for ever as long as it answers pings. Here are limits for each; requests and answers are the library's all the same.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::body::{BoxBody, to_bytes_limited};
use actix_http::error::PayloadError;
use actix_http::{Payload, Request, Response};
use actix_web::http::header::{CONNECTION, HeaderName, HeaderValue};
use actix_web::http::{Method, Uri};
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{Stream, StreamExt as _};
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use tokio::time::{sleep, timeout};

use super::line::{HEAD_BYTES_MAX, HEAD_WITHIN, IDLE_MAX, Stream as Bytestream};
use super::visitors::Visit;
use crate::telemetry::Cut;

/// Requests of one connection at a time; clients wait with more.
const STREAMS_MAX: u32 = 128;
/// What may be on its way of one body, and of all bodies of a connection, before it is read.
const BODY_WINDOW_BYTES: u32 = 128 * 1024;
const WINDOW_BYTES: u32 = 1024 * 1024;
/// Answers are short.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a connection may take to close once it is told to.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Serves one connection: gives each request to `answer`, until the client leaves, has nothing to ask for 75 s, or `ending` comes;
/// requests that are under way then are still answered.
///
/// # Errors
/// [`Cut::Slow`] when the client did not begin in time, or broke the protocol.
pub(super) async fn serve<A, F>(stream: Bytestream, visit: &Arc<Visit>, answer: A, ending: impl Future<Output = ()>) -> Result<(), Cut>
where
    A: Fn(Request) -> F,
    F: Future<Output = Response<BoxBody>>,
{
    let mut settings = Builder::new();
    settings
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .initial_window_size(BODY_WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES);
    let greeting = timeout(HEAD_WITHIN, settings.handshake(stream)).await.map_err(|_| Cut::Slow)?;
    let mut connection: Connection<Bytestream, Bytes> = match greeting {
        Ok(connection) => connection,
        Err(error) => return broken(&error),
    };
    let (mut answers, mut ending, mut closing) = (FuturesUnordered::new(), pin!(ending), false);
    loop {
        let patience = if closing {
            CLOSE_WITHIN
        } else if visit.began() == 0 {
            HEAD_WITHIN
        } else {
            IDLE_MAX
        };
        tokio::select! {
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => answers.push(exchange(request, respond, &answer)),
                Some(Err(error)) => return broken(&error),
                None => return Ok(()),
            },
            Some(()) = answers.next() => {}
            () = &mut ending, if !closing => {
                closing = true;
                connection.graceful_shutdown();
            }
            () = sleep(patience), if answers.is_empty() => {
                if visit.began() == 0 {
                    return Err(Cut::Slow);
                }
                if closing {
                    return Ok(());
                }
                closing = true;
                connection.graceful_shutdown();
            }
        }
    }
}

/// Whoever leaves in the midst has not broken anything.
fn broken(error: &h2::Error) -> Result<(), Cut> {
    if error.is_io() { Ok(()) } else { Err(Cut::Slow) }
}

/// One request and its answer.
async fn exchange<A, F>(request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>, answer: &A)
where
    A: Fn(Request) -> F,
    F: Future<Output = Response<BoxBody>>,
{
    let Some(request) = translated(request) else {
        respond.send_reset(h2::Reason::PROTOCOL_ERROR);
        return;
    };
    let (head, body) = answer(request).await.into_parts();
    let mut response = http::Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(head.status().as_u16()).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in head.headers().iter().filter(|(name, _)| *name != CONNECTION) {
        let name = http::HeaderName::from_bytes(name.as_str().as_bytes());
        if let (Ok(name), Ok(value)) = (name, http::HeaderValue::from_bytes(value.as_bytes())) {
            response.headers_mut().append(name, value);
        }
    }
    let Ok(Ok(body)) = to_bytes_limited(body, ANSWER_BYTES_MAX).await else {
        respond.send_reset(h2::Reason::INTERNAL_ERROR);
        return;
    };
    // Whoever is gone does not hear it.
    if let Ok(mut stream) = respond.send_response(response, body.is_empty())
        && !body.is_empty()
    {
        drop(stream.send_data(body, true));
    }
}

/// The request in the words of the HTTP library, which has an older edition of the same types; `None` where it has no word for it.
fn translated(request: http::Request<RecvStream>) -> Option<Request> {
    let (head, body) = request.into_parts();
    let mut request = Request::with_payload(Payload::Stream { payload: Box::pin(Body(body)) as Pin<Box<_>> });
    request.head_mut().method = Method::from_bytes(head.method.as_str().as_bytes()).ok()?;
    request.head_mut().uri = Uri::try_from(head.uri.path_and_query().map_or("*", http::uri::PathAndQuery::as_str)).ok()?;
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        request.headers_mut().append(name, HeaderValue::from_bytes(value.as_bytes()).ok()?);
    }
    Some(request)
}

/// A request's body; what is read of it makes room for more.
struct Body(RecvStream);

impl Stream for Body {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let chunk = std::task::ready!(self.0.poll_data(cx));
        Poll::Ready(chunk.map(|chunk| {
            let chunk = chunk.map_err(|_| PayloadError::Incomplete(None))?;
            self.0.flow_control().release_capacity(chunk.len()).map_err(|_| PayloadError::Incomplete(None))?;
            Ok(chunk)
        }))
    }
}
