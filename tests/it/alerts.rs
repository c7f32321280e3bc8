//! Alerts and dashboard: they ask only for what is exported, fire when they should, and each alert has its runbook.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::certificates::{Authority, Mounted};
use crate::house::House;
use crate::joined::BRISK;
use crate::metrics::scraped;

/// What Prometheus itself adds to each series.
const TARGET_LABELS: [&str; 3] = ["namespace", "instance", "job"];
/// Its values come only with the answers that they tell of.
const OPEN_LABEL: &str = "status";

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

pub(crate) fn yaml(path: &str) -> Value {
    serde_saphyr::from_str(&text(path)).unwrap()
}

/// The groups of rules, as Prometheus reads them.
fn rules() -> Value {
    json!({"groups": yaml("deploy/components/monitoring/alerts.yaml")["spec"]["groups"]})
}

fn alerts() -> Vec<Value> {
    let groups = rules()["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn names() -> Vec<String> {
    alerts().iter().map(|alert| alert["alert"].as_str().unwrap().to_owned()).collect()
}

/// Every expression of the dashboard, with Grafana's own variables filled in.
fn panels() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&text("deploy/components/monitoring/rollcall.json")).unwrap();
    let targets = dashboard["panels"].as_array().unwrap().iter().filter_map(|panel| panel["targets"].as_array());
    targets.flatten().map(|target| target["expr"].as_str().unwrap().replace("$__rate_interval", "5m").replace("$source", ".*")).collect()
}

/// One series or one selector: its name, and its labels with their values or patterns.
type Series = (String, BTreeMap<String, String>);

/// Takes a series apart, `name{label="value",…}`; what follows it is left.
fn series(text: &str) -> (Series, &str) {
    let (name, rest) = text.split_at(text.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(text.len()));
    let Some((labels, rest)) = rest.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return ((name.to_owned(), BTreeMap::new()), rest);
    };
    let labels = labels.split("\",").map(|label| {
        let (label, value) = label.split_once("=").unwrap();
        (label.trim().to_owned(), value.trim_start_matches('~').trim_matches('"').to_owned())
    });
    ((name.to_owned(), labels.collect()), rest)
}

/// The selectors of our metrics in an expression.
fn selectors(mut expression: &str) -> Vec<Series> {
    let mut found = Vec::new();
    while let Some(at) = expression.find("rollcall_") {
        let (selector, rest) = series(&expression[at..]);
        found.push(selector);
        expression = rest;
    }
    found
}

/// The labels that an expression groups or joins by.
fn grouping(expression: &str) -> Vec<String> {
    let lists =
        ["by (", "on ("].into_iter().flat_map(|word| expression.match_indices(word).map(move |(at, _)| &expression[at + word.len()..]));
    lists.flat_map(|list| list.split(')').next().unwrap().split(',')).map(|label| label.trim().to_owned()).collect()
}

fn promtool(arguments: &[&str], folder: &Path) {
    let said = Command::new("promtool").args(arguments).current_dir(folder).output().expect("promtool is there: scripts/test installs it");
    assert!(said.status.success(), "{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
}

#[test]
fn what_alerts_and_dashboard_ask_for_is_exported_from_the_start() {
    // By HTTPS: the metrics of its certificate are there only with one.
    let folder = tempfile::tempdir().unwrap();
    let house = Mounted::new(folder.path(), &Authority::new().sign(0)).set(House::joined(2, BRISK)).open();
    let exported: Vec<Series> = scraped(&house).lines().filter(|line| !line.starts_with('#')).map(|line| series(line).0).collect();
    let labels: BTreeSet<&str> = exported.iter().flat_map(|(_, labels)| labels.keys().map(String::as_str)).chain(TARGET_LABELS).collect();
    let expressions: Vec<String> = alerts().iter().map(|alert| alert["expr"].as_str().unwrap().to_owned()).chain(panels()).collect();
    let mut asked = 0;
    for expression in &expressions {
        for (name, wanted) in selectors(expression) {
            asked += 1;
            assert!(exported.iter().any(|(held, _)| *held == name), "{name} is not exported: {expression}");
            for (label, pattern) in wanted.iter().filter(|(label, _)| *label != OPEN_LABEL) {
                for value in pattern.split('|') {
                    let fits = |held: &String| value == ".*" || held == value;
                    let told = exported.iter().any(|(held, labels)| *held == name && labels.get(label).is_some_and(fits));
                    assert!(told, "no {name} has {label}={value:?}: {expression}");
                }
            }
        }
        for label in grouping(expression) {
            assert!(labels.contains(label.as_str()), "nothing has the label {label}: {expression}");
        }
    }
    assert!(asked > expressions.len() / 2, "{asked} selectors in {} expressions", expressions.len());
}

#[test]
fn every_alert_says_how_bad_it_is_what_it_means_and_where_to_read_on() {
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(["critical", "warning"].iter().any(|severity| alert["labels"]["severity"] == *severity), "{name}");
        for word in ["summary", "description"] {
            assert!(alert["annotations"][word].as_str().is_some_and(|told| told.ends_with('.')), "{name}: {word}");
        }
        assert_eq!(alert["annotations"]["runbook"], format!("README.md#{}", name.to_lowercase()));
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let readme = text("README.md");
    let section = readme.split_once("\n## Runbooks\n").expect("a section of runbooks").1.split("\n## ").next().unwrap();
    let runbooks: Vec<&str> = section.split("\n### ").skip(1).collect();
    let titles: Vec<&str> = runbooks.iter().map(|runbook| runbook.lines().next().unwrap()).collect();
    assert_eq!(titles, names(), "in the order of the alerts");
    for runbook in runbooks {
        assert!(runbook.contains("```sh\n") || runbook.contains('`'), "no command to type in: {runbook}");
    }
}

#[test]
fn alerts_fire_when_they_should_and_only_then() {
    let folder = tempfile::tempdir().unwrap();
    let mut rules = rules();
    fs::write(folder.path().join("whole.json"), rules.to_string()).unwrap();
    promtool(&["check", "rules", "whole.json"], folder.path());
    for group in rules["groups"].as_array_mut().unwrap() {
        group["rules"].as_array_mut().unwrap().iter_mut().for_each(|rule| drop(rule.as_object_mut().unwrap().remove("annotations")));
    }
    fs::write(folder.path().join("rules.json"), rules.to_string()).unwrap();
    fs::write(folder.path().join("tests.yaml"), text("tests/data/alerts.yaml")).unwrap();
    promtool(&["test", "rules", "tests.yaml"], folder.path());
    let tried = yaml("tests/data/alerts.yaml")["tests"].as_array().unwrap().clone();
    let looks: Vec<&Value> = tried.iter().flat_map(|test| test["alert_rule_test"].as_array().unwrap()).collect();
    for name in names() {
        let of_it = || looks.iter().filter(|look| look["alertname"] == name);
        assert!(of_it().any(|look| look["exp_alerts"].is_array()), "{name} is never tried to fire");
        assert!(of_it().any(|look| look["exp_alerts"].is_null()), "{name} is never tried to be still");
    }
}

#[test]
fn promtool_understands_every_panel_of_the_dashboard() {
    let folder = tempfile::tempdir().unwrap();
    let records: Vec<Value> =
        panels().iter().enumerate().map(|(number, panel)| json!({"record": format!("panel:{number}"), "expr": panel})).collect();
    let rules = json!({"groups": [{"name": "panels", "rules": records}]});
    fs::write(folder.path().join("panels.json"), rules.to_string()).unwrap();
    promtool(&["check", "rules", "panels.json"], folder.path());
}
