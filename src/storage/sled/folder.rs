//! The store's folder: opened under guard, never wiped, and known again by a file of our own.
//!
//! It holds sled's files in a folder `tree-N`, the two files of the journal, the ballast, and the mark, which says which tree counts.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::guard::quietly;
use super::journal::{self, Journal, Leaf};
use super::pending::{Generation, Pending};
use super::rows::Rows;
use super::stored::{LAYOUT, Settled};
use super::{keys, room};
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
const TREE: &str = "tree-";
/// What a new store's folder may hold: what an interrupted creation leaves behind, and what file systems put there.
const HARMLESS: [&str; 5] = [journal::NAMES[0], journal::NAMES[1], room::BALLAST, NEW_MARK, "lost+found"];

const CACHE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// sled frees at most a segment a tick: with ours that is 100 MB/s, far more than settles. At its usual 500 ms the file grows to a dozen
/// times what it holds; and at each tick it syncs, which commits have to wait for.
const FLUSH_EVERY_MILLIS: u64 = 40;
/// sled takes what it has handed to the system for durable: the head of a segment vouches for the segment before. Where a power cut
/// leaves that head and not the segment before, sled reads nothing that came after its last snapshot. So no usual commit may
/// fill a segment: what is not synced then begins in a segment whose own head is.
const SEGMENT_BYTES: usize = 4 * 1024 * 1024;

/// An open store.
pub(super) struct Open {
    /// The tree's rows.
    pub(super) rows: Rows,
    /// Our own handle of the tree's file: sled itself never syncs what it acknowledges. Open from the start, so that it is told of
    /// every error in writing the file back.
    pub(super) file: File,
    /// The journal, and what of it is pending.
    pub(super) journal: Journal,
    pub(super) pending: Pending,
    /// How far the journal has settled.
    pub(super) settled: Settled,
    /// How far the store once was; never ahead of what was durable then.
    pub(super) mark: Mark,
}

/// What was durable once: a store that ends before has lost something.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    pub(super) delivery: u64,
    pub(super) cursor: u64,
    /// The file of the journal that was being written.
    pub(super) generation: u64,
    /// The tree that counts.
    pub(super) tree: u64,
}

impl Default for Mark {
    fn default() -> Self {
        Self { delivery: 0, cursor: 0, generation: 1, tree: 1 }
    }
}

/// Opens the store in `folder`, or makes one where there is none.
///
/// # Errors
/// [`Error::InUse`], [`Error::Damaged`] or [`Error::Unavailable`].
pub(super) fn open(folder: &Path) -> Result<Open, Error> {
    let unavailable = |error: io::Error| Error::Unavailable { folder: folder.to_owned(), what: error.to_string() };
    make(folder).map_err(unavailable)?;
    let mark = read_mark(folder).map_err(unavailable)?;
    let (known, mark) = (mark.is_some(), mark.unwrap_or_default());
    let place = tree_at(folder, mark.tree);
    let stored = place.join(DATABASE).try_exists().map_err(unavailable)?;
    if known && !stored {
        return Err(Error::Damaged { folder: folder.to_owned(), what: "its database file is gone".to_owned() });
    }
    if !known && folder.join(UNFINISHED).exists() {
        return Err(unavailable(io::Error::other(UNFINISHED_WORDS)));
    }
    if !known && !stored {
        refuse_strangers(folder).map_err(unavailable)?;
    }
    make(&place).and_then(|()| clear_up(&place, known)).map_err(unavailable)?;
    let rows = open_tree(folder, &place)?;
    let file = File::open(place.join(DATABASE)).map_err(unavailable)?;
    recognise(&rows, &file, known)?;
    if !known {
        let made = Journal::make(folder).and_then(|()| sync_new(folder, &place)).and_then(|()| write_mark(folder, mark));
        made.map_err(unavailable)?;
    }
    clear_trees(folder, mark.tree).map_err(unavailable)?;
    let settled = match rows.get(keys::SETTLED)? {
        None => Settled::default(),
        Some(row) => Settled::decode(&row).ok_or_else(|| rows.damaged("the row of what has settled cannot be read"))?,
    };
    let (journal, pending) = read_journal(folder, settled, mark)?;
    Ok(Open { rows, file, journal, pending, settled, mark })
}

/// Where the tree with this number is.
pub(super) fn tree_at(folder: &Path, tree: u64) -> PathBuf {
    folder.join(format!("{TREE}{tree}"))
}

/// The database file of the store in `folder`.
pub(super) fn database_of(folder: &Path) -> PathBuf {
    let mark = read_mark(folder).ok().flatten().unwrap_or_default();
    tree_at(folder, mark.tree).join(DATABASE)
}

/// Makes an empty tree in a folder that is not there.
pub(super) fn make_tree(folder: &Path, place: &Path) -> Result<Rows, Error> {
    make(place).map_err(|error| Error::Unavailable { folder: folder.to_owned(), what: error.to_string() })?;
    open_tree(folder, place)
}

fn open_tree(folder: &Path, place: &Path) -> Result<Rows, Error> {
    let unavailable = |error: &io::Error| Error::Unavailable { folder: folder.to_owned(), what: error.to_string() };
    let damaged = |what: String| Error::Damaged { folder: folder.to_owned(), what };
    let config = sled::Config::new()
        .path(place)
        .cache_capacity(CACHE_BYTES_MAX)
        .flush_every_ms(Some(FLUSH_EVERY_MILLIS))
        .segment_size(SEGMENT_BYTES);
    match quietly(|| config.open()) {
        Ok(Ok(tree)) => Ok(Rows::new(tree, folder)),
        Ok(Err(sled::Error::Io(error))) if is_lock(&error) => Err(Error::InUse { folder: folder.to_owned() }),
        Ok(Err(sled::Error::Io(error))) => Err(unavailable(&error)),
        Ok(Err(error)) => Err(damaged(error.to_string())),
        Err(panic) => Err(damaged(panic)),
    }
}

/// Reads the journal's files: rows that have not settled are pending.
fn read_journal(folder: &Path, settled: Settled, mark: Mark) -> Result<(Journal, Pending), Error> {
    let unavailable = |error: io::Error| Error::Unavailable { folder: folder.to_owned(), what: error.to_string() };
    let mut leaves = Vec::new();
    for name in journal::NAMES {
        leaves.extend(Leaf::open(folder, name).map_err(unavailable)?);
    }
    leaves.sort_by_key(|leaf| std::cmp::Reverse(leaf.generation));
    let mut leaves = leaves.into_iter();
    let young = leaves.next().filter(|young| young.generation >= mark.generation && young.generation > settled.generation);
    let mut young = young.ok_or_else(|| journal::damaged(folder, "is gone"))?;
    let other = leaves.next();
    let mut rows = Generation::new(young.file.clone());
    replay(folder, &mut young, &mut rows)?;
    if young.generation == settled.generation + 1 {
        // Whatever the other file holds has settled.
        return Ok((Journal::new(folder, young, other.map(|leaf| leaf.file)), Pending::new(rows, None)));
    }
    let old = other.filter(|old| old.generation == settled.generation + 1 && young.generation == settled.generation + 2);
    let mut old = old.ok_or_else(|| journal::damaged(folder, "has lost a file"))?;
    let mut old_rows = Generation::new(old.file.clone());
    replay(folder, &mut old, &mut old_rows)?;
    old_rows.retain(|key| match (keys::kind_of(key), keys::number_of(key)) {
        (keys::DELIVERIES, Some(first)) => first > settled.delivery,
        (keys::CHANGES, Some(first)) => first > settled.cursor,
        _ => true,
    });
    Ok((Journal::new(folder, young, Some(old.file)), Pending::new(rows, Some(old_rows))))
}

fn replay(folder: &Path, leaf: &mut Leaf, rows: &mut Generation) -> Result<(), Error> {
    let replayed = leaf.replay(&mut |row, begin| rows.put(row, begin));
    let whole = replayed.map_err(|error| Error::Unavailable { folder: folder.to_owned(), what: error.to_string() })?;
    whole.map_err(|at| journal::damaged(folder, &format!("is broken at byte {at} of file {}, and goes on behind", leaf.generation)))
}

/// Takes away trees that do not count: a compaction that was cut short, or the one before it.
fn clear_trees(folder: &Path, counts: u64) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix(TREE)?.parse::<u64>().ok());
        if number.is_some_and(|number| number != counts) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Bytes of all files of the store in `folder`, its ballast aside.
pub(super) fn bytes(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => bytes(&entry.path()),
        Ok(found) if entry.file_name() != room::BALLAST => found.len(),
        _ => 0,
    };
    entries.filter_map(Result::ok).map(of).sum()
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
    let Mark { delivery, cursor, generation, tree } = mark;
    let mut file = File::create(folder.join(NEW_MARK))?;
    let note = "This folder is rollcall's store. Nothing in it is to be edited by hand.";
    write!(file, "delivery {delivery}\nchange {cursor}\njournal {generation}\ntree {tree}\n\n{note}\n")?;
    file.sync_all()?;
    fs::rename(folder.join(NEW_MARK), folder.join(MARK))?;
    File::open(folder)?.sync_all()
}

/// `None` where there is no mark; a number that cannot be read counts as that of a new store.
fn read_mark(folder: &Path) -> io::Result<Option<Mark>> {
    let text = match fs::read(folder.join(MARK)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let number = |word| text.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
    let new = Mark::default();
    Ok(Some(Mark {
        delivery: number("delivery ").unwrap_or(new.delivery),
        cursor: number("change ").unwrap_or(new.cursor),
        generation: number("journal ").unwrap_or(new.generation),
        tree: number("tree ").unwrap_or(new.tree),
    }))
}

/// Makes what the system holds of the store's files the same as what is on disk. After a sync that failed it may hold pages that
/// never got there, as if they were clean: they would be read as durable.
///
/// # Errors
/// What the file system said: it still cannot sync.
pub(super) fn recover(folder: &Path, tree: u64) -> io::Result<()> {
    let files = [tree_at(folder, tree).join(DATABASE), folder.join(journal::NAMES[0]), folder.join(journal::NAMES[1])];
    for path in files {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        file.sync_all()?;
        fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Makes a new store's files durable, before the mark says that they are there.
pub(super) fn sync_new(folder: &Path, tree: &Path) -> io::Result<()> {
    File::open(tree.join(SETTINGS))?.sync_all()?;
    File::open(tree)?.sync_all()?;
    File::open(folder)?.sync_all()
}

/// Tells a new store from one that lost its content, and one layout from another.
fn recognise(rows: &Rows, file: &File, known: bool) -> Result<(), Error> {
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
        let harmless = name.to_str().is_some_and(|name| HARMLESS.contains(&name) || name.starts_with('.') || name.starts_with(TREE));
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
