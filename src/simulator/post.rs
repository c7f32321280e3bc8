//! One delivery: a signed body, posted, and what the receiver says to it (guide, "Webhook Security").

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Client, Url};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use secrecy::SecretString;

use crate::upstream::signature;

const TIMEOUT: Duration = Duration::from_secs(10);
/// More of an answer is not read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Posts signed bodies to one address, over connections that it keeps.
#[derive(Clone, Debug)]
pub struct Post {
    client: Client,
    url: Url,
    secret: SecretString,
}

/// What the receiver answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; its first 64 KiB.
    pub body: Vec<u8>,
}

impl Post {
    /// Posts to `url` what it signs with `secret`.
    ///
    /// # Errors
    /// A sentence, when the address is no http(s) URL or TLS cannot be set up.
    pub fn new(url: &str, secret: SecretString) -> Result<Self, String> {
        Self::trusting(url, secret, &[])
    }

    /// The same, where these authorities are trusted too: the text of a PEM file.
    ///
    /// # Errors
    /// As [`Post::new`]; also when there is text that holds no certificate.
    pub fn trusting(url: &str, secret: SecretString, authorities: &[u8]) -> Result<Self, String> {
        let url = url.parse::<Url>().map_err(|fault| format!("the webhook URL cannot be read ({fault}): give http://… or https://…"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("the webhook URL begins with {}: give http://… or https://…", url.scheme()));
        }
        Ok(Self { client: client(authorities)?, url, secret })
    }

    /// Signs and posts one body; waits at most 10 s for the answer.
    ///
    /// # Errors
    /// Why there was no answer, in a few words that hold neither address nor content.
    pub async fn deliver(&self, body: Bytes) -> Result<Answer, &'static str> {
        let request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("X-MangoApps-Signature", signature::sign(&self.secret, &body))
            .body(body);
        let mut response = request.send().await.map_err(|fault| reason(&fault))?;
        let mut answer = Answer { status: response.status().as_u16(), body: Vec::new() };
        while let Some(chunk) = response.chunk().await.map_err(|fault| reason(&fault))? {
            let room = ANSWER_BYTES_MAX.saturating_sub(answer.body.len());
            answer.body.extend(chunk.iter().take(room));
            if chunk.len() >= room {
                break;
            }
        }
        Ok(answer)
    }
}

/// An HTTP client that follows no redirects, trusts the public authorities and those of a PEM file, and gives up after 10 s.
///
/// # Errors
/// A sentence, when TLS cannot be set up.
pub(super) fn client(authorities: &[u8]) -> Result<Client, String> {
    let unusable = |fault: &dyn std::fmt::Display| format!("TLS cannot be set up: {fault}");
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let mut given = CertificateDer::pem_slice_iter(authorities).peekable();
    if !authorities.is_empty() && given.peek().is_none() {
        return Err("there is no certificate among the authorities: give a PEM file".to_owned());
    }
    for authority in given {
        let authority = authority.map_err(|_| "the authorities are not whole PEM".to_owned())?;
        roots.add(authority).map_err(|fault| format!("an authority cannot be used: {fault}"))?;
    }
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|fault| unusable(&fault))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(TIMEOUT)
        .build()
        .map_err(|fault| unusable(&fault))
}

fn reason(fault: &reqwest::Error) -> &'static str {
    if fault.is_timeout() {
        "no answer within 10 s"
    } else if is_about_trust(fault) {
        "its certificate is not trusted; --ca takes the authority that signed it, and one that signed itself must not be marked as CA:TRUE"
    } else if fault.is_connect() {
        "no connection"
    } else {
        "the connection broke"
    }
}

/// Whether a TLS handshake failed for the other side's certificate.
fn is_about_trust(fault: &dyn std::error::Error) -> bool {
    std::iter::successors(fault.source(), |fault| fault.source()).any(|fault| {
        let tls = fault.downcast_ref::<std::io::Error>().and_then(within).or_else(|| fault.downcast_ref());
        matches!(tls, Some(rustls::Error::InvalidCertificate(_)))
    })
}

/// The fault of TLS that others were put around.
fn within(fault: &std::io::Error) -> Option<&rustls::Error> {
    let inner = fault.get_ref()?;
    inner.downcast_ref().or_else(|| within(inner.downcast_ref::<std::io::Error>()?))
}
