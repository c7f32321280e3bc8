//! What is shown of the budgets, and of what upstream is able to do.

use serde_json::{Value, json};

use crate::answers::read_bytes;
use crate::house::House;
use crate::joined::{BRISK, HASTY};

impl House {
    /// The only source as `/api/v1/sources` shows it.
    fn source(&self) -> Value {
        self.get("/api/v1/sources").body["sources"][0].clone()
    }
}

#[test]
fn refusals_below_the_budget_lower_what_is_shown_of_it() {
    let house = House::joined(8, HASTY).open().swept();
    assert_eq!(house.source()["budgets"]["caps"], json!({"bulk": 100, "lookup": 300}));
    house.behave(|rules| rules.faults.limited = 1.0);
    drop(house.request("incremental", json!({})));
    house.until("the cap to be lowered", || (house.source()["budgets"]["caps"]["bulk"].as_u64()? <= 50).then_some(()));
    let caps = &house.source()["budgets"]["caps"];
    assert_eq!(caps["lookup"], 300, "{caps}");
    let metrics = String::from_utf8(read_bytes(&format!("http://{}/metrics", house.ops()))).unwrap();
    assert!(metrics.contains("rollcall_upstream_budget_cap{source=\"main\",endpoint=\"lookup\"} 300"), "{metrics}");
}

#[test]
fn what_upstream_showed_of_itself_is_told() {
    let house = House::alone().open();
    assert_eq!(house.source()["capabilities"], json!({"lookups_hide_deleted": null, "date_header": null}));
    let house = House::joined(8, BRISK).open().swept();
    assert_eq!(house.source()["capabilities"], json!({"lookups_hide_deleted": null, "date_header": true}));
}
