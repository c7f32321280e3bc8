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
use crate::storage::backup::building::{UNFINISHED, UNFINISHED_WORDS};

/// sled's database file.
pub(super) const DATABASE: &str = "db";
/// What sled notes of its own settings when it makes a database, and never syncs.
const SETTINGS: &str = "conf";
/// Our own: it says how far the store in this folder once was. sled opens a file that lost its end, or all of it, as an older
/// or an empty store, without a word.
pub(in crate::storage) const MARK: &str = "rollcall.store";
const NEW_MARK: &str = "rollcall.store.new";
/// What a new store's folder may hold: what an interrupted creation leaves behind, and what file systems put there.
const HARMLESS: [&str; 5] = [SETTINGS, "blobs", DATABASE, super::room::BALLAST, "lost+found"];

const CACHE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// sled frees at most a segment a tick: at its usual 500 ms the file grows to a dozen times what it holds.
const FLUSH_EVERY_MILLIS: u64 = 10;
/// sled takes what it has handed to the system for durable: the head of a segment vouches for the segment before. Where a power cut
/// leaves that head and not the segment before, sled reads nothing that came after its last snapshot. So no usual commit may
/// fill a segment: what is not synced then begins in a segment whose own head is.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;

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
    make(folder).map_err(|error| unavailable(&error))?;
    let mark = read_mark(folder).map_err(|error| unavailable(&error))?;
    let known = mark.is_some();
    let stored = folder.join(DATABASE).try_exists().map_err(|error| unavailable(&error))?;
    if known && !stored {
        return Err(damaged("its database file is gone".to_owned()));
    }
    if !known && folder.join(UNFINISHED).exists() {
        return Err(unavailable(&UNFINISHED_WORDS));
    }
    if !known && !stored {
        refuse_strangers(folder).map_err(|error| unavailable(&error))?;
    }
    clear_up(folder, known).map_err(|error| unavailable(&error))?;
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES_MAX)
        .flush_every_ms(Some(FLUSH_EVERY_MILLIS))
        .segment_size(SEGMENT_BYTES);
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
        sync_new(folder).and_then(|()| write_mark(folder, Mark::default())).map_err(|error| unavailable(&error))?;
    }
    Ok(open)
}

/// Makes the folder where there is none, and every name on the way to it durable: a commit is lost with its folder.
fn make(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    parent.map_or(Ok(()), make)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Puts right what a kill or a power cut left in the folder, before sled meets it.
///
/// sled takes a snapshot that was still being written (`snap.….generating`) for the newest one, and calls the database corrupt. It
/// notes in a synced snapshot how far it read the database, which after a kill may be further than what is on disk. And it
/// refuses settings of which not all reached the disk: before there is a mark nothing was committed, so it may write them anew.
fn clear_up(folder: &Path, known: bool) -> io::Result<()> {
    let database = match File::open(folder.join(DATABASE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        database => Some(database?),
    };
    if let Some(database) = &database {
        if database.try_lock().is_err() {
            // Someone works in it; sled finds out by itself.
            return Ok(());
        }
        database.sync_all()?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let unfinished = name.to_str().is_some_and(|name| name.starts_with("snap.") && name.ends_with(".generating"));
        if unfinished || !known && name == SETTINGS && is_cut(&fs::read(entry.path())?) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Whether sled's settings are blank, or lack the four bytes of checksum behind their last line.
fn is_cut(settings: &[u8]) -> bool {
    settings.iter().all(|byte| *byte == 0) || settings.is_ascii() && settings.ends_with(b"\n")
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

/// Makes a new store's files durable, before the mark says that they are there.
fn sync_new(folder: &Path) -> io::Result<()> {
    File::open(folder.join(SETTINGS))?.sync_all()?;
    File::open(folder)?.sync_all()
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
