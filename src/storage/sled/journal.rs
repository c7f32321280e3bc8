//! The journal: every commit is appended to a file of our own and synced, long before its rows settle in the tree.
//!
//! # Why a journal before sled
//! One row costs sled 5 to 20 µs and, since it rewrites whole pages, several times its bytes; and a commit has to wait for all of that.
//! A commit in the journal is one write of its own bytes and one sync. Rows settle later ([`super::settle`]), those of a user who
//! changed ten times meanwhile once, and of the log many together in one compressed row. The price: a start reads what has not
//! settled, up to two files of [`FILE_BYTES_MAX`], and there is a file format of our own. An engine whose commits cost less than its
//! rows would change our mind.
//!
//! # The files
//! Two files take turns. While one is written, the rows of the other settle; once they have, it is overwritten from its beginning with
//! a new generation. A file begins with a head: a word, the generation, a salt, and a CRC-32C of these. Frames follow ([`frame`]); they end
//! where no frame with this salt and the next place in order stands. Only the last frame can have been cut, since each is synced before the
//! next is written: a sound frame behind a broken one tells of damage.

pub(super) mod frame;

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use frame::{Frame, Head, Told};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::storage::Error;

/// The two files.
pub(super) const NAMES: [&str; 2] = ["journal.0", "journal.1"];
const WORD: &[u8; 8] = b"rollcall";
const FILE_HEAD_BYTES: usize = 8 + 8 + 8 + 4;
/// The first frame stands here.
const BEGIN: u64 = 64;
/// Zeros are written ahead by this much, so that a commit changes no length: a sync then needs no second write for that.
const AHEAD_BYTES: usize = 256 * 1024;
/// A journal file that is longer is followed by the other one as soon as that has settled.
pub(super) const FILE_BYTES_MAX: u64 = 40 * 1024 * 1024;
/// While the store is copied nothing settles; a file that has become so long ends that.
const HELD_UP_BYTES_MAX: u64 = 512 * 1024 * 1024;
const FILE_BYTES_MIN: u64 = 32 * 1024 * 1024;
/// Frames begin at multiples of this.
const ALIGNED_BYTES: u64 = 64;
/// Frames are read, and looked for behind a broken one, by this many bytes at a time.
const READ_BYTES: usize = 1024 * 1024;
/// A sound frame is looked for so far behind a broken one, which was one commit.
const SEARCHED_BYTES: u64 = 32 * 1024 * 1024;

/// The journal, as the one who commits holds it.
pub(super) struct Journal {
    folder: PathBuf,
    young: Leaf,
    /// The other file, for the generation after the next.
    other: Option<Arc<File>>,
    /// Between what lengths a file is followed by the other one, the larger the tree the later.
    pub(super) file_bytes: (u64, u64),
}

/// One file of the journal.
pub(super) struct Leaf {
    pub(super) file: Arc<File>,
    pub(super) generation: u64,
    salt: u64,
    /// The place in order of the next frame, and in the file.
    order: u64,
    end: u64,
    /// The file holds at least so many bytes.
    len: u64,
}

/// Who is told what is read from a file of the journal: a row, and the place in the file of its frame.
type Listener<'a> = &'a mut dyn FnMut(Told<'_>, u64);

impl Journal {
    /// Makes the journal of a new store, and makes it durable.
    pub(super) fn make(folder: &Path) -> io::Result<()> {
        let file = open_file(folder, 1)?;
        begin(&file, 1, salt())?;
        file.sync_all()?;
        // So that its name is on disk long before it is needed.
        open_file(folder, 2).map(drop)
    }

    /// Puts the journal together from its young file and, where there is one, the other.
    pub(super) fn new(folder: &Path, young: Leaf, other: Option<Arc<File>>) -> Self {
        Self { folder: folder.to_owned(), young, other, file_bytes: (FILE_BYTES_MIN, FILE_BYTES_MAX) }
    }

    /// Appends a frame; it is not on disk yet. Returns its place in the file.
    pub(super) fn append(&mut self, frame: &mut Frame) -> io::Result<u64> {
        let Leaf { file, salt, order, end, len, .. } = &mut self.young;
        let (begin, bytes) = (*end, frame.seal(*salt, *order));
        let behind = (begin + bytes.len() as u64).next_multiple_of(ALIGNED_BYTES);
        // First, so that a disk without room refuses the frame before any of it is there.
        while behind + HEAD_ROOM > *len {
            *len = write_ahead(file, *len)?;
        }
        file.write_all_at(bytes, begin)?;
        (*end, *order) = (behind, *order + 1);
        Ok(begin)
    }

    /// Makes everything appended durable.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.young.file.sync_data()
    }

    /// The file that is being written.
    pub(super) const fn young(&self) -> &Leaf {
        &self.young
    }

    /// Whether the young file is long enough, for a tree of so many bytes.
    pub(super) fn is_full(&self, tree_bytes: u64) -> bool {
        self.fill(tree_bytes) >= 1.0
    }

    /// How much of its length the young file has, for a tree of so many bytes: 0 to 1, and beyond.
    pub(super) fn fill(&self, tree_bytes: u64) -> f64 {
        let (min, max) = self.file_bytes;
        self.young.end as f64 / (tree_bytes / 2).clamp(min, max) as f64
    }

    /// Whether the young file is so long that nothing may hold up its settling any more.
    pub(super) const fn is_long(&self) -> bool {
        self.young.end >= HELD_UP_BYTES_MAX
    }

    /// Begins the next generation in the other file; it is not on disk yet. What stands there must have settled.
    pub(super) fn turn(&mut self) -> io::Result<()> {
        let generation = self.young.generation + 1;
        let file = match self.other.take() {
            Some(file) => file,
            None => Arc::new(open_file(&self.folder, generation)?),
        };
        let salt = salt();
        begin(&file, generation, salt)?;
        let len = file.metadata()?.len();
        let former = std::mem::replace(&mut self.young, Leaf { file, generation, salt, order: 0, end: BEGIN, len });
        self.other = Some(former.file);
        Ok(())
    }
}

/// Room for the head of a frame behind the last one, so that a search for the end meets zeros.
const HEAD_ROOM: u64 = frame::HEAD_BYTES as u64;

impl Leaf {
    /// Reads a file's head; `None` where there is no such file, or none with a sound head.
    pub(super) fn open(folder: &Path, name: &str) -> io::Result<Option<Self>> {
        let file = match File::options().read(true).write(true).open(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => Arc::new(file?),
        };
        // What a kill left in memory alone is about to be read as durable.
        file.sync_all()?;
        let len = file.metadata()?.len();
        let mut head = [0; FILE_HEAD_BYTES];
        if file.read_exact_at(&mut head, 0).is_err() {
            return Ok(None);
        }
        let head = read_head(&head);
        Ok(head.map(|(generation, salt)| Self { file, generation, salt, order: 0, end: BEGIN, len }))
    }

    /// Reads the file's frames from the first on, and finds its end.
    ///
    /// # Errors
    /// `Ok(Err(..))` where a sound frame stands behind a broken one, with the place of the broken one.
    pub(super) fn replay(&mut self, told: Listener<'_>) -> io::Result<Result<(), u64>> {
        let mut file = io::BufReader::with_capacity(READ_BYTES, self.file.as_ref());
        file.seek(SeekFrom::Start(BEGIN))?;
        let (mut head, mut rows) = ([0; frame::HEAD_BYTES], Vec::new());
        loop {
            let whole = read_whole(&mut file, &mut head)?;
            let Some(read) = Head::read(&head).filter(|read| whole && read.order == self.order) else { break };
            if self.end + HEAD_ROOM + u64::from(read.len) > self.len {
                break;
            }
            rows.resize(read.len as usize, 0);
            if !read_whole(&mut file, &mut rows)? || !read.vouches_for(self.salt, &rows) {
                break;
            }
            frame::rows_of(&rows).for_each(|row| told(row, self.end));
            let end = self.end + HEAD_ROOM + u64::from(read.len);
            (self.end, self.order) = (end.next_multiple_of(ALIGNED_BYTES), self.order + 1);
            file.seek_relative((self.end - end).cast_signed())?;
        }
        if self.search()? { Ok(Err(self.end)) } else { Ok(Ok(())) }
    }

    /// Whether a sound frame of this file stands behind its end.
    fn search(&self) -> io::Result<bool> {
        let mut window = vec![0; READ_BYTES];
        let last = self.len.min(self.end.saturating_add(SEARCHED_BYTES));
        let mut at = self.end;
        while at < last {
            let read = read_up_to(&self.file, &mut window, at)?;
            for (place, head) in
                (at..).step_by(ALIGNED_BYTES as usize).zip(window.get(..read).unwrap_or_default().chunks(ALIGNED_BYTES as usize))
            {
                let later = Head::read(head).filter(|head| head.order > self.order && head.order < self.order + self.len);
                if let Some(head) = later
                    && self.vouches(&head, place)?
                {
                    return Ok(true);
                }
            }
            at += READ_BYTES as u64;
        }
        Ok(false)
    }

    fn vouches(&self, head: &Head, at: u64) -> io::Result<bool> {
        if at + HEAD_ROOM + u64::from(head.len) > self.len {
            return Ok(false);
        }
        let mut rows = vec![0; head.len as usize];
        self.file.read_exact_at(&mut rows, at + HEAD_ROOM)?;
        Ok(head.vouches_for(self.salt, &rows))
    }
}

/// That the journal of the store in `folder` is broken.
pub(super) fn damaged(folder: &Path, what: &str) -> Error {
    Error::Damaged { folder: folder.to_owned(), what: format!("its journal {what}") }
}

fn open_file(folder: &Path, generation: u64) -> io::Result<File> {
    let name = if generation.is_multiple_of(2) { NAMES[0] } else { NAMES[1] };
    File::options().read(true).write(true).create(true).truncate(false).open(folder.join(name))
}

/// Nobody outside knows it.
fn salt() -> u64 {
    SmallRng::from_os_rng().random()
}

/// Writes a file's head.
fn begin(file: &File, generation: u64, salt: u64) -> io::Result<()> {
    let mut head = [WORD.as_slice(), &generation.to_le_bytes(), &salt.to_le_bytes()].concat();
    head.extend(crc32c::crc32c(&head).to_le_bytes());
    file.write_all_at(&head, 0)
}

fn read_head(head: &[u8; FILE_HEAD_BYTES]) -> Option<(u64, u64)> {
    let (content, crc) = head.split_last_chunk::<4>()?;
    let numbers = content.strip_prefix(WORD).filter(|_| crc32c::crc32c(content).to_le_bytes() == *crc)?;
    let (generation, rest) = numbers.split_first_chunk()?;
    Some((u64::from_le_bytes(*generation), u64::from_le_bytes(*rest.first_chunk()?)))
}

/// Writes zeros from `at` on; returns where they end.
fn write_ahead(file: &File, at: u64) -> io::Result<u64> {
    file.write_all_at(&[0; AHEAD_BYTES], at)?;
    Ok(at + AHEAD_BYTES as u64)
}

/// Fills `buffer`; `false` where the file ends before.
fn read_whole(file: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

fn read_up_to(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    Ok(read)
}
