//! Files of certificates: which pairs count, and what is said of the others.

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, SignatureAlgorithm};

use super::*;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn read(&self, certificate: &str, key: &str) -> Result<Certificate, Misfit> {
        let files = [("tls.crt", certificate), ("tls.key", key)].map(|(name, text)| {
            let file = self.0.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        });
        let [certificate, key] = files;
        Certificate::in_files(certificate, key)
    }
}

fn made(kind: &'static SignatureAlgorithm) -> (String, String) {
    let key = KeyPair::generate_for(kind).unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

#[test]
fn pairs_that_fit_count_whatever_their_kind_and_whatever_stands_around_them() {
    for kind in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let (certificate, key) = made(kind);
        let (other, _) = made(kind);
        let read = Folder::new().read(&format!("made by hand\n{certificate}\n{other}"), &key).unwrap();
        assert_eq!(read.live().certified.cert.len(), 2);
        assert!(read.live().expires_at_seconds > 4_000_000_000);
    }
}

#[test]
fn what_does_not_count_is_told_with_its_key_and_its_remedy() {
    let (certificate, key) = made(&PKCS_ED25519);
    let (other, _) = made(&PKCS_ED25519);
    let cut = certificate.trim_end().strip_suffix('-').unwrap();
    let (long, unread) = ("x".repeat(300 << 10), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    for (certificate, key, named, words) in [
        (cut, key.as_str(), "tls_certificate", "is not whole PEM"),
        ("", &key, "tls_certificate", "holds no certificate"),
        (&key, &key, "tls_certificate", "holds no certificate"),
        (&long, &key, "tls_certificate", "is larger than 256KiB"),
        (unread, &key, "tls_certificate", "cannot be read"),
        (&certificate, "", "tls_key", "holds no private key"),
        (&certificate, &certificate, "tls_key", "holds no private key"),
        (&certificate, &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"), "tls_key", "without a passphrase"),
        (&other, &key, "tls_key", "does not fit the certificate in"),
    ] {
        let misfit = Folder::new().read(certificate, key).unwrap_err();
        assert_eq!(misfit.key, named, "{}", misfit.text);
        assert!(misfit.text.contains(words) && misfit.text.contains("tls."), "{}", misfit.text);
    }
}

#[test]
fn a_changed_pair_counts_after_a_refresh_and_half_of_it_does_not() {
    let folder = Folder::new();
    let (first, second) = (made(&PKCS_ED25519), made(&PKCS_ED25519));
    let read = folder.read(&first.0, &first.1).unwrap();
    assert_eq!(read.refresh(), Ok(false));
    std::fs::write(folder.0.path().join("tls.crt"), &second.0).unwrap();
    let before = read.live();
    assert_eq!(read.refresh().unwrap_err().key, "tls_key");
    assert!(Arc::ptr_eq(&before, &read.live()));
    std::fs::write(folder.0.path().join("tls.key"), &second.1).unwrap();
    assert_eq!(read.refresh(), Ok(true));
    assert!(!Arc::ptr_eq(&before, &read.live()));
}
