//! The log: one line a thing to stderr, as text or JSON, with RFC 3339 times.

use std::io::{IsTerminal, stderr};

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config;

/// Sends the lines of this process to stderr, those of the `log` crate too. Colours only for a terminal.
///
/// # Errors
/// A sentence, when a log is set up already.
pub fn init(settings: &config::Log) -> Result<(), String> {
    subscriber(settings, stderr, stderr().is_terminal()).try_init().map_err(|error| format!("the log cannot be set up: {error}"))
}

fn subscriber<W>(settings: &config::Log, writer: W, colours: bool) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = fmt::layer().with_writer(writer).with_ansi(colours);
    let chosen = tracing_subscriber::registry().with(filter(&settings.level));
    if settings.json { Box::new(chosen.with(lines.json().flatten_event(true))) } else { Box::new(chosen.with(lines)) }
}

/// The level counts for rollcall's own lines. Libraries are heard from `warn` on only: what they tell below that holds addresses of
/// users (`/users/by_email/…`), headers and bodies.
fn filter(level: &str) -> Targets {
    let own = level.parse().unwrap_or(LevelFilter::INFO);
    Targets::new().with_default(own.min(LevelFilter::WARN)).with_target("rollcall", own)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written(json: bool, level: &str, say: impl FnOnce()) -> String {
        let paper = Paper::default();
        let pen = paper.clone();
        let settings = config::Log { json, level: level.into() };
        tracing::subscriber::with_default(subscriber(&settings, move || pen.clone(), false), say);
        String::from_utf8(paper.0.lock().clone()).unwrap()
    }

    fn say_ready() {
        tracing::info!(target: "rollcall::service", webhooks = %"127.0.0.1:1", ops = %"127.0.0.1:2", "ready");
    }

    #[test]
    fn the_ready_line_tells_the_addresses_as_text() {
        let line = written(false, "info", say_ready);
        assert!(line.trim_end().ends_with(" ready webhooks=127.0.0.1:1 ops=127.0.0.1:2"), "{line}");
        let time = line.split_whitespace().next().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }

    #[test]
    fn the_ready_line_tells_the_addresses_as_json() {
        let line: serde_json::Value = serde_json::from_str(&written(true, "info", say_ready)).unwrap();
        assert_eq!(line["message"], "ready");
        assert_eq!(line["webhooks"], "127.0.0.1:1");
        assert_eq!(line["ops"], "127.0.0.1:2");
        assert!(line["timestamp"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }

    #[test]
    fn libraries_are_heard_from_warnings_on() {
        let said = written(false, "trace", || {
            tracing::debug!(target: "reqwest::connect", "an address");
            tracing::info!(target: "sled", "a path");
            tracing::warn!(target: "actix_http", "a warning");
            tracing::trace!(target: "rollcall::http", "a detail");
        });
        assert!(!said.contains("address") && !said.contains("path"), "{said}");
        assert!(said.contains("a warning") && said.contains("a detail"), "{said}");
    }

    #[test]
    fn nobody_is_louder_than_the_level() {
        let said = written(false, "error", || {
            tracing::warn!(target: "sled", "theirs");
            say_ready();
        });
        assert_eq!(said, "");
    }
}
