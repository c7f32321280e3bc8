//! `rollcall restore`: a store made of a backup, and read back before it counts.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use super::{Failure, backup};
use crate::config;
use crate::storage::backup::Reader;
use crate::storage::{Restored, Store};

const BUFFER_BYTES: usize = 256 * 1024;
const NOTES: &str = "It reads DIR/rollcall.backup and fills store.path of the configuration, which has to be empty or not there.
The service must not run meanwhile. Whoever follows the feed has to list anew: cursors behind the backup's are given again.";

/// What `rollcall restore` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Args {
    /// The folder that holds the backup
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// A configuration file (TOML); may be repeated, later files win.
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Restores it and says what is in the store now.
///
/// # Errors
/// Faults of the configuration; a backup that is none or not whole, a folder that is not empty, a disk that takes nothing. Whatever was made
/// is gone then.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let config = config::load(&args.files, config::environment())?;
    let file = args.folder.join(backup::FILE);
    let restored = restore(&file, &config.store.path).with_context(|| format!("{} was not restored", file.display()))?;
    let summary = *restored.summary();
    restored.keep().map_err(|error| Failure::Failed(error.to_string()))?;
    let told = writeln!(out, "{}: {}, each read back", config.store.path.display(), backup::in_words(&summary));
    told.or_else(super::simulate::past_a_broken_pipe).context("standard output cannot be written").map_err(Failure::from)
}

fn restore(file: &Path, folder: &Path) -> anyhow::Result<Restored> {
    let mut reader = Reader::new(BufReader::with_capacity(BUFFER_BYTES, File::open(file)?))?;
    let restored = Store::restore(folder, reader.by_ref())?;
    ensure!(reader.summary().as_ref() == Some(restored.summary()), "what was read back is not what its end tells");
    Ok(restored)
}
