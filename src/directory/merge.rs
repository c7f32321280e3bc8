//! How reads and claims merge into what the directory shows.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::user::RESTLESS_FIELDS;
use super::{Fields, Name, Read, Record, Timestamp, User};

/// Fields that events move by happening, whether or not they carry them.
const TIME_FIELDS: [Name; 2] = [Name::UPDATED_AT, Name::CREATED_AT];

/// The user as shown; `None` while it is not known whether someone seen only among deleted users ever lived.
///
/// The older read is overlaid by the newer one, and both by the claims that no read covers.
#[must_use]
pub fn view(record: &Record) -> Option<User> {
    let life = &record.life;
    if !life.known && life.sight.is_none() {
        return None;
    }
    let mut fields = reads(record);
    lay(record.claims.iter().map(|(field, claim)| (field, &claim.value)), &mut fields);
    for field in TIME_FIELDS {
        if let Some(time) = time_shown(record, &field) {
            fields.insert(field, time.into_owned());
        }
    }
    let deleted_at = deleted_at(record);
    if deleted_at.is_some() {
        fields.insert(Name::ACTIVE, Value::Bool(false));
    }
    Some(User { fields, deleted_at })
}

/// Lays the claims of `moved` fields over a user who is shown as the record said before them; returns the former values of the
/// fields that now differ. Fields whose move is no change are not told.
pub(super) fn overlay(user: &mut User, record: &Record, moved: &[Name]) -> Fields {
    let mut former = Fields::new();
    let deleted = user.is_deleted();
    for field in moved {
        // Times are computed below, and a deleted user's `active` is false, whatever is claimed.
        let computed = TIME_FIELDS.contains(field) || deleted && *field == Name::ACTIVE;
        if let Some(claim) = record.claims.value(field).filter(|_| !computed) {
            show(&mut user.fields, (field, &claim.value), &mut former);
        }
    }
    for field in TIME_FIELDS {
        if let Some(time) = time_shown(record, &field) {
            show(&mut user.fields, (&field, &time), &mut former);
        }
    }
    former
}

/// Shows a field's value, and notes the one that it replaces.
fn show(fields: &mut Fields, (field, value): (&Name, &Value), former: &mut Fields) {
    let replaced = match fields.place(field).map(|place| fields.at_mut(place)) {
        Ok(Some(shown)) if shown == value => return,
        Ok(Some(shown)) => std::mem::replace(shown, value.clone()),
        _ => fields.insert(field.clone(), value.clone()).unwrap_or_default(),
    };
    if replaced != *value && !RESTLESS_FIELDS.contains(&field.as_str()) {
        former.insert(field.clone(), replaced);
    }
}

/// When the user was deleted, as the mirror tells it; `None` for a live one.
#[must_use]
pub fn deleted_at(record: &Record) -> Option<String> {
    let life = &record.life;
    if let Some(deletion) = &life.deletion {
        return Some(deletion.deleted_at.clone());
    }
    let sight = life.sight.as_ref().filter(|sight| !sight.alive)?;
    Some(sight.deleted_at.clone().unwrap_or_else(|| sight.began.floor_to_second().to_string()))
}

/// Whether the details of a live user are missing, or older than the listing's row says the user is.
#[must_use]
pub fn detail_stale(record: &Record) -> bool {
    if deleted_at(record).is_some() || (!record.life.known && record.life.sight.is_none()) {
        return false;
    }
    let Some(detail) = &record.detail else { return true };
    let listed = record.listing.as_ref().and_then(|read| time(&read.fields, "updated_at"));
    listed > time(&detail.fields, "updated_at")
}

/// A field's value as a time.
#[must_use]
pub fn time(fields: &Fields, field: &str) -> Option<Timestamp> {
    fields.get(field).and_then(Value::as_str).and_then(Timestamp::parse)
}

/// Both reads, the newer over the older; `locations` and `manager` in the detail's shape.
fn reads(record: &Record) -> Fields {
    let (older, newer) = by_age(record);
    let mut fields = older.map(|read| read.fields.clone()).unwrap_or_default();
    let former = |field| older.and_then(|read| read.fields.value(field)).unwrap_or(&Value::Null);
    if let Some(Read { fields: newer, .. }) = newer {
        lay(newer, &mut fields);
    }
    if let Some(places) = fields.get_mut("locations") {
        keep_addresses(places, former(&Name::LOCATIONS));
    }
    if let Some(manager) = fields.get_mut("manager") {
        keep_title(manager, former(&Name::MANAGER));
    }
    fields
}

/// Lays fields over others.
fn lay<'a>(newer: impl IntoIterator<Item = (&'a Name, &'a Value)>, fields: &mut Fields) {
    for (field, value) in newer {
        fields.insert(field.clone(), value.clone());
    }
}

/// Both reads, the older one first.
fn by_age(record: &Record) -> (Option<&Read>, Option<&Read>) {
    match (&record.listing, &record.detail) {
        (Some(listing), Some(detail)) if listing.order() > detail.order() => (Some(detail), Some(listing)),
        (listing, detail) => (listing.as_ref(), detail.as_ref()),
    }
}

/// Names become objects; an address that the other read told of the same name is kept.
fn keep_addresses(places: &mut Value, former: &Value) {
    let Some(list) = places.as_array_mut() else { return };
    let known = |name: &str| {
        let same = |place: &&Value| place.get("name").and_then(Value::as_str) == Some(name);
        former.as_array().and_then(|all| all.iter().find(same)).and_then(|place| place.get("address")).cloned()
    };
    for place in list {
        if let Some(name) = place.as_str() {
            *place = json!({"name": name, "address": known(name).unwrap_or_default()});
        }
    }
}

/// Listings do not carry a manager's title: the one a lookup told of the same manager is kept.
fn keep_title(manager: &mut Value, former: &Value) {
    let same = manager.get("uid").is_some() && manager.get("uid") == former.get("uid");
    let Some(manager) = manager.as_object_mut() else { return };
    if let Some(title) = former.get("job_title").filter(|_| same) {
        manager.entry("job_title").or_insert_with(|| title.clone());
    }
}

/// `updated_at` is the row's, or the newest applied event's while that is newer; `created_at` the created event's until read.
fn time_shown<'a>(record: &'a Record, field: &Name) -> Option<Cow<'a, Value>> {
    let (older, newer) = by_age(record);
    let read = || newer.into_iter().chain(older).find_map(|read| read.fields.value(field));
    let told = record.claims.value(field).map(|claim| &claim.value).or_else(read);
    let bumped = match *field {
        Name::UPDATED_AT => {
            let told = told.and_then(Value::as_str).and_then(Timestamp::parse);
            record.life.touched.map(|(stamp, _)| stamp).filter(|stamp| told.is_none_or(|told| *stamp > told))
        }
        _ => record.life.created.filter(|_| told.is_none_or(Value::is_null)),
    };
    bumped.map(|stamp| Cow::Owned(Value::String(stamp.to_string()))).or_else(|| told.map(Cow::Borrowed))
}
