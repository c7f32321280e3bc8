//! Fields against the tree of texts that they stand in for.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

type Model = BTreeMap<String, Value>;

fn name() -> impl Strategy<Value = String> {
    let some = vec!["active", "uid", "id", "termination_date", "termination_type", "job_title"];
    prop_oneof![prop::sample::select(some).prop_map(str::to_owned), "[a-f]{0,2}", "[a-z_\"\\\\é]{0,4}"]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        "[a-z\"]{0,3}".prop_map(Value::from)
    ]
}

fn entries() -> impl Strategy<Value = Vec<(String, Value)>> {
    prop::collection::vec((name(), value()), 0..30)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(String, Value),
    Remove(String),
    Change(String, Value),
    Extend(Vec<(String, Value)>),
    RetainLess(String),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (name(), value()).prop_map(|(name, value)| Step::Insert(name, value)),
        2 => name().prop_map(Step::Remove),
        2 => (name(), value()).prop_map(|(name, value)| Step::Change(name, value)),
        1 => entries().prop_map(Step::Extend),
        1 => name().prop_map(Step::RetainLess),
    ]
}

fn both(model: &mut Model, fields: &mut Fields, step: Step) {
    match step {
        Step::Insert(name, value) => assert_eq!(fields.insert(name.clone(), value.clone()), model.insert(name, value)),
        Step::Remove(name) => assert_eq!(fields.remove(&name), model.remove(&name)),
        Step::Change(name, value) => {
            let (held, modelled) = (fields.get_mut(&name), model.get_mut(&name));
            assert_eq!(held.is_some(), modelled.is_some());
            held.into_iter().chain(modelled).for_each(|held| *held = value.clone());
        }
        Step::Extend(entries) => {
            fields.extend(entries.clone());
            model.extend(entries);
        }
        Step::RetainLess(limit) => {
            fields.retain(|name, _| name.as_str() < limit.as_str());
            model.retain(|name, _| *name < limit);
        }
    }
}

proptest! {
    #[test]
    fn they_are_what_a_tree_of_texts_would_be(steps in prop::collection::vec(step(), 0..30), asked in name()) {
        let (mut model, mut fields) = (Model::new(), Fields::new());
        for step in steps {
            both(&mut model, &mut fields, step);
            prop_assert_eq!(fields.get(&asked), model.get(&asked));
            prop_assert_eq!(fields.value(&Name::from(asked.as_str())), model.get(&asked));
            prop_assert_eq!(fields.contains_key(&asked), model.contains_key(&asked));
            prop_assert_eq!((fields.len(), fields.is_empty()), (model.len(), model.is_empty()));
            prop_assert!(fields.iter().map(|(name, value)| (name.as_str(), value)).eq(model.iter().map(|(name, value)| (name.as_str(), value))));
            prop_assert!(fields.keys().map(Name::as_str).eq(model.keys().map(String::as_str)));
            prop_assert!(fields.values().eq(model.values()));
        }
        prop_assert_eq!(&fields, &model.into_iter().collect::<Fields>());
    }

    #[test]
    fn written_down_they_are_the_same_bytes_as_a_tree_and_as_a_map_of_json(entries in entries()) {
        let (model, fields): (Model, Fields) = (entries.iter().cloned().collect(), entries.iter().cloned().collect());
        let text = serde_json::to_string(&model).unwrap();
        prop_assert_eq!(&serde_json::to_string(&fields).unwrap(), &text);
        prop_assert_eq!(&serde_json::from_str::<Fields>(&text).unwrap(), &fields);
        let map: Map<String, Value> = entries.into_iter().collect();
        prop_assert_eq!(&Fields::from(map.clone()), &fields);
        prop_assert_eq!(Map::from(fields.clone()), map.clone());
        prop_assert_eq!(serde_json::from_value::<Fields>(Value::Object(map)).unwrap(), fields);
    }

    #[test]
    fn the_last_of_a_repeated_key_counts(entries in entries()) {
        let one = |(name, value): &(String, Value)| format!("{}:{value}", json!(name));
        let text = format!("{{{}}}", entries.iter().map(one).collect::<Vec<_>>().join(","));
        let map: Map<String, Value> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(serde_json::from_str::<Fields>(&text).unwrap(), Fields::from(map));
    }
}

#[test]
fn only_an_object_is_read() {
    for text in ["null", "[]", "5", "\"a\"", "{\"a\":1", "{1:1}"] {
        assert!(serde_json::from_str::<Fields>(text).is_err(), "{text}");
    }
}
