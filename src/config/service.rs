//! The settings of the service itself: listeners, store and log.

use std::path::PathBuf;
use std::sync::Arc;

use toml::Value;

use super::secrets::Tokens;
use super::section::Section;
use super::{Certificate, Log, Ops, Store, Webhooks, value};

/// Reads a secret that is given here or in a file of its own, never both. The keys are `x` and `x_file`.
pub(super) fn here_or_in_file<T>(
    section: &mut Section,
    (key, file_key): (&'static str, &'static str),
    here: impl FnOnce(&Value) -> Result<T, String>,
    in_file: impl FnOnce(PathBuf) -> Result<T, String>,
) -> Option<T> {
    let both = section.has(key) && section.has(file_key);
    let given = section.may(key, here);
    let from_file = section.may(file_key, |value| value::path(value).map_err(str::to_owned).and_then(in_file));
    if both {
        section.fault(key, format!("is given as well as {}; keep one of the two", section.path_of(file_key)));
        return None;
    }
    given.or(from_file)
}

pub(super) fn webhooks(section: &mut Section) -> Option<Webhooks> {
    let listen = section.must("listen", value::address);
    let body_bytes_max = section.must("max_body", value::body_bytes);
    let drain_delay = section.must("drain_delay", value::drain_delay);
    let tls = certificate(section);
    let connections_per_address = section.must("connections_per_address", value::connections);
    let refusals_per_minute = section.must("refusals_per_minute", value::refusals_per_minute);
    let trusted_proxies = section.must("trusted_proxies", value::networks);
    Some(Webhooks {
        listen: listen?,
        body_bytes_max: body_bytes_max?,
        drain_delay: drain_delay?,
        tls: tls?,
        connections_per_address: connections_per_address?,
        refusals_per_minute: refusals_per_minute?,
        trusted_proxies: trusted_proxies?,
    })
}

/// The certificate and its key: both or none. `None` when one of them is faulty.
fn certificate(section: &mut Section) -> Option<Option<Arc<Certificate>>> {
    let keys = [Certificate::CERTIFICATE, Certificate::KEY];
    let [has_certificate, has_key] = keys.map(|key| section.has(key));
    let [certificate, key] = keys.map(|key| section.may(key, value::path));
    match (has_certificate, has_key) {
        (false, false) => return Some(None),
        (true, false) => section.fault(Certificate::KEY, "is required with tls_certificate"),
        (false, true) => section.fault(Certificate::CERTIFICATE, "is required with tls_key"),
        (true, true) => {}
    }
    let read = Certificate::in_files(certificate?, key?);
    read.map_err(|misfit| section.fault(misfit.key, misfit.text)).ok().map(|read| Some(Arc::new(read)))
}

pub(super) fn ops(section: &mut Section) -> Option<Ops> {
    let listen = section.must("listen", value::address);
    let wanted = section.has("tokens") || section.has("tokens_file");
    let list = |value: &Value| Tokens::given(value::list(value)?);
    let given = here_or_in_file(section, ("tokens", "tokens_file"), list, Tokens::in_file);
    // Faulty tokens are told already; the address is then judged as if they were good.
    let tokens = if wanted { given? } else { Tokens::default() };
    let listen = listen?;
    if !tokens.guarded() && !listen.ip().is_loopback() {
        section.fault("listen", "must be a loopback address, such as 127.0.0.1:9090, while ops.tokens holds nobody");
    }
    Some(Ops { listen, tokens: Arc::new(tokens) })
}

pub(super) fn store(section: &mut Section) -> Option<Store> {
    let has_url = section.has("url");
    let mut wants_url = false;
    section.must("engine", |value| match value.as_str() {
        Some("sled") => Ok(()),
        Some("postgres") => {
            wants_url = true;
            Err("postgres is not built yet; the only engine is sled")
        }
        _ => Err("must be sled"),
    });
    if wants_url && !has_url {
        section.fault("url", "is required with the engine postgres");
    }
    section.unbuilt("url", "the engine sled needs store.path alone");
    let path = section.must("path", value::path);
    let remember_deliveries = section.must("remember_deliveries", value::span_of_seconds);
    let remember_changes = section.must("remember_changes", value::span);
    Some(Store {
        path: path?,
        remember_deliveries: remember_deliveries?,
        remember_changes: remember_changes.map(|span| (!span.is_zero()).then_some(span))?,
    })
}

pub(super) fn log(section: &mut Section) -> Option<Log> {
    const LEVELS: [(&str, &str); 5] = [("error", "error"), ("warn", "warn"), ("info", "info"), ("debug", "debug"), ("trace", "trace")];
    let json = section.must("format", |value| value::word(value, &[("text", false), ("json", true)]));
    let level = section.must("level", |value| value::word(value, &LEVELS));
    Some(Log { json: json?, level: level?.to_owned() })
}
