//! Whom the REST client talks to, and how: addresses, TLS, time-outs.

use std::net::IpAddr;
use std::sync::Arc;

use reqwest::Url;
use reqwest::redirect::Policy;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

use super::Limits;

/// Idle connections kept for the next call.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// The HTTP client proper.
pub(super) fn http(limits: Limits) -> Result<reqwest::Client, String> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls()?)
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .connect_timeout(limits.connect)
        .timeout(limits.answer)
        .pool_max_idle_per_host(IDLE_CONNECTIONS_MAX)
        .user_agent(concat!("rollcall/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| format!("the HTTP client cannot be set up: {error}"))
}

/// Mozilla's roots rather than the system's: an image that holds nothing but rollcall has none.
pub(crate) fn tls() -> Result<ClientConfig, String> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_root_certificates(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Where the users are below `base_url`.
pub(super) fn users_url(base_url: &str) -> Result<Url, String> {
    let base = Url::parse(base_url).map_err(|error| format!("base_url is not an address: {error}"))?;
    match base.scheme() {
        "https" => {}
        "http" if is_loopback(&base) => {}
        "http" => return Err("base_url has to begin with https://, since the token must not travel in the clear".into()),
        _ => return Err("base_url has to begin with https://".into()),
    }
    if !base.username().is_empty() || base.password().is_some() {
        return Err("base_url must not hold a name or a password: the token belongs in api_token".into());
    }
    if base.query().is_some() || base.fragment().is_some() {
        return Err("base_url must end before any ? or #".into());
    }
    let users = format!("{}/api/v1/users", base.as_str().trim_end_matches('/'));
    Url::parse(&users).map_err(|error| format!("base_url is not an address: {error}"))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_travels_encrypted_or_stays_on_this_machine() {
        for good in ["https://tenant.example.com", "http://localhost:8080", "http://127.8.0.1", "http://[::1]:9"] {
            assert!(users_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://tenant.example.com",
            "http://localhost.example.com",
            "http://10.0.0.1",
            "ftp://localhost",
            "file:///etc",
            "tenant.example.com",
            "",
            "https://me:secret@tenant.example.com",
            "https://tenant.example.com/?a=1",
            "https://tenant.example.com/#a",
        ] {
            let fault = users_url(bad).unwrap_err();
            assert!(fault.starts_with("base_url ") && !fault.contains("secret"), "{bad}: {fault}");
        }
    }

    #[test]
    fn a_path_in_the_base_stays_and_a_trailing_slash_does_no_harm() {
        for base in ["https://example.com/tenant", "https://example.com/tenant/"] {
            assert_eq!(users_url(base).unwrap().as_str(), "https://example.com/tenant/api/v1/users");
        }
    }
}
