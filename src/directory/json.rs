//! Writes records and fields down as JSON, byte for byte as `serde_json` does, and faster.
//!
//! # Why not through `serde_json` alone
//! It looks at each byte of each text for what must be escaped, and writes each comma on its own. Names are known to need no
//! escape where they are documented, and of a text eight bytes can be looked at in one step; whatever is not plain is left to
//! `serde_json`. The price is this file, and a test that both ways agree.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Result, Value};

use super::record::{Claim, Read, Record, Witness, by_event};
use super::{ByName, Fields, Gap, Name, Reason};

/// Appends a record.
///
/// # Errors
/// As [`serde_json::to_writer`]: none are known for records.
pub fn record(record: &Record, json: &mut Vec<u8>) -> Result<()> {
    let Record { listing, detail, claims, life, gaps, last_change } = record;
    json.push(b'{');
    for (key, read) in [("\"l\":{\"v\":", listing), ("\"d\":{\"v\":", detail)] {
        if let Some(Read { fields: row, began, call }) = read {
            json.extend_from_slice(key.as_bytes());
            fields(row, json)?;
            put(",\"r\":", began, json)?;
            put(",\"q\":", call, json)?;
            json.extend_from_slice(b"},");
        }
    }
    if !claims.is_empty() {
        events(claims, json)?;
    }
    put("\"f\":", life, json)?;
    if !gaps.is_empty() {
        open(gaps, json)?;
    }
    if *last_change != 0 {
        put(",\"n\":", last_change, json)?;
    }
    json.push(b'}');
    Ok(())
}

/// Appends claims, by event.
fn events(claims: &ByName<Claim>, json: &mut Vec<u8>) -> Result<()> {
    json.extend_from_slice(b"\"c\":[");
    for (place, by) in by_event::events(claims).into_iter().enumerate() {
        let Witness { stamp, rank, digest, received, event_id } = by.as_ref();
        put(if place == 0 { "{\"s\":" } else { ",{\"s\":" }, stamp, json)?;
        put(",\"k\":", rank, json)?;
        put(",\"h\":", digest, json)?;
        put(",\"r\":", received, json)?;
        json.extend_from_slice(b",\"e\":");
        text(event_id, is_plain(event_id.as_bytes()), json)?;
        json.extend_from_slice(b",\"v\":");
        entries(by_event::claimed(claims, by), json)?;
        json.push(b'}');
    }
    json.extend_from_slice(b"],");
    Ok(())
}

/// Appends open gaps, by reason.
fn open(gaps: &BTreeMap<Reason, Gap>, json: &mut Vec<u8>) -> Result<()> {
    for (place, (reason, gap)) in gaps.iter().enumerate() {
        let Gap { id, count, detected_at, event_id, need, happened, due } = gap;
        json.extend_from_slice(if place == 0 { b",\"g\":{" } else { b"," });
        text(reason.name(), true, json)?;
        put(":{\"i\":", id, json)?;
        put(",\"n\":", count, json)?;
        put(",\"a\":", detected_at, json)?;
        json.extend_from_slice(b",\"e\":");
        match event_id {
            Some(id) => text(id, is_plain(id.as_bytes()), json)?,
            None => json.extend_from_slice(b"null"),
        }
        put(",\"w\":", need, json)?;
        put(",\"t\":", happened, json)?;
        put(",\"d\":", due, json)?;
        json.push(b'}');
    }
    json.push(b'}');
    Ok(())
}

/// Appends a key, with what is around it, and its value.
fn put(key: &str, value: &impl Serialize, json: &mut Vec<u8>) -> Result<()> {
    json.extend_from_slice(key.as_bytes());
    serde_json::to_writer(json, value)
}

/// Appends fields, as an object.
///
/// # Errors
/// As [`serde_json::to_writer`]: none are known for fields.
pub fn fields(fields: &Fields, json: &mut Vec<u8>) -> Result<()> {
    entries(fields.iter(), json)
}

/// Appends entries, as an object.
fn entries<'a>(entries: impl Iterator<Item = (&'a Name, &'a Value)>, json: &mut Vec<u8>) -> Result<()> {
    json.push(b'{');
    let mut first = true;
    for (name, held) in entries {
        if !std::mem::take(&mut first) {
            json.push(b',');
        }
        text(name, name.is_documented(), json)?;
        json.push(b':');
        value(held, json)?;
    }
    json.push(b'}');
    Ok(())
}

fn value(value: &Value, json: &mut Vec<u8>) -> Result<()> {
    match value {
        Value::Null => json.extend_from_slice(b"null"),
        Value::Bool(true) => json.extend_from_slice(b"true"),
        Value::Bool(false) => json.extend_from_slice(b"false"),
        Value::String(held) => text(held, is_plain(held.as_bytes()), json)?,
        other => serde_json::to_writer(json, other)?,
    }
    Ok(())
}

fn text(text: &str, plain: bool, json: &mut Vec<u8>) -> Result<()> {
    if !plain {
        return serde_json::to_writer(json, text);
    }
    json.reserve(text.len() + 2);
    json.push(b'"');
    json.extend_from_slice(text.as_bytes());
    json.push(b'"');
    Ok(())
}

/// Whether a text is written as it is: without control characters, quotes and backslashes.
fn is_plain(text: &[u8]) -> bool {
    let are_plain = |eight: &[u8; 8]| are_plain(u64::from_ne_bytes(*eight));
    match text.last_chunk() {
        // The last eight overlap those before them, where there is no whole number of eights.
        Some(last) => text.as_chunks().0.iter().all(are_plain) && are_plain(last),
        None => text.iter().all(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\'),
    }
}

/// Whether all eight bytes are plain ones.
const fn are_plain(eight: u64) -> bool {
    /// A byte eight times.
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }

    /// The upper bit of a byte, or of one above it, where it is below `limit`; of none where none is.
    const fn below(eight: u64, limit: u8) -> u64 {
        eight.wrapping_sub(all(limit)) & !eight & all(0x80)
    }

    below(eight, b' ') | below(eight ^ all(b'"'), 1) | below(eight ^ all(b'\\'), 1) == 0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_is_plain_or_not_wherever_it_stands() {
        for (byte, length) in (0..=u8::MAX).flat_map(|byte| (1..18).map(move |length| (byte, length))) {
            for place in 0..length {
                let mut text = vec![b'x'; length];
                text[place] = byte;
                assert_eq!(is_plain(&text), byte >= b' ' && byte != b'"' && byte != b'\\', "{byte} at {place} of {length}");
            }
        }
        assert!(is_plain(b""));
    }

    proptest! {
        #[test]
        fn fields_are_written_as_serde_json_writes_them(entries in prop::collection::vec((any::<String>(), any::<String>()), 0..9)) {
            let mut all: Fields = entries.into_iter().map(|(name, text)| (name, Value::from(text))).collect();
            all.insert("active", Value::Bool(true));
            all.insert("phone", Value::Null);
            all.insert("manager", serde_json::json!({"uid": "b", "desk": [1, 2.5, "\n"]}));
            let mut json = Vec::new();
            fields(&all, &mut json).unwrap();
            prop_assert_eq!(json, serde_json::to_vec(&all).unwrap());
        }
    }
}
