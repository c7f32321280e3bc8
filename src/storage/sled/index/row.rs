//! What the index holds of one user, and the orders in which users stand.

use std::num::NonZeroU32;

use super::projection::Standing;
use crate::directory::Timestamp;

/// Stands before a name in a text: no UTF-8 has it, so nothing that is sought spans two fields or two users.
const NAME: u8 = 0xFE;
/// Stands before an e-mail.
const EMAIL: u8 = 0xFF;
/// A text that many users share.
pub(super) type Word = NonZeroU32;

/// One user's fixed part. Absent times are the earliest ones, so that they come first upwards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    /// When the last lookup began.
    pub(super) detail_began: Timestamp,
    /// The newest arrival of any claim.
    pub(super) claimed: Timestamp,
    pub(super) department: Option<Word>,
    pub(super) employment_status: Option<Word>,
}

/// One user, everything that orders go by but the uid.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) entry: Entry,
    pub(super) standing: Standing,
    pub(super) detail_stale: bool,
    /// Name and e-mail, see [`text`].
    pub(super) text: &'a [u8],
}

/// Name and e-mail in lower case, each behind its sign; an absent one has none, so it comes before an empty one.
pub(super) fn text(name: Option<&str>, email: Option<&str>) -> Box<[u8]> {
    let mut text = Vec::with_capacity(name.map_or(0, str::len) + email.map_or(0, str::len) + 2);
    for (sign, value) in [(NAME, name), (EMAIL, email)] {
        if let Some(value) = value {
            text.push(sign);
            text.extend_from_slice(value.to_lowercase().as_bytes());
        }
    }
    text.into()
}

/// How [`text`] writes an e-mail.
pub(super) fn email(value: &str) -> Box<[u8]> {
    text(None, Some(value))
}

/// The name's part of a text and the e-mail's, signs included.
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(EMAIL, text).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

/// The domain of a text's e-mail, its at sign included.
pub(super) fn domain(text: &[u8]) -> Option<&str> {
    let email = split(text).1;
    let at = memchr::memrchr(b'@', email)?;
    str::from_utf8(email.get(at..)?).ok()
}

/// The orders that the index keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    CreatedAt,
    UpdatedAt,
    Name,
    Email,
    Detail,
    Claimed,
}

/// What an order goes by; ties go by uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value<'a> {
    Time(Timestamp),
    Text(&'a [u8]),
}

/// The first bytes, zeros behind the last.
fn first<const COUNT: usize>(bytes: &[u8]) -> [u8; COUNT] {
    let mut first = [0; COUNT];
    first.iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
    first
}

impl Value<'_> {
    /// Sixteen bytes that never contradict the order of values and, where these are equal, of uids: a smaller prefix comes first. Times are
    /// often the same for many, so that half of it is the uid's.
    pub(super) fn prefix(self, uid: &[u8]) -> u128 {
        match self {
            Self::Time(time) => u128::from(time.as_millis().cast_unsigned() ^ (1 << 63)) << 64 | u128::from(u64::from_be_bytes(first(uid))),
            Self::Text(text) => u128::from_be_bytes(first(text.get(1..).unwrap_or_default())),
        }
    }
}

impl Order {
    pub(super) const ALL: [Self; 6] = [Self::CreatedAt, Self::UpdatedAt, Self::Name, Self::Email, Self::Detail, Self::Claimed];

    /// What a user is ordered by.
    pub(super) fn value<'a>(self, entry: &Entry, text: &'a [u8]) -> Value<'a> {
        match self {
            Self::CreatedAt => Value::Time(entry.created_at),
            Self::UpdatedAt => Value::Time(entry.updated_at),
            Self::Name => Value::Text(split(text).0),
            Self::Email => Value::Text(split(text).1),
            Self::Detail => Value::Time(entry.detail_began),
            Self::Claimed => Value::Time(entry.claimed),
        }
    }

    /// Whether it goes by a text.
    pub(super) const fn is_by_text(self) -> bool {
        matches!(self, Self::Name | Self::Email)
    }

    /// Where a user stands: by what, and whether among the deleted ones; `None` for one whom this order does not hold.
    pub(super) fn place<'a>(self, row: &Row<'a>) -> Option<(Value<'a>, bool)> {
        let value = self.value(&row.entry, row.text);
        let held = match self {
            Self::CreatedAt | Self::UpdatedAt | Self::Name => row.standing != Standing::Hidden,
            Self::Email => row.standing != Standing::Hidden && value != Value::Text(&[]),
            Self::Detail => row.detail_stale,
            Self::Claimed => row.entry.claimed > Timestamp::MIN,
        };
        held.then_some((value, row.standing == Standing::Deleted))
    }
}
