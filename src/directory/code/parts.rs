//! What records are made of: numbers, times, texts, ids, names and values.

use serde_json::{Map, Number, Value};

use crate::directory::{Fields, Name, Timestamp};

/// A name that no documented answer carries: its text follows.
const OTHER_NAME: u8 = u8::MAX;
/// What kind of value follows; from [`SHORT_TEXT`] on a text, with its length.
const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const NATURAL: u8 = 3;
const NEGATIVE: u8 = 4;
const FLOAT: u8 = 5;
const LIST: u8 = 6;
const OBJECT: u8 = 7;
const LONG_TEXT: u8 = 8;
const SHORT_TEXT: u8 = 9;
/// Bytes of a text whose length stands in the byte that tells that it is one.
const SHORT_BYTES_MAX: u8 = u8::MAX - SHORT_TEXT;
/// How deep values may lie within each other: what comes as JSON lies less deep than this.
const DEPTH_MAX: u32 = 256;

/// Seven bits a byte, the least first; the upper bit tells that more follow.
pub(super) fn number(mut number: u64, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    bytes.push(number.to_le_bytes()[0]);
}

/// Milliseconds, the sign in the last bit.
pub(super) fn time(time: Timestamp, bytes: &mut Vec<u8>) {
    let millis = time.as_millis();
    number(((millis << 1) ^ (millis >> 63)).cast_unsigned(), bytes);
}

pub(super) fn flag(flag: bool, bytes: &mut Vec<u8>) {
    bytes.push(flag.into());
}

pub(super) fn optional<T>(value: Option<&T>, bytes: &mut Vec<u8>, put: impl FnOnce(&T, &mut Vec<u8>)) {
    flag(value.is_some(), bytes);
    if let Some(value) = value {
        put(value, bytes);
    }
}

pub(super) fn text(text: &str, bytes: &mut Vec<u8>) {
    number(text.len() as u64, bytes);
    bytes.extend_from_slice(text.as_bytes());
}

/// Twice its length, and one more where two of its digits share a byte.
pub(super) fn id(id: &str, bytes: &mut Vec<u8>) {
    let mut half = [0; 32];
    let is_digits = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if is_digits
        && let Some(half) = half.get_mut(..id.len() / 2)
        && const_hex::decode_to_slice(id, half).is_ok()
    {
        number(half.len() as u64 * 2 + 1, bytes);
        bytes.extend_from_slice(half);
        return;
    }
    number(id.len() as u64 * 2, bytes);
    bytes.extend_from_slice(id.as_bytes());
}

pub(super) fn put_name(name: &Name, bytes: &mut Vec<u8>) {
    bytes.push(name.code().unwrap_or(OTHER_NAME));
    if !name.is_documented() {
        text(name, bytes);
    }
}

pub(super) fn put_fields(fields: &Fields, bytes: &mut Vec<u8>) {
    number(fields.len() as u64, bytes);
    for (name, value) in fields {
        put_name(name, bytes);
        put_value(value, bytes);
    }
}

pub(super) fn put_value(value: &Value, bytes: &mut Vec<u8>) {
    match value {
        Value::Null => bytes.push(NULL),
        Value::Bool(false) => bytes.push(FALSE),
        Value::Bool(true) => bytes.push(TRUE),
        Value::Number(number) => put_number(number, bytes),
        Value::String(held) => match u8::try_from(held.len()) {
            Ok(len @ 0..=SHORT_BYTES_MAX) => {
                bytes.push(SHORT_TEXT + len);
                bytes.extend_from_slice(held.as_bytes());
            }
            _ => {
                bytes.push(LONG_TEXT);
                text(held, bytes);
            }
        },
        Value::Array(list) => {
            bytes.push(LIST);
            number(list.len() as u64, bytes);
            list.iter().for_each(|value| put_value(value, bytes));
        }
        Value::Object(object) => {
            bytes.push(OBJECT);
            number(object.len() as u64, bytes);
            for (key, value) in object {
                text(key, bytes);
                put_value(value, bytes);
            }
        }
    }
}

fn put_number(held: &Number, bytes: &mut Vec<u8>) {
    if let Some(natural) = held.as_u64() {
        bytes.push(NATURAL);
        number(natural, bytes);
    } else if let Some(negative) = held.as_i64() {
        bytes.push(NEGATIVE);
        number((!negative).cast_unsigned(), bytes);
    } else {
        bytes.push(FLOAT);
        bytes.extend(held.as_f64().unwrap_or_default().to_le_bytes());
    }
}

/// Reads parts in the order in which they were written. Whatever is not there, or is no such part, is `None`.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What was not read yet.
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    pub(super) fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*chunk)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn time(&mut self) -> Option<Timestamp> {
        let number = self.number()?;
        Some(Timestamp::from_millis((number >> 1).cast_signed() ^ -(number & 1).cast_signed()))
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    fn bytes(&mut self, len: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(bytes)
    }

    fn text_of(&mut self, len: u64) -> Option<String> {
        str::from_utf8(self.bytes(len)?).ok().map(str::to_owned)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let len = self.number()?;
        self.text_of(len)
    }

    pub(super) fn id(&mut self) -> Option<String> {
        let len = self.number()?;
        if len & 1 == 0 { self.text_of(len / 2) } else { self.bytes(len / 2).map(const_hex::encode) }
    }

    pub(super) fn name(&mut self) -> Option<Name> {
        match self.byte()? {
            OTHER_NAME => self.text().map(Name::from),
            code => Name::from_code(code),
        }
    }

    pub(super) fn fields(&mut self) -> Option<Fields> {
        let count = self.number()?;
        // As many as there can be, whatever it says.
        let mut fields = Fields::with_room(usize::try_from(count).ok()?.min(self.0.len()));
        for _ in 0..count {
            let (name, value) = (self.name()?, self.value()?);
            fields.insert(name, value);
        }
        Some(fields)
    }

    pub(super) fn value(&mut self) -> Option<Value> {
        self.value_within(DEPTH_MAX)
    }

    fn value_within(&mut self, depth: u32) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        Some(match self.byte()? {
            NULL => Value::Null,
            FALSE => Value::Bool(false),
            TRUE => Value::Bool(true),
            NATURAL => self.number()?.into(),
            NEGATIVE => (!self.number()?.cast_signed()).into(),
            FLOAT => Number::from_f64(f64::from_le_bytes(self.chunk()?))?.into(),
            LIST => (0..self.number()?).map(|_| self.value_within(depth)).collect::<Option<_>>().map(Value::Array)?,
            OBJECT => {
                let entries = (0..self.number()?).map(|_| Some((self.text()?, self.value_within(depth)?)));
                entries.collect::<Option<Map<_, _>>>().map(Value::Object)?
            }
            LONG_TEXT => self.text()?.into(),
            short => self.text_of((short - SHORT_TEXT).into())?.into(),
        })
    }
}
