//! The laws of absence, tried on generated histories: nobody goes without confirmation, and presence clears.

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::super::{Circumstances, Evidence, Fields, Known, Rules, Shape, Sighting, Sign, Timestamp, decide};
use super::{Missing, NotFound};

const CONFIRM: i64 = 60;

fn second(offset: i64) -> Timestamp {
    Timestamp::from_millis((1_763_000_000 + offset) * 1000)
}

fn at(now: i64) -> Circumstances {
    let confirm = Duration::from_secs(CONFIRM.unsigned_abs());
    let rules = Rules { tolerance: Duration::from_secs(5), settle: Duration::from_secs(1), confirm, reads: true, broken: None };
    Circumstances { rules, now: second(now), wall: second(now) }
}

/// One read about the user, `pause` seconds after the one before.
#[derive(Clone, Copy, Debug)]
enum Step {
    Lacks { listed: bool },
    NotFound { witnessed: bool, cleared: bool },
    Seen,
    Row,
    Acquitted,
}

fn steps() -> impl Strategy<Value = Vec<(Step, i64)>> {
    let step = prop_oneof![
        2 => any::<bool>().prop_map(|listed| Step::Lacks { listed }),
        4 => (any::<bool>(), any::<bool>()).prop_map(|(witnessed, cleared)| Step::NotFound { witnessed, cleared }),
        1 => Just(Step::Seen),
        1 => Just(Step::Row),
        1 => Just(Step::Acquitted),
    ];
    prop::collection::vec((step, 1..80_i64), 0..12)
}

fn sighting(shape: Shape, began: i64, call: u64, sign: Sign) -> Evidence {
    let fields: Fields =
        json!({"uid": "E1", "email": "a@example.com", "created_at": second(-9000).to_string()}).as_object().cloned().unwrap().into();
    Evidence::Sighting(Box::new(Sighting { shape, fields, began: second(began), call, sign, expected: false, swept: None }))
}

fn alive() -> Known {
    decide(None, &sighting(Shape::Listing, 0, 1, Sign::Alive), &at(0)).known
}

fn is_deleted(known: &Known) -> bool {
    known.view.as_ref().is_some_and(|user| user.is_deleted())
}

proptest! {
    /// The rule, told once more and simply: what was said since the user was last seen alive, and no more, decides.
    #[test]
    fn nobody_is_deleted_but_by_a_confirmation_that_is_cleared(steps in steps()) {
        let (mut known, mut now, mut call) = (alive(), 100, 1);
        let mut candidate: Option<(bool, Option<i64>)> = None;
        let mut gone = false;
        for (step, pause) in steps {
            now += pause;
            call += 1;
            let began = second(now);
            let evidence = match step {
                Step::Lacks { listed } => Evidence::Missing(Missing { listed, began, call, found_by: 7 }),
                Step::NotFound { witnessed, cleared } => Evidence::NotFound(NotFound { began, call, found_by: 7, witnessed, cleared }),
                Step::Seen => sighting(Shape::Detail, now, call, Sign::Alive),
                Step::Row => sighting(Shape::Listing, now, call, Sign::Silent),
                Step::Acquitted => Evidence::Acquittal,
            };
            match (step, candidate) {
                (Step::Seen, _) => (candidate, gone) = (None, false),
                (Step::Acquitted, _) => candidate = None,
                (Step::Row, Some((false, _))) => candidate = None,
                (Step::Row, _) => {}
                (Step::Lacks { listed }, None) if !gone => candidate = Some((listed, None)),
                (Step::NotFound { .. }, None) if !gone => candidate = Some((false, Some(now))),
                (Step::NotFound { .. }, Some((false, None))) => candidate = Some((false, Some(now))),
                (Step::NotFound { witnessed: true, cleared: true }, Some((listed, missed)))
                    if listed || missed.is_some_and(|missed| now >= missed + CONFIRM) =>
                {
                    (candidate, gone) = (None, true);
                }
                _ => {}
            }
            let decision = decide(known, &evidence, &at(now));
            known = decision.known;
            prop_assert_eq!(is_deleted(&known), gone, "after {:?}", step);
            let held = known.record.life.candidate.as_ref().map(|held| (held.listed, held.missed));
            prop_assert_eq!(held, candidate.map(|(listed, missed)| (listed, missed.map(second))));
            prop_assert_eq!(known.record.gaps.is_empty(), candidate.is_none(), "a candidate is a gap, and nobody else is");
        }
    }

    #[test]
    fn what_began_before_the_user_was_seen_says_nothing(listed in any::<bool>(), earlier in 1..50_i64) {
        let seen = decide(alive(), &sighting(Shape::Detail, 100, 9, Sign::Alive), &at(100)).known;
        let late = Evidence::Missing(Missing { listed, began: second(100 - earlier), call: 8, found_by: 7 });
        let known = decide(seen, &late, &at(120)).known;
        prop_assert!(known.record.life.candidate.is_none() && !is_deleted(&known));
    }
}
