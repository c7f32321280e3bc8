//! Secrets: files that are read anew, and what each one that counts was used for, as of the moment of a scrape.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{ENDS, Metrics, ended, signed};
use crate::config::secrets::{Numbered, Usage};
use crate::config::{Config, Secret, Secrets, Token, Tokens};
use crate::telemetry::labels::{ByEnd, ByName, BySecret};

impl Metrics {
    /// The same, and how each secret of a configuration is used.
    #[must_use]
    pub fn watching(mut self, config: &Config) -> Self {
        self.registry.register_collector(Box::new(Uses::of(config)));
        self
    }

    pub(super) fn register_secrets(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "rollcall_secret_reloads",
            "Changed files of secrets that were read anew, or could not be used",
            self.secret_reloads.clone(),
        );
        registry.register(
            "rollcall_secret_files_unusable",
            "Files of secrets that cannot be used as they are now; what counted before still counts",
            self.unusable_secret_files.clone(),
        );
        for result in ENDS {
            drop(self.secret_reloads.get_or_create(&ByEnd { result }));
        }
    }

    /// A changed file of secrets was read anew, or could not be used.
    pub fn secrets_reloaded(&self, done: bool) {
        self.secret_reloads.get_or_create(&ended(done)).inc();
    }

    /// So many files of secrets cannot be used as they are now.
    pub fn set_unusable_secret_files(&self, files: usize) {
        self.unusable_secret_files.set(signed(files as u64));
    }
}

/// The secrets of a configuration. One that is gone is told no more, so that no rotation adds to what is scraped.
#[derive(Debug)]
struct Uses {
    webhook_secrets: Vec<(Arc<str>, Arc<Secrets>)>,
    api_tokens: Vec<(Arc<str>, Arc<Secrets>)>,
    ops_tokens: Arc<Tokens>,
}

impl Uses {
    fn of(config: &Config) -> Self {
        let sources = || config.sources.iter().map(|(name, source)| (Arc::from(name.as_str()), source));
        Self {
            webhook_secrets: sources().map(|(name, source)| (name, Arc::clone(&source.webhook_secrets))).collect(),
            api_tokens: sources().filter_map(|(name, source)| Some((name, Arc::clone(source.api_token.as_ref()?)))).collect(),
            ops_tokens: Arc::clone(&config.ops.tokens),
        }
    }
}

impl Collector for Uses {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let webhook_secrets: Vec<_> = rows(&self.webhook_secrets, usize::MAX).collect();
        let names = ["rollcall_webhook_secret_uses", "rollcall_webhook_secret_last_used_timestamp_seconds"];
        encode(&mut encoder, names, "a delivery that it signed", &webhook_secrets)?;
        // Only the first one is ever sent.
        let api_tokens: Vec<_> = rows(&self.api_tokens, 1).collect();
        let names = ["rollcall_api_token_uses", "rollcall_api_token_last_used_timestamp_seconds"];
        encode(&mut encoder, names, "a call to upstream", &api_tokens)?;
        let ops_tokens = self.ops_tokens.live();
        let labels = |token: &Numbered<Token>| ByName { name: token.name.clone(), secret: token.number };
        let ops_tokens: Vec<_> = ops_tokens.iter().map(|token| (labels(token), told(&token.usage))).collect();
        let names = ["rollcall_ops_token_uses", "rollcall_ops_token_last_used_timestamp_seconds"];
        encode(&mut encoder, names, "a request that it came with", &ops_tokens)
    }
}

/// The first few secrets of each source, as they count now.
fn rows(lists: &[(Arc<str>, Arc<Secrets>)], most: usize) -> impl Iterator<Item = (BySecret, Told)> {
    lists.iter().flat_map(move |(source, secrets)| {
        let row = |secret: &Arc<Secret>| (BySecret { source: Arc::clone(source), secret: secret.number }, told(&secret.usage));
        secrets.live().iter().take(most).map(row).collect::<Vec<_>>()
    })
}

/// How often, and when last in seconds since 1970; 0 for never.
type Told = (u64, f64);

fn told(usage: &Usage) -> Told {
    #[expect(clippy::cast_precision_loss, reason = "the milliseconds of any time that a clock shows are exact")]
    let seconds = usage.last_millis().map_or(0.0, |millis| millis as f64 / 1000.0);
    (usage.uses(), seconds)
}

/// Two families, where there is anything in them; `use_of` says what counts as a use.
fn encode<L: EncodeLabelSet>(
    encoder: &mut DescriptorEncoder,
    [uses, last_used]: [&str; 2],
    use_of: &str,
    rows: &[(L, Told)],
) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    let help = format!("Uses of each secret that counts now; one is {use_of}");
    let mut family = encoder.encode_descriptor(uses, &help, None, MetricType::Counter)?;
    for (labels, (uses, _)) in rows {
        family.encode_family(labels)?.encode_counter::<NoLabelSet, _, u64>(uses, None)?;
    }
    let help = format!("When each secret that counts now was last used, 0 when it never was since it counts; a use is {use_of}");
    let mut family = encoder.encode_descriptor(last_used, &help, None, MetricType::Gauge)?;
    for (labels, (_, last)) in rows {
        family.encode_family(labels)?.encode_gauge(last)?;
    }
    Ok(())
}
