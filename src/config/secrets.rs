//! Secrets: given in place or in a file of their own, which may change while the service runs.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use secrecy::{ExposeSecret, SecretString};

pub use tokens::{Scope, Token, Tokens};

#[cfg(test)]
mod tests;
mod tokens;

const FILE_BYTES_MAX: u64 = 64 << 10;
const SECRETS_MAX: usize = 16;

/// A list of secrets, read anew when their file changes.
#[derive(Debug)]
pub struct Secrets {
    live: ArcSwap<Vec<SecretString>>,
    file: Option<PathBuf>,
}

impl Secrets {
    /// Secrets given in place.
    #[must_use]
    pub fn fixed(entries: Vec<SecretString>) -> Self {
        Self { live: ArcSwap::from_pointee(entries), file: None }
    }

    /// Secrets of settings: from 1 to 16, none empty.
    pub(super) fn given(entries: Vec<String>) -> Result<Self, String> {
        checked(entries.into_iter().map(SecretString::from).collect()).map(Self::fixed)
    }

    /// Secrets of a file, which [`Secrets::refresh`] reads again.
    pub(super) fn in_file(file: PathBuf) -> Result<Self, String> {
        let entries = checked(entries_of(&file)?)?;
        Ok(Self { live: ArcSwap::from_pointee(entries), file: Some(file) })
    }

    /// The secrets that count now.
    #[must_use]
    pub fn live(&self) -> Arc<Vec<SecretString>> {
        self.live.load_full()
    }

    /// Reads the file again, where there is one; tells whether other secrets count now.
    ///
    /// # Errors
    /// A sentence when the file is unusable now. What counted before still counts then.
    pub fn refresh(&self) -> Result<bool, String> {
        let Some(file) = &self.file else { return Ok(false) };
        let entries =
            entries_of(file).and_then(|entries| checked(entries).map_err(|sentence| format!("{}: {sentence}", file.display())))?;
        let live = self.live();
        if live.iter().map(ExposeSecret::expose_secret).eq(entries.iter().map(ExposeSecret::expose_secret)) {
            return Ok(false);
        }
        self.live.store(Arc::new(entries));
        Ok(true)
    }
}

fn checked(entries: Vec<SecretString>) -> Result<Vec<SecretString>, String> {
    if entries.is_empty() || entries.len() > SECRETS_MAX || entries.iter().any(|entry| entry.expose_secret().trim().is_empty()) {
        return Err(format!("must hold from 1 to {SECRETS_MAX} secrets, none of them empty"));
    }
    Ok(entries)
}

/// The entries of a file of secrets: one a line, blank lines and lines that begin with `#` aside. At least one.
fn entries_of(file: &Path) -> Result<Vec<SecretString>, String> {
    let name = file.display();
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("the file {name} cannot be read: {}", error.kind()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("the file {name} is larger than 64KiB; it should hold one secret a line"));
    }
    let text = String::from_utf8(bytes).map(SecretString::from).map_err(|_| format!("the file {name} is not UTF-8 text"))?;
    let lines = text.expose_secret().lines().map(str::trim);
    let entries: Vec<SecretString> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(SecretString::from).collect();
    if entries.is_empty() { Err(format!("the file {name} holds no secret; write one a line")) } else { Ok(entries) }
}
