//! How reads and claims merge into what the directory shows.

use serde_json::{Value, json};

use super::{Fields, Read, Record, Timestamp, User};

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
    for (field, claim) in &record.claims {
        fields.insert(field.clone(), claim.value.clone());
    }
    show_times(record, &mut fields);
    let deleted_at = deleted_at(record);
    if deleted_at.is_some() {
        fields.insert("active".to_owned(), Value::Bool(false));
    }
    Some(User { fields, deleted_at })
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
    let (older, newer) = match (&record.listing, &record.detail) {
        (Some(listing), Some(detail)) if listing.order() > detail.order() => (Some(detail), Some(listing)),
        (listing, detail) => (listing.as_ref(), detail.as_ref()),
    };
    let mut fields = older.map(|read| read.fields.clone()).unwrap_or_default();
    let former_places = fields.get("locations").cloned().unwrap_or_default();
    let former_manager = fields.get("manager").cloned().unwrap_or_default();
    if let Some(Read { fields: newer, .. }) = newer {
        fields.extend(newer.iter().map(|(field, value)| (field.clone(), value.clone())));
    }
    if let Some(places) = fields.get_mut("locations") {
        *places = with_addresses(places, &former_places);
    }
    if let Some(manager) = fields.get_mut("manager") {
        keep_title(manager, &former_manager);
    }
    fields
}

/// Names become objects; an address that the other read told of the same name is kept.
fn with_addresses(places: &Value, former: &Value) -> Value {
    let Some(list) = places.as_array() else { return places.clone() };
    let known = |name: &str| {
        let same = |place: &&Value| place.get("name").and_then(Value::as_str) == Some(name);
        former.as_array().and_then(|all| all.iter().find(same)).and_then(|place| place.get("address")).cloned()
    };
    let one = |place: &Value| match place.as_str() {
        Some(name) => json!({"name": name, "address": known(name).unwrap_or_default()}),
        None => place.clone(),
    };
    list.iter().map(one).collect()
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
fn show_times(record: &Record, fields: &mut Fields) {
    if let Some((stamp, _)) = record.life.touched
        && time(fields, "updated_at").is_none_or(|read| stamp > read)
    {
        fields.insert("updated_at".to_owned(), Value::String(stamp.to_string()));
    }
    if let Some(created) = record.life.created
        && fields.get("created_at").is_none_or(Value::is_null)
    {
        fields.insert("created_at".to_owned(), Value::String(created.to_string()));
    }
}
