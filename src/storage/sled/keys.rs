//! Where each row lives: one tree, a letter for each kind of row, then what tells one row from the next.
//!
//! | letter | row | rest of the key |
//! |---|---|---|
//! | `a` | the layout's version | |
//! | `b` | the greatest numbers given | |
//! | `c` | event ids that were seen, in the journal one a row | source, NUL, first 16 bytes of the (first) id's SHA-256 |
//! | `d` | a call to upstream | source, NUL, number |
//! | `e` | a source's state | source |
//! | `f` | a reconciliation | id |
//! | `g` | a closed gap | id |
//! | `i` | how far rows of the journal have settled | |
//! | `h` | a mark: this delivery is quarantined | number |
//! | `u` | a user's record | source, NUL, uid |
//! | `v` | changes of one commit or of many, packed | the first one's cursor |
//! | `w` | deliveries of one commit or of many, packed | the first one's number |
//! | `x` | a quarantined delivery's body | number |
//! | `z` | a piece of a value too long for one row | that value's key, the piece's place in 4 bytes |
//!
//! Numbers are 8 bytes, the greatest byte first, so that the order of keys is the order of numbers. Source names hold no NUL.

use std::ops::Range;

use sha2::{Digest, Sha256};

pub(super) const FORMAT: &[u8] = b"a";
pub(super) const NUMBERS: &[u8] = b"b";
pub(super) const SEEN: u8 = b'c';
pub(super) const CALL: u8 = b'd';
pub(super) const SOURCE: u8 = b'e';
pub(super) const RECONCILIATION: u8 = b'f';
pub(super) const GAP: u8 = b'g';
pub(super) const QUARANTINED: u8 = b'h';
pub(super) const SETTLED: &[u8] = b"i";
pub(super) const USER: u8 = b'u';
pub(super) const CHANGES: u8 = b'v';
pub(super) const DELIVERIES: u8 = b'w';
pub(super) const BODY: u8 = b'x';
const PIECE: u8 = b'z';

/// The row of a seen event id. 16 bytes of SHA-256 tell ids apart for as long as nobody can do 2^64 work.
pub(super) fn seen(source: &str, event_id: &str) -> Vec<u8> {
    let mut key = named(SEEN, source);
    key.push(0);
    key.extend(Sha256::digest(event_id.as_bytes()).iter().take(ID_BYTES));
    key
}

/// Bytes of an id's hash in its key.
pub(super) const ID_BYTES: usize = 16;

/// Where the ids of the same source begin as the id with this key.
pub(super) fn begin_of_ids(key: &[u8]) -> Vec<u8> {
    key.get(..key.len().saturating_sub(ID_BYTES)).unwrap_or_default().to_vec()
}

/// The key of an id that begins like this, of the same source as the id with this key.
pub(super) fn id_at(key: &[u8], hash: &[u8]) -> Vec<u8> {
    let mut begin = begin_of_ids(key);
    begin.extend(hash.iter().copied().chain([0; ID_BYTES]).take(ID_BYTES));
    begin
}

/// What of an id's key rows of the tree tell: its source, and as much of its hash as they hold.
pub(super) fn id_told(key: &[u8]) -> &[u8] {
    key.get(..key.len().saturating_sub(4)).unwrap_or_default()
}

/// The row of a call.
pub(super) fn call(source: &str, number: u64) -> Vec<u8> {
    let mut key = named(CALL, source);
    key.push(0);
    key.extend(number.to_be_bytes());
    key
}

/// The row of a record.
pub(super) fn user(source: &str, uid: &str) -> Vec<u8> {
    let mut key = named(USER, source);
    key.push(0);
    key.extend(uid.as_bytes());
    key
}

/// Whose record a row is: source and uid.
pub(super) fn user_of(key: &[u8]) -> Option<(&str, &str)> {
    str::from_utf8(key.get(1..)?).ok()?.split_once('\0')
}

/// A row that is found by a name.
pub(super) fn named(kind: u8, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(name.len() + 32);
    key.push(kind);
    key.extend(name.as_bytes());
    key
}

/// A row that is found by a number.
pub(super) fn numbered(kind: u8, number: u64) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend(number.to_be_bytes());
    key
}

/// The number in a key made by [`numbered`].
pub(super) fn number_of(key: &[u8]) -> Option<u64> {
    key.get(1..)?.try_into().ok().map(u64::from_be_bytes)
}

/// One piece of the value at `key`, its first piece (in the row `key` itself) being number 0.
pub(super) fn piece(key: &[u8], place: u32) -> Vec<u8> {
    let mut piece = vec![PIECE];
    piece.extend(key);
    piece.extend(place.to_be_bytes());
    piece
}

/// Behind every row but the pieces, which go with the rows they belong to.
pub(super) fn behind_everything() -> Vec<u8> {
    vec![PIECE]
}

/// Every row of one kind.
pub(super) fn all(kind: u8) -> Range<Vec<u8>> {
    vec![kind]..vec![kind.saturating_add(1)]
}

/// The letter of a key.
pub(super) fn kind_of(key: &[u8]) -> u8 {
    key.first().copied().unwrap_or_default()
}

/// Rows of one kind with numbers from `numbers.start`, below `numbers.end`.
pub(super) fn between(kind: u8, numbers: Range<u64>) -> Range<Vec<u8>> {
    numbered(kind, numbers.start.min(numbers.end))..numbered(kind, numbers.end)
}
