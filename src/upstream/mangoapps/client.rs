//! The REST client: a page of users, or one user (upstream guide, steps 2 and 3).

use std::sync::Arc;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Url;
use reqwest::header::{DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use secrecy::ExposeSecret as _;

use super::is_name;
use crate::clock::Clock;
use crate::config::Secrets;
use crate::directory::{Fields, Timestamp};

mod answers;
mod connect;
pub mod line;

pub(crate) use connect::tls;
use line::{Line, Wire};

/// What a uid may hold unescaped in a path.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// What a listing is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageQuery {
    /// From 1.
    pub page: u64,
    /// 1 to 100.
    pub per_page: u64,
    /// `created_at`, `updated_at` or `name`; always upwards.
    pub sort_by: &'static str,
    /// Only users updated after this.
    pub updated_after: Option<Timestamp>,
    /// Soft-deleted users too.
    pub include_deleted: bool,
    /// Search by name or e-mail.
    pub search: Option<String>,
}

impl PageQuery {
    /// What asks only how many users there are, updated after a moment if one is told.
    #[must_use]
    pub const fn count(updated_after: Option<Timestamp>, include_deleted: bool) -> Self {
        Self { page: 1, per_page: 1, sort_by: "created_at", updated_after, include_deleted, search: None }
    }
}

/// One page of a listing, checked: it echoes the asked page and size, every row is an object with a `uid`, no uid twice.
#[derive(Clone, Debug, PartialEq)]
pub struct UserPage {
    /// uid and row.
    pub rows: Vec<(String, Fields)>,
    /// `meta.total_count`.
    pub total: u64,
    /// `meta.total_pages`.
    pub pages: u64,
}

/// An answer and what its headers tell.
#[derive(Debug)]
pub struct Answer<T> {
    /// What it says, or why it says nothing.
    pub result: Result<T, Failure>,
    /// The HTTP status; `None` without an answer.
    pub status: Option<u16>,
    /// The `Date` header.
    pub date: Option<Timestamp>,
}

/// Why an answer is no evidence. Texts name what was wrong and the remedy, never any content or secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// 401, or there is no token that can be sent.
    #[error("upstream does not accept the API token (401): put a valid one into sources.….api_token")]
    Unauthorized,
    /// 403.
    #[error("the API token lacks the scope read:users (403): create one with that scope")]
    Forbidden,
    /// 429, with its `Retry-After` where it had one.
    #[error("upstream's hourly limit is reached (429)")]
    Limited {
        /// How long to wait.
        retry_after: Option<Duration>,
    },
    /// 5xx and statuses that mean nothing here.
    #[error("upstream answered {0}")]
    Status(u16),
    /// No answer: connection, TLS, time-out, cut body.
    #[error("upstream did not answer: {0}")]
    Unreachable(&'static str),
    /// An answer that is not what was asked for: not JSON, another page, too large.
    #[error("upstream's answer is not usable: {0}")]
    Unusable(&'static str),
}

/// What a lookup found.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    /// The user.
    Found(Fields),
    /// 404 with the code `user_not_found`, and nothing else.
    NotFound,
}

/// How long and how large an answer may be.
#[derive(Clone, Copy, Debug)]
struct Limits {
    connect: Duration,
    answer: Duration,
    body_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), answer: Duration::from_secs(30), body_bytes_max: 16 << 20 }
    }
}

/// The REST API of one tenant.
///
/// Each call sends at most one request: nothing is retried and no redirect is followed, so that the ledger knows every request and the
/// token reaches nobody but `base_url`. Proxies of the environment are not used.
#[derive(Debug)]
pub struct Client {
    line: Line,
    users: Url,
    token: Arc<Secrets>,
    clock: Clock,
    limits: Limits,
}

impl Client {
    /// A client for `base_url` (no trailing slash; https, or http to loopback): no redirects, answers within 30 s and of at most 16 MiB,
    /// connections kept. `clock` tells when the token was used.
    ///
    /// # Errors
    /// A sentence, when the TLS set-up or the address is unusable.
    pub fn new(base_url: &str, token: Arc<Secrets>, clock: Clock) -> Result<Self, String> {
        Self::within(Limits::default(), base_url, (token, clock))
    }

    /// A client for `base_url` whose requests travel by `wire`.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn wired(wire: Arc<dyn Wire>, base_url: &str, token: Arc<Secrets>, clock: Clock) -> Result<Self, String> {
        Ok(Self { line: Line::Wired(wire), users: connect::users_url(base_url)?, token, clock, limits: Limits::default() })
    }

    fn within(limits: Limits, base_url: &str, (token, clock): (Arc<Secrets>, Clock)) -> Result<Self, String> {
        Ok(Self { line: Line::Http(connect::http(limits)?), users: connect::users_url(base_url)?, token, clock, limits })
    }

    /// `GET /api/v1/users`.
    pub async fn page(&self, query: &PageQuery) -> Answer<UserPage> {
        self.ask(self.listing_url(query)).await.and_then(|reply| match reply {
            Reply::Ok(body) => answers::page(&body, query),
            Reply::NotFound(_) => Err(Failure::Status(404)),
        })
    }

    /// `GET /api/v1/users/{uid}`. A uid that no path can hold (`.`, `..`) is [`Failure::Unusable`], and nothing is sent.
    pub async fn lookup(&self, uid: &str) -> Answer<Lookup> {
        let Some(url) = self.user_url(uid) else {
            return Answer::silent(Failure::Unusable("no path can name this uid, so nothing was asked"));
        };
        self.ask(url).await.and_then(|reply| match reply {
            Reply::Ok(body) => answers::user(&body, uid).map(Lookup::Found),
            Reply::NotFound(body) if answers::says_user_not_found(&body) => Ok(Lookup::NotFound),
            Reply::NotFound(_) => Err(Failure::Unusable("a 404 without the code user_not_found: check base_url")),
        })
    }

    fn listing_url(&self, query: &PageQuery) -> Url {
        let mut url = self.users.clone();
        let mut pairs = url.query_pairs_mut();
        pairs.append_pair("page", &query.page.to_string()).append_pair("per_page", &query.per_page.to_string());
        pairs.append_pair("sort_by", query.sort_by).append_pair("sort_order", "asc");
        if let Some(after) = query.updated_after {
            // Rounded down: upstream writes whole seconds, and asking from earlier misses nothing.
            pairs.append_pair("updated_after", &after.floor_to_second().to_string());
        }
        if query.include_deleted {
            pairs.append_pair("include_deleted", "true");
        }
        if let Some(search) = &query.search {
            pairs.append_pair("search", search);
        }
        drop(pairs);
        url
    }

    /// `None` for a uid that would name another resource: URLs resolve `.` and `..` even when they are escaped.
    fn user_url(&self, uid: &str) -> Option<Url> {
        if !is_name(uid) || uid == "." || uid == ".." {
            return None;
        }
        Url::parse(&format!("{}/{}", self.users, utf8_percent_encode(uid, UNRESERVED))).ok()
    }

    /// Sends one request.
    async fn ask(&self, url: Url) -> Answer<Reply> {
        let Some(token) = self.bearer() else { return Answer::silent(Failure::Unauthorized) };
        let came = match self.line.get(url, token).await {
            Ok(came) => came,
            Err(failure) => return Answer::silent(failure),
        };
        let status = came.status();
        let date = http_date(came.headers(), DATE);
        let result = match status {
            200 => came.body(self.limits.body_bytes_max).await.map(Reply::Ok),
            404 => came.body(self.limits.body_bytes_max).await.map(Reply::NotFound),
            401 => Err(Failure::Unauthorized),
            403 => Err(Failure::Forbidden),
            429 => Err(Failure::Limited { retry_after: retry_after(came.headers(), date) }),
            _ => Err(Failure::Status(status)),
        };
        Answer { result, status: Some(status), date }
    }

    /// The token that counts now, as a header of a call that is about to be sent; `None` when there is none, or it cannot stand in a header.
    fn bearer(&self) -> Option<HeaderValue> {
        let live = self.token.live();
        let token = live.first()?;
        let mut header = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
        header.set_sensitive(true);
        token.usage.note(self.clock.now().as_millis());
        Some(header)
    }
}

/// A body that may be evidence.
enum Reply {
    Ok(Vec<u8>),
    NotFound(Vec<u8>),
}

impl<T> Answer<T> {
    /// No answer came.
    const fn silent(failure: Failure) -> Self {
        Self { result: Err(failure), status: None, date: None }
    }

    fn and_then<U>(self, read: impl FnOnce(T) -> Result<U, Failure>) -> Answer<U> {
        Answer { result: self.result.and_then(read), status: self.status, date: self.date }
    }
}

/// What an operator can do about it; the library's own text may hold the address that was asked, and with it a uid.
fn unreachable(error: &reqwest::Error) -> Failure {
    Failure::Unreachable(if error.is_timeout() {
        "it took too long"
    } else if error.is_connect() {
        "there is no connection; check base_url, name resolution, firewall and upstream's certificate"
    } else if error.is_body() || error.is_decode() {
        "the answer was cut"
    } else {
        "the connection broke, or what came was not HTTP"
    })
}

/// A header that holds a time as HTTP writes it (RFC 9110, section 5.6.7; the two obsolete forms aside).
fn http_date(headers: &HeaderMap, name: HeaderName) -> Option<Timestamp> {
    let text = headers.get(name)?.to_str().ok()?;
    let time = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(Timestamp::from_millis(time.as_millisecond()))
}

/// `Retry-After` in seconds, or as a time, which only upstream's own `Date` can turn into a span.
fn retry_after(headers: &HeaderMap, date: Option<Timestamp>) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs);
    seconds.or_else(|| Some(http_date(headers, RETRY_AFTER)?.since(date?)))
}

#[cfg(test)]
mod tests;
