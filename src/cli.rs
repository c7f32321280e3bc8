//! The commands, one file each, and what an exit code means.

pub mod backup;
pub mod check;
pub mod compact;
pub mod demo;
pub mod gaps;
pub mod health;
mod ops;
pub mod reconcile;
pub mod restore;
pub mod send;
pub mod serve;
pub mod simulate;
mod table;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Faults;

const NOTES: &str = "Try `rollcall demo` first: it needs no configuration and leaves nothing behind.
Exit codes: 0 done; 1 failed, with a line on stderr; 2 wrong usage or configuration.";

/// Keeps a local people directory equal to its MangoApps tenant.
#[derive(Debug, Parser)]
#[command(version, about, after_help = NOTES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch a simulated tenant and a service joined to it, with deliveries lost, doubled and reordered on purpose.
    Demo(demo::Args),
    /// Run the service.
    Serve(serve::Args),
    /// Validate the configuration and say what would run, secrets hidden.
    Check(check::Args),
    /// Run only the simulated MangoApps tenant, to test integrations against.
    Simulate(simulate::Args),
    /// Sign a delivery and post it.
    Send(send::Args),
    /// Ask a running service whether it is well, by the exit code.
    Health(health::Args),
    /// List what the directory of a running service may have missed.
    Gaps(gaps::Args),
    /// Have a running service ask upstream what it may have missed.
    Reconcile(reconcile::Args),
    /// Copy the whole store of a running service into a folder.
    Backup(backup::Args),
    /// Have a running service write its store anew in as little room as it takes.
    Compact(compact::Args),
    /// Make a store of a backup.
    Restore(restore::Args),
}

/// Why a command did not do what was asked.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or configuration: exit 2, one line a fault.
    Usage(Vec<String>),
    /// It failed: exit 1, one line.
    Failed(String),
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::Usage(faults.to_string().lines().map(str::to_owned).collect())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"))
    }
}

/// Runs the command that the arguments name. Exit code 0: done; 1: failed; 2: wrong usage or configuration.
#[must_use]
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing can be said to someone who closed both streams.
            drop(error.print());
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let done = match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Simulate(args) => actix_web::rt::System::new().block_on(simulate::run(args)).map_err(Failure::from),
        Command::Send(args) => actix_web::rt::System::new().block_on(send::run(args)).map_err(Failure::from),
        Command::Health(args) => health::run(&args, &mut std::io::stdout().lock()).map_err(Failure::from),
        Command::Gaps(args) => gaps::run(&args, &mut std::io::stdout().lock()).map_err(Failure::from),
        Command::Reconcile(args) => reconcile::run(&args, &mut std::io::stdout().lock()).map_err(Failure::from),
        Command::Backup(args) => backup::run(&args, &mut std::io::stdout().lock()).map_err(Failure::from),
        Command::Compact(args) => compact::run(&args, &mut std::io::stdout().lock()).map_err(Failure::from),
        Command::Restore(args) => restore::run(&args, &mut std::io::stdout().lock()),
        Command::Check(args) => check::run(&args.files, &mut std::io::stdout().lock()).map_err(Failure::from),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(line)) => tell(&[line], 1),
        Err(Failure::Usage(lines)) => tell(&lines, 2),
    }
}

fn tell(lines: &[String], code: u8) -> ExitCode {
    let mut stderr = std::io::stderr().lock();
    for line in lines {
        // Whoever closed stderr does not want to read it.
        drop(writeln!(stderr, "rollcall: {line}"));
    }
    ExitCode::from(code)
}
