//! Asking over HTTP, and what was answered.

use std::sync::LazyLock;

use rollcall::upstream::signature;
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::house::{PATIENCE, RUNTIME, SECRET};

/// What was answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// Null for a body that is not JSON.
    pub(crate) body: Value,
}

impl Answer {
    /// The code of an error.
    pub(crate) fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// What became of a delivery.
    #[track_caller]
    pub(crate) fn outcome(&self) -> &str {
        assert_eq!((self.status, &self.body["status"]), (200, &json!("ok")), "{}", self.body);
        self.body["outcome"].as_str().unwrap()
    }

    /// The delivery's event id.
    #[track_caller]
    pub(crate) fn event_id(&self) -> &str {
        self.body["event_id"].as_str().unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(held, _)| held == name).map(|(_, value)| value.as_str())
    }
}

/// The value of `X-MangoApps-Signature` over `body`.
pub(crate) fn sign(body: &[u8]) -> String {
    signature::sign(&SecretString::from(SECRET), body)
}

/// The entries of a list.
#[track_caller]
pub(crate) fn list(answer: &Answer, name: &str) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body[name].as_array().unwrap().clone()
}

/// Reads an address.
pub(crate) fn read(url: &str) -> Answer {
    answered(client().get(url))
}

/// Reads the bytes of an address.
pub(crate) fn read_bytes(url: &str) -> Vec<u8> {
    RUNTIME.block_on(async { client().get(url).timeout(PATIENCE).send().await.unwrap().bytes().await.unwrap() }).to_vec()
}

/// Delivers a well signed body to an address.
pub(crate) fn post(url: &str, body: &[u8]) -> Answer {
    try_post(url, body).expect("an answer")
}

/// The same; `None` when there is no whole answer.
pub(crate) fn try_post(url: &str, body: &[u8]) -> Option<Answer> {
    try_answered(client().post(url).header("X-MangoApps-Signature", sign(body)).body(body.to_vec()))
}

/// Asks an address to do something; `None` when there is no whole answer.
pub(crate) fn try_ask(url: &str) -> Option<Answer> {
    try_answered(client().post(url))
}

fn client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        let _within = RUNTIME.enter();
        reqwest::Client::new()
    });
    CLIENT.clone()
}

#[track_caller]
pub(crate) fn answered(request: reqwest::RequestBuilder) -> Answer {
    try_answered(request).expect("an answer")
}

fn try_answered(request: reqwest::RequestBuilder) -> Option<Answer> {
    RUNTIME.block_on(async {
        let response = request.timeout(PATIENCE).send().await.ok()?;
        let status = response.status().as_u16();
        let text = |value: &reqwest::header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        let body = serde_json::from_slice(&response.bytes().await.ok()?).unwrap_or_default();
        Some(Answer { status, headers, body })
    })
}
