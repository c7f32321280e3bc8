//! That records and fields are read as they were written, and nothing else is.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::directory::Timestamp;

/// Values of every kind, within each other.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        (200..300_usize).prop_map(|len| Value::from("ü".repeat(len))),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from);
        prop_oneof![list, prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|entries| entries.into_iter().collect())]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), prop::sample::select(vec!["active", "email", "manager", "worker_classification"]).prop_map(str::to_owned)]
}

proptest! {
    #[test]
    fn fields_are_read_as_they_were_written(entries in prop::collection::vec((name(), value()), 0..9)) {
        let all: Fields = entries.into_iter().collect();
        let mut bytes = Vec::new();
        fields(&all, &mut bytes);
        prop_assert!((0..bytes.len()).all(|len| take_fields(&bytes[..len]).is_none()));
        bytes.extend(b"behind");
        prop_assert_eq!(take_fields(&bytes), Some((all, b"behind".as_slice())));
    }

    #[test]
    fn whatever_stands_there_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        drop(take_fields(&bytes));
        drop(read_record(&bytes));
        drop(read_record(&[&[FORMAT], bytes.as_slice()].concat()));
    }

    #[test]
    fn ids_and_times_are_read_as_they_were_written(id in "[0-9a-f]{0,70}|[0-9A-Za-z-]{0,70}", millis in any::<i64>()) {
        let mut bytes = Vec::new();
        parts::id(&id, &mut bytes);
        time(Timestamp::from_millis(millis), &mut bytes);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!((reader.id(), reader.time()), (Some(id), Some(Timestamp::from_millis(millis))));
        prop_assert!(reader.is_at_end());
    }
}

/// Stores hold what is written here: whoever changes it has to go on reading this.
#[test]
fn what_stores_hold_is_read() {
    let at = Timestamp::from_millis;
    let row: Fields = json!({"uid": "E1", "active": true, "id": 7, "badge": [-1, 0.5, null]}).as_object().cloned().unwrap().into();
    let by = Arc::new(Witness { stamp: at(1000), rank: EventKind::Updated, digest: 258, received: at(-1), event_id: "ab12".to_owned() });
    let mut claims = ByName::new();
    claims.insert("email", Claim { value: "a@b.c".into(), by });
    let gap =
        Gap { id: 300, count: 2, detected_at: at(5), event_id: Some("Odd".to_owned()), need: Need::Lookup, happened: at(6), due: at(7) };
    let life = Life {
        sight: Some(Sight { alive: false, began: at(8), call: 9, deleted_at: Some("then".to_owned()) }),
        deletion: Some(Deletion { stamp: at(1), digest: 2, received: at(3), deleted_at: "now".to_owned(), event_id: "f".to_owned() }),
        created: Some(at(4)),
        touched: Some((at(5), at(6))),
        known: true,
        candidate: Some(Candidate { listed: true, began: at(7), missed: Some(at(8)), found_by: 9 }),
        swept: [1, 2],
    };
    let listing = Some(Read { fields: row, began: at(2), call: 3 });
    let held = Record { listing, detail: None, claims, life, gaps: [(Reason::MissedDelivery, gap)].into_iter().collect(), last_change: 4 };
    let mut bytes = Vec::new();
    record(&held, &mut bytes);
    assert_eq!(const_hex::encode(&bytes), HELD);
    assert_eq!(read_record(&bytes), Some(held));
}

const HELD: &str = "0101040002ff0562616467650603040005000000000000e03f000d03071b0b453104030001d00f01020100000000000001\
    05ab1201050e6140622e630100100901047468656e0102020000000000000006036e6f7702660108010a0c0101010e01100901020109ac02020a01064f6464\
    020c0e04";
