//! What goes wrong on purpose when the REST API answers: chances out of one, drawn from the seed.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

/// How often what goes wrong: each between 0 (never) and 1 (always).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// A 500, 502 or 503 instead of the answer.
    pub error: f64,
    /// A 429 although the limit is not reached, as when another client shares the token.
    pub limited: f64,
    /// The answer's JSON ends in the middle.
    pub cut: f64,
    /// A page for people instead of JSON, with a status of 200.
    pub html: f64,
    /// A 200 with nothing: no body at all, or, to whoever asked for a listing, one without users.
    pub empty: f64,
    /// The listing is answered as if it had been asked for without parameters.
    pub ignored: f64,
    /// The answer comes late, by [`Faults::slow_by`].
    pub slow: f64,
    /// How late, in simulated time.
    pub slow_by: Duration,
}

/// What goes wrong with one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Mishap {
    /// The status that stands in for the answer's.
    pub(super) status: Option<u16>,
    /// Which part of the body is kept.
    pub(super) keep: Option<f64>,
    pub(super) delay: Duration,
    /// What stands in for the answer's content.
    pub(super) instead: Option<Instead>,
}

/// What stands in for an answer's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Instead {
    Html,
    Nothing,
    NoUsers,
    Unasked,
}

impl Faults {
    /// Draws for one answer; always as many times, so that one chance does not move the others' luck.
    pub(super) fn draw(&self, rng: &mut SmallRng) -> Mishap {
        let [error, limited, cut, slow, which, part]: [f64; 6] = rng.random();
        let status = match which {
            _ if limited < self.limited => Some(429),
            _ if error >= self.error => None,
            which if which < 0.6 => Some(500),
            which if which < 0.8 => Some(502),
            _ => Some(503),
        };
        let (keep, delay) = ((cut < self.cut).then_some(part), if slow < self.slow { self.slow_by } else { Duration::ZERO });
        Mishap { status, keep, delay, instead: self.instead(rng) }
    }

    /// Draws only where it can matter, so that seeds without these go on telling the same story.
    fn instead(&self, rng: &mut SmallRng) -> Option<Instead> {
        if self.html + self.empty + self.ignored <= 0.0 {
            return None;
        }
        let [html, empty, ignored, which]: [f64; 4] = rng.random();
        match which {
            _ if html < self.html => Some(Instead::Html),
            which if empty < self.empty => Some(if which < 0.5 { Instead::Nothing } else { Instead::NoUsers }),
            _ => (ignored < self.ignored).then_some(Instead::Unasked),
        }
    }
}
