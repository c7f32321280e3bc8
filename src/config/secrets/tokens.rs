//! The ops tokens: who may ask, and who may act (contract, section 4).

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::entries_of;

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
#[derive(Debug, Default)]
pub struct Tokens {
    live: ArcSwap<Vec<Token>>,
    file: Option<PathBuf>,
}

impl Tokens {
    /// Tokens given in place.
    #[must_use]
    pub fn fixed(tokens: Vec<Token>) -> Self {
        Self { live: ArcSwap::from_pointee(tokens), file: None }
    }

    /// Tokens of settings, `name:scope:token` each; an empty list is none.
    pub(in crate::config) fn given(entries: Vec<String>) -> Result<Self, String> {
        let entries: Vec<SecretString> = entries.into_iter().map(SecretString::from).collect();
        parse(&entries).map(Self::fixed)
    }

    /// Tokens of a file, which [`Tokens::refresh`] reads again.
    pub(in crate::config) fn in_file(file: PathBuf) -> Result<Self, String> {
        let tokens = parse(&entries_of(&file)?)?;
        Ok(Self { live: ArcSwap::from_pointee(tokens), file: Some(file) })
    }

    /// Whether a token is needed at all. Never changes: a file without tokens does not count.
    #[must_use]
    pub fn guarded(&self) -> bool {
        !self.live.load().is_empty()
    }

    /// The tokens that count now.
    #[must_use]
    pub fn live(&self) -> Arc<Vec<Token>> {
        self.live.load_full()
    }

    /// Whose token this is and what it allows. Asks every token and compares digests, so that time tells neither which one is
    /// near nor how long it is.
    #[must_use]
    pub fn scope_of(&self, token: &[u8]) -> Option<(String, Scope)> {
        let given = Sha256::digest(token);
        let mut found = None;
        for token in self.live.load().iter() {
            let own = Sha256::digest(token.secret.expose_secret());
            if own.as_slice().ct_eq(given.as_slice()).into() {
                found = Some((token.name.clone(), token.scope));
            }
        }
        found
    }

    /// Reads the file again, where there is one; tells whether other tokens count now.
    ///
    /// # Errors
    /// A sentence when the file is unusable now. What counted before still counts then.
    pub fn refresh(&self) -> Result<bool, String> {
        let Some(file) = &self.file else { return Ok(false) };
        let tokens = entries_of(file).and_then(|entries| parse(&entries).map_err(|sentence| format!("{}: {sentence}", file.display())))?;
        let live = self.live();
        if live.iter().map(parts).eq(tokens.iter().map(parts)) {
            return Ok(false);
        }
        self.live.store(Arc::new(tokens));
        Ok(true)
    }
}

fn parts(token: &Token) -> (&str, Scope, &str) {
    (&token.name, token.scope, token.secret.expose_secret())
}

fn parse(entries: &[SecretString]) -> Result<Vec<Token>, String> {
    if entries.len() > TOKENS_MAX {
        return Err(format!("must hold at most {TOKENS_MAX} tokens"));
    }
    let mut tokens: Vec<Token> = Vec::new();
    for (n, entry) in entries.iter().enumerate() {
        let token = parse_one(entry.expose_secret()).map_err(|sentence| format!("entry {} {sentence}", n + 1))?;
        if tokens.iter().any(|other| other.secret.expose_secret() == token.secret.expose_secret()) {
            return Err(format!("entry {} repeats the token of another entry; give everyone an own one", n + 1));
        }
        tokens.push(token);
    }
    Ok(tokens)
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
