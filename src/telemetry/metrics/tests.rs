//! What a scraper reads.

use super::*;
use crate::storage::Counts;

fn told() -> (Metrics, Snapshot) {
    let metrics = Metrics::new(&["main", "other"]);
    let counts = Counts { active: 3, inactive: 2, deleted: 1, gaps_open: 4, oldest_gap: Some(Timestamp::from_millis(1_000)) };
    let reconciled = Some((Timestamp::from_millis(2_000), Timestamp::from_millis(0)));
    let main = SourceSnapshot { source: "main".to_owned(), counts, bulk_remaining: 99, reconciled, ..SourceSnapshot::default() };
    let other = SourceSnapshot { source: "other".to_owned(), ..SourceSnapshot::default() };
    let snapshot = Snapshot {
        now: Timestamp::from_millis(3_500),
        draining: true,
        ready: true,
        store_bytes: 4_096,
        store_free_bytes: Some(8_192),
        sources: vec![main, other],
    };
    (metrics, snapshot)
}

fn has(text: &str, line: &str) -> bool {
    text.lines().any(|found| found == line)
}

#[test]
fn every_counter_of_a_source_is_there_from_the_start() {
    let (metrics, snapshot) = told();
    let text = metrics.render(&snapshot);
    for line in [
        r#"rollcall_deliveries_total{source="main",event="user.created",outcome="applied"} 0"#,
        r#"rollcall_deliveries_total{source="other",event="other",outcome="quarantined"} 0"#,
        r#"rollcall_deliveries_rejected_total{source="main",reason="unavailable"} 0"#,
        r#"rollcall_gaps_detected_total{source="main",reason="uncarried_change"} 0"#,
        r#"rollcall_reconciliations_total{source="main",mode="full",result="failed"} 0"#,
        r#"rollcall_changes_total{source="main",kind="restored",cause="reconciliation"} 0"#,
        r#"rollcall_last_reconciliation_timestamp_seconds{source="main",mode="full"} 0.0"#,
        r#"rollcall_backups_total{result="aborted"} 0"#,
        "rollcall_last_backup_timestamp_seconds 0.0",
        r#"rollcall_compactions_total{result="done"} 0"#,
        "rollcall_store_content_bytes 0",
        r#"rollcall_webhook_connections_cut_total{reason="crowded"} 0"#,
        r#"rollcall_tls_reloads_total{result="failed"} 0"#,
        "rollcall_refusals_slowed_total 0",
        "rollcall_delivery_duration_seconds_count 0",
    ] {
        assert!(has(&text, line), "{line} is missing from\n{text}");
    }
}

#[test]
fn what_is_told_is_counted() {
    let (metrics, snapshot) = told();
    metrics.delivered("main", Some(EventKind::Updated), Outcome::Applied, Duration::from_millis(2));
    metrics.delivered("main", None, Outcome::Ignored, Duration::from_millis(2));
    metrics.rejected("main", "invalid_signature");
    metrics.committed(3, Duration::from_millis(1));
    metrics.upstream_answered("main", Endpoint::Bulk, None);
    metrics.backed_up(Backup::Done, Timestamp::from_millis(2_500));
    metrics.backed_up(Backup::Failed, Timestamp::from_millis(3_000));
    metrics.compacted(false);
    metrics.set_content(1_024);
    metrics.listener.opened();
    metrics.listener.cut(Cut::Slow);
    metrics.listener.reloaded(true);
    metrics.listener.set_expiry(4_102_444_800);
    let text = metrics.render(&snapshot);
    for line in [
        r#"rollcall_deliveries_total{source="main",event="user.updated",outcome="applied"} 1"#,
        r#"rollcall_deliveries_total{source="main",event="other",outcome="ignored"} 1"#,
        r#"rollcall_deliveries_rejected_total{source="main",reason="invalid_signature"} 1"#,
        r#"rollcall_commit_batch_size_bucket{le="2.0"} 0"#,
        r#"rollcall_commit_batch_size_bucket{le="4.0"} 1"#,
        r#"rollcall_upstream_requests_total{source="main",endpoint="bulk",status="none"} 1"#,
        r#"rollcall_gaps_open{source="main"} 4"#,
        r#"rollcall_oldest_gap_seconds{source="main"} 2.5"#,
        r#"rollcall_directory_users{source="main",state="inactive"} 2"#,
        r#"rollcall_upstream_budget_remaining{source="main",endpoint="bulk"} 99"#,
        r#"rollcall_last_reconciliation_timestamp_seconds{source="main",mode="incremental"} 2.0"#,
        "rollcall_ready 1",
        r#"rollcall_backups_total{result="done"} 1"#,
        r#"rollcall_compactions_total{result="failed"} 1"#,
        "rollcall_store_content_bytes 1024",
        "rollcall_webhook_connections_open 1",
        r#"rollcall_webhook_connections_cut_total{reason="slow"} 1"#,
        r#"rollcall_tls_reloads_total{result="done"} 1"#,
        "rollcall_tls_certificate_expiry_timestamp_seconds 4102444800",
        "rollcall_last_backup_timestamp_seconds 2.5",
        "rollcall_draining 1",
        "rollcall_store_bytes 4096",
        "rollcall_store_free_bytes 8192",
    ] {
        assert!(has(&text, line), "{line} is missing from\n{text}");
    }
}

#[test]
fn strangers_add_no_label_values() {
    let (metrics, snapshot) = told();
    metrics.rejected("nobody", "missing_signature");
    metrics.delivered("nobody", None, Outcome::Ignored, Duration::ZERO);
    assert!(!metrics.render(&snapshot).contains("nobody"));
}

#[test]
fn every_family_has_help_and_a_type_under_its_full_name() {
    let (metrics, snapshot) = told();
    let text = metrics.render(&snapshot);
    for name in ["rollcall_deliveries_total", "rollcall_gaps_open", "rollcall_commit_batch_size", "rollcall_build_info"] {
        assert!(text.contains(&format!("# HELP {name} ")) && text.contains(&format!("# TYPE {name} ")), "{name}");
    }
    assert!(!text.contains("# EOF"));
}
