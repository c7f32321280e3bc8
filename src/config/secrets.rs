//! Secrets: given in place or in a file of their own, which may change while the service runs.

use std::path::PathBuf;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use live::{Listed, Live};

pub use live::{Numbered, Usage};
pub use tokens::{Scope, Token, Tokens};

mod live;
#[cfg(test)]
mod tests;
mod tokens;

const SECRETS_MAX: usize = 16;

/// One secret that counts.
pub type Secret = Numbered<SecretString>;

/// A list of secrets, read anew when their file changes.
#[derive(Debug)]
pub struct Secrets(Live<SecretString>);

impl Secrets {
    /// Secrets given in place.
    #[must_use]
    pub fn fixed(entries: Vec<SecretString>) -> Self {
        Self(Live::fixed(entries))
    }

    /// Secrets of settings: from 1 to 16, none empty.
    pub(super) fn given(entries: Vec<String>) -> Result<Self, String> {
        SecretString::read(entries.into_iter().map(SecretString::from).collect()).map(Self::fixed)
    }

    /// Secrets of a file, which [`Secrets::refresh`] reads again.
    pub(super) fn in_file(file: PathBuf) -> Result<Self, String> {
        Live::in_file(file).map(Self)
    }

    /// The secrets that count now, in the order of their file, each once.
    #[must_use]
    pub fn live(&self) -> Arc<Vec<Arc<Secret>>> {
        self.0.now()
    }

    /// Looks at the file, where there is one; tells whether other secrets count now. What it holds counts when two looks in a row saw it.
    ///
    /// # Errors
    /// A sentence when the file is unusable now. What counted before still counts then.
    pub fn refresh(&self) -> Result<bool, String> {
        self.0.refresh()
    }
}

impl Listed for SecretString {
    fn read(entries: Vec<Self>) -> Result<Vec<Self>, String> {
        if entries.is_empty() || entries.len() > SECRETS_MAX || entries.iter().any(|entry| entry.expose_secret().trim().is_empty()) {
            return Err(format!("must hold from 1 to {SECRETS_MAX} secrets, none of them empty"));
        }
        Ok(entries)
    }

    fn is(&self, other: &Self) -> bool {
        self.expose_secret() == other.expose_secret()
    }
}
