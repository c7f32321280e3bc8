//! Signatures that two programs outside rollcall computed and agreed on.

#![expect(clippy::unwrap_used, reason = "a test that cannot read its own data should stop")]

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rollcall::config::Secrets;
use rollcall::upstream::signature::{Keys, Verdict, sign};
use secrecy::SecretString;
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    secrets: Vec<String>,
    body_base64: String,
    header: Option<String>,
    verdict: String,
}

fn vectors() -> Vec<Vector> {
    let file: File = serde_json::from_str(include_str!("../data/signature-vectors.json")).unwrap();
    assert!(file.vectors.len() >= 20, "the file holds fewer vectors than it did");
    file.vectors
}

impl Vector {
    fn secrets(&self) -> Vec<SecretString> {
        self.secrets.iter().map(|text| SecretString::from(text.as_str())).collect()
    }

    fn body(&self) -> Vec<u8> {
        BASE64_STANDARD.decode(&self.body_base64).unwrap()
    }
}

#[test]
fn every_vector_gets_its_verdict() {
    for vector in vectors() {
        let verdict =
            Keys::new(&Secrets::fixed(vector.secrets()).live()).verify(vector.header.as_deref().map(str::as_bytes), &vector.body());
        let told = match verdict {
            Verdict::Authentic(_) => "authentic",
            Verdict::Missing => "missing_signature",
            Verdict::Invalid => "invalid_signature",
        };
        assert_eq!(told, vector.verdict, "{}", vector.name);
    }
}

#[test]
fn one_of_the_secrets_signs_as_each_authentic_vector_says() {
    for vector in vectors().into_iter().filter(|vector| vector.verdict == "authentic") {
        let body = vector.body();
        let signed: Vec<_> = vector.secrets().iter().map(|secret| sign(secret, &body)).collect();
        assert!(vector.header.as_ref().is_some_and(|header| signed.contains(header)), "{}", vector.name);
    }
}
