//! Query parameters: read liberally, refused clearly.

use actix_web::HttpRequest;
use actix_web::web;

use super::{Problem, problem};

/// Entries of a list when `limit` is not given.
const LIMIT_DEFAULT: usize = 100;
/// More than this counts as this.
const LIMIT_MAX: usize = 1000;

/// The decoded parameters of one request. Those that nobody asks for are ignored; of several with one name the last counts.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// The parameters of `request`.
    ///
    /// # Errors
    /// 400 when they are no query string at all.
    pub(super) fn of(request: &HttpRequest) -> Result<Self, Problem> {
        Self::parse(request.query_string())
    }

    /// The parameters of a query string.
    ///
    /// # Errors
    /// 400 when it is none.
    pub(super) fn parse(text: &str) -> Result<Self, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text);
        pairs.map(|pairs| Self(pairs.into_inner())).map_err(|_| problem::invalid_request("the query string cannot be read"))
    }

    /// A parameter's value; an empty one counts as not given, as it does upstream.
    #[must_use]
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().rev().find(|(given, _)| given == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// A whole number.
    ///
    /// # Errors
    /// 400 when it is none.
    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.text(name).map(|value| value.parse().map_err(|_| problem::invalid_parameter(name, "a whole number"))).transpose()
    }

    /// A whole number from 1.
    ///
    /// # Errors
    /// 400 when it is none.
    pub(super) fn positive(&self, name: &str) -> Result<Option<u64>, Problem> {
        match self.number(name) {
            Ok(Some(0)) | Err(_) => Err(problem::invalid_parameter(name, "a whole number from 1")),
            found => found,
        }
    }

    /// Yes or no, in any of the usual words.
    ///
    /// # Errors
    /// 400 when it is none of them.
    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, Problem> {
        let Some(value) = self.text(name) else { return Ok(None) };
        match value.to_ascii_lowercase().as_str() {
            "true" | "t" | "1" | "yes" | "y" | "on" => Ok(Some(true)),
            "false" | "f" | "0" | "no" | "n" | "off" => Ok(Some(false)),
            _ => Err(problem::invalid_parameter(name, "true or false")),
        }
    }

    /// One of a few words.
    ///
    /// # Errors
    /// 400 naming them.
    pub(super) fn word<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
        let Some(value) = self.text(name) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(value));
        let all = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
        found.map(|(_, meaning)| Some(*meaning)).ok_or_else(|| problem::invalid_parameter(name, &format!("one of {}", all())))
    }

    /// `limit`, as every list but the mirror's takes it: 1 to 1,000, larger ones count as 1,000.
    ///
    /// # Errors
    /// 400 when it is no whole number from 1.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let limit = self.positive("limit")?.map(|limit| usize::try_from(limit).unwrap_or(LIMIT_MAX));
        Ok(limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX))
    }

    /// `after` of a list that goes from new to old: entries with a number below it come next; without it, the newest.
    ///
    /// # Errors
    /// 400 when it is not one that a list gave as `next`.
    pub(super) fn before(&self) -> Result<u64, Problem> {
        let after = self.number("after").map_err(|_| problem::invalid_parameter("after", "the `next` of a former answer"))?;
        Ok(after.unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    #[test]
    fn limits_have_a_default_and_a_greatest() {
        for (text, limit) in [("", 100), ("limit=7", 7), ("limit=1000", 1000), ("limit=99999999", 1000)] {
            assert_eq!(query(text).limit().unwrap(), limit, "{text}");
        }
        for text in ["limit=0", "limit=-1", "limit=x", "limit=0x", "limit=1.5"] {
            assert_eq!(query(text).limit().unwrap_err().code, "invalid_parameter", "{text}");
        }
    }

    #[test]
    fn flags_are_read_in_the_usual_words_only() {
        assert_eq!(query("a=TRUE&b=0").flag("a").unwrap(), Some(true));
        assert_eq!(query("a=TRUE&b=0").flag("b").unwrap(), Some(false));
        for bad in ["perhaps", "7up", "2", "truee"] {
            let problem = query(&format!("active={bad}")).flag("active").unwrap_err();
            assert_eq!((problem.status.as_u16(), problem.message.as_ref()), (400, "active must be true or false"));
        }
    }

    #[test]
    fn values_are_decoded_and_empty_ones_are_not_given() {
        let query = query("search=R%26D+Z%C3%BCrich&department=&page=1&page=3");
        assert_eq!(query.text("search"), Some("R&D Zürich"));
        assert_eq!(query.text("department"), None);
        assert_eq!(query.number("page").unwrap(), Some(3));
    }

    #[test]
    fn words_are_named_when_none_of_them_is_given() {
        let words = [("asc", true), ("desc", false)];
        assert_eq!(query("o=DESC").word("o", &words).unwrap(), Some(false));
        assert_eq!(query("o=sideways").word("o", &words).unwrap_err().message, "o must be one of asc, desc");
    }

    #[test]
    fn odd_bytes_are_no_panic() {
        for text in ["%", "%zz=%ff", "=&=&&", "a=%00", "&&&", "limit=%F0%9F%92%A9"] {
            let query = query(text);
            assert!(query.limit().is_ok() || text.starts_with("limit"));
        }
    }
}
