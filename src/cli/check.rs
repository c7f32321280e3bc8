//! `rollcall check`: whether the settings are good, and what would run with them.

use std::io::Write;
use std::path::PathBuf;

use crate::config::{self, Faults};

pub(super) const NOTES: &str = "Variables of the environment win over files: ROLLCALL__OPS__LISTEN sets ops.listen. The file
config/default.toml lists every key. Relative paths count from the working directory.";

/// What `rollcall check` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Args {
    /// A configuration file (TOML); may be repeated, later files win.
    #[arg(long = "config", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Writes what would run with these files, line by line and with every secret hidden.
///
/// # Errors
/// Every fault of the settings; nothing is written then.
pub fn run(files: &[PathBuf], out: &mut impl Write) -> Result<(), Faults> {
    let config = config::load(files, config::environment())?;
    for line in config.describe() {
        // Who closed the pipe has read enough; the verdict stands.
        let _ = writeln!(out, "{line}");
    }
    Ok(())
}
