//! The compactor: writes the store anew by itself when its file has become much longer than what it holds.
//!
//! # Why it does not look all the time
//! How long the file is costs nothing to ask; what it holds is known only to whoever reads all of it. So it measures once the
//! file has grown by a half since the last time, and every few hours in case that it holds less than it did; and it spends a
//! hundredth of the time on that at most, however large the store is. Writing it anew is paid for by what it has grown. The price
//! is that a file may be beyond the factor for a while.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Phase;
use crate::clock::Clock;
use crate::storage::{Compaction, Error, Fill, Store};
use crate::telemetry::Metrics;

/// How often the file's length is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(10);
/// A file that is longer than what it holds by more than this factor is written anew.
pub const WASTE_TIMES: u64 = 4;
/// A shorter one is not worth it.
pub const FILE_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// What it holds is measured again after this at the latest.
const MEASURE_EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// After a measurement, it rests for this many times as long as that took.
const REST_TIMES: u32 = 100;
/// After a failure, and while a backup is taken, it rests for so long.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(10 * 60);

/// The compactor, stepped by its task or by a test.
#[derive(Debug)]
pub struct Compactor {
    store: Arc<Store>,
    clock: Clock,
    metrics: Arc<Metrics>,
    schedule: Schedule,
    file_bytes_min: u64,
}

/// When to measure next.
#[derive(Debug, Default)]
struct Schedule {
    /// When it was last done, and how long the file was then.
    last: Option<(Duration, u64)>,
    /// Not before.
    rests_until: Duration,
}

impl Compactor {
    /// One that has not looked yet.
    #[must_use]
    pub fn new(store: Arc<Store>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { store, clock, metrics, schedule: Schedule::default(), file_bytes_min: FILE_BYTES_MIN }
    }

    /// The same with another least length of a file that is worth it.
    #[must_use]
    pub fn worth_from(self, file_bytes_min: u64) -> Self {
        Self { file_bytes_min, ..self }
    }

    /// Steps every [`LOOK_EVERY`] until the service drains.
    pub(super) async fn run(mut self, phase: watch::Receiver<Phase>) {
        while *phase.borrow() == Phase::Serving {
            tokio::time::sleep(LOOK_EVERY).await;
            let asked = phase.clone();
            let stepped = tokio::task::spawn_blocking(move || {
                self.step(&|| *asked.borrow() == Phase::Serving);
                self
            });
            match stepped.await {
                Ok(same) => self = same,
                Err(error) => return tracing::error!(%error, "the store is no longer compacted by itself"),
            }
        }
    }

    /// Looks at the file; measures, and compacts, where it is time to. Blocks, for a minute perhaps; gives up when that is no longer
    /// `wanted`. Returns what it did.
    pub fn step(&mut self, wanted: &dyn Fn() -> bool) -> Option<Compaction> {
        let file = self.store.file_bytes();
        if file < self.file_bytes_min || !self.schedule.is_due(self.clock.elapsed(), file) {
            return None;
        }
        let compacted = self.measure(wanted).and_then(|fill| {
            let wasteful = fill.file > fill.content.saturating_mul(WASTE_TIMES);
            wasteful.then(|| compact(&self.store, &self.metrics, wanted)).transpose()
        });
        match &compacted {
            Ok(Some(compaction)) => self.schedule.shrank(compaction.after),
            Ok(None) => {}
            Err(_) => self.schedule.failed(self.clock.elapsed()),
        }
        compacted.ok().flatten()
    }

    fn measure(&mut self, wanted: &dyn Fn() -> bool) -> Result<Fill, Error> {
        let began = Instant::now();
        let fill = self.store.fill(wanted).inspect_err(|error| {
            if wanted() {
                tracing::warn!(%error, "what the store holds could not be measured");
            }
        })?;
        self.metrics.set_content(fill.content);
        self.schedule.measured(self.clock.elapsed(), fill.file, began.elapsed());
        Ok(fill)
    }
}

impl Schedule {
    fn is_due(&self, now: Duration, file: u64) -> bool {
        let Some((at, then)) = self.last else { return now >= self.rests_until };
        now >= self.rests_until && (file > then.saturating_add(then / 2) || now >= at.saturating_add(MEASURE_EVERY))
    }

    fn measured(&mut self, now: Duration, file: u64, took: Duration) {
        self.last = Some((now, file));
        self.rests_until = now.saturating_add(took.saturating_mul(REST_TIMES));
    }

    fn shrank(&mut self, file: u64) {
        self.last = self.last.map(|(at, _)| (at, file));
    }

    fn failed(&mut self, now: Duration) {
        self.last = None;
        self.rests_until = self.rests_until.max(now.saturating_add(REST_AFTER_FAILURE));
    }
}

/// Compacts, and tells the log and the metrics what came of it. A copy that someone else makes is no failure, nor is being
/// called off.
pub(super) fn compact(store: &Store, metrics: &Metrics, wanted: &dyn Fn() -> bool) -> Result<Compaction, Error> {
    let began = Instant::now();
    let ended = store.compact(wanted);
    let seconds = began.elapsed().as_secs_f64();
    match &ended {
        Ok(Compaction { before, after, content }) => {
            tracing::info!(before, after, content, seconds, "the store was compacted");
            metrics.compacted(true);
            metrics.set_content(*content);
        }
        Err(Error::Busy) => {}
        Err(_) if !wanted() => tracing::info!(seconds, "a compaction was called off"),
        Err(error) => {
            tracing::warn!(%error, seconds, "the store could not be compacted, and is as before");
            metrics.compacted(false);
        }
    }
    ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Timestamp;

    const MIB: u64 = 1024 * 1024;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn it_measures_when_the_file_has_grown_and_when_it_was_long_ago() {
        let mut schedule = Schedule::default();
        assert!(schedule.is_due(seconds(10), 100 * MIB));
        schedule.measured(seconds(10), 100 * MIB, seconds(1));
        assert!(!schedule.is_due(seconds(500), 150 * MIB));
        assert!(schedule.is_due(seconds(500), 151 * MIB));
        assert!(schedule.is_due(MEASURE_EVERY + seconds(10), 100 * MIB));
    }

    #[test]
    fn it_rests_a_hundred_times_as_long_as_it_measured() {
        let mut schedule = Schedule::default();
        schedule.measured(seconds(10), 100 * MIB, seconds(3));
        assert!(!schedule.is_due(seconds(309), 900 * MIB));
        assert!(schedule.is_due(seconds(310), 900 * MIB));
    }

    #[test]
    fn it_tries_again_after_a_failure_but_not_at_once() {
        let mut schedule = Schedule::default();
        schedule.measured(seconds(10), 100 * MIB, seconds(1));
        schedule.failed(seconds(20));
        assert!(!schedule.is_due(seconds(619), 100 * MIB));
        assert!(schedule.is_due(seconds(620), 100 * MIB));
    }

    #[test]
    fn what_is_wasteful_is_compacted_once() {
        let folder = tempfile::tempdir().unwrap();
        let (store, metrics, clock) =
            (Arc::new(Store::open_sled(folder.path()).unwrap()), Arc::default(), Clock::manual(Timestamp::from_millis(0)));
        let mut unworthy = Compactor::new(Arc::clone(&store), clock.clone(), Arc::clone(&metrics));
        let mut compactor = Compactor::new(Arc::clone(&store), clock.clone(), metrics).worth_from(1);
        // A new store's file is longer than the nothing that it holds.
        assert_eq!(unworthy.step(&|| true), None);
        let held = store.snapshot().unwrap();
        assert_eq!(compactor.step(&|| true), None, "a backup is under way");
        drop(held);
        clock.advance(REST_AFTER_FAILURE);
        assert_eq!(compactor.step(&|| false), None, "it is not wanted");
        clock.advance(REST_AFTER_FAILURE);
        assert!(compactor.step(&|| true).is_some());
        clock.advance(REST_AFTER_FAILURE);
        assert_eq!(compactor.step(&|| true), None, "it has not grown");
    }
}
