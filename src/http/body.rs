//! Request bodies: the bytes of the wire, under a limit and a time-out; and answers to requests whose body nobody wants.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::error::PayloadError;
use actix_web::http::StatusCode;
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};

use super::Problem;
use super::problem;

/// A whole body must be there within this.
const BODY_WITHIN: Duration = Duration::from_secs(10);
/// Memory is taken in advance for bodies up to this; larger ones take it as they arrive.
const RESERVED_BYTES_MAX: usize = 64 * 1024;
/// What is read and thrown away of a body that nobody wants, so that its connection can be used again.
const DRAINED_BYTES_MAX: usize = 64 * 1024;
/// How long that may take: what is on its way already, no more.
const DRAIN_WITHIN: Duration = Duration::from_millis(50);

/// A body as it comes.
pub(super) trait Payload: Stream<Item = Result<Bytes, PayloadError>> {}

impl<S: Stream<Item = Result<Bytes, PayloadError>>> Payload for S {}

/// Reads a whole body as it came on the wire, whatever its `Content-Encoding` says.
///
/// `declared` is the length of its head, where it has one; a chunked body has none.
///
/// # Errors
/// 413 as soon as the body turns out to be larger than `bytes_max`, 408 when it is not there within 10 s, 400 when it was cut
/// or badly chunked.
pub(super) async fn read(payload: &mut (impl Payload + Unpin), declared: Option<u64>, bytes_max: usize) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_WITHIN, collect(payload, declared, bytes_max)).await {
        Ok(body) => body,
        Err(_) => Err(problem::request_timeout()),
    }
}

async fn collect(payload: &mut (impl Payload + Unpin), declared: Option<u64>, bytes_max: usize) -> Result<Bytes, Problem> {
    let declared = declared.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if declared > bytes_max {
        return Err(problem::body_too_large(bytes_max));
    }
    let mut body = BytesMut::with_capacity(declared.min(RESERVED_BYTES_MAX));
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| problem::invalid_request("the body was cut or badly chunked"))?;
        if chunk.len() > bytes_max.saturating_sub(body.len()) {
            return Err(problem::body_too_large(bytes_max));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Answers a request whose body was not read, or not to its end.
///
/// A small rest is read and thrown away, so that the connection stays. Else the server must neither read on for ever nor
/// reset a connection on which the client still writes, for then the answer may be lost: see [`Held`].
pub(super) async fn refuse(problem: &Problem, mut payload: impl Payload + Unpin + 'static) -> HttpResponse {
    let small = async {
        let mut drained = 0;
        while let Some(Ok(chunk)) = payload.next().await {
            drained += chunk.len();
            if drained > DRAINED_BYTES_MAX {
                return;
            }
        }
    };
    // A body that broke has no rest, and its connection does not wait: the answer must be there at once.
    if problem.status != StatusCode::BAD_REQUEST {
        drop(tokio::time::timeout(DRAIN_WITHIN, small).await);
    }
    problem.head().body(Held { text: Some(Bytes::from(problem.body())), _payload: payload })
}

/// An error body that keeps the request's payload alive until it is sent.
///
/// # Why
/// To actix a dropped payload of unknown length is one to be read to its end, however long; one that is still held makes it
/// say `Connection: close`, send the answer, and read and discard only for `client_disconnect_timeout`.
struct Held<P> {
    text: Option<Bytes>,
    _payload: P,
}

impl<P: Unpin> MessageBody for Held<P> {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.text.as_ref().map_or(0, Bytes::len) as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Infallible>>> {
        Poll::Ready(self.text.take().map(Ok))
    }
}
