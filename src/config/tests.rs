//! The settings, key by key: what each takes, and that a fault names the key and nothing else.

use std::path::PathBuf;
use std::time::Duration;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;

const SECRET: &str = "s3cret-Zq81";

/// Settings that are good, as lines of `section.key = value`.
const GOOD: [&str; 4] = [
    r#"sources.main.kind = "mangoapps""#,
    r#"sources.main.webhook_secrets = ["s3cret-Zq81"]"#,
    r#"sources.main.base_url = "https://example.test""#,
    r#"sources.main.api_token = "s3cret-Zq81-token""#,
];

/// The good settings, with these lines in place of those with the same keys. A line without a value takes its key out.
fn with(lines: &[&str]) -> Result<Config, Faults> {
    let key = |line: &str| line.split('=').next().unwrap().trim().to_owned();
    let kept = GOOD.iter().filter(|good| !lines.iter().any(|line| key(line) == key(good)));
    let text: Vec<&str> = kept.chain(lines.iter().filter(|line| line.contains('='))).copied().collect();
    load_text(&text.join("\n"), &[])
}

fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Config, Faults> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    load(&[file.path().to_owned()], variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

/// The keys of the faults, and that no fault repeats the secret or fills more than its line.
fn keys(result: Result<Config, Faults>) -> Vec<String> {
    let faults = result.expect_err("there should be a fault");
    let told = faults.to_string();
    assert!(!told.contains(SECRET), "{told}");
    assert_eq!(told.lines().count(), faults.0.len(), "{told}");
    faults.0.into_iter().map(|fault| fault.key).collect()
}

fn main(config: &Config) -> &Source {
    config.sources.get("main").unwrap()
}

#[test]
fn the_default_file_is_the_contract() {
    let config = with(&[]).unwrap();
    assert_eq!(config.webhooks.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.webhooks.body_bytes_max, 1 << 20);
    assert!(config.webhooks.tls.is_none() && config.webhooks.trusted_proxies.is_empty());
    assert_eq!((config.webhooks.connections_per_address, config.webhooks.refusals_per_minute), (2048, 600));
    assert_eq!(config.ops.listen.to_string(), "127.0.0.1:9090");
    assert!(!config.ops.tokens.guarded());
    assert_eq!(config.store.path, PathBuf::from("data"));
    assert_eq!(config.store.remember_deliveries, Duration::from_secs(90 * 86_400));
    assert_eq!(config.store.remember_changes, None);
    assert_eq!(config.log, Log { json: false, level: "info".into() });
    let source = main(&config);
    assert_eq!((source.bulk_requests_per_hour, source.lookup_requests_per_hour), (100, 300));
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let expected = Reconcile {
        settle: Duration::from_secs(3),
        incremental_every: minutes(10),
        degraded_every: minutes(2),
        full_every: minutes(7 * 24 * 60),
        tolerance: Duration::from_secs(15),
        lookback: minutes(2),
        silence_after: minutes(30),
        confirm_deletes_after: minutes(15),
        max_deletes: MaxDeletes::Share(5.0),
        lookup_interval: Duration::from_secs(30),
        details_in_background: true,
    };
    assert_eq!(source.reconcile, expected);
}

#[test]
fn settings_without_a_source_have_nothing_to_do() {
    assert_eq!(keys(load(&[], std::iter::empty())), ["sources"]);
    assert_eq!(keys(load_text("[sources]", &[])), ["sources"]);
    assert_eq!(keys(load_text("sources = 1", &[])), ["sources"]);
    assert_eq!(keys(load_text("sources.main = 1", &[])), ["sources.main"]);
}

#[test]
fn an_impossible_value_is_told_with_its_key() {
    for line in [
        r#"webhooks.listen = "nowhere""#,
        r#"webhooks.listen = "localhost:1""#,
        "webhooks.listen = 8080",
        r#"webhooks.max_body = "big""#,
        r#"webhooks.max_body = "1000""#,
        r#"webhooks.max_body = "65MiB""#,
        r#"webhooks.max_body = "99999999999999999999MiB""#,
        "webhooks.max_body = -1",
        r#"webhooks.drain_delay = "11m""#,
        "webhooks.drain_delay = 5",
        "webhooks.connections_per_address = 0",
        "webhooks.connections_per_address = 65537",
        "webhooks.refusals_per_minute = 0",
        r#"webhooks.refusals_per_minute = "few""#,
        r#"webhooks.trusted_proxies = ["10.0.0.0/8", "proxy.example.test"]"#,
        "webhooks.trusted_proxies = 10",
        r#"ops.listen = "0.0.0.0:9090""#,
        r#"ops.tokens = ["only-a-token"]"#,
        r#"ops.tokens = ["o:root:s3cret-Zq81"]"#,
        r#"ops.tokens = ["o:read:short"]"#,
        r#"ops.tokens = [":read:s3cret-Zq81"]"#,
        r#"ops.tokens = ["a:read:s3cret-Zq81", "b:operate:s3cret-Zq81"]"#,
        "ops.tokens = 5",
        "ops.tokens = [5]",
        r#"ops.tokens_file = "/does/not/exist""#,
        r#"store.engine = "mongodb""#,
        r#"store.url = "postgres://u:s3cret-Zq81@h/d""#,
        r#"store.path = """#,
        r#"store.remember_deliveries = "0s""#,
        r#"store.remember_changes = "999999999y""#,
        r#"log.format = "xml""#,
        r#"log.level = "loud""#,
        r#"sources.main.kind = "workday""#,
        r#"sources.main.kind = "imonggo""#,
        "sources.main.kind",
        "sources.main.webhook_secrets",
        "sources.main.webhook_secrets = []",
        r#"sources.main.webhook_secrets = [""]"#,
        "sources.main.webhook_secrets = [1]",
        r#"sources.main.base_url = "http://example.invalid""#,
        r#"sources.main.base_url = "https://s3cret-Zq81@example.test""#,
        r#"sources.main.base_url = "https://example.test/?a=s3cret-Zq81""#,
        r#"sources.main.base_url = "https://example.test/#a""#,
        r#"sources.main.base_url = "ftp://example.test""#,
        r#"sources.main.base_url = "example.test""#,
        "sources.main.base_url",
        "sources.main.api_token",
        r#"sources.main.api_token = """#,
        r#"sources.main.api_token = ["s3cret-Zq81"]"#,
        r#"sources.main.bulk_requests_per_hour = "many""#,
        "sources.main.bulk_requests_per_hour = 0",
        "sources.main.lookup_requests_per_hour = -5",
        "sources.main.lookup_requests_per_hour = 1000001",
        "sources.main.lookup_requests_per_hour = 1.5",
        "sources.main.reconcile = 1",
        r#"sources.main.reconcile.settle = "soon""#,
        "sources.main.reconcile.settle = 3",
        r#"sources.main.reconcile.lookup_interval = "often""#,
        r#"sources.main.reconcile.details = "sometimes""#,
        r#"sources.main.reconcile.max_deletes = "140%""#,
        r#"sources.main.reconcile.max_deletes = "NaN%""#,
        "sources.main.reconcile.max_deletes = -1",
    ] {
        let key = line.split('=').next().unwrap().trim();
        assert_eq!(keys(with(&[line])), [key], "{line}");
    }
}

#[test]
fn an_unknown_key_is_told_with_the_nearest_one() {
    for (line, key, nearest) in [
        (r#"sources.main.webhook_secret = "s3cret-Zq81""#, "sources.main.webhook_secret", Some("sources.main.webhook_secrets?")),
        (r#"sources.main.reconcile.settled = "2s""#, "sources.main.reconcile.settled", Some("sources.main.reconcile.settle?")),
        (r#"webhook.listen = "127.0.0.1:1""#, "webhook", Some("webhooks?")),
        ("log.colours_of_the_rainbow = 7", "log.colours_of_the_rainbow", None),
        (r#""new\nline" = 1"#, "new\\nline", None),
        (r#"sources.main.reconcile.a.b = 1"#, "sources.main.reconcile.a", None),
    ] {
        let faults = with(&[line]).unwrap_err();
        assert_eq!(faults.to_string().matches(nearest.unwrap_or("no such key;")).count(), 1, "{faults}");
        assert_eq!(keys(Err(faults)), [key]);
    }
}

#[test]
fn what_is_not_built_says_so() {
    for line in [r#"store.engine = "postgres""#, r#"store.url = "x""#, r#"sources.main.kind = "imonggo""#] {
        let told = with(&[line]).unwrap_err().to_string();
        assert!(told.contains("not built yet"), "{told}");
    }
    assert_eq!(keys(with(&[r#"store.engine = "postgres""#])), ["store.engine", "store.url"]);
}

#[test]
fn a_certificate_and_its_key_come_together() {
    assert_eq!(keys(with(&[r#"webhooks.tls_certificate = "c.pem""#])), ["webhooks.tls_key"]);
    assert_eq!(keys(with(&[r#"webhooks.tls_key = "k.pem""#])), ["webhooks.tls_certificate"]);
    assert_eq!(keys(with(&["webhooks.tls_key = 7", r#"webhooks.tls_certificate = "c.pem""#])), ["webhooks.tls_key"]);
    let absent = [r#"webhooks.tls_certificate = "absent.pem""#, r#"webhooks.tls_key = "k.pem""#];
    assert!(with(&absent).unwrap_err().to_string().starts_with("webhooks.tls_certificate: the file absent.pem cannot be read"));
}

#[test]
fn every_fault_is_told_and_not_only_the_first() {
    let lines = [
        r#"log.level = "loud""#,
        "sources.main.oops = 1",
        r#"sources.main.reconcile.settle = "soon""#,
        "sources.main.bulk_requests_per_hour = 0",
    ];
    let keys = keys(with(&lines));
    assert_eq!(keys, ["log.level", "sources.main.reconcile.settle", "sources.main.bulk_requests_per_hour", "sources.main.oops"]);
}

#[test]
fn names_of_sources_are_plain() {
    for name in ["Main", "1st", "a-b", "a__b", "_a", "NAME", "\"\"", "\"é\""] {
        let line = format!("sources.{name}.kind = \"mangoapps\"\nsources.{name}.webhook_secrets = [\"{SECRET}\"]");
        let key = format!("sources.{}", if name == "\"é\"" { "é" } else { name });
        assert_eq!(keys(with(&[&line])), [key], "{name}");
    }
    assert!(with(&["sources.a_1.kind = \"mangoapps\"\nsources.a_1.webhook_secrets = [\"x\"]"]).is_ok());
}

#[test]
fn good_values_are_read_as_they_are_meant() {
    let config = with(&[
        "webhooks.max_body = 65536",
        r#"webhooks.drain_delay = "10m""#,
        r#"webhooks.trusted_proxies = ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]"#,
        r#"ops.listen = "0.0.0.0:0""#,
        r#"ops.tokens = ["a:read:s3cret:Zq81", "b:operate:s3cret-Zq81"]"#,
        r#"store.remember_changes = "1d""#,
        r#"sources.main.base_url = "http://127.0.0.1:8081/mango/""#,
        "sources.main.bulk_requests_per_hour = 100000",
        r#"sources.main.reconcile.settle = "100ms""#,
        r#"sources.main.reconcile.full_every = "0s""#,
        "sources.main.reconcile.max_deletes = 20",
        r#"sources.main.reconcile.details = "off""#,
        r#"log.format = "json""#,
    ])
    .unwrap();
    assert_eq!(config.webhooks.body_bytes_max, 65536);
    assert_eq!(config.webhooks.drain_delay, Duration::from_secs(600));
    let proxies: Vec<_> = config.webhooks.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"]);
    assert_eq!(config.store.remember_changes, Some(Duration::from_secs(86_400)));
    let holder = |token: &[u8]| config.ops.tokens.find(token).map(|token| (token.name.clone(), token.scope));
    assert_eq!(holder(b"s3cret:Zq81"), Some(("a".into(), Scope::Read)));
    assert_eq!(holder(b"s3cret-Zq81"), Some(("b".into(), Scope::Operate)));
    assert_eq!(holder(b""), None);
    assert!(config.log.json);
    let source = main(&config);
    assert_eq!(source.base_url.as_deref(), Some("http://127.0.0.1:8081/mango"));
    assert_eq!(source.bulk_requests_per_hour, 100_000);
    assert_eq!(source.reconcile.settle, Duration::from_millis(100));
    assert_eq!(source.reconcile.full_every, Duration::ZERO);
    assert_eq!(source.reconcile.max_deletes, MaxDeletes::Number(20));
    assert!(!source.reconcile.details_in_background);
    for host in ["localhost", "127.8.9.1:80", "[::1]:8080"] {
        assert!(with(&[&format!("sources.main.base_url = \"http://{host}\"")]).is_ok(), "{host}");
    }
    for host in ["localhost.example.test", "127.0.0.1.example.test", "0.0.0.0", "10.0.0.1"] {
        assert!(with(&[&format!("sources.main.base_url = \"http://{host}\"")]).is_err(), "{host}");
    }
}

#[test]
fn variables_are_laid_over_files_and_read_as_text() {
    let variables = [
        ("ROLLCALL__SOURCES__MAIN__KIND", "mangoapps"),
        ("ROLLCALL__SOURCES__MAIN__WEBHOOK_SECRETS", "one-secret, another"),
        ("ROLLCALL__SOURCES__MAIN__BULK_REQUESTS_PER_HOUR", "7"),
        ("ROLLCALL__SOURCES__MAIN__RECONCILE__SETTLE", "50ms"),
        ("ROLLCALL__WEBHOOKS__LISTEN", "127.0.0.1:0"),
        ("ROLLCALL__OPS__TOKENS", "a:read:s3cret-Zq81,b:operate:s3cret-Zq82"),
        ("ROLLCALL_TOKEN", "not a setting"),
        ("PATH", "nor is this"),
    ];
    let config = load_text("webhooks.listen = \"127.0.0.1:1\"", &variables).unwrap();
    let source = main(&config);
    let live = source.webhook_secrets.live();
    assert_eq!(live.iter().map(|secret| secret.expose_secret()).collect::<Vec<_>>(), ["one-secret", "another"]);
    assert_eq!(source.bulk_requests_per_hour, 7);
    assert_eq!(source.reconcile.settle, Duration::from_millis(50));
    assert_eq!(config.webhooks.listen.port(), 0);
    assert_eq!(config.ops.tokens.live().len(), 2);
}

#[test]
fn faults_of_variables_name_the_dotted_key() {
    for (name, key) in [
        ("ROLLCALL__WEBHOOKS__LISTENN", "webhooks.listenn"),
        ("ROLLCALL__SOURCES__MAIN__BULK_REQUESTS_PER_HOUR", "sources.main.bulk_requests_per_hour"),
        ("ROLLCALL__WEBHOOKS__LISTEN__X", "webhooks.listen.x"),
        ("ROLLCALL__WEBHOOKS", "webhooks"),
        ("ROLLCALL__", "\"\""),
        ("ROLLCALL__A[99999999999]", "a[99999999999]"),
    ] {
        assert_eq!(keys(load_text(&GOOD.join("\n"), &[(name, SECRET)])), [key], "{name}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line_and_without_its_content() {
    for line in [
        "api_token = s3cret-Zq81",
        "api_token = \"s3cret-Zq81",
        "a = 1\na = \"s3cret-Zq81\"",
        "[s3cret-Zq81",
        "a = 1 s3cret-Zq81",
        "a.b = 1\na.b.c = \"s3cret-Zq81\"",
    ] {
        let faults = load_text(&format!("\n{line}"), &[]).unwrap_err();
        assert!(faults.0.iter().any(|fault| fault.text.starts_with("line ")), "{faults}");
        keys(Err(faults));
    }
    let missing = PathBuf::from("/does/not/exist.toml");
    let faults = load(&[missing], std::iter::empty()).unwrap_err();
    assert!(faults.to_string().starts_with("/does/not/exist.toml: there is no such file"), "{faults}");
}

#[test]
fn depth_without_end_is_a_fault() {
    let name = format!("ROLLCALL__{}", "A__".repeat(40_000));
    assert_eq!(keys(load_text(&GOOD.join("\n"), &[(&name, SECRET)])).len(), 1);
    for text in [
        format!("a{} = 1", ".a".repeat(200_000)),
        format!("[a{}]", ".a".repeat(200_000)),
        format!("a = {}", "[".repeat(200_000)),
        format!("a = {}", "{a=".repeat(200_000)),
    ] {
        assert!(!keys(load_text(&text, &[])).is_empty());
    }
}

#[test]
fn a_description_shows_what_would_run_and_no_secret() {
    let config = with(&[r#"ops.tokens = ["who:read:s3cret-Zq81"]"#]).unwrap();
    let lines = config.describe().join("\n");
    for part in ["0.0.0.0:8080", "127.0.0.1:9090", "1 token", "main", "https://example.test", "100 listings", "every 7d", "ids for 90d"] {
        assert!(lines.contains(part), "{part} in {lines}");
    }
    assert!(!lines.contains(SECRET), "{lines}");
    assert!(!format!("{config:?}").contains(SECRET));
}

proptest! {
    #[test]
    fn no_text_makes_loading_panic(text in any::<String>(), name in "ROLLCALL__[A-Za-z_\\[\\].\"]{0,20}", value in any::<String>()) {
        let _ = load_text(&text, &[(&name, &value)]);
    }

    #[test]
    fn no_value_of_any_key_makes_loading_panic_or_is_repeated(
        key in prop::sample::select(vec![
            "webhooks.listen", "webhooks.max_body", "ops.listen", "ops.tokens", "ops.tokens_file", "store.engine", "store.path", "log.level",
            "store.remember_changes", "sources", "sources.main", "sources.main.kind", "sources.main.webhook_secrets", "sources.main.base_url",
            "sources.main.api_token_file", "sources.main.reconcile", "sources.main.reconcile.settle", "sources.main.reconcile.max_deletes",
        ]),
        value in prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()), any::<f64>().prop_filter("TOML's floats", |f| f.is_finite()).prop_map(|f| format!("{f:?}")),
            "[0-9]{0,25}[a-zA-Z%µ ]{0,4}".prop_map(|text| format!("\"{text}\"")), Just("1979-05-27".to_owned()), Just("[[1], {}]".to_owned()), Just("{ a.b = [] }".to_owned()),
        ],
    ) {
        let text = format!("{key} = {value}");
        if let Err(faults) = with(&[&text]) {
            prop_assert_eq!(faults.to_string().lines().count(), faults.0.len());
        }
    }
}
