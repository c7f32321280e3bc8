//! Secrets and tokens that are replaced while the service runs: nothing valid is refused, nothing is learnt of them, and what is no
//! longer used shows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rollcall::upstream::signature;
use secrecy::SecretString;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::answers;
use crate::house::{API_TOKEN, House, until};
use crate::joined::{ADA, HASTY};
use crate::kill::body;
use crate::program::{Program, rollcall, settings};

const ROTATIONS: usize = 200;
const SENDERS: usize = 3;
/// How soon a changed file counts (contract, section 2).
const COUNTS_WITHIN: Duration = Duration::from_secs(5);

/// A folder of secrets.
struct Secrets(TempDir);

impl Secrets {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Replaces a file by another one with these lines.
    fn write(&self, name: &str, lines: &[&str]) -> PathBuf {
        let (path, aside) = (self.path(name), self.path("aside"));
        fs::write(&aside, lines.join("\n") + "\n").unwrap();
        fs::rename(aside, &path).unwrap();
        path
    }
}

fn secret(number: usize) -> String {
    format!("secret-number-{number}")
}

/// Delivers an event signed with this secret; the status, and the code of an error.
fn deliver(house: &House, secret: &str, number: usize) -> (u16, String) {
    let body = body(number).to_string();
    let answer = house.post("main", Some(&signature::sign(&SecretString::from(secret), body.as_bytes())), body.as_bytes());
    (answer.status, answer.code().to_owned())
}

fn exposition(house: &House) -> String {
    String::from_utf8(answers::read_bytes(&format!("http://{}/metrics", house.ops()))).unwrap()
}

/// What a metric shows, by its labels.
fn metric(text: &str, name: &str) -> BTreeMap<String, f64> {
    let rows = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{')?.split_once("} "));
    rows.map(|(labels, value)| (labels.to_owned(), value.parse().unwrap())).collect()
}

/// What is told of the webhook's secrets, by their numbers.
fn told(house: &House) -> BTreeMap<u64, Value> {
    let sources = house.get("/api/v1/sources").body;
    let secrets = sources["sources"][0]["webhook_secrets"].as_array().unwrap().clone();
    secrets.into_iter().map(|secret| (secret["secret"].as_u64().unwrap(), secret)).collect()
}

fn uses(told: &BTreeMap<u64, Value>, number: usize) -> u64 {
    told[&(number as u64)]["uses"].as_u64().unwrap()
}

#[test]
fn two_hundred_rotations_under_load_refuse_nothing_and_tell_which_secret_is_used() {
    let secrets = Secrets::new();
    let file = secrets.write("webhook_secrets", &[&secret(1)]);
    let house = House::alone().secrets_in(&file).open();
    // Senders hold it while a delivery is under way: whoever has replaced it knows that the former one is used no more.
    let current = RwLock::new(secret(1));
    let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while !over.load(Ordering::SeqCst) {
                    let secret = current.read().unwrap();
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    assert_eq!(deliver(&house, &secret, number), (200, String::new()), "signed with {secret}");
                }
            });
        }
        for number in 2..=ROTATIONS + 1 {
            let (old, new) = (secret(number - 1), secret(number));
            // Whoever writes in place is seen in the midst of it now and then.
            if number % 10 == 0 {
                fs::write(&file, if number % 20 == 0 { "" } else { "secret-num" }).unwrap();
                house.look_at_secrets();
            }
            let lines = if number % 2 == 0 { [&*old, &*new] } else { [&*new, &*old] };
            secrets.write("webhook_secrets", &lines);
            house.refresh();
            current.write().unwrap().clone_from(&new);
            let before = told(&house);
            until("the new secret to be used", || (uses(&told(&house), number) > 3).then_some(()));
            let after = told(&house);
            assert_eq!(uses(&before, number - 1), uses(&after, number - 1), "the old one is used no more");
            assert_eq!(after.keys().copied().collect::<Vec<_>>(), [number as u64 - 1, number as u64]);
            assert_eq!(metric(&exposition(&house), "rollcall_webhook_secret_uses_total").len(), 2);
            secrets.write("webhook_secrets", &[&new]);
            house.refresh();
        }
        over.store(true, Ordering::SeqCst);
    });
    let text = exposition(&house);
    let last = format!("source=\"main\",secret=\"{}\"", ROTATIONS + 1);
    let counted = metric(&text, "rollcall_webhook_secret_uses_total");
    assert!(counted.len() == 1 && counted[&last] > 3.0, "{counted:?}");
    let at = metric(&text, "rollcall_webhook_secret_last_used_timestamp_seconds")[&last];
    let heard = metric(&text, "rollcall_last_delivery_timestamp_seconds")["source=\"main\""];
    assert!((at - heard).abs() < 5.0, "{at} and {heard}");
    assert_eq!(metric(&text, "rollcall_deliveries_rejected_total")["source=\"main\",reason=\"invalid_signature\""], 0.0);
    assert!(metric(&text, "rollcall_secret_reloads_total")["result=\"done\""] >= 2.0 * ROTATIONS as f64);
    assert!(!text.contains("secret-number") && !house.get("/api/v1/sources").body.to_string().contains("secret-number"));
    assert_eq!(house.changes().len(), next.load(Ordering::SeqCst));
    assert_eq!(deliver(&house, &secret(ROTATIONS), usize::MAX / 2), (401, "invalid_signature".to_owned()), "it is retired");
}

#[test]
fn two_hundred_rotations_of_the_api_token_cost_no_call() {
    let secrets = Secrets::new();
    let file = secrets.write("api_token", &[API_TOKEN]);
    let plan = House::joined(8, HASTY)
        .set("sources.main.api_token_file", format!("{file:?}"))
        .set("sources.main.lookup_requests_per_hour", 1_000_000)
        .set("sources.main.reconcile.lookup_interval", "\"0s\"");
    let house = plan.open().swept();
    let mut old = API_TOKEN.to_owned();
    for number in 1..=ROTATIONS {
        let new = format!("api-token-number-{number}");
        house.api().behave(|rules| rules.tokens.extend([(new.clone(), true)]));
        // The first one counts.
        secrets.write("api_token", &[&new]);
        house.refresh();
        assert_eq!(house.reconcile("lookup", json!({"uid": ADA}))["state"], "done");
        let text = exposition(&house);
        let used = metric(&text, "rollcall_api_token_uses_total");
        assert!(used.len() == 1 && used[&format!("source=\"main\",secret=\"{}\"", number + 1)] >= 1.0, "{used:?}");
        house.api().behave(|rules| rules.tokens.retain(|token, _| *token != old));
        old = new;
    }
    let token = house.get("/api/v1/sources").body["sources"][0]["api_token"].clone();
    assert!(token["uses"].as_u64() >= Some(1) && token["last_used"].is_string(), "{token}");
    let calls = metric(&exposition(&house), "rollcall_upstream_requests_total");
    assert!(calls.iter().all(|(labels, calls)| labels.contains("status=\"200\"") || *calls == 0.0), "{calls:?}");
}

#[test]
fn two_hundred_rotations_of_an_ops_token_lock_nobody_out() {
    let secrets = Secrets::new();
    let token = |number: usize| format!("token-number-{number}");
    let line = |number: usize| format!("screen:read:{}", token(number));
    let file = secrets.write("tokens", &[&line(1), "desk:operate:token-of-the-desk"]);
    let house = House::alone().set("ops.tokens_file", format!("{file:?}")).open();
    let (current, over) = (RwLock::new(token(1)), AtomicBool::new(false));
    let read = |token: &str| house.get_as(token, "/api/v1/gaps").status;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                let token = current.read().unwrap();
                assert_eq!(read(&token), 200, "{token}");
            }
        });
        for number in 2..=ROTATIONS + 1 {
            secrets.write("tokens", &[&line(number - 1), &line(number), "desk:operate:token-of-the-desk"]);
            house.refresh();
            current.write().unwrap().clone_from(&token(number));
            secrets.write("tokens", &["desk:operate:token-of-the-desk", &line(number)]);
            house.refresh();
        }
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!([read(&token(ROTATIONS)), read(&token(ROTATIONS + 1)), read("token-of-the-desk")], [401, 200, 200]);
    let text = exposition(&house);
    let used = metric(&text, "rollcall_ops_token_uses_total");
    assert_eq!(used.len(), 2, "{used:?}");
    assert_eq!(used["name=\"desk\",secret=\"2\""], 1.0);
    assert!(used[&format!("name=\"screen\",secret=\"{}\"", ROTATIONS + 2)] >= 1.0 && !text.contains("token-"), "{text}");
}

/// A service with its secret in a file of this name.
fn serve(folder: &Path, secrets: &Path) -> (Program, [String; 2]) {
    let file = settings(folder, "log.level = \"info\"");
    let text = fs::read_to_string(&file).unwrap();
    let start = text.find("webhook_secrets").unwrap();
    fs::write(&file, format!("{}webhook_secrets_file = {secrets:?}\n", &text[..start])).unwrap();
    Program::serve(&mut rollcall(&["serve", "--config", &file]))
}

fn send(program: &[String; 2], secret: &str, number: usize) -> bool {
    let url = format!("{}/webhooks/main", program[0]);
    let body = body(number).to_string();
    let sent = crate::program::run(&mut rollcall(&["send", "--secret", secret, "--url", &url]), body.as_bytes());
    sent.status.success()
}

#[test]
fn a_mounted_secret_that_is_swapped_counts_within_five_seconds() {
    let (folder, secrets) = (tempfile::tempdir().unwrap(), Secrets::new());
    // As Kubernetes mounts them: the file is a link into a folder that is a link, and only that one is ever replaced.
    let mount = |version: &str, lines: &str| {
        fs::create_dir(secrets.path(version)).unwrap();
        fs::write(secrets.path(version).join("webhook_secrets"), lines).unwrap();
        std::os::unix::fs::symlink(version, secrets.path("new")).unwrap();
        fs::rename(secrets.path("new"), secrets.path("..data")).unwrap();
    };
    mount("..1", "first-secret\n");
    std::os::unix::fs::symlink("..data/webhook_secrets", secrets.path("webhook_secrets")).unwrap();
    let (program, at) = serve(folder.path(), &secrets.path("webhook_secrets"));
    assert!(send(&at, "first-secret", 0) && !send(&at, "second-secret", 1));
    let began = Instant::now();
    mount("..2", "first-secret\nsecond-secret\n");
    program.line_with("read anew");
    assert!(began.elapsed() < COUNTS_WITHIN, "it took {:?}", began.elapsed());
    assert!(send(&at, "first-secret", 2) && send(&at, "second-secret", 3));
}

#[test]
fn a_file_that_cannot_be_used_is_told_once_and_changes_nothing() {
    let (folder, secrets) = (tempfile::tempdir().unwrap(), Secrets::new());
    let file = secrets.write("webhook_secrets", &["first-secret"]);
    let (program, at) = serve(folder.path(), &file);
    let unusable = || {
        let text = String::from_utf8(answers::read_bytes(&format!("{}/metrics", at[1]))).unwrap();
        text.lines().find_map(|line| line.strip_prefix("rollcall_secret_files_unusable ").map(str::to_owned)).unwrap()
    };
    for (number, (lines, words)) in [("", "holds no secret; write one a line"), ("gone", "cannot be read")].into_iter().enumerate() {
        if lines == "gone" {
            fs::remove_file(&file).unwrap();
        } else {
            fs::write(&file, lines).unwrap();
        }
        let line = program.line_with("cannot be used");
        let named = [&*file.to_string_lossy(), "sources.main.webhook_secrets_file", words];
        assert!(line.contains("WARN") && named.iter().all(|word| line.contains(word)), "{line}");
        assert!(!line.contains("first-secret"));
        assert!(send(&at, "first-secret", number));
        assert_eq!(unusable(), "1");
    }
    secrets.write("webhook_secrets", &["second-secret"]);
    // The line after the last one about a fault is this one: nothing was told twice.
    assert!(program.line_with(" key=").contains("read anew"));
    assert!(!send(&at, "first-secret", 8) && send(&at, "second-secret", 9));
    assert_eq!(unusable(), "0");
}
