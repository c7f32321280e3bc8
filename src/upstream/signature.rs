//! HMAC-SHA256 over the raw bytes of a delivery, in constant time (upstream guide, "Webhook Security").

use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use crate::config::Secret;

/// What the header's value begins with; exactly so, in lower case.
const SCHEME: &[u8] = b"sha256=";

/// Bytes of a MAC; the header holds twice as many hex digits.
const MAC_BYTES: usize = 32;

/// The live secrets of one source, keyed once.
#[derive(Debug, Default)]
pub struct Keys {
    keys: Vec<(Hmac<Sha256>, Arc<Secret>)>,
}

/// What the signature header says of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One of the live secrets signed these bytes: the one in this place, for [`Keys::used`].
    Authentic(u32),
    /// There was no header.
    Missing,
    /// There was one, and it is not a signature of these bytes.
    Invalid,
}

impl Keys {
    /// Keys one MAC for each secret. An empty secret is left out, since anybody could sign with it.
    #[must_use]
    pub fn new(secrets: &[Arc<Secret>]) -> Self {
        let live = secrets.iter().filter(|secret| !secret.expose_secret().is_empty());
        Self { keys: live.filter_map(|secret| Some((key(secret)?, Arc::clone(secret)))).collect() }
    }

    /// Judges a body by its header `sha256=<64 hex digits>`; asks every secret, without an early exit and without a branch on
    /// which one matched.
    ///
    /// The digits may be of either case. Nothing is trimmed: the HTTP layer has already taken the spaces around a header's value.
    #[must_use]
    pub fn verify(&self, header: Option<&[u8]>, body: &[u8]) -> Verdict {
        let Some(header) = header else { return Verdict::Missing };
        // What has not the form of a signature is refused before any secret is touched, so its quick answer tells nothing about them.
        let Some(claimed) = claimed(header) else { return Verdict::Invalid };
        let (mut matched, mut place) = (Choice::from(0), 0);
        for (number, (mac, _)) in (0..).zip(&self.keys) {
            let right = mac.clone().chain_update(body).finalize().into_bytes().as_slice().ct_eq(&claimed);
            place.conditional_assign(&number, right);
            matched |= right;
        }
        if bool::from(matched) { Verdict::Authentic(place) } else { Verdict::Invalid }
    }

    /// Counts a use of the secret in this place, at this time in Unix milliseconds. Only behind the verdict: which one it was then tells
    /// nothing to someone who does not know it.
    pub fn used(&self, place: u32, millis: i64) {
        if let Some((_, secret)) = usize::try_from(place).ok().and_then(|place| self.keys.get(place)) {
            secret.usage.note(millis);
        }
    }
}

/// The header's value for a body: `sha256=` and 64 hex digits.
#[must_use]
pub fn sign(secret: &SecretString, body: &[u8]) -> String {
    let mac = key(secret).map(|mac| mac.chain_update(body).finalize().into_bytes());
    format!("sha256={}", const_hex::encode(mac.unwrap_or_default()))
}

/// A MAC that knows its secret. Always `Some`, since HMAC takes keys of any length.
fn key(secret: &SecretString) -> Option<Hmac<Sha256>> {
    Hmac::new_from_slice(secret.expose_secret().as_bytes()).ok()
}

/// The MAC that a header claims; `None` when it is not in the form of one.
fn claimed(header: &[u8]) -> Option<[u8; MAC_BYTES]> {
    // The decoder skips a leading `0x`, so the length is judged here.
    let digits = header.strip_prefix(SCHEME).filter(|digits| digits.len() == 2 * MAC_BYTES)?;
    const_hex::decode_to_array(digits).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::Secrets;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    fn verdict(secrets: &[&str], header: &str, body: &[u8]) -> Verdict {
        keys(secrets).verify(Some(header.as_bytes()), body)
    }

    fn keys(secrets: &[&str]) -> Keys {
        Keys::new(&Secrets::fixed(secrets.iter().map(|text| secret(text)).collect()).live())
    }

    #[test]
    fn every_live_secret_counts_and_no_other() {
        let header = sign(&secret("second"), b"{}");
        assert_eq!(verdict(&["first", "second", "third"], &header, b"{}"), Verdict::Authentic(1));
        assert_eq!(verdict(&["first", "third"], &header, b"{}"), Verdict::Invalid);
        assert_eq!(verdict(&[], &header, b"{}"), Verdict::Invalid);
    }

    #[test]
    fn no_header_is_missing_and_an_empty_one_is_invalid() {
        let keys = keys(&["s"]);
        assert_eq!(keys.verify(None, b"{}"), Verdict::Missing);
        assert_eq!(keys.verify(Some(b""), b"{}"), Verdict::Invalid);
    }

    #[test]
    fn an_empty_secret_is_never_live() {
        assert_eq!(verdict(&[""], &sign(&secret(""), b"{}"), b"{}"), Verdict::Invalid);
    }

    #[test]
    fn the_digits_may_be_of_either_case_and_nothing_else_may_differ() {
        let header = sign(&secret("s"), b"{}");
        let digits = header.strip_prefix("sha256=").unwrap();
        assert_eq!(verdict(&["s"], &format!("sha256={}", digits.to_uppercase()), b"{}"), Verdict::Authentic(0));
        for other in [
            format!("SHA256={digits}"),
            format!("sha256=0x{digits}"),
            format!("sha256=0x{}", &digits[2..]),
            format!("sha256= {digits}"),
            format!(" {header}"),
            format!("{header} "),
            format!("{header},{header}"),
            format!("{header}\0"),
        ] {
            assert_eq!(verdict(&["s"], &other, b"{}"), Verdict::Invalid, "{other:?}");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let keys = keys(&["hunter2hunter2"]);
        assert!(!format!("{keys:?}").contains("hunter2"));
    }

    #[test]
    fn the_secret_that_signed_is_counted_and_no_other() {
        let secrets = Secrets::fixed(["first", "second", "third"].map(secret).into());
        let keys = Keys::new(&secrets.live());
        for (text, uses) in [("third", [0, 0, 1]), ("first", [1, 0, 1]), ("third", [1, 0, 2]), ("stranger", [1, 0, 2])] {
            if let Verdict::Authentic(place) = keys.verify(Some(sign(&secret(text), b"{}").as_bytes()), b"{}") {
                keys.used(place, 5);
            }
            assert_eq!(secrets.live().iter().map(|secret| secret.usage.uses()).collect::<Vec<_>>(), uses);
        }
        assert_eq!(secrets.live().iter().map(|secret| secret.usage.last_millis()).collect::<Vec<_>>(), [Some(5), None, Some(5)]);
    }

    proptest! {
        #[test]
        fn what_was_signed_is_authentic(text in ".{1,100}", body: Vec<u8>) {
            prop_assert_eq!(verdict(&["other", &text], &sign(&secret(&text), &body), &body), Verdict::Authentic(1));
        }

        #[test]
        fn one_flipped_bit_makes_it_invalid(mut body in prop::collection::vec(any::<u8>(), 1..300), at: prop::sample::Index, bit in 0..8_u8) {
            let header = sign(&secret("s"), &body);
            let index = at.index(body.len());
            body[index] ^= 1_u8 << bit;
            prop_assert_eq!(verdict(&["s"], &header, &body), Verdict::Invalid);
        }

        #[test]
        fn any_header_gets_an_answer(header: Vec<u8>, body: Vec<u8>) {
            prop_assert_eq!(keys(&["s"]).verify(Some(&header), &body), Verdict::Invalid);
        }

        #[test]
        fn it_agrees_with_the_librarys_own_comparison(key in "[ -~]{1,80}", body: Vec<u8>, mac: [u8; 32], right: bool) {
            let keyed = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(&body);
            let mac = if right { keyed.clone().finalize().into_bytes().into() } else { mac };
            let expected = keyed.verify_slice(&mac).is_ok();
            let header = format!("sha256={}", const_hex::encode(mac));
            prop_assert_eq!(verdict(&[&key], &header, &body) == Verdict::Authentic(0), expected);
        }
    }
}
