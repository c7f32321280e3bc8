//! Configuration: the default file, then the given files, then `ROLLCALL__…` (contract, section 2).
//!
//! [`load`] lays the layers into one tree (`layers`), then walks it section by section (`section`, `service`, `source`), each key
//! through its own reader (`value`), so that every fault is told at once and every key that nobody reads is one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub mod certificate;
mod describe;
mod fault;
mod layers;
pub mod secrets;
mod section;
mod service;
mod source;
#[cfg(test)]
mod tests;
mod value;

use ipnet::IpNet;
use section::Section;
use toml::Value;

pub use certificate::Certificate;
pub use fault::{Fault, Faults};
pub use secrets::{Scope, Secret, Secrets, Token, Tokens};

/// Everything that can be set, checked.
#[derive(Debug)]
pub struct Config {
    /// The public listener.
    pub webhooks: Webhooks,
    /// The private listener.
    pub ops: Ops,
    /// Where things are remembered.
    pub store: Store,
    /// The upstream tenants, by name.
    pub sources: BTreeMap<String, Source>,
    /// What is logged, and how.
    pub log: Log,
}

/// The public listener.
#[derive(Debug)]
pub struct Webhooks {
    /// Its address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Larger bodies get 413. Bytes.
    pub body_bytes_max: usize,
    /// How long after SIGTERM new connections are still taken.
    pub drain_delay: Duration,
    /// With it the listener speaks HTTPS and nothing else.
    pub tls: Option<Arc<Certificate>>,
    /// Connections of one address that have not carried an authentic delivery yet; more make the oldest of them go.
    pub connections_per_address: usize,
    /// Requests of one address in any minute that may be refused at once; the answers to more come late.
    pub refusals_per_minute: u32,
    /// Who is believed about whose requests they forward, and has no limits of its own.
    pub trusted_proxies: Vec<IpNet>,
}

/// The private listener.
#[derive(Debug)]
pub struct Ops {
    /// Its address; loopback, unless there are tokens.
    pub listen: SocketAddr,
    /// Who may ask; empty means everyone.
    pub tokens: Arc<Tokens>,
}

/// Where things are remembered.
#[derive(Debug)]
pub struct Store {
    /// sled's folder.
    pub path: PathBuf,
    /// How long event ids are remembered.
    pub remember_deliveries: Duration,
    /// How far the feed reaches back; `None` is for ever.
    pub remember_changes: Option<Duration>,
}

/// One upstream tenant.
#[derive(Debug)]
pub struct Source {
    /// All of them are live at once.
    pub webhook_secrets: Arc<Secrets>,
    /// Where its REST API is, without a trailing slash; without it gaps stay open.
    pub base_url: Option<String>,
    /// The Bearer token for it: the first entry.
    pub api_token: Option<Arc<Secrets>>,
    /// Listings in any sliding hour.
    pub bulk_requests_per_hour: u32,
    /// Lookups in any sliding hour.
    pub lookup_requests_per_hour: u32,
    /// How gaps are repaired.
    pub reconcile: Reconcile,
}

/// How gaps are repaired. A zero duration of a schedule means that it is off.
#[derive(Clone, Debug, PartialEq)]
pub struct Reconcile {
    /// How long gaps are gathered, at least, before a repair starts.
    pub settle: Duration,
    /// The incremental pass that runs even without any gap.
    pub incremental_every: Duration,
    /// The same, while the webhook looks broken.
    pub degraded_every: Duration,
    /// The full sweep.
    pub full_every: Duration,
    /// Allowance for clock differences and read lag between events and rows.
    pub tolerance: Duration,
    /// How far each incremental pass reads again behind its cursor.
    pub lookback: Duration,
    /// No authentic delivery for this long is a gap.
    pub silence_after: Duration,
    /// The pause between two lookups that must both answer 404.
    pub confirm_deletes_after: Duration,
    /// More candidates for deletion than this within an hour wait for approval.
    pub max_deletes: MaxDeletes,
    /// The same user is not looked up more often.
    pub lookup_interval: Duration,
    /// Whether fields that only a lookup carries are filled with the lookups that repairs leave over.
    pub details_in_background: bool,
}

/// A share of the live users, or a plain number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxDeletes {
    /// Per cent, 0 to 100.
    Share(f64),
    /// Users.
    Number(u64),
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

/// Reads all settings: the default file, `files` in their order, then those variables that begin with `ROLLCALL__`.
///
/// # Errors
/// Every fault that was found, each with its key, none with its value.
pub fn load(files: &[PathBuf], environment: impl Iterator<Item = (String, String)>) -> Result<Config, Faults> {
    let mut faults = Faults::default();
    let layers = layers::gather(files, environment, &mut faults);
    let config = read(layers, &mut faults);
    config.filter(|_| faults.0.is_empty()).ok_or(faults)
}

/// The variables of this process that are settings. What is not UTF-8 text keeps a mark in its place.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
    let all = std::env::vars_os();
    let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    all.map(move |(name, value)| (lossy(name), lossy(value))).filter(|(name, _)| name.starts_with(layers::PREFIX))
}

fn read(layers: layers::Layers, faults: &mut Faults) -> Option<Config> {
    let mut root = Section::new("", layers.tree);
    let webhooks = root.within("webhooks", faults, service::webhooks);
    let ops = root.within("ops", faults, service::ops);
    let store = root.within("store", faults, service::store);
    let log = root.within("log", faults, service::log);
    let sources = root.must("sources", |value| match value {
        Value::Table(sources) if !sources.is_empty() => Ok(sources.clone()),
        _ => Err("must hold at least one section, such as [sources.main]: without a source there is nothing to do"),
    });
    root.finish(faults);
    let mut read = BTreeMap::new();
    for (name, settings) in sources? {
        if let Some(source) = source::read(&name, settings, &layers.source, faults) {
            read.insert(name, source);
        }
    }
    Some(Config { webhooks: webhooks?, ops: ops?, store: store?, sources: read, log: log? })
}
