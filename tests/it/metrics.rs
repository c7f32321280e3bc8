//! Metrics, as scrapers and promtool read them.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rollcall::config;
use rollcall::directory::{EventKind, Outcome};
use rollcall::telemetry::{Metrics, Snapshot, SourceSnapshot};

use crate::program::settings;

#[test]
fn promtool_finds_nothing_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let tokens = "ops.tokens = [\"screen:read:token-of-the-screen\"]";
    let source = "base_url = \"https://example.test\"\napi_token = \"token\"\n";
    let file = settings(folder.path(), tokens);
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + source).unwrap();
    let config = config::load(&[file.into()], std::iter::empty()).unwrap();
    let metrics = Metrics::new(&["main", "other"]).watching(&config);
    metrics.delivered("main", Some(EventKind::Created), Outcome::Applied, Duration::from_millis(3));
    metrics.committed(1, Duration::from_millis(1));
    metrics.listener.set_expiry(4_102_444_800);
    let main = SourceSnapshot { source: "main".to_owned(), ..SourceSnapshot::default() };
    let text = metrics.render(&Snapshot { sources: vec![main], ..Snapshot::default() });
    for name in ["webhook_secret", "api_token", "ops_token"] {
        assert!(text.contains(&format!("# TYPE rollcall_{name}_uses_total counter\nrollcall_{name}_uses_total{{")), "{text}");
    }
    let piped = || Stdio::piped();
    let promtool = Command::new("promtool").args(["check", "metrics"]).stdin(piped()).stdout(piped()).stderr(piped()).spawn();
    let mut promtool = promtool.expect("promtool is there: scripts/test installs it");
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    assert!(said.status.success() && said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}\n{text}");
}
