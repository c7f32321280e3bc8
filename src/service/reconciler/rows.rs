//! What a row of a listing says of its user.

use super::Sent;
use crate::directory::{Evidence, Fields, Missing, Shape, Sighting, Sign, Swept, absence};

/// The evidence of one row: what it shows, and whether it says by itself that its user is alive or deleted; else `sign` tells. The
/// sweep's listing that it belongs to, if any, and the reconciliation that read it.
pub(super) fn listed(
    (uid, fields): (&str, &Fields),
    Sent { began, call }: Sent,
    (sign, swept, found_by): (Sign, Option<Swept>, u64),
) -> Vec<(String, Evidence)> {
    let (mark, fields) = (absence::mark(fields), absence::unmarked(fields.clone()));
    let sign = if mark == Some(false) { Sign::Alive } else { sign };
    let sighting = Sighting { shape: Shape::Listing, fields, began, call, sign, expected: false, swept };
    let mut evidence = vec![(uid.to_owned(), Evidence::Sighting(Box::new(sighting)))];
    if mark == Some(true) {
        evidence.push((uid.to_owned(), Evidence::Missing(Missing { listed: true, began, call, found_by })));
    }
    evidence
}
