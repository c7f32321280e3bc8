//! The way to upstream: HTTP, or what stands in for it in a simulation. What comes is read by the same code.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Response, Url};

use super::{Failure, unreachable};

/// What comes of one request, at some time: [`Delivered`], or why nothing came.
pub type Delivering<'a> = Pin<Box<dyn Future<Output = Result<Delivered, Failure>> + Send + 'a>>;

/// A way to upstream that is no network.
pub trait Wire: Debug + Send + Sync {
    /// Sends a `GET` with this `Authorization`. Whoever drops it hangs up: upstream may have got the request all the same.
    fn get(&self, url: Url, authorization: HeaderValue) -> Delivering<'_>;
}

/// An answer as it comes over a [`Wire`].
#[derive(Debug)]
pub struct Delivered {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, or why it did not come as a whole.
    pub body: Result<Vec<u8>, Failure>,
}

/// How requests travel.
#[derive(Clone, Debug)]
pub(super) enum Line {
    /// By HTTP.
    Http(reqwest::Client),
    /// By something else.
    Wired(Arc<dyn Wire>),
}

/// An answer whose body may still be on its way.
pub(super) enum Came {
    Http(Response),
    Wired(Delivered),
}

impl Line {
    /// Sends one request.
    pub(super) async fn get(&self, url: Url, authorization: HeaderValue) -> Result<Came, Failure> {
        match self {
            Self::Http(http) => {
                let request = http.get(url).header(ACCEPT, "application/json").header(AUTHORIZATION, authorization);
                request.send().await.map(Came::Http).map_err(|error| unreachable(&error))
            }
            Self::Wired(wire) => wire.get(url, authorization).await.map(Came::Wired),
        }
    }
}

impl Came {
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Http(response) => response.status().as_u16(),
            Self::Wired(delivered) => delivered.status,
        }
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        match self {
            Self::Http(response) => response.headers(),
            Self::Wired(delivered) => &delivered.headers,
        }
    }

    /// The whole body, given up as soon as it is larger than that.
    pub(super) async fn body(self, body_bytes_max: usize) -> Result<Vec<u8>, Failure> {
        let mut response = match self {
            Self::Http(response) => response,
            Self::Wired(delivered) => return delivered.body,
        };
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&error))? {
            if body.len() + chunk.len() > body_bytes_max {
                return Err(Failure::Unusable("it is larger than 16 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
