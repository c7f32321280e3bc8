//! `rollcall gaps`: what the directory of a running service may have missed, or what of it was mended.

use std::io::{self, Write};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::runtime::Builder;

use super::ops::{self, Ops};
use super::table;
use crate::http::gaps::Shown;

/// Gaps asked for at once: as many as the service answers.
const PAGE_GAPS_MAX: usize = 1000;
const NOTES: &str = "A gap is evidence that the directory may have missed something; a reconciliation closes it:
  rollcall reconcile --wait";

/// What `rollcall gaps` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Args {
    /// The closed ones instead of the open ones
    #[arg(long)]
    closed: bool,
    /// Only those of one source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// The API's own JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ops: Ops,
}

/// A list as the API answers it.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Page {
    gaps: Vec<Box<RawValue>>,
    next: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
struct Sources {
    sources: Vec<Source>,
}

#[derive(Debug, Deserialize)]
struct Source {
    name: String,
}

/// Lists them all, the newest first.
///
/// # Errors
/// Nobody answers, or the service refuses; there is no such source.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime can be had")?;
    let (gaps, shown) = runtime.block_on(args.all())?;
    let told = if args.json { json(gaps, out) } else { print(&shown, args.closed, out) };
    told.or_else(super::simulate::past_a_broken_pipe).context("standard output cannot be written")
}

impl Args {
    /// Every gap, as it came and as it is shown.
    async fn all(&self) -> anyhow::Result<(Vec<Box<RawValue>>, Vec<Shown>)> {
        self.check_source().await?;
        let state = if self.closed { "closed" } else { "open" };
        let (mut gaps, mut shown, mut after) = (Vec::new(), Vec::new(), String::new());
        loop {
            let path = format!("/api/v1/gaps?state={state}&limit={PAGE_GAPS_MAX}{after}");
            let page: Page = ops::parse(&ops::read(self.ops.get(&path).await?).await?)?;
            for raw in page.gaps {
                let gap: Shown = ops::parse(raw.get().as_bytes())?;
                if self.source.as_ref().is_none_or(|source| *source == gap.source) {
                    gaps.push(raw);
                    shown.push(gap);
                }
            }
            let Some(next) = page.next.filter(|next| next.get() != "null") else { return Ok((gaps, shown)) };
            after = format!("&after={}", next.get().trim_matches('"'));
        }
    }

    /// A name that is written wrong must not look like a source without gaps.
    async fn check_source(&self) -> anyhow::Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let known: Sources = ops::parse(&ops::read(self.ops.get("/api/v1/sources").await?).await?)?;
        if known.sources.iter().any(|known| known.name == *source) {
            return Ok(());
        }
        let names: Vec<_> = known.sources.into_iter().map(|known| known.name).collect();
        bail!("there is no source {source:?}: give --source one of {}", names.join(", "))
    }
}

fn json(gaps: Vec<Box<RawValue>>, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, &Page { gaps, next: None })?;
    writeln!(out)
}

fn print(gaps: &[Shown], closed: bool, out: &mut impl Write) -> io::Result<()> {
    if gaps.is_empty() {
        return writeln!(out, "no {} gaps", if closed { "closed" } else { "open" });
    }
    let mut head = vec!["ID", "SOURCE", "REASON", "UID", "COUNT", "SINCE", "EVENT"];
    if closed {
        head.extend(["CLOSED", "BY"]);
    }
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let row = |gap: &Shown| {
        let Shown { id, source, reason, uid, count, detected_at, event_id, closed_at, closed_by } = gap;
        let (uid, event) = (or_dash(uid), or_dash(event_id));
        let mut row = vec![id.to_string(), source.clone(), reason.to_string(), uid, count.to_string(), detected_at.clone(), event];
        if closed {
            row.extend([or_dash(closed_at), closed_by.map_or("-".to_owned(), |by| by.to_string())]);
        }
        row
    };
    table::print(&head, &gaps.iter().map(row).collect::<Vec<_>>(), out)
}
