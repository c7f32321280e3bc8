//! Lists that go from new to old: `{"things":[…],"next"}`.

use serde::ser::{Serialize, SerializeMap as _, Serializer};

use super::{Problem, written};

/// A page of a list, not written yet.
struct Page<'a, S> {
    name: &'a str,
    entries: Vec<S>,
    next: Option<u64>,
}

impl<S: Serialize> Serialize for Page<'_, S> {
    fn serialize<W: Serializer>(&self, serializer: W) -> Result<W::Ok, W::Error> {
        let mut page = serializer.serialize_map(Some(2))?;
        page.serialize_entry(self.name, &self.entries)?;
        page.serialize_entry("next", &self.next)?;
        page.end()
    }
}

/// A page of at most `limit` of `found`, and where to go on: `found` was asked for with one more than `limit`, so that the
/// last page knows that it is the last.
///
/// # Errors
/// Never in practice: 500 when an entry cannot be written.
pub(super) fn page<T, S: Serialize>(
    name: &str,
    limit: usize,
    mut found: Vec<T>,
    (number, show): (impl Fn(&T) -> u64, impl Fn(T) -> S),
) -> Result<Vec<u8>, Problem> {
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(number);
    written(&Page { name, entries: found.into_iter().map(show).collect(), next })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(limit: usize, found: &[u64]) -> String {
        String::from_utf8(page("rows", limit, found.to_vec(), (|row| *row, |row| row)).unwrap()).unwrap()
    }

    #[test]
    fn the_last_page_says_so() {
        assert_eq!(shown(2, &[9, 8, 7]), r#"{"rows":[9,8],"next":8}"#);
        assert_eq!(shown(2, &[9, 8]), r#"{"rows":[9,8],"next":null}"#);
        assert_eq!(shown(2, &[]), r#"{"rows":[],"next":null}"#);
    }
}
