//! Records and fields in bytes, as a store keeps them: documented names and small numbers in a byte, hexadecimal ids by half.
//!
//! # Why not JSON
//! As JSON a record is three times as long, so that of 100,000 users a third fits into the memory of the same store, each delivery reads
//! a page from the disk, and writes three times as much. It took a fifth of all of the service's time there. The price is that nobody
//! reads a store's file with their own eyes, and this file. Unknown fields survive, as they would in JSON.

mod parts;

use std::sync::Arc;

use litemap::LiteMap;

use super::record::{Candidate, Claim, Deletion, Life, Read, Record, Sight, Witness, claimed, events};
use super::{ByName, EventKind, Fields, Gap, Need, Reason};

use parts::{Reader, flag, id, number, optional, put_fields, put_name, put_value, text, time};

/// How records are written, in their first byte.
const FORMAT: u8 = 1;

/// Appends a record.
pub fn record(record: &Record, bytes: &mut Vec<u8>) {
    let Record { listing, detail, claims, life, gaps, last_change } = record;
    bytes.push(FORMAT);
    for read in [listing, detail] {
        optional(read.as_ref(), bytes, |Read { fields, began, call }, bytes| {
            put_fields(fields, bytes);
            time(*began, bytes);
            number(*call, bytes);
        });
    }
    put_claims(claims, bytes);
    put_life(life, bytes);
    number(gaps.len() as u64, bytes);
    for (reason, gap) in gaps {
        put_gap(*reason, gap, bytes);
    }
    number(*last_change, bytes);
}

/// Reads a record; `None` unless it is one, and nothing else.
#[must_use]
pub fn read_record(bytes: &[u8]) -> Option<Record> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != FORMAT {
        return None;
    }
    let mut read = || {
        let read = |reader: &mut Reader<'_>| Some(Read { fields: reader.fields()?, began: reader.time()?, call: reader.number()? });
        reader.optional(read)
    };
    let (listing, detail) = (read()?, read()?);
    let claims = read_claims(&mut reader)?;
    let life = read_life(&mut reader)?;
    let mut gaps = LiteMap::new();
    for _ in 0..reader.number()? {
        let (reason, gap) = read_gap(&mut reader)?;
        gaps.insert(reason, gap);
    }
    let last_change = reader.number()?;
    reader.is_at_end().then_some(Record { listing, detail, claims, life, gaps, last_change })
}

/// Appends fields.
pub fn fields(fields: &Fields, bytes: &mut Vec<u8>) {
    put_fields(fields, bytes);
}

/// Reads fields, and returns what stands behind them; `None` unless there are any.
#[must_use]
pub fn take_fields(bytes: &[u8]) -> Option<(Fields, &[u8])> {
    let mut reader = Reader::new(bytes);
    let fields = reader.fields()?;
    Some((fields, reader.rest()))
}

/// By event: an event names itself once, whatever it claims.
fn put_claims(claims: &ByName<Claim>, bytes: &mut Vec<u8>) {
    let events = events(claims);
    number(events.len() as u64, bytes);
    for by in events {
        let Witness { stamp, rank, digest, received, event_id } = by.as_ref();
        time(*stamp, bytes);
        bytes.push(*rank as u8);
        bytes.extend(digest.to_le_bytes());
        time(*received, bytes);
        id(event_id, bytes);
        number(claimed(claims, by).count() as u64, bytes);
        for (name, value) in claimed(claims, by) {
            put_name(name, bytes);
            put_value(value, bytes);
        }
    }
}

fn read_claims(reader: &mut Reader<'_>) -> Option<ByName<Claim>> {
    let mut claims = ByName::new();
    for _ in 0..reader.number()? {
        let stamp = reader.time()?;
        let rank = *EventKind::ALL.get(usize::from(reader.byte()?))?;
        let digest = u64::from_le_bytes(reader.chunk()?);
        let by = Arc::new(Witness { stamp, rank, digest, received: reader.time()?, event_id: reader.id()? });
        for _ in 0..reader.number()? {
            let (name, value) = (reader.name()?, reader.value()?);
            claims.insert(name, Claim { value, by: Arc::clone(&by) });
        }
    }
    Some(claims)
}

fn put_life(life: &Life, bytes: &mut Vec<u8>) {
    let Life { sight, deletion, created, touched, known, candidate, swept } = life;
    optional(sight.as_ref(), bytes, |Sight { alive, began, call, deleted_at }, bytes| {
        flag(*alive, bytes);
        time(*began, bytes);
        number(*call, bytes);
        optional(deleted_at.as_ref(), bytes, |at, bytes| text(at, bytes));
    });
    optional(deletion.as_ref(), bytes, |Deletion { stamp, digest, received, deleted_at, event_id }, bytes| {
        time(*stamp, bytes);
        bytes.extend(digest.to_le_bytes());
        time(*received, bytes);
        text(deleted_at, bytes);
        id(event_id, bytes);
    });
    optional(created.as_ref(), bytes, |created, bytes| time(*created, bytes));
    optional(touched.as_ref(), bytes, |(stamp, received), bytes| {
        time(*stamp, bytes);
        time(*received, bytes);
    });
    flag(*known, bytes);
    optional(candidate.as_ref(), bytes, |Candidate { listed, began, missed, found_by }, bytes| {
        flag(*listed, bytes);
        time(*began, bytes);
        optional(missed.as_ref(), bytes, |missed, bytes| time(*missed, bytes));
        number(*found_by, bytes);
    });
    swept.iter().for_each(|listing| number(*listing, bytes));
}

fn read_life(reader: &mut Reader<'_>) -> Option<Life> {
    Some(Life {
        sight: reader.optional(|reader| {
            let (alive, began, call) = (reader.flag()?, reader.time()?, reader.number()?);
            Some(Sight { alive, began, call, deleted_at: reader.optional(Reader::text)? })
        })?,
        deletion: reader.optional(|reader| {
            let (stamp, digest) = (reader.time()?, u64::from_le_bytes(reader.chunk()?));
            Some(Deletion { stamp, digest, received: reader.time()?, deleted_at: reader.text()?, event_id: reader.id()? })
        })?,
        created: reader.optional(Reader::time)?,
        touched: reader.optional(|reader| Some((reader.time()?, reader.time()?)))?,
        known: reader.flag()?,
        candidate: reader.optional(|reader| {
            let (listed, began) = (reader.flag()?, reader.time()?);
            Some(Candidate { listed, began, missed: reader.optional(Reader::time)?, found_by: reader.number()? })
        })?,
        swept: [reader.number()?, reader.number()?],
    })
}

fn put_gap(reason: Reason, gap: &Gap, bytes: &mut Vec<u8>) {
    let Gap { id: number_of_gap, count, detected_at, event_id, need, happened, due } = gap;
    bytes.push(reason as u8);
    number(*number_of_gap, bytes);
    number(*count, bytes);
    time(*detected_at, bytes);
    optional(event_id.as_ref(), bytes, |event_id, bytes| id(event_id, bytes));
    bytes.push(*need as u8);
    time(*happened, bytes);
    time(*due, bytes);
}

fn read_gap(reader: &mut Reader<'_>) -> Option<(Reason, Gap)> {
    let reason = *Reason::ALL.get(usize::from(reader.byte()?))?;
    let (id, count, detected_at, event_id) = (reader.number()?, reader.number()?, reader.time()?, reader.optional(Reader::id)?);
    let need = *Need::ALL.get(usize::from(reader.byte()?))?;
    Some((reason, Gap { id, count, detected_at, event_id, need, happened: reader.time()?, due: reader.time()? }))
}

#[cfg(test)]
mod tests;
