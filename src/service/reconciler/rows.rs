//! What a row of a listing says of its user.

use super::Sent;
use crate::directory::{Evidence, Fields, Missing, Shape, Sighting, Sign, Swept, absence};

/// What a listing tells of each of its rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    /// Whether whoever is in it lives.
    pub(super) sign: Sign,
    /// The sweep's listing that it is, if any.
    pub(super) swept: Option<Swept>,
    /// Whether differences are to be expected.
    pub(super) expected: bool,
    /// The reconciliation that read it.
    pub(super) found_by: u64,
}

/// The evidence of one row: what it shows, and whether it says by itself that its user is alive or deleted; else the listing tells.
pub(super) fn listed((uid, fields): (&str, &Fields), Sent { began, call }: Sent, told: Told) -> Vec<(String, Evidence)> {
    let Told { sign, swept, expected, found_by } = told;
    let (mark, fields) = (absence::mark(fields), absence::unmarked(fields.clone()));
    let sign = if mark == Some(false) { Sign::Alive } else { sign };
    let sighting = Sighting { shape: Shape::Listing, fields, began, call, sign, expected, swept };
    let mut evidence = vec![(uid.to_owned(), Evidence::Sighting(Box::new(sighting)))];
    if mark == Some(true) {
        evidence.push((uid.to_owned(), Evidence::Missing(Missing { listed: true, began, call, found_by })));
    }
    evidence
}
