//! `rollcall health`: whether a running service is well, for containers without a shell.

use std::io::Write;

use anyhow::Context;
use tokio::runtime::Builder;

use super::ops::Ops;

const NOTES: &str =
    "It asks /readyz, which fails while the service starts or drains and while its store cannot commit, or /livez with --live, which
fails when a restart is needed. Neither wants a token. Exit codes: 0 it is well; 1 it is not, or does not answer within 3 seconds.";

/// What `rollcall health` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Args {
    /// Only whether it makes progress, not whether it takes deliveries
    #[arg(long)]
    live: bool,
    #[command(flatten)]
    ops: Ops,
}

/// Asks once, and says what it heard.
///
/// # Errors
/// Nobody answers, or the service is not well.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime can be had")?;
    let (path, well) = if args.live { ("/livez", "alive") } else { ("/readyz", "ready") };
    runtime.block_on(args.ops.probe(path))?;
    writeln!(out, "{well}").or_else(super::simulate::past_a_broken_pipe).context("standard output cannot be written")
}
