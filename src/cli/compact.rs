//! `rollcall compact`: has a running service write its store anew in as little room as it takes.

use std::io::Write;

use anyhow::{Context, anyhow};
use tokio::runtime::Builder;

use super::ops::{self, Ops};
use crate::http::compaction::Compacted;

const NOTES: &str =
    "A service does this by itself when its database file has become four times as long as what it holds. It goes on serving
meanwhile, and needs free room for twice the content. Nothing is lost if either ends in the midst.";

/// What `rollcall compact` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Args {
    #[command(flatten)]
    ops: Ops,
}

/// Asks for it, waits until it is done, and says what it gave back.
///
/// # Errors
/// Nobody answers, or the service refuses: a backup or a compaction is under way, there is too little room.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime can be had")?;
    let answer = runtime.block_on(async {
        let response = args.ops.post("/api/v1/compaction").await?;
        response.bytes().await.map_err(|error| anyhow!("it is not known whether it was done: {}", ops::reason(&error)))
    })?;
    let Compacted { bytes_before, bytes_after, content_bytes } = ops::parse(&answer)?;
    let told = writeln!(out, "the database file had {bytes_before} bytes and has {bytes_after}, which hold {content_bytes}");
    told.or_else(super::simulate::past_a_broken_pipe).context("standard output cannot be written")
}
