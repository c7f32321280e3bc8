//! What counts of a list of secrets: numbered, counted, and read anew when its file changes.
//!
//! # Why numbers
//! Whoever looks at metrics has to tell one secret from another without learning anything about either. A digest would let them try
//! guesses at leisure, since secrets are often words; a keyed one would not, but nobody could tell which line of the file it is; and a
//! place in the file means another secret after each rotation. So each secret gets the next number when it first counts, in the order of
//! the file, and keeps it for as long as it counts, wherever it stands. The price: numbers, like counts, begin anew with each process.
//!
//! # Why a change counts at the second look
//! A file that is being written in its place is empty for a moment, then holds a half. What two looks in a row see is no such moment,
//! unless whoever writes stops in the middle.

use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

const FILE_BYTES_MAX: u64 = 64 << 10;

/// One of the secrets that count.
#[derive(Debug)]
pub struct Numbered<T> {
    /// Tells it from the others of its list, and nothing else about it.
    pub number: u64,
    /// What was done with it.
    pub usage: Usage,
    secret: T,
}

impl<T> Deref for Numbered<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.secret
    }
}

/// How often a secret was used since it first counted, and when last.
#[derive(Debug)]
pub struct Usage {
    uses: AtomicU64,
    last_millis: AtomicI64,
}

impl Default for Usage {
    fn default() -> Self {
        Self { uses: AtomicU64::new(0), last_millis: AtomicI64::new(i64::MIN) }
    }
}

impl Usage {
    /// It was used, at this time in Unix milliseconds.
    pub fn note(&self, millis: i64) {
        self.uses.fetch_add(1, Ordering::Relaxed);
        self.last_millis.fetch_max(millis, Ordering::Relaxed);
    }

    /// How often.
    #[must_use]
    pub fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// When last, in Unix milliseconds; `None` when it never was.
    #[must_use]
    pub fn last_millis(&self) -> Option<i64> {
        Some(self.last_millis.load(Ordering::Relaxed)).filter(|millis| *millis != i64::MIN)
    }
}

/// What stands in a list of secrets.
pub(super) trait Listed: Sized {
    /// Reads all of them; the sentence follows the name of where they stand.
    fn read(entries: Vec<SecretString>) -> Result<Vec<Self>, String>;

    /// Whether both are the same in every respect.
    fn is(&self, other: &Self) -> bool;
}

/// A list of secrets, and the file that it is read from.
#[derive(Debug)]
pub(super) struct Live<T> {
    entries: ArcSwap<Vec<Arc<Numbered<T>>>>,
    file: Option<Mutex<Watched>>,
}

/// A file, and what is known of it.
#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// What the last look saw.
    last: Seen,
    /// The last number that was given.
    number: u64,
}

/// A digest of the entries, or why there are none.
type Seen = Result<[u8; 32], String>;

impl<T: Listed> Live<T> {
    pub(super) fn fixed(secrets: Vec<T>) -> Self {
        Self { entries: ArcSwap::from_pointee(renewed(&[], secrets, &mut 0)), file: None }
    }

    pub(super) fn in_file(path: PathBuf) -> Result<Self, String> {
        let (entries, mut number) = (entries_of(&path), 0);
        let last = seen(&entries);
        let secrets = renewed(&[], T::read(entries?)?, &mut number);
        Ok(Self { entries: ArcSwap::from_pointee(secrets), file: Some(Mutex::new(Watched { path, last, number })) })
    }

    pub(super) fn now(&self) -> Arc<Vec<Arc<Numbered<T>>>> {
        self.entries.load_full()
    }

    /// Looks at the file, where there is one; tells whether others count now.
    pub(super) fn refresh(&self) -> Result<bool, String> {
        let Some(file) = &self.file else { return Ok(false) };
        let mut file = file.lock();
        let entries = entries_of(&file.path);
        let now = seen(&entries);
        if std::mem::replace(&mut file.last, now) != file.last {
            return Ok(false);
        }
        let secrets = T::read(entries?).map_err(|sentence| format!("the file {} {sentence}", file.path.display()))?;
        let former = self.now();
        let secrets = renewed(&former, secrets, &mut file.number);
        let are_same = secrets.iter().map(|secret| secret.number).eq(former.iter().map(|secret| secret.number));
        if !are_same {
            self.entries.store(Arc::new(secrets));
        }
        Ok(!are_same)
    }
}

/// These secrets in their order, each once: who counted already goes on as it was, others get the next numbers.
fn renewed<T: Listed>(former: &[Arc<Numbered<T>>], secrets: Vec<T>, number: &mut u64) -> Vec<Arc<Numbered<T>>> {
    let mut renewed: Vec<Arc<Numbered<T>>> = Vec::new();
    for secret in secrets {
        if renewed.iter().any(|other| other.is(&secret)) {
            continue;
        }
        renewed.push(former.iter().find(|other| other.is(&secret)).cloned().unwrap_or_else(|| {
            *number += 1;
            Arc::new(Numbered { number: *number, usage: Usage::default(), secret })
        }));
    }
    renewed
}

fn seen(entries: &Result<Vec<SecretString>, String>) -> Seen {
    let entries = entries.as_ref().map_err(Clone::clone)?;
    let mut digest = Sha256::new();
    for entry in entries {
        // No entry holds a line break.
        digest.update(entry.expose_secret());
        digest.update(b"\n");
    }
    Ok(digest.finalize().into())
}

/// The entries of a file of secrets: one a line, blank lines and lines that begin with `#` aside. At least one.
fn entries_of(file: &Path) -> Result<Vec<SecretString>, String> {
    let name = file.display();
    let mut bytes = Vec::new();
    File::open(file)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(|error| format!("the file {name} cannot be read ({}): put it there and let this user read it", error.kind()))?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("the file {name} is larger than 64KiB; it should hold one secret a line"));
    }
    let text = String::from_utf8(bytes).map(SecretString::from);
    let text = text.map_err(|_| format!("the file {name} is not UTF-8 text; write one secret a line"))?;
    let lines = text.expose_secret().lines().map(str::trim);
    let entries: Vec<SecretString> = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(SecretString::from).collect();
    if entries.is_empty() { Err(format!("the file {name} holds no secret; write one a line")) } else { Ok(entries) }
}
