//! `rollcall reconcile`: has a running service ask upstream what it may have missed, and perhaps waits for the end.

mod watch;

use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::runtime::Builder;

use super::ops::{self, Ops};
use super::table;
use crate::storage::{Mode, Progress, RunState};
use watch::Watch;

/// How often it is asked how the reconciliation goes.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Polls in a row that may fail: a service that is restarted goes on with what it had begun.
const POLLS_FAILED_MAX: u32 = 30;
const EXAMPLES: &str = "Examples:
  rollcall reconcile --wait                    what was updated since the last pass
  rollcall reconcile --full --dry-run --wait   what a sweep over everyone would change
  rollcall reconcile --uid E1000001 --wait     one user

It goes on in the service whether or not anybody waits; Ctrl-C ends only the waiting.";

/// What `rollcall reconcile` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Whose; may be left out where there is only one
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Read everyone, not only what was updated since the last pass
    #[arg(long, conflicts_with = "uid")]
    full: bool,
    /// Look one user up
    #[arg(long, value_name = "UID")]
    uid: Option<String>,
    /// Change nothing; with --wait, print the differences it would make
    #[arg(long)]
    dry_run: bool,
    /// Wait for the end and show how it goes; ends with 0 only when it is done
    #[arg(long)]
    wait: bool,
    /// The API's own JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    ops: Ops,
}

/// A reconciliation as the API shows it.
#[derive(Debug, Deserialize)]
struct Record {
    id: u64,
    source: String,
    mode: Mode,
    state: RunState,
    progress: Progress,
    message: Option<String>,
    #[serde(default)]
    differences: Option<Vec<Difference>>,
}

/// What a dry run would change about one user.
#[derive(Debug, Deserialize)]
struct Difference {
    uid: String,
    kind: String,
    #[serde(default)]
    fields: Map<String, Value>,
}

/// A record, and the answer that told it.
#[derive(Debug)]
struct Told {
    record: Record,
    answer: Vec<u8>,
}

impl Told {
    fn read(answer: Vec<u8>) -> anyhow::Result<Self> {
        Ok(Self { record: ops::parse(&answer)?, answer })
    }
}

/// Asks for it; waits if that is wanted, and says what came of it.
///
/// # Errors
/// Nobody answers, or the service refuses; while it waits also when the reconciliation fails, is cancelled, or wants someone's approval.
pub fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("no runtime can be had")?;
    let told = runtime.block_on(async {
        let asked = Told::read(ops::read(args.ops.ask("/api/v1/reconciliations", &args.body()).await?).await?)?;
        if args.wait { args.follow(asked).await } else { Ok(asked) }
    })?;
    let written = if args.json { raw(&told.answer, out) } else { args.print(&told.record, out) };
    written.or_else(super::simulate::past_a_broken_pipe).context("standard output cannot be written")?;
    if args.wait { args.verdict(&told.record) } else { Ok(()) }
}

impl Args {
    fn body(&self) -> Value {
        let mode = match (self.full, &self.uid) {
            (true, _) => Mode::Full,
            (false, Some(_)) => Mode::Lookup,
            (false, None) => Mode::Incremental,
        };
        json!({"source": self.source, "mode": mode, "uid": self.uid, "dry_run": self.dry_run})
    }

    /// Looks until it is over, or wants someone's word.
    async fn follow(&self, mut told: Told) -> anyhow::Result<Told> {
        let path = path(&told.record);
        let (mut watch, mut failed) = (Watch::new(), 0);
        loop {
            watch.show(&told.record);
            if told.record.state.is_over() || told.record.state == RunState::AwaitingApproval {
                return Ok(told);
            }
            tokio::time::sleep(POLL_EVERY).await;
            match self.poll(&path).await {
                Ok(newer) => (told, failed) = (newer, 0),
                Err(_) if failed < POLLS_FAILED_MAX => failed += 1,
                Err(error) => return Err(error.context("it is not known how the reconciliation goes")),
            }
        }
    }

    async fn poll(&self, path: &str) -> anyhow::Result<Told> {
        Told::read(ops::read(self.ops.get(path).await?).await?)
    }

    /// What people read: the differences of a dry run, and one line.
    fn print(&self, record: &Record, out: &mut impl Write) -> io::Result<()> {
        let Record { id, source, mode, state, .. } = record;
        if !self.wait {
            return writeln!(
                out,
                "reconciliation {id} ({}, {source}) is {}: GET {} tells how it goes",
                mode.name(),
                state.name(),
                path(record)
            );
        }
        if *state != RunState::Done {
            return Ok(());
        }
        if let Some(differences) = record.differences.as_ref().filter(|differences| !differences.is_empty()) {
            let rows: Vec<_> = differences.iter().map(row).collect();
            table::print(&["UID", "KIND", "FIELDS"], &rows, out)?;
        }
        writeln!(out, "{}", summary(record))
    }

    /// How it ended, for the exit code.
    fn verdict(&self, record: &Record) -> anyhow::Result<()> {
        let Record { id, state, message, .. } = record;
        let why = message.as_deref().map_or(String::new(), |message| format!(": {}", table::harmless(message)));
        match state {
            RunState::AwaitingApproval => {
                let [approve, cancel] = ["approve", "cancel"].map(|verb| self.ops.by_hand(&format!("{}/{verb}", path(record))));
                bail!("reconciliation {id} awaits approval{why}; to let it delete: {approve}; to keep these users: {cancel}")
            }
            RunState::Failed => bail!("reconciliation {id} failed{why}"),
            RunState::Cancelled => bail!("reconciliation {id} was cancelled; ask for another one when it may go on"),
            _ => Ok(()),
        }
    }
}

fn path(record: &Record) -> String {
    format!("/api/v1/reconciliations/{}", record.id)
}

fn row(difference: &Difference) -> Vec<String> {
    let Difference { uid, kind, fields } = difference;
    let side = |change: &Value, side: &str| change.get(side).unwrap_or(&Value::Null).to_string();
    let fields = fields.iter().map(|(field, change)| format!("{field}: {} -> {}", side(change, "from"), side(change, "to")));
    vec![uid.clone(), kind.clone(), fields.collect::<Vec<_>>().join(", ")]
}

fn summary(record: &Record) -> String {
    let Record { id, progress, differences, .. } = record;
    let Progress { calls, rows, changed, gaps_closed, deleted, .. } = progress;
    if let Some(differences) = differences {
        let hidden = changed.saturating_sub(differences.len() as u64);
        let rest = if hidden == 0 { String::new() } else { format!(", {hidden} of them not shown") };
        return format!("reconciliation {id} is done: {calls} calls, {rows} rows, {changed} users would change{rest}");
    }
    let deleted = if *deleted == 0 { String::new() } else { format!(", {deleted} deletions confirmed") };
    format!("reconciliation {id} is done: {calls} calls, {rows} rows, {changed} users changed{deleted}, {gaps_closed} gaps closed")
}

fn raw(answer: &[u8], out: &mut impl Write) -> io::Result<()> {
    out.write_all(answer)?;
    if answer.ends_with(b"\n") { Ok(()) } else { writeln!(out) }
}
