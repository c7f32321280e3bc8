//! Asking a running service's ops listener, for the commands that do.

use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::header::AUTHORIZATION;
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::upstream::mangoapps::client::tls;

const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Nothing at all came for so long: the service is gone.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// The same for what is answered only when it is done.
const WORK_MAX: Duration = Duration::from_secs(60 * 60);
/// A service that is well answers at once.
const PROBE_MAX: Duration = Duration::from_secs(3);
/// More of an error is not read.
const ERROR_BYTES_MAX: usize = 64 * 1024;

/// Where the service is, and who asks.
#[derive(Debug, clap::Args)]
pub(super) struct Ops {
    /// The address of the service's ops listener
    #[arg(long = "ops", value_name = "URL", env = "ROLLCALL_OPS", default_value = "http://127.0.0.1:9090")]
    url: String,
    /// One of its tokens, where it wants one; better in the environment than in the list of processes
    #[arg(long, value_name = "TOKEN", env = "ROLLCALL_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Ops {
    /// Asks for a path, `/api/v1/…`.
    ///
    /// # Errors
    /// Nobody answers, or the answer is an error; in a sentence that says what to do.
    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Response> {
        self.send((Method::GET, path), None, SILENCE_MAX).await
    }

    /// Asks a path, `/api/v1/…`, for what the body says; it is answered before that is done.
    ///
    /// # Errors
    /// As [`Ops::get`].
    pub(super) async fn ask(&self, path: &str, body: &Value) -> anyhow::Result<Response> {
        self.send((Method::POST, path), Some(body.to_string()), SILENCE_MAX).await
    }

    /// Has a path, `/api/v1/…`, do its work, and waits until it is done.
    ///
    /// # Errors
    /// As [`Ops::get`].
    pub(super) async fn post(&self, path: &str) -> anyhow::Result<Response> {
        self.send((Method::POST, path), None, WORK_MAX).await
    }

    /// Asks for a path that tells whether the service is well.
    ///
    /// # Errors
    /// As [`Ops::get`]; it is not well.
    pub(super) async fn probe(&self, path: &str) -> anyhow::Result<Response> {
        self.send((Method::GET, path), None, PROBE_MAX).await
    }

    /// How a person would do the same: a command for a shell, with the token left to them.
    pub(super) fn by_hand(&self, path: &str) -> String {
        let token = if self.token().is_some() { " -H \"Authorization: Bearer $ROLLCALL_TOKEN\"" } else { "" };
        format!("curl -X POST{token} {}", self.at(path))
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.url.trim_end_matches('/'))
    }

    fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }

    async fn send(&self, (method, path): (Method, &str), body: Option<String>, patience: Duration) -> anyhow::Result<Response> {
        let mut request = client(patience)?.request(method, self.at(path)).body(body.unwrap_or_default());
        if let Some(token) = self.token() {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = request.send().await.map_err(|error| anyhow!("{}: {}", self.url, reason(&error)))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refusal(response).await) }
    }

    async fn refusal(&self, response: Response) -> anyhow::Error {
        let status = response.status().as_u16();
        let body: Value = serde_json::from_slice(&beginning(response).await).unwrap_or_default();
        let said = body.pointer("/error/message").and_then(Value::as_str).map_or_else(|| unwell(&body), |said| Some(said.to_owned()));
        let hint = match status {
            401 => ": give one with --token or ROLLCALL_TOKEN",
            403 => ": give one with scope operate",
            404 if said.is_none() => ": is that the ops listener?",
            400 if body.pointer("/error/code").is_some_and(|code| code == "source_required") => ": give one with --source",
            _ => "",
        };
        anyhow!("{} answered {status}, {}{hint}", self.url, said.as_deref().unwrap_or("without a reason"))
    }
}

fn client(patience: Duration) -> anyhow::Result<Client> {
    let builder = Client::builder().tls_backend_preconfigured(tls().map_err(anyhow::Error::msg)?).redirect(Policy::none()).no_proxy();
    builder.connect_timeout(CONNECT_WITHIN.min(patience)).read_timeout(patience).build().context("the HTTP client cannot be set up")
}

/// What a probe tells of a service that is not well.
fn unwell(body: &Value) -> Option<String> {
    let failing = body["checks"].as_object()?.values().filter(|check| check["status"] == "failing");
    Some(failing.filter_map(|check| check["message"].as_str()).collect::<Vec<_>>().join("; "))
}

async fn beginning(mut response: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < ERROR_BYTES_MAX
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    body
}

/// The whole of an answer.
///
/// # Errors
/// It was cut.
pub(super) async fn read(response: Response) -> anyhow::Result<Vec<u8>> {
    let body = response.bytes().await.map_err(|error| anyhow!("the answer did not come whole, ask again: {}", reason(&error)))?;
    Ok(body.into())
}

/// What an answer tells.
///
/// # Errors
/// It is not what this service would tell.
pub(super) fn parse<T: DeserializeOwned>(answer: &[u8]) -> anyhow::Result<T> {
    serde_json::from_slice(answer).context("the answer cannot be read: is this its ops listener (--ops or ROLLCALL_OPS)?")
}

/// Why there was no answer, or no more of it.
pub(super) fn reason(error: &reqwest::Error) -> &'static str {
    if error.is_builder() {
        "this is no address: give http://… or https://…"
    } else if error.is_connect() {
        "nobody answers there: is the service running, and is this its ops listener (--ops or ROLLCALL_OPS)?"
    } else if error.is_timeout() {
        "the service fell silent"
    } else {
        "the connection broke"
    }
}
