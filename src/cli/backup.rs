//! `rollcall backup`: the whole store of a running service as one file, checked while it comes.

use std::fs::{self, DirBuilder, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use bytes::{Buf, Bytes};
use reqwest::Response;
use tokio::runtime::{Builder, Runtime};

use super::ops::{self, Ops};
use crate::storage::backup::{Reader, Summary};

/// The backup in its folder.
pub(super) const FILE: &str = "rollcall.backup";
/// What is not a whole one yet.
const PARTIAL: &str = "rollcall.backup.partial";
const BUFFER_BYTES: usize = 256 * 1024;
const NOTES: &str = "It writes DIR/rollcall.backup, which holds all that is stored: keep it as safe as the store. The service goes on
serving meanwhile. Give each backup a folder of its own:
  rollcall backup backups/$(date +%F)";

/// What `rollcall backup` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Args {
    /// The folder to write it into; made where it is not there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    ops: Ops,
}

/// Takes the backup and says what is in it.
///
/// # Errors
/// There is one already, the service refuses or breaks off, the file cannot be written. Nothing that looks like a backup is left then.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let place = args.folder.join(FILE);
    ensure!(!place.exists(), "{} is there already: give another folder, or move it away", place.display());
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime can be had")?;
    let response = runtime.block_on(args.ops.get("/api/v1/backup"))?;
    make(&args.folder).with_context(|| format!("{} cannot be made", args.folder.display()))?;
    let partial = Partial::open(args.folder.join(PARTIAL))?;
    let download = Download { runtime: &runtime, response, chunk: Bytes::new() };
    let (summary, bytes) = partial.receive(download).map_err(|error| anyhow!("there is no backup, it failed: {error:#}"))?;
    partial.keep(&place).with_context(|| format!("{} cannot be put in its place", place.display()))?;
    let told = writeln!(out, "{}: {}, {bytes} bytes", place.display(), in_words(&summary));
    told.or_else(super::simulate::past_a_broken_pipe).context("standard output cannot be written")
}

/// What is in a backup.
pub(super) fn in_words(summary: &Summary) -> String {
    let Summary { rows, contents, .. } = summary;
    let (users, deliveries, changes, cursor) = (contents.users, contents.deliveries, contents.changes, contents.cursor);
    format!("{rows} rows, {users} users, {deliveries} deliveries, {changes} changes up to cursor {cursor}")
}

/// The file while it is not a backup yet; gone when it is dropped before it is one.
struct Partial {
    file: File,
    path: PathBuf,
}

impl Partial {
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let file = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.with_context(|| format!("{} cannot be written", path.display()))?;
        ensure!(file.try_lock().is_ok(), "{} is being written by another rollcall backup", path.display());
        // What a killed one left is of no use.
        file.set_len(0).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(Self { file, path })
    }

    /// Writes what comes, checks it, and makes it durable.
    fn receive(&self, from: impl Read) -> anyhow::Result<(Summary, u64)> {
        let mut copied = Copied { from, to: BufWriter::with_capacity(BUFFER_BYTES, &self.file), bytes: 0 };
        let mut reader = Reader::new(BufReader::with_capacity(BUFFER_BYTES, &mut copied))?;
        for row in reader.by_ref() {
            row?;
        }
        let summary = reader.summary().context("its end is missing")?;
        let written = copied.to.flush().and_then(|()| self.file.sync_all());
        written.with_context(|| format!("{} cannot be written", self.path.display()))?;
        Ok((summary, copied.bytes))
    }

    fn keep(self, place: &Path) -> io::Result<()> {
        fs::rename(&self.path, place)?;
        sync(place.parent())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Once it is kept it no longer has this name.
        drop(fs::remove_file(&self.path));
    }
}

/// What is read is written as well.
struct Copied<R, W> {
    from: R,
    to: W,
    bytes: u64,
}

impl<R: Read, W: Write> Read for Copied<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        let written = self.to.write_all(buffer.get(..read).unwrap_or_default());
        written.map_err(|error| io::Error::new(error.kind(), format!("the file cannot be written: {error}")))?;
        self.bytes += read as u64;
        Ok(read)
    }
}

/// The body of an answer.
struct Download<'a> {
    runtime: &'a Runtime,
    response: Response,
    chunk: Bytes,
}

impl Read for Download<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.runtime.block_on(self.response.chunk()) {
                Ok(Some(chunk)) => self.chunk = chunk,
                Ok(None) => return Ok(0),
                Err(error) => return Err(io::Error::other(ops::reason(&error))),
            }
        }
        let read = buffer.len().min(self.chunk.len());
        self.chunk.split_to(read).copy_to_slice(buffer.get_mut(..read).unwrap_or_default());
        Ok(read)
    }
}

/// Makes a folder that only its owner may look into, and every name on the way to it durable.
fn make(folder: &Path) -> io::Result<()> {
    let missing: Vec<_> = folder.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists()).collect();
    for folder in missing.into_iter().rev() {
        DirBuilder::new().mode(0o700).create(folder)?;
        sync(folder.parent())?;
    }
    Ok(())
}

fn sync(folder: Option<&Path>) -> io::Result<()> {
    File::open(folder.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()
}
