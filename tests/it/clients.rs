//! The two documented clients, unchanged, against the tenant and against the mirror of it: both see the same.

use std::process::Command;

use serde_json::{Value, json};

use crate::house::{API_TOKEN, House};

/// What a client reports of the API at this address, apart from its own name.
#[track_caller]
fn report(program: &str, script: &str, base_url: &str, since: &str) -> Value {
    let script = format!("{}/tests/clients/{script}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(program).args([&script, base_url, API_TOKEN, since]).output();
    let output = output.unwrap_or_else(|error| panic!("{program} cannot be run ({error}): scripts/test installs it"));
    let told = String::from_utf8_lossy(&output.stdout);
    let mut report: Value = serde_json::from_str(&told).unwrap_or_else(|_| panic!("{program}: {output:?}"));
    assert_eq!(report["problems"], json!([]), "{program} at {base_url}");
    assert!(output.status.success());
    report.as_object_mut().unwrap().remove("client");
    report
}

#[test]
fn clients_see_the_same_in_the_mirror_as_upstream() {
    let plan = House::joined(130, 60);
    for uid in ["E1000003", "E1000077"] {
        plan.tenant(|tenant| tenant.delete(uid)).unwrap();
    }
    let house = plan.set("sources.main.lookup_requests_per_hour", 300).open().swept();
    let since = (house.now() - std::time::Duration::from_secs(100 * 24 * 3600)).to_string();
    let (upstream, mirror) = (house.api().base_url(), format!("http://{}", house.ops()));
    let mut reports = Vec::new();
    for (program, script) in [("python3", "python_client.py"), ("node", "node_client.mjs")] {
        let expected = report(program, script, &upstream, &since);
        let found = report(program, script, &mirror, &since);
        assert_eq!(found, expected, "{script}");
        assert!(expected["updated_since"]["count"].as_u64() > Some(0) && expected["with_deleted"]["count"] == 130);
        reports.push(expected);
    }
    assert_eq!(reports[0], reports[1], "the two clients");
}
