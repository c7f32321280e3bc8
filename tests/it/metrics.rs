//! Metrics, as scrapers and promtool read them.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use rollcall::config;
use rollcall::directory::{EventKind, Outcome};
use rollcall::telemetry::{Metrics, Snapshot, SourceSnapshot};
use serde_json::json;

use crate::answers::read_bytes;
use crate::house::House;
use crate::joined::BRISK;

/// All that a scraper is told.
pub(crate) fn scraped(house: &House) -> String {
    String::from_utf8(read_bytes(&format!("http://{}/metrics", house.ops()))).unwrap()
}

/// The value of one series.
#[track_caller]
fn value(house: &House, series: &str) -> f64 {
    let text = scraped(house);
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    found.unwrap_or_else(|| panic!("no {series} in {text}"))
}

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

#[test]
fn the_last_whole_pass_and_sweep_are_told_over_a_restart_and_a_dry_run_is_neither() {
    let told = |house: &House, mode: &str| {
        value(house, &format!(r#"rollcall_last_reconciliation_timestamp_seconds{{source="main",mode="{mode}"}}"#))
    };
    let house = House::joined(3, BRISK).open();
    let opened = house.now().as_millis() as f64 / 1000.0;
    let mut house = house.swept();
    let swept = told(&house, "full");
    assert!(swept >= opened && told(&house, "incremental") == swept, "{swept} {opened}");
    house.restart();
    assert_eq!(told(&house, "full"), swept);
    house.reconcile("incremental", json!({"dry_run": true}));
    house.reconcile("full", json!({"dry_run": true}));
    assert_eq!((told(&house, "full"), told(&house, "incremental")), (swept, swept));
    house.reconcile("incremental", json!({}));
    assert!(told(&house, "incremental") > swept && told(&house, "full") == swept);
}

#[test]
fn a_source_without_an_upstream_has_no_last_reconciliation_and_readiness_is_told() {
    let house = House::alone().open();
    assert!(!scraped(&house).contains("rollcall_last_reconciliation_timestamp_seconds{"));
    assert_eq!(value(&house, "rollcall_ready"), 1.0);
    house.drain();
    assert_eq!(value(&house, "rollcall_ready"), 0.0);
}
