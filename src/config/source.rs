//! The settings of one upstream tenant.

use std::sync::Arc;

use toml::{Table, Value};

use super::fault::{Faults, join};
use super::secrets::Secrets;
use super::section::Section;
use super::{Reconcile, Source, layers, service, value};

const NAME_CHARS_MAX: usize = 64;

/// Reads one source over what every source begins with.
pub(super) fn read(name: &str, settings: Value, template: &Table, faults: &mut Faults) -> Option<Source> {
    let path = join("sources", name);
    let named = is_name(name);
    if !named {
        faults.push(&path, "the name of a source is made of a-z, 0-9 and _, begins with a letter, has no __ and at most 64 characters");
    }
    let Value::Table(settings) = settings else {
        faults.push(path, "must be a section of keys, not a value");
        return None;
    };
    let mut section = Section::new(path, layers::lay([template.clone(), settings], faults));
    let source = source(&mut section, faults);
    section.finish(faults);
    source.filter(|_| named)
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain) && !name.contains("__") && name.len() <= NAME_CHARS_MAX
}

fn source(section: &mut Section, faults: &mut Faults) -> Option<Source> {
    let kind = section.must("kind", kind);
    if kind.is_some() && !section.has("webhook_secrets") && !section.has("webhook_secrets_file") {
        section.fault("webhook_secrets", "is required, here or as webhook_secrets_file");
    }
    let several = |value: &Value| Secrets::given(value::list(value)?);
    let webhook_secrets = service::here_or_in_file(section, ("webhook_secrets", "webhook_secrets_file"), several, Secrets::in_file);
    let has_token = section.has("api_token") || section.has("api_token_file");
    match (section.has("base_url"), has_token) {
        (true, false) => section.fault("api_token", "is required with a base_url, here or as api_token_file"),
        (false, true) => section.fault("base_url", "is required with an api_token"),
        _ => {}
    }
    let base_url = section.may("base_url", value::base_url);
    let one = |value: &Value| Secrets::given(vec![value::text(value)?]);
    let api_token = service::here_or_in_file(section, ("api_token", "api_token_file"), one, Secrets::in_file);
    let bulk_requests_per_hour = section.must("bulk_requests_per_hour", value::requests_per_hour);
    let lookup_requests_per_hour = section.must("lookup_requests_per_hour", value::requests_per_hour);
    let reconcile = section.within("reconcile", faults, reconcile);
    Some(Source {
        webhook_secrets: Arc::new(webhook_secrets?),
        base_url,
        api_token: api_token.map(Arc::new),
        bulk_requests_per_hour: bulk_requests_per_hour?,
        lookup_requests_per_hour: lookup_requests_per_hour?,
        reconcile: reconcile?,
    })
}

/// There is one kind as yet, so nothing remembers it.
fn kind(value: &Value) -> Result<(), &'static str> {
    match value.as_str() {
        Some("mangoapps") => Ok(()),
        Some("imonggo") => Err("imonggo is not built yet; the only kind is mangoapps"),
        _ => Err("must be mangoapps"),
    }
}

fn reconcile(section: &mut Section) -> Option<Reconcile> {
    let settle = section.must("settle", value::span);
    let incremental_every = section.must("incremental_every", value::span);
    let degraded_every = section.must("degraded_every", value::span);
    let full_every = section.must("full_every", value::span);
    let tolerance = section.must("tolerance", value::span);
    let lookback = section.must("lookback", value::span);
    let silence_after = section.must("silence_after", value::span);
    let confirm_deletes_after = section.must("confirm_deletes_after", value::span);
    let max_deletes = section.must("max_deletes", value::max_deletes);
    let lookup_interval = section.must("lookup_interval", value::span);
    let details = section.must("details", |value| value::word(value, &[("background", true), ("off", false)]));
    Some(Reconcile {
        settle: settle?,
        incremental_every: incremental_every?,
        degraded_every: degraded_every?,
        full_every: full_every?,
        tolerance: tolerance?,
        lookback: lookback?,
        silence_after: silence_after?,
        confirm_deletes_after: confirm_deletes_after?,
        max_deletes: max_deletes?,
        lookup_interval: lookup_interval?,
        details_in_background: details?,
    })
}
