//! The documented types of a user's fields (upstream guide, steps 2 and 3).

use serde_json::Value;

/// What a field's value may be, null aside.
#[derive(Clone, Copy)]
enum Type {
    Text,
    Flag,
    Whole,
    Object,
    List,
}

impl Type {
    fn admits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Flag => value.is_boolean(),
            Self::Whole => value.is_i64() || value.is_u64(),
            Self::Object => value.is_object(),
            Self::List => value.is_array(),
        }
    }
}

/// Makes a fixed sentence for each field, so that none needs to be put together from what somebody sent.
macro_rules! documented {
    ($($kind:ident, $word:literal: $($field:literal)+;)+) => {
        /// The type of a documented field, and what to say of a value that has another.
        fn rule(field: &str) -> Option<(Type, &'static str)> {
            match field {
                $($($field => Some((Type::$kind, concat!("data.user.", $field, " is not ", $word, " or null"))),)+)+
                _ => None,
            }
        }
    };
}

documented! {
    Text, "a text": "uid" "email" "first_name" "last_name" "full_name" "job_title" "department" "organizational_role" "hire_date"
        "original_hire_date" "employment_status" "employee_type" "phone" "termination_date" "termination_type" "created_at" "updated_at"
        "last_activity_at" "flsa_status" "worker_classification" "time_zone" "external_employee_id";
    Flag, "true, false": "active";
    Whole, "a whole number": "id" "direct_reports_count" "skills_count" "certifications_count";
    Object, "an object": "manager" "organizational_department";
    List, "a list": "locations";
}

/// What is wrong with the type of a field's value; `None` when nothing is, or the field is not documented.
pub(super) fn fault(field: &str, value: &Value) -> Option<&'static str> {
    let (kind, sentence) = rule(field)?;
    (!value.is_null() && !kind.admits(value)).then_some(sentence)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::directory::user::{DETAIL_FIELDS, LISTING_FIELDS};

    #[test]
    fn every_documented_field_has_a_type_and_may_be_null() {
        for field in LISTING_FIELDS.iter().chain(&DETAIL_FIELDS) {
            assert!(rule(field).is_some(), "{field}");
            assert_eq!(fault(field, &Value::Null), None, "{field}");
        }
    }

    #[test]
    fn a_value_of_another_type_is_a_fault_that_names_the_field() {
        for (field, right, wrong) in [
            ("email", json!("a@example.com"), json!(5)),
            ("active", json!(false), json!("false")),
            ("id", json!(1753), json!(17.5)),
            ("skills_count", json!(-1), json!("8")),
            ("manager", json!({}), json!("E1000002")),
            ("locations", json!([]), json!({})),
        ] {
            assert_eq!(fault(field, &right), None, "{field}");
            assert!(fault(field, &wrong).is_some_and(|sentence| sentence.contains(field)), "{field}");
        }
    }

    #[test]
    fn an_undocumented_field_may_hold_anything() {
        assert_eq!(fault("shoe_size", &json!([1, {}])), None);
    }
}
