//! Points in time as upstream writes them.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds aside. May be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time that can be written down.
    pub const MIN: Self = Self(i64::MIN);
    /// The latest time that can be written down.
    pub const MAX: Self = Self(i64::MAX);

    /// A time from milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The same time rounded down to a whole second.
    #[must_use]
    pub const fn floor_to_second(self) -> Self {
        Self(self.as_seconds().saturating_mul(1000))
    }

    /// Reads ISO 8601: a date, or a date and a time with optional fractions and an optional offset (`Z`, `+02:00`,
    /// `+0200`); without an offset it is UTC. `None` for anything else, also for days that no calendar has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::plain(text.as_bytes()).or_else(|| Self::general(text.trim()))
    }

    /// The form in which nearly all times come, `2025-11-18T15:30:00Z`: each delivery has several, and the general parser is slow.
    fn plain(text: &[u8]) -> Option<Self> {
        let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2, b'Z'] = text else { return None };
        if ![y1, y2, y3, y4, m1, m2, d1, d2, h1, h2, n1, n2, s1, s2].iter().all(u8::is_ascii_digit) {
            return None;
        }
        let two = |tens: u8, ones: u8| (tens.wrapping_sub(b'0') * 10 + ones.wrapping_sub(b'0')).cast_signed();
        let year = i16::from(two(y1, y2)) * 100 + i16::from(two(y3, y4));
        let civil = jiff::civil::DateTime::new(year, two(m1, m2), two(d1, d2), two(h1, h2), two(n1, n2), two(s1, s2), 0).ok()?;
        Some(Self(jiff::tz::Offset::UTC.to_timestamp(civil).ok()?.as_millisecond()))
    }

    fn general(text: &str) -> Option<Self> {
        if !text.is_ascii() || text.len() < 10 || text.len() > 40 {
            return None;
        }
        if let Ok(instant) = text.parse::<jiff::Timestamp>() {
            return Some(Self(instant.as_millisecond()));
        }
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Self(zoned.timestamp().as_millisecond()))
    }

    /// This time less `span`, never before [`Timestamp::MIN`].
    #[must_use]
    pub fn back(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(millis(span)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// The milliseconds of a duration, capped at what an `i64` holds.
fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(millis(span)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        self.back(span)
    }
}

/// `2025-11-18T15:30:00Z`, with three digits of fraction where there is one.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) if self.0.rem_euclid(1000) == 0 => write!(f, "{instant:.0}"),
            Ok(instant) => write!(f, "{instant:.3}"),
            Err(_) => write!(f, "{}ms", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_fractions_and_bare_dates_are_read() {
        let noon = Timestamp::parse("2025-11-18T12:00:00Z").unwrap();
        for same in [
            "2025-11-18T12:00:00.000Z",
            "2025-11-18T14:00:00+02:00",
            "2025-11-18T14:00:00+0200",
            "2025-11-18 12:00:00",
            "2025-11-18T12:00:00",
        ] {
            assert_eq!(Timestamp::parse(same), Some(noon), "{same}");
        }
        assert_eq!(Timestamp::parse("2025-11-18T12:00:00.250Z"), Some(noon + Duration::from_millis(250)));
        assert_eq!(Timestamp::parse("2025-11-18"), Some(noon - Duration::from_secs(12 * 3600)));
    }

    proptest::proptest! {
        #[test]
        fn the_short_way_reads_what_the_long_way_reads(text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9]Z") {
            let long = Timestamp::general(&text);
            proptest::prop_assert_eq!(Timestamp::plain(text.as_bytes()).or(long), long);
        }
    }

    #[test]
    fn what_no_calendar_has_is_no_time() {
        for bad in ["", "yesterday", "2025-02-31T10:00:00Z", "2025-13-01", "1763479800", "2025-11-18T25:00:00Z"] {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn it_is_written_as_upstream_writes_it() {
        let stamp = Timestamp::parse("2025-11-18T15:30:00Z").unwrap();
        assert_eq!(stamp.to_string(), "2025-11-18T15:30:00Z");
        assert_eq!((stamp + Duration::from_millis(5)).to_string(), "2025-11-18T15:30:00.005Z");
    }
}
