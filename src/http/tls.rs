//! HTTPS: what a handshake is made of, and the certificate that it shows, which changes with its files.

use std::sync::{Arc, Weak};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsAcceptor;

use crate::config::Certificate;
use crate::config::certificate::Misfit;
use crate::service::Service;

/// How often the files are looked at: a change counts within five seconds.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// HTTP/2 where the client has it.
const PROTOCOLS: [&[u8]; 2] = [HTTP_2, b"http/1.1"];
/// The name that a connection of HTTP/2 is agreed on by.
pub(super) const HTTP_2: &[u8] = b"h2";

/// Shows the certificate that counts at the moment of each handshake.
#[derive(Debug)]
struct Resolver(Arc<Certificate>);

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.live().certified))
    }
}

/// Takes handshakes of TLS 1.2 and 1.3 with this certificate. The cipher suites are the library's: all of them have forward secrecy
/// and authenticated encryption.
///
/// # Errors
/// When the library has no such versions, which is a fault of the build.
pub(super) fn acceptor(certificate: Arc<Certificate>) -> Result<TlsAcceptor, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13, &TLS12])?.with_no_client_auth();
    let mut config = builder.with_cert_resolver(Arc::new(Resolver(certificate)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Looks at the files of a certificate, and tells what came of it.
#[derive(Debug, Default)]
pub struct Keeper {
    /// What was wrong at the last look, and whether that was told.
    trouble: Option<(Misfit, bool)>,
}

impl Keeper {
    /// One look: a changed certificate counts from now on. Files that cannot be used change nothing, and are told at the second look that
    /// finds them so: until then whoever writes the two files may be on the way from one to the other.
    pub fn look(&mut self, service: &Service) {
        let Some(certificate) = &service.config.webhooks.tls else { return };
        match certificate.refresh() {
            Ok(false) => self.trouble = None,
            Ok(true) => {
                self.trouble = None;
                service.metrics.listener.reloaded(true);
                service.metrics.listener.set_expiry(certificate.live().expires_at_seconds);
                tracing::info!("the certificate of the webhook listener was read anew");
            }
            Err(misfit) => {
                let told = match &self.trouble {
                    Some((held, told)) if *held == misfit => {
                        if !told {
                            service.metrics.listener.reloaded(false);
                            tracing::warn!(error = %misfit.text, "webhooks.{}: the former certificate stays", misfit.key);
                        }
                        true
                    }
                    _ => false,
                };
                self.trouble = Some((misfit, told));
            }
        }
    }
}

/// Looks again and again, for as long as the service is there.
pub(super) async fn keep(service: Weak<Service>) {
    let mut keeper = Keeper::default();
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(service) = service.upgrade() else { return };
        keeper.look(&service);
    }
}
