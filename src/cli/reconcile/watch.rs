//! How a reconciliation goes: a bar on a terminal, elsewhere a line whenever its state changes. All of it goes to stderr.

use std::io::{IsTerminal as _, Write as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Record;
use crate::cli::table;
use crate::storage::RunState;

/// Two lines, which fit into 80 columns.
const BAR: &str = "{bar:20} {prefix}\n{wide_msg}";

/// Shows one reconciliation.
#[derive(Debug)]
pub(super) struct Watch {
    /// Only on a terminal.
    bar: Option<ProgressBar>,
    /// What was last shown, where there is no bar.
    state: Option<RunState>,
}

impl Watch {
    pub(super) fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(1), ProgressDrawTarget::stderr());
            // Without its style it is a plainer bar.
            ProgressStyle::with_template(BAR).map_or(bar.clone(), |style| bar.with_style(style))
        });
        Self { bar, state: None }
    }

    /// Shows where it stands.
    pub(super) fn show(&mut self, record: &Record) {
        if let Some(bar) = &self.bar {
            let (rows, expected) = (record.progress.rows, record.progress.expected.unwrap_or(0));
            bar.set_length(expected.max(rows).max(1));
            bar.set_position(rows);
            bar.set_prefix(done(record));
            bar.set_message(ahead(record).join("; "));
        } else if self.state != Some(record.state) {
            self.state = Some(record.state);
            // Whoever closed stderr does not want to read it.
            drop(writeln!(std::io::stderr().lock(), "reconciliation {}: {}", record.id, line(record)));
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // What comes after it stands in the first column.
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(record: &Record) -> String {
    let mut parts = vec![done(record)];
    parts.extend(ahead(record));
    parts.join("; ")
}

/// State, rows and calls.
fn done(record: &Record) -> String {
    let progress = &record.progress;
    let of = progress.expected.map_or(String::new(), |expected| format!(" of {expected}"));
    let left = progress.calls_left.map_or(String::new(), |left| format!(", {left} left"));
    format!("{}, {}{of} rows, {} calls{left}", record.state.name(), progress.rows, progress.calls)
}

/// The end as it is estimated, and what the service says to it.
fn ahead(record: &Record) -> Vec<String> {
    let end = record.progress.estimated_end.as_ref().map(|end| format!("ends about {end}"));
    end.into_iter().chain(record.message.clone()).map(|part| table::harmless(&part)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_tells_how_far_it_is_and_what_it_waits_for() {
        let progress = json!({"calls": 3, "rows": 300, "expected": 20_000, "changed": 0, "gaps_closed": 0, "calls_left": 400, "estimated_end": "2026-03-01T16:00:00Z"});
        let record =
            json!({"id": 7, "source": "main", "mode": "full", "state": "running", "progress": progress, "message": "it\u{7} waits"});
        let record = serde_json::from_value(record).unwrap();
        assert_eq!(line(&record), "running, 300 of 20000 rows, 3 calls, 400 left; ends about 2026-03-01T16:00:00Z; it? waits");
    }
}
