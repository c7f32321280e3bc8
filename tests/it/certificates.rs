//! Certificates to test with: an authority, what it signs, and a folder of them as a mounted secret.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

use crate::house::Plan;

/// The first year in which a certificate may expire; the numbered ones do a year later each.
pub(crate) const FIRST_YEAR: i32 = 2100;

/// An authority.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// When it expires, in seconds since 1970.
    pub(crate) expiry: i64,
}

/// A folder with `tls.crt` and `tls.key`, which are symbolic links through `..data`, as Kubernetes mounts secrets.
pub(crate) struct Mounted {
    pub(crate) folder: PathBuf,
    written: std::cell::Cell<u32>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for loopback.
    pub(crate) fn sign(&self, number: i32) -> Pair {
        let mut parameters = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        parameters.not_after = date_time_ymd(FIRST_YEAR + number, 1, 1);
        let key = KeyPair::generate().unwrap();
        let signed = parameters.signed_by(&key, &self.0).unwrap();
        Pair { certificate: signed.pem(), key: key.serialize_pem(), expiry: parameters.not_after.unix_timestamp() }
    }

    /// A client that trusts nobody else, and speaks these versions of TLS.
    pub(crate) fn client(&self, versions: &[&'static SupportedProtocolVersion], protocols: &[&str]) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(self.0.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        config
    }
}

impl Mounted {
    pub(crate) fn new(folder: &Path, pair: &Pair) -> Self {
        let mounted = Self { folder: folder.to_owned(), written: std::cell::Cell::new(0) };
        mounted.swap(pair);
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
        }
        mounted
    }

    /// Replaces both in one step: a new folder, then the link to it.
    pub(crate) fn swap(&self, pair: &Pair) {
        let number = self.written.replace(self.written.get() + 1);
        let name = format!("..{number}");
        std::fs::create_dir(self.folder.join(&name)).unwrap();
        for (file, text) in [("tls.crt", &pair.certificate), ("tls.key", &pair.key)] {
            std::fs::write(self.folder.join(&name).join(file), text).unwrap();
        }
        symlink(&name, self.folder.join("..new")).unwrap();
        std::fs::rename(self.folder.join("..new"), self.folder.join("..data")).unwrap();
    }

    /// Writes over one of the two.
    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A house whose webhook listener has this certificate.
    pub(crate) fn set(&self, plan: Plan) -> Plan {
        let quoted = |name| format!("{:?}", self.path(name));
        plan.set("webhooks.tls_certificate", quoted("tls.crt")).set("webhooks.tls_key", quoted("tls.key"))
    }
}
