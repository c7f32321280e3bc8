//! The name of a field: a documented one is a number, which costs nothing to hold, to copy, to drop and little to compare.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Every field that a documented answer carries, in the order of the texts, so that numbers are ordered as the names are.
const DOCUMENTED: [&str; 30] = [
    "active",
    "certifications_count",
    "created_at",
    "department",
    "direct_reports_count",
    "email",
    "employee_type",
    "employment_status",
    "external_employee_id",
    "first_name",
    "flsa_status",
    "full_name",
    "hire_date",
    "id",
    "job_title",
    "last_activity_at",
    "last_name",
    "locations",
    "manager",
    "organizational_department",
    "organizational_role",
    "original_hire_date",
    "phone",
    "skills_count",
    "termination_date",
    "termination_type",
    "time_zone",
    "uid",
    "updated_at",
    "worker_classification",
];

/// How many places there are for documented names: enough for each to have one of its own.
const PLACES: usize = 128;

/// Which documented name may stand at each place.
static AT_PLACE: [u8; PLACES] = places();

/// A field's name. Names are ordered as their texts are.
#[derive(Clone, PartialEq, Eq)]
pub struct Name(Kind);

/// A documented name is never held as a text: so names of two kinds are never equal.
#[derive(Clone, PartialEq, Eq)]
enum Kind {
    /// Its place in [`DOCUMENTED`].
    Documented(u8),
    Other(Arc<str>),
}

impl Name {
    /// `active`
    pub const ACTIVE: Self = Self(Kind::Documented(0));
    /// `created_at`
    pub const CREATED_AT: Self = Self(Kind::Documented(2));
    /// `locations`
    pub const LOCATIONS: Self = Self(Kind::Documented(17));
    /// `manager`
    pub const MANAGER: Self = Self(Kind::Documented(18));
    /// `uid`
    pub const UID: Self = Self(Kind::Documented(27));
    /// `updated_at`
    pub const UPDATED_AT: Self = Self(Kind::Documented(28));

    /// The name that is a documented one.
    pub(super) fn documented(text: &str) -> Option<Self> {
        let number = AT_PLACE.get(place(text.as_bytes()))?;
        (*DOCUMENTED.get(usize::from(*number))? == text).then_some(Self(Kind::Documented(*number)))
    }

    /// The name as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Kind::Documented(number) => DOCUMENTED.get(usize::from(*number)).copied().unwrap_or_default(),
            Kind::Other(text) => text,
        }
    }

    /// The number under which stores keep a documented name: a later list has to keep those of these.
    pub(super) const fn code(&self) -> Option<u8> {
        match self.0 {
            Kind::Documented(number) => Some(number),
            Kind::Other(_) => None,
        }
    }

    /// The documented name of a number.
    pub(super) fn from_code(code: u8) -> Option<Self> {
        DOCUMENTED.get(usize::from(code)).map(|_| Self(Kind::Documented(code)))
    }

    /// A documented name's bit in a set of them, of which the lower ones are those of the names before it.
    pub(super) const fn bit(&self) -> Option<u32> {
        match self.0 {
            Kind::Documented(number) => 1_u32.checked_shl(number as u32),
            Kind::Other(_) => None,
        }
    }

    /// Whether any documented answer carries such a field.
    #[must_use]
    pub const fn is_documented(&self) -> bool {
        matches!(self.0, Kind::Documented(_))
    }
}

/// Where a text would stand, were it a documented name: by its length, its first byte and its last but two. The factors were found
/// by trying; [`places`] does not compile for others that bring two names together.
const fn place(text: &[u8]) -> usize {
    let [first, ..] = text else { return 0 };
    let third_last = if let [.., third_last, _, _] = text { *third_last } else { 0 };
    (text.len() + 4 * *first as usize + 10 * third_last as usize) % PLACES
}

#[expect(clippy::indexing_slicing, reason = "it runs when rollcall is compiled, and only then")]
const fn places() -> [u8; PLACES] {
    let mut places = [u8::MAX; PLACES];
    let mut number: u8 = 0;
    while (number as usize) < DOCUMENTED.len() {
        let place = place(DOCUMENTED[number as usize].as_bytes());
        assert!(places[place] == u8::MAX, "two documented names have one place");
        places[place] = number;
        number += 1;
    }
    places
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.0, &other.0) {
            (Kind::Documented(one), Kind::Documented(other)) => one.cmp(other),
            _ => self.as_str().cmp(other.as_str()),
        }
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::documented(text).unwrap_or_else(|| Self(Kind::Other(text.into())))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Name;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("the name of a field")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Name, E> {
                Ok(text.into())
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::user::{DETAIL_FIELDS, LISTING_FIELDS};
    use super::*;

    #[test]
    fn the_documented_names_are_those_of_both_shapes_in_order() {
        let both: BTreeSet<_> = LISTING_FIELDS.into_iter().chain(DETAIL_FIELDS).collect();
        assert_eq!(DOCUMENTED.to_vec(), both.into_iter().collect::<Vec<_>>());
        for text in DOCUMENTED {
            assert!(Name::from(text).is_documented());
        }
    }

    #[test]
    fn constants_are_the_names_they_are_called_by() {
        let all = [Name::ACTIVE, Name::CREATED_AT, Name::LOCATIONS, Name::MANAGER, Name::UID, Name::UPDATED_AT];
        assert_eq!(all.map(|name| name.to_string()), ["active", "created_at", "locations", "manager", "uid", "updated_at"]);
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![prop::sample::select(&DOCUMENTED[..]).prop_map(str::to_owned), "[a-z_]{0,6}", any::<String>()]
    }

    proptest! {
        #[test]
        fn names_are_equal_and_ordered_as_their_texts_are(one in text(), other in text()) {
            let (a, b) = (Name::from(one.as_str()), Name::from(other.as_str()));
            prop_assert_eq!(a.as_str(), &one);
            prop_assert_eq!(a.cmp(&b), one.cmp(&other));
            prop_assert_eq!(a == b, one == other);
            prop_assert_eq!(a.is_documented(), DOCUMENTED.contains(&one.as_str()));
        }
    }
}
