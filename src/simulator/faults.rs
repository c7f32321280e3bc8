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
        Mishap { status, keep: (cut < self.cut).then_some(part), delay: if slow < self.slow { self.slow_by } else { Duration::ZERO } }
    }
}
