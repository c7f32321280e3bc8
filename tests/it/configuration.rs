//! Settings as an operator gives them: files, their order, files of secrets, and what `check` prints.

use std::path::PathBuf;

use rollcall::cli::check;
use rollcall::config::{self, Config, Faults};
use secrecy::ExposeSecret;

struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    }

    fn load(files: &[PathBuf]) -> Result<Config, Faults> {
        config::load(files, std::iter::empty())
    }
}

const MAIN: &str = "[sources.main]\nkind = \"mangoapps\"\nwebhook_secrets = [\"first-secret\"]\n";

#[test]
fn later_files_win_key_by_key() {
    let desk = Desk::new();
    let one = desk.file("1.toml", &format!("{MAIN}reconcile.settle = \"1s\"\nreconcile.lookback = \"5m\"\n[log]\nlevel = \"warn\""));
    let two = desk.file("2.toml", "sources.main.reconcile.settle = \"2s\"");
    let config = Desk::load(&[one, two]).unwrap();
    let source = &config.sources["main"];
    assert_eq!(source.reconcile.settle.as_secs(), 2);
    assert_eq!(source.reconcile.lookback.as_secs(), 300);
    assert_eq!(config.log.level, "warn");
}

#[test]
fn a_source_added_by_another_file_begins_with_the_same_defaults() {
    let desk = Desk::new();
    let one = desk.file("1.toml", MAIN);
    let two = desk.file("2.toml", &MAIN.replace("main", "second"));
    let config = Desk::load(&[one, two]).unwrap();
    assert_eq!(config.sources.keys().collect::<Vec<_>>(), ["main", "second"]);
    assert_eq!(config.sources["main"].reconcile, config.sources["second"].reconcile);
}

#[test]
fn secrets_may_stand_in_files_of_their_own() {
    let desk = Desk::new();
    let hooks = desk.file("hooks", "# webhook secrets, one a line\n\nfirst-secret\nsecond-secret\n");
    let token = desk.file("token", "mango-token\n");
    let tokens = desk.file("tokens", "one:operate:token-of-one\n");
    let text = format!(
        "ops.listen = \"0.0.0.0:0\"\nops.tokens_file = {tokens:?}\n[sources.main]\nkind = \"mangoapps\"\nwebhook_secrets_file = {hooks:?}\n\
         base_url = \"https://example.test\"\napi_token_file = {token:?}\n"
    );
    let config = Desk::load(&[desk.file("rollcall.toml", &text)]).unwrap();
    let source = &config.sources["main"];
    assert_eq!(source.webhook_secrets.live().len(), 2);
    assert_eq!(source.api_token.as_ref().unwrap().live()[0].expose_secret(), "mango-token");
    assert!(config.ops.tokens.guarded());
    desk.file("hooks", "second-secret\n");
    assert_eq!([(); 2].map(|()| source.webhook_secrets.refresh()), [Ok(false), Ok(true)]);
    assert_eq!(source.webhook_secrets.live()[0].expose_secret(), "second-secret");
}

#[test]
fn a_secret_given_twice_or_in_no_file_is_a_fault() {
    let desk = Desk::new();
    let hooks = desk.file("hooks", "other-secret");
    let twice = desk.file("twice.toml", &format!("{MAIN}webhook_secrets_file = {hooks:?}"));
    let told = Desk::load(&[twice]).unwrap_err().to_string();
    assert!(told.starts_with("sources.main.webhook_secrets: is given as well as sources.main.webhook_secrets_file"), "{told}");
    let absent = desk.file("absent.toml", &format!("{MAIN}base_url = \"https://example.test\"\napi_token_file = \"/does/not/exist\""));
    let told = Desk::load(&[absent]).unwrap_err().to_string();
    assert!(told.starts_with("sources.main.api_token_file: the file /does/not/exist cannot be read"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn check_prints_what_would_run_or_every_fault() {
    let desk = Desk::new();
    let mut out = Vec::new();
    check::run(&[desk.file("good.toml", MAIN)], &mut out).unwrap();
    let printed = String::from_utf8(out).unwrap();
    assert!(printed.contains("main") && !printed.contains("first-secret"), "{printed}");
    let mut out = Vec::new();
    let bad = desk.file("bad.toml", &format!("{MAIN}oops = 1\nbulk_requests_per_hour = \"x\"\nreconcile.settle = \"soon\""));
    let faults = check::run(&[bad], &mut out).unwrap_err();
    assert_eq!(faults.0.len(), 3, "{faults}");
    assert!(out.is_empty());
}
