//! The certificate and the key of HTTPS: PEM files that may change while the service runs.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use x509_parser::prelude::{FromDer as _, X509Certificate};

#[cfg(test)]
mod tests;

const FILE_BYTES_MAX: u64 = 256 << 10;

/// A certificate with its key, read anew when their files change.
#[derive(Debug)]
pub struct Certificate {
    live: ArcSwap<Pair>,
    certificate: PathBuf,
    key: PathBuf,
}

/// A certificate and the key that fits it.
#[derive(Debug)]
pub struct Pair {
    /// What handshakes are made with: the chain, the server's own certificate first, and its key.
    pub certified: Arc<CertifiedKey>,
    /// When the server's own certificate expires, in seconds since 1970.
    pub expires_at_seconds: i64,
    /// Of both files: whether they changed is told without keeping the key a second time.
    digest: [u8; 32],
}

/// Which of the two files something is wrong with, and a sentence about it that names the file and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// The last part of the key of the settings: `tls_certificate` or `tls_key`.
    pub key: &'static str,
    /// What is wrong.
    pub text: String,
}

impl Certificate {
    /// The key of the settings that names the file of the certificate.
    pub const CERTIFICATE: &str = "tls_certificate";
    /// The key of the settings that names the file of the key.
    pub const KEY: &str = "tls_key";

    /// Reads both files, which [`Certificate::refresh`] reads again.
    pub(super) fn in_files(certificate: PathBuf, key: PathBuf) -> Result<Self, Misfit> {
        let files = contents(&certificate, &key)?;
        let live = ArcSwap::from_pointee(pair((&certificate, &key), &files)?);
        Ok(Self { live, certificate, key })
    }

    /// The certificate that counts now.
    #[must_use]
    pub fn live(&self) -> Arc<Pair> {
        self.live.load_full()
    }

    /// The file of the certificate.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.certificate
    }

    /// Reads the files again; tells whether another certificate counts now.
    ///
    /// # Errors
    /// When they are unusable now, or one was replaced and the other not yet. What counted before still counts then.
    pub fn refresh(&self) -> Result<bool, Misfit> {
        let files = contents(&self.certificate, &self.key)?;
        if digest(&files) == self.live.load().digest {
            return Ok(false);
        }
        self.live.store(Arc::new(pair((&self.certificate, &self.key), &files)?));
        Ok(true)
    }
}

impl Misfit {
    fn of_certificate(file: &Path, sentence: impl std::fmt::Display) -> Self {
        Self { key: Certificate::CERTIFICATE, text: format!("the file {} {sentence}", file.display()) }
    }

    fn of_key(file: &Path, sentence: impl std::fmt::Display) -> Self {
        Self { key: Certificate::KEY, text: format!("the file {} {sentence}", file.display()) }
    }
}

/// What stands in both files.
type Contents = (Vec<u8>, Vec<u8>);

fn contents(certificate: &Path, key: &Path) -> Result<Contents, Misfit> {
    let chain = bytes(certificate).map_err(|sentence| Misfit::of_certificate(certificate, sentence))?;
    let key = bytes(key).map_err(|sentence| Misfit::of_key(key, sentence))?;
    Ok((chain, key))
}

fn bytes(file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(file).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    read.map_err(|error| format!("cannot be read ({}): put a PEM file there that this user may read", error.kind()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("is larger than 256KiB: it should hold PEM and nothing else".to_owned());
    }
    Ok(bytes)
}

fn digest((chain, key): &Contents) -> [u8; 32] {
    let length = (chain.len() as u64).to_be_bytes();
    Sha256::new().chain_update(length).chain_update(chain).chain_update(key).finalize().into()
}

fn pair((certificate, key_file): (&Path, &Path), files: &Contents) -> Result<Pair, Misfit> {
    let (chain_bytes, key_bytes) = files;
    let of_certificate = |sentence: &str| Misfit::of_certificate(certificate, sentence);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain_bytes).collect();
    let chain = chain.map_err(|_| of_certificate("is not whole PEM: write the whole chain there, the server's own certificate first"))?;
    let own = chain.first().ok_or_else(|| of_certificate("holds no certificate: it should begin with -----BEGIN CERTIFICATE-----"))?;
    let (_, read) = X509Certificate::from_der(own).map_err(|_| of_certificate("holds a certificate that cannot be read: write it anew"))?;
    let expires_at_seconds = read.validity().not_after.timestamp();
    let key = PrivateKeyDer::from_pem_slice(key_bytes).map_err(|_| {
        Misfit::of_key(key_file, "holds no private key: it should be PEM, PKCS#8 or what openssl writes, without a passphrase")
    })?;
    let key = ring::sign::any_supported_type(&key).map_err(|_| {
        Misfit::of_key(key_file, "holds a private key of no usable kind: take RSA of 2048 bits or more, ECDSA P-256 or P-384, or Ed25519")
    })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
        Err(rustls::Error::InconsistentKeys(_)) => {
            let sentence = format!(
                "holds a key that does not fit the certificate in {}: put both there that were made together",
                certificate.display()
            );
            return Err(Misfit::of_key(key_file, sentence));
        }
        Err(_) => return Err(of_certificate("holds a certificate that TLS cannot use: it has to be an X.509 certificate of version 3")),
    }
    Ok(Pair { certified: Arc::new(certified), expires_at_seconds, digest: digest(files) })
}
