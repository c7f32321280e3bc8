//! The store's folder: opened under guard, never wiped, and known again by a file of our own.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use rustix::fs::{Advice, fadvise};

use super::guard::quietly;
use super::keys;
use super::rows::Rows;
use super::stored::LAYOUT;
use crate::storage::Error;

/// sled's database file.
pub(super) const DATABASE: &str = "db";
/// Our own: it says how far the store in this folder once was. sled opens a file that lost its end, or all of it, as an older
/// or an empty store, without a word.
const MARK: &str = "rollcall.store";
const NEW_MARK: &str = "rollcall.store.new";
/// What a new store's folder may hold: what an interrupted creation leaves behind, and what file systems put there.
const HARMLESS: [&str; 4] = ["conf", "blobs", "db", "lost+found"];

const CACHE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// sled frees at most a segment a tick: at its usual 500 ms the file grows to a dozen times what it holds.
const FLUSH_EVERY_MILLIS: u64 = 10;

/// An open database.
pub(super) struct Open {
    /// Its rows.
    pub(super) rows: Rows,
    /// Our own handle of its file: sled itself never syncs what it acknowledges. Open from the start, so that it is told of
    /// every error in writing the file back.
    pub(super) file: File,
    /// How far the store once was; never ahead of what was durable then.
    pub(super) mark: Mark,
}

/// A delivery and a change that were durable once: a store that ends before them has lost something.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    pub(super) delivery: u64,
    pub(super) cursor: u64,
}

/// Opens the store in `folder`, or makes one where there is none.
///
/// # Errors
/// [`Error::InUse`], [`Error::Damaged`] or [`Error::Unavailable`].
pub(super) fn open(folder: &Path) -> Result<Open, Error> {
    let unavailable = |what: &dyn ToString| Error::Unavailable { folder: folder.to_owned(), what: what.to_string() };
    let damaged = |what: String| Error::Damaged { folder: folder.to_owned(), what };
    fs::create_dir_all(folder).map_err(|error| unavailable(&error))?;
    let mark = read_mark(folder).map_err(|error| unavailable(&error))?;
    let known = mark.is_some();
    let stored = folder.join(DATABASE).try_exists().map_err(|error| unavailable(&error))?;
    if known && !stored {
        return Err(damaged("its database file is gone".to_owned()));
    }
    if !known && !stored {
        refuse_strangers(folder).map_err(|error| unavailable(&error))?;
    }
    let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES_MAX).flush_every_ms(Some(FLUSH_EVERY_MILLIS));
    let tree = match quietly(|| config.open()) {
        Ok(Ok(tree)) => tree,
        Ok(Err(sled::Error::Io(error))) if is_lock(&error) => return Err(Error::InUse { folder: folder.to_owned() }),
        Ok(Err(sled::Error::Io(error))) => return Err(unavailable(&error)),
        Ok(Err(error)) => return Err(damaged(error.to_string())),
        Err(panic) => return Err(damaged(panic)),
    };
    let file = File::open(folder.join(DATABASE)).map_err(|error| unavailable(&error))?;
    let open = Open { rows: Rows::new(tree, folder), file, mark: mark.unwrap_or_default() };
    recognise(&open, known)?;
    if !known {
        write_mark(folder, Mark::default()).and_then(|()| sync_names(folder)).map_err(|error| unavailable(&error))?;
    }
    Ok(open)
}

/// Writes down how far the store is, and makes that durable.
///
/// # Errors
/// What the file system said; the former mark still stands then.
pub(super) fn write_mark(folder: &Path, mark: Mark) -> io::Result<()> {
    let Mark { delivery, cursor } = mark;
    let mut file = File::create(folder.join(NEW_MARK))?;
    write!(file, "delivery {delivery}\nchange {cursor}\n\nThis folder is rollcall's store. Nothing in it is to be edited by hand.\n")?;
    file.sync_all()?;
    fs::rename(folder.join(NEW_MARK), folder.join(MARK))?;
    File::open(folder)?.sync_all()
}

/// `None` where there is no mark; a number that cannot be read counts as 0.
fn read_mark(folder: &Path) -> io::Result<Option<Mark>> {
    let text = match fs::read(folder.join(MARK)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let number = |word| text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok()).unwrap_or_default();
    Ok(Some(Mark { delivery: number("delivery "), cursor: number("change ") }))
}

/// Makes what the system holds of the database file the same as what is on disk. After a sync that failed it may hold pages that
/// never got there, as if they were clean: they would be read as durable.
///
/// # Errors
/// What the file system said: it still cannot sync.
pub(super) fn settle(folder: &Path) -> io::Result<()> {
    let file = File::open(folder.join(DATABASE))?;
    file.sync_all()?;
    Ok(fadvise(&file, 0, None, Advice::DontNeed)?)
}

/// Makes the names of a new store's files durable.
fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder.join("conf"))?.sync_all()?;
    let folder = folder.canonicalize()?;
    folder.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Tells a new store from one that lost its content, and one layout from another.
fn recognise(open: &Open, known: bool) -> Result<(), Error> {
    let Open { rows, file, .. } = open;
    match rows.get(keys::FORMAT)?.as_deref() {
        Some([LAYOUT]) => Ok(()),
        Some(_) => Err(rows.damaged("it was written by a version of rollcall with another layout")),
        None if known => Err(rows.damaged("its content is gone")),
        None => {
            let mut writes = sled::Batch::default();
            rows.insert(&mut writes, keys::FORMAT, &[LAYOUT]);
            rows.apply(writes).and_then(|()| rows.flush())?;
            file.sync_all().map_err(|error| rows.unavailable(error))
        }
    }
}

/// A folder with something else in it is more likely a slip in `store.path` than a place for a new store.
fn refuse_strangers(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let harmless = name.to_str().is_some_and(|name| HARMLESS.contains(&name) || name.starts_with('.') || name.starts_with("snap."));
        if !harmless {
            let name = name.to_string_lossy();
            return Err(io::Error::other(format!("it holds no store, but {name}: set store.path to a new or an empty folder")));
        }
    }
    Ok(())
}

/// sled wraps a refused lock in an error of its own.
fn is_lock(error: &io::Error) -> bool {
    let text = error.to_string();
    text.contains("could not acquire lock") && text.contains("WouldBlock")
}
