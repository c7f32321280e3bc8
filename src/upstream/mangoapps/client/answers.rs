//! What the bodies of answers say, believed only where they are what was asked for.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::super::is_name;
use super::{Failure, PageQuery, UserPage};
use crate::directory::Fields;

/// Reads a page of a listing. An answer that does not echo the asked page and size is refused: a server that ignores the parameters
/// would otherwise make a sweep believe that it saw everybody.
pub(super) fn page(body: &[u8], query: &PageQuery) -> Result<UserPage, Failure> {
    let mut whole = object(body)?;
    let (Some(Value::Array(rows)), Some(Value::Object(meta))) = (whole.remove("users"), whole.remove("meta")) else {
        return unusable("it has no list users or no object meta");
    };
    if number(&meta, "current_page") != Some(query.page) {
        return unusable("meta.current_page is not the page that was asked for");
    }
    if number(&meta, "per_page") != Some(query.per_page) {
        return unusable("meta.per_page is not the size that was asked for");
    }
    let (Some(total), Some(pages)) = (number(&meta, "total_count"), number(&meta, "total_pages")) else {
        return unusable("meta.total_count or meta.total_pages is not a number");
    };
    if u64::try_from(rows.len()).is_ok_and(|rows| rows > query.per_page) {
        return unusable("it holds more users than were asked for");
    }
    let rows = rows.into_iter().map(row).collect::<Result<Vec<_>, _>>()?;
    let distinct: HashSet<_> = rows.iter().map(|(uid, _)| uid).collect();
    if distinct.len() < rows.len() {
        return unusable("it holds one uid twice");
    }
    Ok(UserPage { rows, total, pages })
}

/// Reads the answer to a lookup of `uid`; the user may stand in `user`, as documented, or bare.
pub(super) fn user(body: &[u8], uid: &str) -> Result<Fields, Failure> {
    let mut whole = object(body)?;
    let user = match whole.remove("user") {
        Some(Value::Object(user)) => user,
        Some(_) => return unusable("user is not an object"),
        None => whole,
    };
    if user.get("uid").and_then(Value::as_str) != Some(uid) {
        return unusable("it is not about the user that was asked for");
    }
    Ok(user.into())
}

/// Whether an error body has the code `user_not_found`. A proxy or a wrong base URL answers 404 too, and proves nothing about a user.
pub(super) fn says_user_not_found(body: &[u8]) -> bool {
    let whole = serde_json::from_slice::<Value>(body).unwrap_or_default();
    whole.pointer("/error/code").and_then(Value::as_str) == Some("user_not_found")
}

fn object(body: &[u8]) -> Result<Map<String, Value>, Failure> {
    serde_json::from_slice(body).or_else(|_| unusable("it is not a JSON object; check that base_url is the tenant's own address"))
}

fn row(row: Value) -> Result<(String, Fields), Failure> {
    let Value::Object(row) = row else { return unusable("a user is not an object") };
    match row.get("uid").and_then(Value::as_str) {
        Some(uid) if is_name(uid) => Ok((uid.to_owned(), row.into())),
        _ => unusable("a user has no uid of 1 to 200 characters"),
    }
}

/// A count; some servers write them as texts.
fn number(meta: &Map<String, Value>, name: &str) -> Option<u64> {
    let value = meta.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

const fn unusable<T>(why: &'static str) -> Result<T, Failure> {
    Err(Failure::Unusable(why))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const QUERY: PageQuery =
        PageQuery { page: 2, per_page: 3, sort_by: "updated_at", updated_after: None, include_deleted: true, search: None };

    /// A good second page with one part replaced, or left out where the value is `None`.
    fn answer(pointer: &str, value: Option<Value>) -> Vec<u8> {
        let mut body = json!({
            "users": [{"uid": "E4", "active": true, "shoe": 43}, {"uid": "E5"}],
            "meta": {"total_count": 5, "total_pages": 2, "current_page": 2, "per_page": 3},
        });
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = body.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
        match value {
            Some(value) => parent.insert(key.to_owned(), value),
            None => parent.remove(key),
        };
        serde_json::to_vec(&body).unwrap()
    }

    #[test]
    fn a_page_tells_its_rows_and_the_totals() {
        let page = page(&answer("/more", Some(json!(1))), &QUERY).unwrap();
        assert_eq!((page.total, page.pages), (5, 2));
        assert_eq!(page.rows.iter().map(|(uid, _)| uid.as_str()).collect::<Vec<_>>(), ["E4", "E5"]);
        assert_eq!(page.rows[0].1.get("shoe"), Some(&json!(43)));
    }

    #[test]
    fn counts_may_be_written_as_texts() {
        let body = answer("/meta", Some(json!({"total_count": "5", "total_pages": "2", "current_page": "2", "per_page": "3"})));
        assert_eq!(page(&body, &QUERY).unwrap().total, 5);
    }

    #[test]
    fn a_page_that_is_not_what_was_asked_for_is_not_usable() {
        let row = |uid: Value| json!([{"uid": uid}]);
        for (pointer, value) in [
            ("/users", None),
            ("/users", Some(json!({}))),
            ("/meta", None),
            ("/meta", Some(json!([]))),
            ("/meta/current_page", Some(json!(1))),
            ("/meta/current_page", None),
            ("/meta/per_page", Some(json!(25))),
            ("/meta/per_page", None),
            ("/meta/total_count", None),
            ("/meta/total_count", Some(json!(-1))),
            ("/meta/total_pages", Some(json!("many"))),
            ("/users", Some(json!(["E4"]))),
            ("/users", Some(json!([{"id": 4}]))),
            ("/users", Some(row(json!("")))),
            ("/users", Some(row(json!(4)))),
            ("/users", Some(row(json!("x".repeat(201))))),
            ("/users", Some(json!([{"uid": "E4"}, {"uid": "E4"}]))),
            ("/users", Some(json!([{"uid": "E4"}, {"uid": "E5"}, {"uid": "E6"}, {"uid": "E7"}]))),
        ] {
            let read = page(&answer(pointer, value.clone()), &QUERY);
            assert!(matches!(read, Err(Failure::Unusable(_))), "{pointer} {value:?}: {read:?}");
        }
    }

    #[test]
    fn what_is_not_json_is_not_usable() {
        let good = answer("/more", None);
        for body in [&b""[..], b"<html>Log in</html>", b"null", b"[]", &good[..good.len() - 1]] {
            assert!(matches!(page(body, &QUERY), Err(Failure::Unusable(_))));
            assert!(matches!(user(body, "E1"), Err(Failure::Unusable(_))));
        }
    }

    #[test]
    fn a_looked_up_user_may_stand_in_user_or_bare() {
        for body in [json!({"user": {"uid": "E1", "id": 7}}), json!({"uid": "E1", "id": 7})] {
            assert_eq!(user(body.to_string().as_bytes(), "E1").unwrap().get("id"), Some(&json!(7)));
        }
    }

    #[test]
    fn a_lookup_that_answers_about_another_user_is_not_usable() {
        for body in [json!({"user": {"uid": "E2"}}), json!({"user": {"id": 7}}), json!({"user": null}), json!({}), json!({"uid": 1})] {
            assert!(matches!(user(body.to_string().as_bytes(), "E1"), Err(Failure::Unusable(_))), "{body}");
        }
    }

    #[test]
    fn only_the_documented_code_says_that_there_is_no_such_user() {
        assert!(says_user_not_found(br#"{"error":{"code":"user_not_found","message":"m"}}"#));
        for body in [&b""[..], b"user_not_found", b"<html>", br#"{"error":"user_not_found"}"#, br#"{"error":{"code":"not_found"}}"#] {
            assert!(!says_user_not_found(body));
        }
    }
}
