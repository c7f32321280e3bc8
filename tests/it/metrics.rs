//! Metrics, as scrapers and promtool read them.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rollcall::directory::{EventKind, Outcome};
use rollcall::telemetry::{Metrics, Snapshot, SourceSnapshot};

#[test]
fn promtool_finds_nothing_to_say() {
    let metrics = Metrics::new(&["main", "other"]);
    metrics.delivered("main", Some(EventKind::Created), Outcome::Applied, Duration::from_millis(3));
    metrics.committed(1, Duration::from_millis(1));
    metrics.listener.set_expiry(4_102_444_800);
    let main = SourceSnapshot { source: "main".to_owned(), ..SourceSnapshot::default() };
    let text = metrics.render(&Snapshot { sources: vec![main], ..Snapshot::default() });
    let piped = || Stdio::piped();
    let promtool = Command::new("promtool").args(["check", "metrics"]).stdin(piped()).stdout(piped()).stderr(piped()).spawn();
    let mut promtool = promtool.expect("promtool is there: scripts/test installs it");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}\n{text}");
}
