//! Values: from what a file or a variable holds to what it means. The sentences follow the key's name in a fault.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::Url;
use toml::Value;

use super::MaxDeletes;

type Read<T> = Result<T, &'static str>;

const BODY_BYTES_MIN: u64 = 1 << 10;
const BODY_BYTES_MAX: u64 = 64 << 20;
const DRAIN_DELAY_MAX: Duration = Duration::from_secs(600);
const REQUESTS_PER_HOUR_MAX: u32 = 1_000_000;
const CONNECTIONS_MAX: usize = 65_536;
const REFUSALS_MAX: u32 = 1_000_000;
/// Longer spans are mistakes, and sums of them with a time could leave what a timestamp holds.
const SPAN_MAX: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// A text that is not empty.
pub(super) fn text(value: &Value) -> Read<String> {
    value.as_str().filter(|text| !text.trim().is_empty()).map(str::to_owned).ok_or("must be a text that is not empty")
}

/// A file or folder.
pub(super) fn path(value: &Value) -> Read<PathBuf> {
    text(value).map(PathBuf::from)
}

/// A list of texts: a list, or a text with commas, as a variable gives it.
pub(super) fn list(value: &Value) -> Read<Vec<String>> {
    const SENTENCE: &str = "must be a list of texts";
    match value {
        Value::String(text) => Ok(text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect()),
        Value::Array(entries) => entries.iter().map(|entry| entry.as_str().map(str::to_owned).ok_or(SENTENCE)).collect(),
        _ => Err(SENTENCE),
    }
}

/// One of a few words.
pub(super) fn word<T>(value: &Value, words: &[(&str, T)]) -> Result<T, String>
where
    T: Copy,
{
    let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
    found.map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("must be {}", words.join(" or "))
    })
}

/// An address and a port.
pub(super) fn address(value: &Value) -> Read<SocketAddr> {
    value.as_str().and_then(|text| text.parse().ok()).ok_or("must be an IP address and a port, such as 127.0.0.1:9090 or [::1]:9090")
}

/// A duration that may be zero.
pub(super) fn span(value: &Value) -> Read<Duration> {
    const SENTENCE: &str = "must be a duration with its unit, such as 100ms, 3s, 10m, 12h or 90d, of at most 100 years";
    value.as_str().and_then(|text| humantime::parse_duration(text).ok()).filter(|span| *span <= SPAN_MAX).ok_or(SENTENCE)
}

/// How long a service that was told to end may go on.
pub(super) fn drain_delay(value: &Value) -> Read<Duration> {
    const SENTENCE: &str = "must be a duration from 0s to 10m, such as 5s";
    span(value).ok().filter(|span| *span <= DRAIN_DELAY_MAX).ok_or(SENTENCE)
}

/// A duration of at least a second.
pub(super) fn span_of_seconds(value: &Value) -> Read<Duration> {
    span(value).and_then(|span| if span < Duration::from_secs(1) { Err("must be at least 1s") } else { Ok(span) })
}

/// A size of a body, in bytes.
pub(super) fn body_bytes(value: &Value) -> Read<usize> {
    let bytes = match value {
        Value::String(text) => bytes(text),
        other => other.as_integer().and_then(|number| u64::try_from(number).ok()),
    };
    let sentence = "must be a size from 1KiB to 64MiB, such as 65536, 64KiB or 1MiB";
    bytes.filter(|bytes| (BODY_BYTES_MIN..=BODY_BYTES_MAX).contains(bytes)).and_then(|bytes| usize::try_from(bytes).ok()).ok_or(sentence)
}

fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let unit: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::String(text) => text.trim().parse().ok(),
        other => other.as_integer().and_then(|number| u64::try_from(number).ok()),
    }
}

/// Calls in an hour.
pub(super) fn requests_per_hour(value: &Value) -> Read<u32> {
    let calls = number(value).and_then(|number| u32::try_from(number).ok());
    calls.filter(|calls| (1..=REQUESTS_PER_HOUR_MAX).contains(calls)).ok_or("must be a whole number from 1 to 1000000")
}

/// Connections of one address.
pub(super) fn connections(value: &Value) -> Read<usize> {
    let connections = number(value).and_then(|number| usize::try_from(number).ok());
    connections.filter(|number| (1..=CONNECTIONS_MAX).contains(number)).ok_or("must be a whole number from 1 to 65536")
}

/// Requests that may be refused in a minute.
pub(super) fn refusals_per_minute(value: &Value) -> Read<u32> {
    let refusals = number(value).and_then(|number| u32::try_from(number).ok());
    refusals.filter(|number| (1..=REFUSALS_MAX).contains(number)).ok_or("must be a whole number from 1 to 1000000")
}

/// A list of networks; a single address is the network of itself.
pub(super) fn networks(value: &Value) -> Read<Vec<IpNet>> {
    let read = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok();
    let networks = list(value)?.iter().map(read).collect::<Option<_>>();
    networks.ok_or("must be a list of IP addresses and networks, such as 10.0.0.7 or 10.0.0.0/8")
}

/// A share of the live users, or a number of users.
pub(super) fn max_deletes(value: &Value) -> Read<MaxDeletes> {
    let share = |text: &str| text.trim().strip_suffix('%')?.trim_end().parse::<f64>().ok().filter(|share| (0.0..=100.0).contains(share));
    let found = value.as_str().and_then(share).map(MaxDeletes::Share).or_else(|| number(value).map(MaxDeletes::Number));
    found.ok_or("must be a share from 0% to 100%, such as 5%, or a whole number of users")
}

/// The address of a REST API, without a trailing slash. The sentences do not repeat it: it may hold a password.
pub(super) fn base_url(value: &Value) -> Read<String> {
    let url = value.as_str().and_then(|text| Url::parse(text.trim()).ok()).filter(Url::has_host);
    let url = url.ok_or("must be an address such as https://example.mangoapps.com")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or a password; the token goes into api_token");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("must end with its host or path, without ? and #");
    }
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        _ => return Err("must begin with https:// (http:// only to a loopback host), because the API token travels there"),
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}
