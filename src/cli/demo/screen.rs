//! What the demo shows: a calm screen on a terminal, a line now and then elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use super::compare::Verdict;
use super::{SOURCE, Stage};
use crate::directory::{Outcome, Reason};
use crate::simulator::outbox::Stats;

/// How often a line is printed where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(3);
/// Gaps that are counted for the screen.
const GAPS_MAX: usize = 10_000;
/// Reasons of gaps on one line: more would not fit into 80 columns.
const REASONS_A_LINE: usize = 3;
const INTRODUCTION: &str = "A simulated MangoApps tenant tells rollcall by signed webhooks what happens.
15% of the events are lost on purpose, 15% doubled, 15% held back; rollcall
notices, and asks the tenant's REST API until both are equal again.

";

/// Draws on stdout.
pub(super) struct Screen {
    once: bool,
    terminal: bool,
    lines: usize,
    last: Option<Instant>,
}

impl Screen {
    /// Says what is about to be seen.
    pub(super) fn new(once: bool) -> Self {
        print(INTRODUCTION);
        Self { once, terminal: std::io::stdout().is_terminal(), lines: 0, last: None }
    }

    /// Shows where everything stands.
    pub(super) fn draw(&mut self, stage: &Stage, verdict: &Verdict, phase: &str) {
        if self.terminal {
            let text = picture(stage, verdict, phase, self.once);
            print(&over(&text, self.lines));
            self.lines = text.lines().count();
        } else if self.last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.last = Some(Instant::now());
            let open = stage.running.service.store.counts(SOURCE).gaps_open;
            let Verdict { right, wrong, .. } = verdict;
            print(&format!("tenant {phase}: {}; gaps open: {open}; users equal: {right}, not yet: {wrong}\n", sent(&stage.sender.stats())));
        }
    }

    /// Tells how it ended.
    pub(super) fn sum_up(&self, stage: &Stage, verdict: &Verdict, took: Duration) {
        let (stats, store) = (stage.sender.stats(), &stage.running.service.store);
        let simulated = stage.clock.elapsed().as_secs() / 60;
        let mut text = format!("\nThe end, after {simulated} simulated minutes in {:.1} s.\n\n", took.as_secs_f64());
        row(&mut text, "sent", &format!("{}, {} retried", sent(&stats), stats.retried));
        row(&mut text, "received", &outcomes(stage));
        row(&mut text, "gaps", &gaps(stage, false).join(&format!(",\n{:14}", "")));
        let runs = store.reconciliations(u64::MAX, 1).unwrap_or_default().first().map_or(0, |run| run.id);
        let (bulk, lookup) = (stage.api.bulk_traffic(), stage.api.lookup_traffic());
        let asked = format!("{runs} reconciliations, by {} listing pages and {} lookups", bulk.requests, lookup.requests);
        row(&mut text, "repairs", &asked);
        row(&mut text, "limits", &format!("{} pages of 100 and {} lookups of 300 in the worst hour", bulk.worst_hour, lookup.worst_hour));
        let counts = store.counts(SOURCE);
        let users = format!("{} active, {} inactive, {} deleted", counts.active, counts.inactive, counts.deleted);
        row(&mut text, "users", &format!("{users}; {} changes in the feed", store.watermark()));
        let result = match verdict.wrong {
            0 => format!("directory and tenant are identical, {} fields compared", verdict.fields),
            wrong => format!("{wrong} users differ, {} of them in being there at all", verdict.wrong_life),
        };
        row(&mut text, "result", &result);
        print(&text);
    }
}

fn picture(stage: &Stage, verdict: &Verdict, phase: &str, once: bool) -> String {
    let service = &stage.running.service;
    let (standing, counts) = (service.standing(SOURCE), service.store.counts(SOURCE));
    let mut text = String::new();
    let minutes = stage.clock.elapsed().as_secs() / 60;
    row(&mut text, "time", &format!("{minutes} simulated minutes, one in each second"));
    row(&mut text, "tenant", &format!("{phase}; {}", sent(&stage.sender.stats())));
    row(&mut text, "deliveries", &outcomes(stage));
    let open = gaps(stage, true);
    let open = open.first().map_or_else(String::new, |first| format!(": {first}{}", if open.len() > 1 { ", …" } else { "" }));
    row(&mut text, "open gaps", &format!("{}{open}", counts.gaps_open));
    let runs = service.store.reconciliations(u64::MAX, 1).unwrap_or_default().first().map_or(0, |run| run.id);
    row(&mut text, "repairs", &format!("{runs} reconciliations"));
    row(&mut text, "budget left", &format!("{} listing pages, {} lookups this hour", standing.bulk_remaining, standing.lookup_remaining));
    row(&mut text, "users", &format!("{} equal to the tenant's, {} not yet", verdict.right, verdict.wrong));
    row(&mut text, "feed", &format!("{} changes", service.store.watermark()));
    let hint = if once { "It ends by itself once both are equal." } else { "Ctrl-C ends it; nothing is left behind." };
    let _ = write!(text, "\n  Look around at http://{}/api/v1/users\n  {hint}\n", stage.ops);
    text
}

/// `text` over a picture of so many lines. Nothing is wiped before it is replaced, so nothing flickers; and nothing wraps,
/// which would put the next picture in the wrong place.
fn over(text: &str, lines: usize) -> String {
    let mut out = String::from("\x1b[?7l");
    if lines > 0 {
        let _ = write!(out, "\x1b[{lines}A");
    }
    for line in text.lines() {
        let _ = writeln!(out, "{line}\x1b[K");
    }
    out.push_str("\x1b[J\x1b[?7h");
    out
}

fn row(text: &mut String, label: &str, what: &str) {
    let _ = writeln!(text, "  {label:<12}{what}");
}

/// What the tenant announced, and what became of it on purpose.
fn sent(stats: &Stats) -> String {
    format!("{} events, {} lost, {} doubled, {} held back", stats.offered, stats.lost, stats.doubled, stats.held_back)
}

/// Deliveries by outcome, always in the same order.
fn outcomes(stage: &Stage) -> String {
    let deliveries = stage.running.service.standing(SOURCE).deliveries;
    let count = |outcome: Outcome| format!("{} {}", deliveries.get(outcome.name()).copied().unwrap_or(0), outcome.name());
    Outcome::ALL.map(count).join(", ")
}

/// Gaps by reason, some reasons a line: the open ones, or all that were closed.
fn gaps(stage: &Stage, open: bool) -> Vec<String> {
    let store = &stage.running.service.store;
    let reasons: Vec<Reason> = if open {
        store.open_gaps(u64::MAX, GAPS_MAX).unwrap_or_default().into_iter().map(|gap| gap.gap.reason).collect()
    } else {
        store.closed_gaps(u64::MAX, GAPS_MAX).unwrap_or_default().into_iter().map(|gap| gap.reason).collect()
    };
    let mut counts = BTreeMap::new();
    for reason in reasons {
        *counts.entry(reason).or_insert(0) += 1;
    }
    let words: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {}", reason.name())).collect();
    words.chunks(REASONS_A_LINE).map(|line| line.join(", ")).collect()
}

fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    // Whoever closed stdout has seen enough.
    drop(out.write_all(text.as_bytes()).and_then(|()| out.flush()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_goes_over_the_one_before_it() {
        assert_eq!(over("a\nb\n", 0), "\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[J\x1b[?7h");
        assert!(over("a\nb\n", 2).starts_with("\x1b[?7l\x1b[2Aa\x1b[K\n"));
    }
}
