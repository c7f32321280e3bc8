//! What `rollcall check` prints: what would run, with every secret hidden.

use std::time::Duration;

use jiff::Timestamp;

use super::{Config, Source, Webhooks};

impl Config {
    /// What would run with these settings, line by line. Secrets are counted, never shown.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let Self { webhooks, ops, store, sources, log } = self;
        let guard = match ops.tokens.live().len() {
            0 => "open to this host".to_owned(),
            1 => "1 token".to_owned(),
            n => format!("{n} tokens"),
        };
        let kept = store.remember_changes.map_or_else(|| "for ever".to_owned(), |span| format!("for {}", written(span)));
        let mut lines = vec![
            format!(
                "webhooks  on {}, {}, bodies of at most {} bytes, drained for {}",
                webhooks.listen,
                transport(webhooks),
                webhooks.body_bytes_max,
                written(webhooks.drain_delay)
            ),
            describe_limits(webhooks),
            format!("ops       on {}, {guard}", ops.listen),
            format!("store     sled in {}, event ids for {}, changes {kept}", store.path.display(), written(store.remember_deliveries)),
            format!("log       {} at level {}", if log.json { "json" } else { "text" }, log.level),
        ];
        for (name, source) in sources {
            lines.extend(describe_source(name, source));
        }
        lines
    }
}

fn transport(webhooks: &Webhooks) -> String {
    let Some(certificate) = &webhooks.tls else { return "HTTP".to_owned() };
    let until = Timestamp::from_second(certificate.live().expires_at_seconds);
    let until = until.map_or_else(|_| "an unknown time".to_owned(), |until| until.to_string());
    format!("HTTPS with {} until {until}", certificate.file().display())
}

fn describe_limits(webhooks: &Webhooks) -> String {
    let proxies = match webhooks.trusted_proxies.as_slice() {
        [] => "no trusted proxies".to_owned(),
        some => format!("trusted proxies: {}", some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    let Webhooks { connections_per_address, refusals_per_minute, .. } = webhooks;
    format!("          an address {connections_per_address} unproven connections, {refusals_per_minute} refusals a minute; {proxies}")
}

fn describe_source(name: &str, source: &Source) -> Vec<String> {
    let rule = &source.reconcile;
    let upstream = match &source.base_url {
        Some(url) => format!("upstream {url}"),
        None => "no upstream: gaps are recorded and stay open".to_owned(),
    };
    let mut lines = vec![format!("source    {name} (mangoapps), webhook secrets: {}, {upstream}", source.webhook_secrets.live().len())];
    if source.base_url.is_some() {
        lines.extend([
            format!(
                "          budget    {} listings and {} lookups an hour",
                source.bulk_requests_per_hour, source.lookup_requests_per_hour
            ),
            format!(
                "          schedule  incremental {}, degraded {}, full {}, silence {}",
                every(rule.incremental_every),
                every(rule.degraded_every),
                every(rule.full_every),
                if rule.silence_after.is_zero() { "off".to_owned() } else { after(rule.silence_after) }
            ),
            format!(
                "          repairs   {}, the same user not more often than every {}, details {}",
                after(rule.settle),
                written(rule.lookup_interval),
                if rule.details_in_background { "in the background" } else { "by repairs only" }
            ),
        ]);
    }
    lines
}

fn every(span: Duration) -> String {
    if span.is_zero() { "off".to_owned() } else { format!("every {}", written(span)) }
}

fn after(span: Duration) -> String {
    if span.is_zero() { "at once".to_owned() } else { format!("after {}", written(span)) }
}

/// A duration as one would set it: whole days stay days, which the library would tell in months of its own.
fn written(span: Duration) -> String {
    const DAY_SECONDS: u64 = 24 * 3600;
    match (span.as_secs() / DAY_SECONDS, span.as_secs() % DAY_SECONDS, span.subsec_nanos()) {
        (days @ 1.., 0, 0) => format!("{days}d"),
        _ => humantime::format_duration(span).to_string(),
    }
}
