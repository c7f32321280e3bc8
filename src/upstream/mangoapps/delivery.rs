//! From the bytes of an authentic delivery to an event (contract, section 3).
//!
//! A key that stands twice in one object counts as its last occurrence says, as everywhere in `serde_json`.

use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::{NAME_CHARS_MAX, is_name};
use crate::directory::{Event, EventKind, Fields, Timestamp};

mod pick;
mod types;

use pick::pick;

/// At most this much of an event's name is told.
const EVENT_CHARS_MAX: usize = 100;

/// `changes` names at most this many fields; some thirty are documented.
const CHANGES_MAX: usize = 200;

/// An authentic delivery, read.
#[derive(Debug, PartialEq)]
pub struct Delivery {
    /// Names it for ever.
    pub event_id: String,
    /// The body's `event`, where it is a text; at most 100 characters of it.
    pub event: Option<String>,
    /// `data.uid`, where it is a text of 1 to 200 characters.
    pub uid: Option<String>,
    /// What it says.
    pub content: Content,
}

/// What a delivery says.
#[derive(Debug, PartialEq)]
pub enum Content {
    /// One of the five events.
    Event(Box<Event>),
    /// Not about users.
    Ignored,
    /// Not understood, and why: one fixed sentence that names the field, without any of its content.
    Quarantined(&'static str),
}

/// Why a delivery is not understood.
type Fault = &'static str;

/// Reads a delivery that arrived at `received` (upstream's time). Never fails: what is not understood is quarantined.
///
/// The body's own id counts as soon as the body is a JSON object, whatever else it says.
#[must_use]
pub fn read(body: &[u8], received: Timestamp) -> Delivery {
    let hash: [u8; 32] = Sha256::digest(body).into();
    let Some(parts) = std::str::from_utf8(body).ok().and_then(Parts::of) else {
        let content = Content::Quarantined("the body is not one JSON object");
        return Delivery { event_id: const_hex::encode(hash), event: None, uid: None, content };
    };
    let event_id = parts.own_id().unwrap_or_else(|| const_hex::encode(hash));
    let arrival = Arrival { event_id: &event_id, received, digest: hash.first_chunk().map_or(0, |head| u64::from_be_bytes(*head)) };
    let content = parts.content(&arrival).unwrap_or_else(Content::Quarantined);
    let event = parts.event.map(cut);
    Delivery { event_id, event, uid: parts.uid, content }
}

/// What is known of a delivery apart from what it says.
struct Arrival<'a> {
    event_id: &'a str,
    received: Timestamp,
    digest: u64,
}

/// What counts of a body: the names of things, and the rest as it was written.
struct Parts<'a> {
    ids: [Option<&'a RawValue>; 2],
    event: Option<String>,
    timestamp: Option<&'a RawValue>,
    uid: Option<String>,
    user: Option<&'a RawValue>,
    changes: Option<&'a RawValue>,
    deleted_at: Option<&'a RawValue>,
    deleted_by: Option<&'a RawValue>,
}

impl<'a> Parts<'a> {
    /// `None` for what is not one JSON object.
    fn of(body: &'a str) -> Option<Self> {
        let [event_id, id, event, timestamp, data] = pick(body, ["event_id", "id", "event", "timestamp", "data"])?;
        let data = data.and_then(|data| pick(data.get(), ["uid", "user", "changes", "deleted_at", "deleted_by"]));
        let [uid, user, changes, deleted_at, deleted_by] = data.unwrap_or_default();
        let uid = uid.and_then(text).filter(|uid| is_name(uid));
        Some(Self { ids: [event_id, id], event: event.and_then(text), timestamp, uid, user, changes, deleted_at, deleted_by })
    }

    /// The id that the body itself tells.
    fn own_id(&self) -> Option<String> {
        self.ids.iter().flatten().find_map(|raw| whole_number(raw).or_else(|| text(raw).filter(|id| is_name(id))))
    }

    fn content(&self, arrival: &Arrival<'_>) -> Result<Content, Fault> {
        let Some(kind) = self.kind()? else { return Ok(Content::Ignored) };
        let uid = self.uid.clone().ok_or("data.uid is missing, or is not a text of 1 to 200 characters")?;
        Ok(Content::Event(Box::new(Event {
            id: arrival.event_id.to_owned(),
            kind,
            stamp: self.stamp()?,
            received: arrival.received,
            changes: self.changes()?,
            user: self.user(&uid)?,
            deleted_at: self.deleted_at()?,
            digest: arrival.digest,
            uid,
        })))
    }

    /// Which of the five events; `None` when it is not about users.
    fn kind(&self) -> Result<Option<EventKind>, Fault> {
        let name = self.event.as_deref().filter(|name| !name.is_empty()).ok_or("event is missing, empty or not a text")?;
        if !name.starts_with("user.") {
            return Ok(None);
        }
        EventKind::from_name(name).map(Some).ok_or("event is about a user, but not a documented one")
    }

    fn stamp(&self) -> Result<Timestamp, Fault> {
        let written = self.timestamp.and_then(text).filter(|text| !text.is_empty());
        Timestamp::parse(&written.ok_or("timestamp is missing, empty or not a text")?).ok_or("timestamp is not a time that can be read")
    }

    /// The snapshot, undocumented fields too. A null uid in it says nothing and is left out.
    fn user(&self, uid: &str) -> Result<Fields, Fault> {
        let Some(raw) = present(self.user) else { return Ok(Fields::new()) };
        let mut user: Fields = serde_json::from_str(raw.get()).map_err(|_| "data.user is not an object that can be read")?;
        if let Some(fault) = user.iter().find_map(|(field, value)| types::fault(field, value)) {
            return Err(fault);
        }
        match user.get("uid").and_then(Value::as_str) {
            Some(same) if same == uid => {}
            Some(_) => return Err("data.user.uid is not data.uid"),
            None => drop(user.remove("uid")),
        }
        Ok(user)
    }

    fn changes(&self) -> Result<Vec<String>, Fault> {
        let Some(raw) = present(self.changes) else { return Ok(Vec::new()) };
        let names: Vec<String> = serde_json::from_str(raw.get()).map_err(|_| "data.changes is not a list of texts")?;
        if names.len() > CHANGES_MAX || names.iter().any(|name| !is_name(name)) {
            return Err("data.changes names more than 200 fields, or one that is empty or longer than 200 characters");
        }
        Ok(names)
    }

    fn deleted_at(&self) -> Result<Option<String>, Fault> {
        if present(self.deleted_by).is_some_and(|raw| text(raw).is_none()) {
            return Err("data.deleted_by is not a text or null");
        }
        let Some(raw) = present(self.deleted_at) else { return Ok(None) };
        let readable = text(raw).filter(|text| Timestamp::parse(text).is_some());
        readable.map(Some).ok_or("data.deleted_at is not a time that can be read")
    }
}

/// A value that is there and not null.
fn present(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

/// A value that is a text.
fn text(raw: &RawValue) -> Option<String> {
    let written = raw.get();
    // Nearly all are written without an escape: then they stand there as they are.
    match written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Some(plain.to_owned()),
        Some(_) => serde_json::from_str(written).ok(),
        None => None,
    }
}

/// As much of an event's name as is told.
fn cut(mut name: String) -> String {
    if name.len() > EVENT_CHARS_MAX
        && let Some((end, _)) = name.char_indices().nth(EVENT_CHARS_MAX)
    {
        name.truncate(end);
    }
    name
}

/// A whole number of at most 200 digits, as it was written. `10.0` and `1e3` are none: they have no one decimal text.
fn whole_number(raw: &RawValue) -> Option<String> {
    let written = raw.get();
    let digits = written.strip_prefix('-').unwrap_or(written);
    (digits.len() <= NAME_CHARS_MAX && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| written.to_owned())
}

#[cfg(test)]
mod tests;
