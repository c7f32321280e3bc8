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
}

/// What an order goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Value<'a> {
    Time(Timestamp),
    Text(&'a [u8]),
}

/// Where a user stands in an order: by a value, and among equal ones by uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    pub(super) value: Value<'a>,
    /// Empty: before all users with this value.
    pub(super) uid: &'a [u8],
}

/// The first bytes of a key.
pub(super) type Prefix = [u8; PREFIX_BYTES];

/// Longer than most names and the beginning of a uid, and than what most e-mails begin with.
const PREFIX_BYTES: usize = 32;

impl Key<'_> {
    /// Bytes that never contradict the order of keys: a smaller prefix comes first. A text's are one greater than they were, so that its end,
    /// a zero before the uid, comes before everything that goes on.
    pub(super) fn prefix(self) -> Prefix {
        let mut prefix = [0; PREFIX_BYTES];
        let behind = match self.value {
            Value::Time(time) => {
                let time = (time.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes();
                prefix.iter_mut().zip(time).for_each(|(place, byte)| *place = byte);
                time.len()
            }
            Value::Text(text) => {
                prefix.iter_mut().zip(text).for_each(|(place, byte)| *place = byte.saturating_add(1));
                text.len() + 1
            }
        };
        prefix.iter_mut().skip(behind).zip(self.uid).for_each(|(place, byte)| *place = *byte);
        prefix
    }
}

impl Order {
    pub(super) const ALL: [Self; 5] = [Self::CreatedAt, Self::UpdatedAt, Self::Name, Self::Email, Self::Detail];

    /// What a user is ordered by.
    pub(super) fn value<'a>(self, entry: &Entry, text: &'a [u8]) -> Value<'a> {
        match self {
            Self::CreatedAt => Value::Time(entry.created_at),
            Self::UpdatedAt => Value::Time(entry.updated_at),
            Self::Name => Value::Text(split(text).0),
            Self::Email => Value::Text(split(text).1),
            Self::Detail => Value::Time(entry.detail_began),
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
        };
        held.then_some((value, row.standing == Standing::Deleted))
    }
}
