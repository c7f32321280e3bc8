//! The ops tokens: who may ask, and who may act (contract, section 4).

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::live::{Listed, Live, Numbered};

const TOKENS_MAX: usize = 64;
const NAME_CHARS_MAX: usize = 64;
const TOKEN_CHARS_MIN: usize = 8;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Everything but acting.
    Read,
    /// Acting too.
    Operate,
}

/// One ops token.
#[derive(Clone, Debug)]
pub struct Token {
    /// Who it was given to; may be logged.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// The token itself.
    pub secret: SecretString,
}

/// The ops tokens, read anew when their file changes. The default has none.
#[derive(Debug)]
pub struct Tokens(Live<Token>);

impl Default for Tokens {
    fn default() -> Self {
        Self::fixed(Vec::new())
    }
}

impl Tokens {
    /// Tokens given in place.
    #[must_use]
    pub fn fixed(tokens: Vec<Token>) -> Self {
        Self(Live::fixed(tokens))
    }

    /// Tokens of settings, `name:scope:token` each; an empty list is none.
    pub(in crate::config) fn given(entries: Vec<String>) -> Result<Self, String> {
        Token::read(entries.into_iter().map(SecretString::from).collect()).map(Self::fixed)
    }

    /// Tokens of a file, which [`Tokens::refresh`] reads again.
    pub(in crate::config) fn in_file(file: PathBuf) -> Result<Self, String> {
        Live::in_file(file).map(Self)
    }

    /// Whether a token is needed at all. Never changes: a file without tokens does not count.
    #[must_use]
    pub fn guarded(&self) -> bool {
        !self.0.now().is_empty()
    }

    /// The tokens that count now.
    #[must_use]
    pub fn live(&self) -> Arc<Vec<Arc<Numbered<Token>>>> {
        self.0.now()
    }

    /// Which token this is. Asks every one and compares digests, so that time tells neither which one is near nor how long it is.
    #[must_use]
    pub fn find(&self, token: &[u8]) -> Option<Arc<Numbered<Token>>> {
        let given = Sha256::digest(token);
        let mut found = None;
        for token in self.0.now().iter() {
            let own = Sha256::digest(token.secret.expose_secret());
            if own.as_slice().ct_eq(given.as_slice()).into() {
                found = Some(Arc::clone(token));
            }
        }
        found
    }

    /// Looks at the file, where there is one; tells whether other tokens count now. What it holds counts when two looks in a row saw it.
    ///
    /// # Errors
    /// A sentence when the file is unusable now. What counted before still counts then.
    pub fn refresh(&self) -> Result<bool, String> {
        self.0.refresh()
    }
}

impl Listed for Token {
    fn read(entries: Vec<SecretString>) -> Result<Vec<Self>, String> {
        if entries.len() > TOKENS_MAX {
            return Err(format!("must hold at most {TOKENS_MAX} tokens"));
        }
        let mut tokens: Vec<Self> = Vec::new();
        for (n, entry) in entries.iter().enumerate() {
            let token = parse_one(entry.expose_secret()).map_err(|sentence| format!("entry {} {sentence}", n + 1))?;
            if tokens.iter().any(|other| other.secret.expose_secret() == token.secret.expose_secret()) {
                return Err(format!("entry {} repeats the token of another entry; give everyone an own one", n + 1));
            }
            tokens.push(token);
        }
        Ok(tokens)
    }

    fn is(&self, other: &Self) -> bool {
        (&self.name, self.scope) == (&other.name, other.scope) && self.secret.expose_secret() == other.secret.expose_secret()
    }
}

fn parse_one(entry: &str) -> Result<Token, &'static str> {
    let mut parts = entry.splitn(3, ':');
    let (Some(name), Some(scope), Some(token)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("must be name:scope:token");
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
        return Err("must begin with a name of letters, digits, _ - and . (at most 64)");
    }
    let scope = match scope {
        "read" => Scope::Read,
        "operate" => Scope::Operate,
        _ => return Err("must have the scope read or operate"),
    };
    if token.len() < TOKEN_CHARS_MIN || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err("must have a token of at least 8 printable ASCII characters");
    }
    Ok(Token { name: name.to_owned(), scope, secret: SecretString::from(token) })
}
