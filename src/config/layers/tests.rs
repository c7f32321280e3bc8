//! Layers: what lies on top wins, and no key or value changes on its way through the library.

use proptest::prelude::*;

use super::*;

fn table(text: &str) -> Table {
    toml::from_str(text).unwrap()
}

/// These texts over one another, without a fault.
fn laid<const N: usize>(texts: [&str; N]) -> Table {
    let mut faults = Faults::default();
    let laid = lay(texts.map(table), &mut faults);
    assert_eq!(faults, Faults::default());
    laid
}

#[test]
fn sections_are_merged_and_anything_else_is_replaced() {
    assert_eq!(laid(["a = 1\nb.c = 1\nb.d = 1", "b.c = 2\ne = 2", "b.c = 3"]), table("a = 1\nb.c = 3\nb.d = 1\ne = 2"));
    assert_eq!(laid(["a = [1, 2, 3]", "a = [4]"]), table("a = [4]"));
    assert_eq!(laid(["a = [1]", "a = []"]), table("a = []"));
    assert_eq!(laid(["a = 1", "a.b = 2"]), table("a.b = 2"));
    assert_eq!(laid(["a.b = 2", "a = 1"]), table("a = 1"));
    assert_eq!(laid(["a.b = 2", "[a]"]), table("a.b = 2"));
    assert_eq!(laid(["", "[a]", ""]), table("[a]"));
}

#[test]
fn values_keep_their_types() {
    let text = r#"
        texts = ["true", "7", "7.5", "", "1979-05-27", "${HOME}", "no\nyes"]
        numbers = [0, -9223372036854775808, 9223372036854775807, 7.0, -0.5, inf]
        truths = [true, false]
        mixed = [[], {}, [{ a = [{ b = 1.0 }] }]]
    "#;
    assert_eq!(laid([text]), table(text));
    assert_eq!(laid(["", text, ""]), table(text));
}

#[test]
fn only_dates_become_texts() {
    let dates = "a = [1979-05-27T07:32:00Z, 1979-05-27, 07:32:00]\nb.c = 1979-05-27";
    let texts = "a = [\"1979-05-27T07:32:00Z\", \"1979-05-27\", \"07:32:00\"]\nb.c = \"1979-05-27\"";
    assert_eq!(laid([dates]), table(texts));
    assert_eq!(laid(["b.c.d = 1", dates]), table(texts));
}

#[test]
fn keys_are_not_a_path_language_and_keep_their_case() {
    let text = "\"a.b\" = 1\n\"a[99999999999]\" = 2\n\"a[-1].b\" = 3\n\"\" = 4\nA = 5\n\"Ä\" = 6\n\" \" = 7\nc.\"d.e\" = 8\nsettings = 9";
    assert_eq!(laid([text, ""]), table(text));
    assert_eq!(laid(["a.b = 1", "\"a.b\" = 2\nA.b = 3"]), table("a.b = 1\n\"a.b\" = 2\nA.b = 3"));
}

#[test]
fn a_key_that_serde_takes_for_a_date_is_a_fault_at_worst() {
    for text in ["\"$__toml_private_datetime\" = \"x\"", "a = { \"\" = 1, \"$__toml_private_datetime\" = \"s3cret\" }"] {
        let Ok(table) = toml::from_str(text) else { continue };
        let mut faults = Faults::default();
        let _ = lay([table], &mut faults);
        assert!(!faults.to_string().contains("s3cret"), "{faults}");
    }
}

#[test]
fn a_layer_does_not_print_its_values() {
    let builder = ::config::Config::builder().add_source(Layer(table("a = \"s3cret\"")));
    assert!(!format!("{builder:?}").contains("s3cret"));
}

#[test]
fn a_variable_below_a_value_changes_nothing() {
    let mut faults = Faults::default();
    let names = ["A__B__C", "A__B__D__E", "A__F", "X", "X__Y"];
    let environment = names.map(|name| (format!("{PREFIX}{name}"), "v".to_owned())).into_iter();
    let found = variables(&table("a.b = 1\nx.y = 1"), environment, &mut faults);
    assert_eq!(found, table("a.f = \"v\"\nx = \"v\""));
    assert_eq!(faults.0.iter().map(|fault| fault.key.as_str()).collect::<Vec<_>>(), ["a.b.c", "a.b.d.e", "x.y"]);
}

proptest! {
    #[test]
    fn the_order_of_layers_decides_and_nothing_else(keys in prop::collection::vec(("[a-c](\\.[a-c]){0,3}", 0..9_i64), 1..8)) {
        let tables: Vec<Table> = keys.iter().map(|(key, value)| table(&format!("{key} = {value}"))).collect();
        let mut faults = Faults::default();
        let at_once = lay(tables.clone(), &mut faults);
        let one_by_one = tables.into_iter().reduce(|below, above| lay([below, above], &mut faults));
        prop_assert_eq!(Some(&at_once), one_by_one.as_ref());
        let (last, value) = keys.last().unwrap();
        let found = last.split('.').try_fold(&Value::Table(at_once.clone()), |at, key| at.get(key)).and_then(Value::as_integer);
        prop_assert_eq!(found, Some(*value));
    }
}
