//! Users as upstream would write them: documented fields in documented order, unread ones null (upstream guide, steps 2 and 3).

use std::borrow::Cow;
use std::collections::HashMap;

use serde::ser::{Serialize, SerializeMap as _, Serializer};
use serde_json::{Map, Value};

use crate::directory::user::is_documented;
use crate::directory::{Shape, User, merge};
use crate::storage::{self, Store};

/// What a listing tells of a manager.
const MANAGER_LISTED: [&str; 3] = ["uid", "email", "full_name"];
/// What a single answer tells of a manager.
const MANAGER_DETAILED: [&str; 4] = ["uid", "email", "full_name", "job_title"];
/// What of it follows the directory when the manager is in it.
const MANAGER_FOLLOWS: [&str; 3] = ["email", "full_name", "job_title"];

/// One user in the shape of a listing's row or of a single answer.
#[derive(Debug)]
pub(super) struct Row<'a> {
    user: &'a User,
    manager: Cow<'a, Value>,
    shape: Shape,
}

impl<'a> Row<'a> {
    /// A user in the single-user shape, the manager as the user's own record tells it.
    #[must_use]
    pub(super) fn of(user: &'a User) -> Self {
        Self { user, manager: Cow::Borrowed(user.fields.get("manager").unwrap_or(&Value::Null)), shape: Shape::Detail }
    }

    /// A user whose manager follows the directory.
    ///
    /// # Errors
    /// When the manager's record cannot be read.
    pub(super) fn joined(user: &'a User, shape: Shape, managers: &mut Managers<'_>) -> Result<Self, storage::Error> {
        let mut row = Self { shape, ..Self::of(user) };
        if let Some(manager) = row.manager.as_object()
            && let Some(known) = managers.find(manager)?
        {
            let mut shown = manager.clone();
            let newer = MANAGER_FOLLOWS.iter().filter_map(|field| Some(((*field).to_owned(), known.fields.get(field)?.clone())));
            shown.extend(newer);
            row.manager = Cow::Owned(Value::Object(shown));
        }
        Ok(row)
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = &self.user.fields;
        let mut row = serializer.serialize_map(None)?;
        for field in self.shape.fields() {
            match (*field, self.shape) {
                ("manager", shape) => row.serialize_entry(field, &Manager { value: &self.manager, shape })?,
                ("locations", Shape::Listing) => row.serialize_entry(field, &PlaceNames(fields.get(field)))?,
                _ => row.serialize_entry(field, fields.get(field).unwrap_or(&Value::Null))?,
            }
        }
        if self.shape == Shape::Detail {
            for (field, value) in fields.iter().filter(|(field, _)| !is_documented(field) && *field != "deleted_at") {
                row.serialize_entry(field, value)?;
            }
        }
        if let Some(deleted_at) = &self.user.deleted_at {
            row.serialize_entry("deleted_at", deleted_at)?;
        }
        row.end()
    }
}

struct Manager<'a> {
    value: &'a Value,
    shape: Shape,
}

impl Serialize for Manager<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(fields) = self.value else { return self.value.serialize(serializer) };
        let documented: &[&str] = match self.shape {
            Shape::Listing => &MANAGER_LISTED,
            Shape::Detail => &MANAGER_DETAILED,
        };
        let mut manager = serializer.serialize_map(None)?;
        for field in documented {
            manager.serialize_entry(field, fields.get(*field).unwrap_or(&Value::Null))?;
        }
        if self.shape == Shape::Detail {
            for (field, value) in fields.iter().filter(|(field, _)| !documented.contains(&field.as_str())) {
                manager.serialize_entry(field, value)?;
            }
        }
        manager.end()
    }
}

/// Listings name places, single answers describe them.
struct PlaceNames<'a>(Option<&'a Value>);

impl Serialize for PlaceNames<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Some(Value::Array(places)) => serializer.collect_seq(places.iter().map(|place| place.get("name").unwrap_or(place))),
            other => other.serialize(serializer),
        }
    }
}

/// The managers of one answer's users, each read once.
#[derive(Debug)]
pub(super) struct Managers<'a> {
    store: &'a Store,
    source: &'a str,
    found: HashMap<String, Option<User>>,
}

impl<'a> Managers<'a> {
    /// Nobody read yet. At most one read for each row of the answer follows, so at most 100.
    #[must_use]
    pub(super) fn new(store: &'a Store, source: &'a str) -> Self {
        Self { store, source, found: HashMap::new() }
    }

    /// Who a row's manager is in the directory.
    fn find(&mut self, manager: &Map<String, Value>) -> Result<Option<&User>, storage::Error> {
        let Some(uid) = manager.get("uid").and_then(Value::as_str) else { return Ok(None) };
        if !self.found.contains_key(uid) {
            let user = self.store.record(self.source, uid)?.and_then(|record| merge::view(&record));
            self.found.insert(uid.to_owned(), user);
        }
        Ok(self.found.get(uid).and_then(Option::as_ref))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::directory::user::{DETAIL_FIELDS, LISTING_FIELDS};

    fn user(fields: Value, deleted_at: Option<&str>) -> User {
        User { fields: fields.as_object().cloned().unwrap().into(), deleted_at: deleted_at.map(str::to_owned) }
    }

    fn text(user: &User, shape: Shape) -> String {
        serde_json::to_string(&Row { shape, ..Row::of(user) }).unwrap()
    }

    fn value(user: &User, shape: Shape) -> Value {
        serde_json::from_str(&text(user, shape)).unwrap()
    }

    fn some() -> User {
        let manager = json!({"uid": "E2", "email": "m@example.com", "full_name": "M", "job_title": "Boss", "desk": 4});
        let places = json!([{"name": "Oslo", "address": "Street 1"}, {"name": "Bergen", "address": null}]);
        user(json!({"uid": "E1", "email": "a@example.com", "active": true, "manager": manager, "locations": places, "badge": "B-7"}), None)
    }

    #[test]
    fn documented_fields_stand_in_documented_order_and_unread_ones_are_null() {
        for (shape, fields) in [(Shape::Listing, &LISTING_FIELDS[..]), (Shape::Detail, &DETAIL_FIELDS[..])] {
            let text = text(&some(), shape);
            let places: Vec<_> = fields.iter().map(|field| text.find(&format!("\"{field}\":")).unwrap()).collect();
            assert_eq!(value(&some(), shape)["phone"], Value::Null);
            // `manager` is an object with fields of the same names, and stands after them.
            let order: Vec<_> = places.iter().filter(|place| **place < text.find("\"manager\"").unwrap()).collect();
            assert!(order.is_sorted(), "{text}");
        }
    }

    #[test]
    fn a_listing_names_places_and_managers() {
        let row = value(&some(), Shape::Listing);
        assert_eq!(row["locations"], json!(["Oslo", "Bergen"]));
        assert_eq!(row["manager"], json!({"uid": "E2", "email": "m@example.com", "full_name": "M"}));
        assert_eq!(row.as_object().unwrap().len(), LISTING_FIELDS.len());
    }

    #[test]
    fn a_single_answer_describes_them_and_keeps_unknown_fields() {
        let row = value(&some(), Shape::Detail);
        assert_eq!(row["locations"][0], json!({"name": "Oslo", "address": "Street 1"}));
        assert_eq!(row["manager"]["job_title"], "Boss");
        assert_eq!(row["manager"]["desk"], 4);
        assert_eq!(row["badge"], "B-7");
        assert_eq!(row.get("original_hire_date"), None);
        assert_eq!(row.get("deleted_at"), None);
    }

    #[test]
    fn a_deleted_user_tells_when() {
        let user = user(json!({"uid": "E1", "active": false, "deleted_at": "not this"}), Some("2025-11-18T15:30:00Z"));
        for shape in [Shape::Listing, Shape::Detail] {
            assert_eq!(text(&user, shape).matches("deleted_at").count(), 1);
            assert_eq!(value(&user, shape)["deleted_at"], "2025-11-18T15:30:00Z");
        }
    }

    #[test]
    fn odd_shapes_are_told_as_they_came() {
        let user = user(json!({"manager": "Someone", "locations": ["Oslo", 7, null]}), None);
        let row = value(&user, Shape::Listing);
        assert_eq!((&row["manager"], &row["locations"]), (&json!("Someone"), &json!(["Oslo", 7, null])));
    }
}
