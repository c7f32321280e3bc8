//! The laws of the core, tried on generated histories.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const START: i64 = 1_763_000_000;

fn second(offset: i64) -> Timestamp {
    Timestamp::from_millis((START + offset) * 1000)
}

fn at(offset: i64, reads: bool) -> Circumstances {
    let rules =
        Rules { tolerance: Duration::from_secs(5), settle: Duration::from_secs(1), confirm: Duration::from_secs(10), reads, broken: None };
    Circumstances { rules, now: second(offset), wall: second(offset) }
}

/// Events about one user within 30 seconds, each received up to 20 seconds later.
fn event() -> impl Strategy<Value = Event> {
    let snapshot = (0..3_u8, 0..3_u8, any::<bool>(), any::<bool>());
    (0..5_usize, 0..30_i64, 0..20_i64, snapshot, any::<u64>()).prop_map(|(kind, stamp, delay, (title, name, active, full), digest)| {
        let kind = EventKind::ALL[kind];
        let user = match (full, kind) {
            (false, _) | (_, EventKind::Deleted) => Fields::new(),
            _ => fields(&json!({"job_title": title, "first_name": name, "active": active, "badge": name})),
        };
        let changes = if kind == EventKind::Updated { vec!["job_title".to_owned(), "department".to_owned()] } else { Vec::new() };
        Event {
            id: format!("{digest:x}"),
            kind,
            uid: "E1".to_owned(),
            stamp: second(stamp),
            received: second(stamp + delay),
            changes,
            user,
            deleted_at: None,
            digest,
        }
    })
}

fn fields(value: &Value) -> Fields {
    value.as_object().cloned().unwrap_or_default().into()
}

fn row(shape: Shape, title: u8, began: i64, sign: Sign) -> Evidence {
    let fields = fields(&json!({
        "uid": "E1", "job_title": title, "first_name": title, "active": true, "department": "Nursing", "updated_at": second(began - 40).to_string(),
    }));
    Evidence::Sighting(Box::new(Sighting { shape, fields, began: second(began), call: 0, sign, expected: false, swept: None }))
}

fn hear_all(record: Option<Record>, events: &[Event], reads: bool) -> Option<Record> {
    events.iter().fold(record, |record, event| {
        let evidence = Evidence::Event(Box::new(event.clone()));
        Some(decide(record, &evidence, &at(60, reads)).known.record)
    })
}

fn shown(record: Option<&Record>) -> Option<User> {
    record.and_then(merge::view)
}

proptest! {
    #[test]
    fn any_order_and_any_repetition_give_the_same_view(
        events in prop::collection::vec(event(), 1..7),
        shuffle in prop::collection::vec(any::<prop::sample::Index>(), 0..14),
        reads in any::<bool>(),
    ) {
        let straight = hear_all(None, &events, reads);
        let mut mixed: Vec<Event> = shuffle.iter().map(|index| index.get(&events).clone()).collect();
        mixed.extend(events.iter().rev().cloned());
        let mixed = hear_all(None, &mixed, reads);
        prop_assert_eq!(shown(straight.as_ref()), shown(mixed.as_ref()));
    }

    #[test]
    fn a_covering_read_settles_every_history(
        events in prop::collection::vec(event(), 0..6),
        early in 0..60_i64,
        title in 0..9_u8,
    ) {
        let early = row(Shape::Listing, 7, early, Sign::Alive);
        let late = row(Shape::Listing, title, 100, Sign::Alive);
        let before = hear_all(Some(decide(None, &early, &at(60, true)).known.record), &events, true);
        let read = decide(before, &late, &at(100, true));
        prop_assert!(read.known.record.gaps.is_empty());
        let after = hear_all(Some(read.known.record), &events, true);
        let view = shown(after.as_ref()).expect("a user seen alive is shown");
        prop_assert_eq!(view.fields.get("job_title"), Some(&json!(title)));
        prop_assert_eq!(view.deleted_at, None);
    }

    #[test]
    fn a_read_is_never_undone_by_an_older_claim(events in prop::collection::vec(event(), 1..6), began in 36..60_i64) {
        let read = decide(None, &row(Shape::Detail, 9, began, Sign::Alive), &at(60, true));
        let after = hear_all(Some(read.known.record.clone()), &events, true);
        let (before, after) = (shown(Some(&read.known.record)), shown(after.as_ref()));
        let (before, after) = (before.expect("shown"), after.expect("shown"));
        prop_assert_eq!(before.fields.get("job_title"), after.fields.get("job_title"));
        prop_assert_eq!(after.deleted_at, None);
    }

    #[test]
    fn no_event_and_no_silent_row_revives(events in prop::collection::vec(event(), 0..8), began in 0..200_i64) {
        let deleted = Event { kind: EventKind::Deleted, stamp: second(10), ..events.first().cloned().unwrap_or_else(first_event) };
        let record = hear_all(None, &[deleted], true);
        let record = decide(record, &row(Shape::Listing, 1, began, Sign::Silent), &at(200, true)).known.record;
        let record = decide(Some(record), &row(Shape::Detail, 1, began, Sign::Silent), &at(200, true)).known.record;
        let record = hear_all(Some(record), &events, true);
        prop_assert!(shown(record.as_ref()).is_some_and(|user| user.is_deleted()));
    }

    #[test]
    fn what_a_row_is_silent_about_stays(events in prop::collection::vec(event(), 0..6), began in 0..200_i64) {
        let mut record = hear_all(None, &events, true);
        let told = Sighting {
            shape: Shape::Listing,
            fields: fields(&json!({"uid": "E1", "phone": "+1", "shoe_size": 43})),
            began: second(0),
            call: 0,
            sign: Sign::Alive,
            expected: true,
            swept: None,
        };
        record = Some(decide(record, &Evidence::Sighting(Box::new(told)), &at(200, true)).known.record);
        let record = decide(record, &row(Shape::Listing, 3, began, Sign::Silent), &at(200, true)).known.record;
        let view = merge::view(&record).expect("shown");
        prop_assert_eq!(view.fields.get("phone"), Some(&json!("+1")));
        prop_assert_eq!(view.fields.get("shoe_size"), Some(&json!(43)));
    }

    #[test]
    fn a_view_that_is_kept_along_is_the_view_computed_anew(
        events in prop::collection::vec((event(), any::<Option<bool>>()), 1..10),
        (early, late) in (0..40_i64, 0..60_i64),
        reads in any::<bool>(),
    ) {
        let mut evidence: Vec<Evidence> = events.into_iter().map(|(event, times)| Evidence::Event(Box::new(timed(event, times)))).collect();
        evidence.insert(evidence.len() / 3, row(Shape::Listing, 4, early, Sign::Alive));
        evidence.insert(evidence.len() / 2, row(Shape::Detail, 5, late, Sign::Silent));
        let mut known = Known::default();
        for evidence in evidence {
            let before = known.view.clone();
            let decision = decide(known, &evidence, &at(60, reads));
            prop_assert_eq!(&decision.known, &Known::from(decision.known.record.clone()));
            prop_assert_eq!(&decision.difference, &change::between(before.as_deref(), decision.known.view.as_ref()));
            known = decision.known;
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written(
        events in prop::collection::vec((event(), any::<Option<bool>>()), 0..8),
        reads in prop::collection::vec((any::<bool>(), 0..60_i64), 0..3),
    ) {
        let rows = reads.iter().map(|(detail, began)| row(if *detail { Shape::Detail } else { Shape::Listing }, 4, *began, Sign::Alive));
        let told = events.into_iter().map(|(event, times)| Evidence::Event(Box::new(timed(event, times))));
        let mut record = rows.chain(told).fold(Record::default(), |record, evidence| decide(Some(record), &evidence, &at(60, true)).known.record);
        for last_change in [0, 17] {
            record.last_change = last_change;
            let mut written = Vec::new();
            code::record(&record, &mut written);
            prop_assert_eq!(code::read_record(&written), Some(record.clone()));
            // Whatever was cut off, or stands behind it, is no record.
            prop_assert!((0..written.len()).all(|len| code::read_record(&written[..len]).is_none()));
            written.push(0);
            prop_assert_eq!(code::read_record(&written), None);
        }
    }

    #[test]
    fn changes_add_up_to_the_view(events in prop::collection::vec(event(), 1..8), began in 0..100_i64) {
        let mut evidence: Vec<Evidence> = events.into_iter().map(|event| Evidence::Event(Box::new(event))).collect();
        evidence.insert(evidence.len() / 2, row(Shape::Listing, 4, began, Sign::Alive));
        let (mut record, mut told): (Option<Record>, Option<User>) = (None, None);
        for evidence in evidence {
            let decision = decide(record, &evidence, &at(100, true));
            if let Some(difference) = decision.difference {
                for (field, old) in difference.from.iter().filter(|(field, _)| *field != "deleted_at") {
                    let shown = told.as_ref().and_then(|user| user.fields.get(field)).cloned().unwrap_or_default();
                    prop_assert_eq!(old, &shown);
                }
                told = Some((*difference.user).clone());
            }
            record = Some(decision.known.record);
        }
        let restless = |user: &mut User| user.fields.retain(|field, _| !user::RESTLESS_FIELDS.contains(&field.as_str()));
        let mut view = shown(record.as_ref());
        view.iter_mut().for_each(restless);
        told.iter_mut().for_each(restless);
        prop_assert_eq!(told, view);
    }
}

#[test]
fn a_uid_that_was_given_to_somebody_else_shows_nothing_of_who_had_it_before() {
    let former = alive(Shape::Detail, 0, 1, json!({"uid": "E1", "id": 7, "first_name": "Ada", "external_employee_id": "EMP-7"}));
    let deleted = Event { kind: EventKind::Deleted, stamp: second(10), received: second(11), ..first_event() };
    let known = decide(None, &former, &at(5, true)).known;
    let known = decide(known, &Evidence::Event(Box::new(deleted)), &at(12, true)).known;
    assert!(known.view.as_ref().unwrap().is_deleted());
    let hired = decide(known, &alive(Shape::Listing, 100, 2, json!({"uid": "E1", "id": 8, "first_name": "Ben"})), &at(101, true));
    let user = hired.known.view.unwrap();
    assert_eq!((user.is_deleted(), user.fields.get("first_name"), user.fields.get("id")), (false, Some(&json!("Ben")), Some(&json!(8))));
    assert_eq!(user.fields.get("external_employee_id"), None);
    assert_eq!(hired.difference.unwrap().kind, ChangeKind::Restored);
}

#[test]
fn a_late_answer_about_whoever_bore_a_uid_before_is_believed_only_when_it_stays() {
    let former = json!({"uid": "E1", "id": 7, "created_at": second(0).to_string(), "shoe_size": 43});
    let present = json!({"uid": "E1", "id": 8, "created_at": second(50).to_string()});
    let known = decide(None, &alive(Shape::Listing, 30, 1, former.clone()), &at(31, true)).known;
    let known = decide(known, &alive(Shape::Listing, 60, 2, present), &at(61, true)).known;
    assert_eq!(known.view.as_ref().unwrap().fields.get("shoe_size"), None, "the row of somebody else goes as a whole");
    for (shape, call) in [(Shape::Detail, 3), (Shape::Listing, 4)] {
        let late = decide(known.clone(), &alive(shape, 64, call, former.clone()), &at(65, true));
        assert_eq!((late.outcome, &late.known), (Outcome::Stale, &known));
        let stays = decide(known.clone(), &alive(shape, 66, call, former.clone()), &at(67, true));
        assert_eq!(stays.known.view.unwrap().fields.get("id"), Some(&json!(7)));
    }
}

/// An answer that shows the user alive.
fn alive(shape: Shape, began: i64, call: u64, value: Value) -> Evidence {
    let (fields, began) = (fields(&value), second(began));
    Evidence::Sighting(Box::new(Sighting { shape, fields, began, call, sign: Sign::Alive, expected: false, swept: None }))
}

/// The event again, whose snapshot tells times as well, where asked: null ones, or a minute before the first events.
fn timed(mut event: Event, times: Option<bool>) -> Event {
    for field in ["created_at", "updated_at"] {
        let time = times.map(|known| if known { json!(second(-60).to_string()) } else { Value::Null });
        event.user.extend(time.map(|time| (field.to_owned(), time)));
    }
    event
}

fn first_event() -> Event {
    Event {
        id: "first".to_owned(),
        kind: EventKind::Created,
        uid: "E1".to_owned(),
        stamp: second(0),
        received: second(0),
        changes: Vec::new(),
        user: Fields::new(),
        deleted_at: None,
        digest: 0,
    }
}
