//! Picks some of an object's values out of its JSON text, without reading the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The values of `names` in a JSON object, each as it was written; `None` when `json` is not one whole object.
///
/// The last value of a repeated name counts. What is not picked is checked for its form alone, without allocating or recursing.
pub(super) fn pick<'a, const N: usize>(json: &'a str, names: [&str; N]) -> Option<[Option<&'a RawValue>; N]> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let found = reader.deserialize_map(Names(names)).ok()?;
    reader.end().ok()?;
    Some(found)
}

struct Names<'n, const N: usize>([&'n str; N]);

/// A key, borrowed from the text unless it holds escapes.
#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de, const N: usize> Visitor<'de> for Names<'_, N> {
    type Value = [Option<&'de RawValue>; N];

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
        let mut found = [None; N];
        while let Some(Key(key)) = object.next_key()? {
            match self.0.iter().zip(&mut found).find(|(name, _)| **name == key) {
                Some((_, slot)) => *slot = Some(object.next_value()?),
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<const N: usize>(json: &str, names: [&str; N]) -> Option<[Option<String>; N]> {
        pick(json, names).map(|found| found.map(|raw| raw.map(|raw| raw.get().to_owned())))
    }

    #[test]
    fn values_come_as_they_were_written() {
        let found = texts(r#" { "a" : 1e3 , "b":[1, 2], "c":null } "#, ["c", "a", "d"]);
        assert_eq!(found, Some([Some("null".into()), Some("1e3".into()), None]));
    }

    #[test]
    fn the_last_of_a_repeated_name_counts_however_it_is_written() {
        assert_eq!(texts(r#"{"a":1,"\u0061":2}"#, ["a"]), Some([Some("2".into())]));
    }

    #[test]
    fn what_is_not_one_whole_object_gives_nothing() {
        for bad in ["", "[]", "null", "7", "{", r#"{"a":1}{}"#, r#"{"a":1,}"#, r#"{"a":01}"#, "{a:1}", "\u{feff}{}"] {
            assert_eq!(texts(bad, ["a"]), None, "{bad:?}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!(r#"{{"x":{}{},"a":1}}"#, "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(texts(&deep, ["a"]), Some([Some("1".into())]));
    }
}
