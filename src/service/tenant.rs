//! What the running service holds of one source: keys, upstream's time, counters, and the way to its reconciler.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use super::vigil::{FAILURES_MAX, Vigil};
use crate::clock::Clock;
use crate::config;
use crate::directory::{Broken, Outcome, Reason, Rules, Timestamp};
use crate::storage::{Endpoint, Reconciliation};
use crate::upstream::signature::Keys;

/// Users whose details someone asked for, and who wait at the front of the background lookups.
const WANTED_USERS_MAX: usize = 1000;

/// One source in the running service.
#[derive(Debug)]
pub struct Tenant {
    /// Its name.
    pub name: Arc<str>,
    /// What decisions about it go by.
    pub rules: Rules,
    /// How long its event ids are remembered.
    pub remember_deliveries: Duration,
    /// How far the feed reaches back; `None` is for ever.
    pub remember_changes: Option<Duration>,
    /// The keyed webhook secrets.
    pub keys: ArcSwap<Keys>,
    /// Upstream's time.
    pub time: UpstreamTime,
    /// What was received and refused.
    pub counters: Counters,
    /// What deliveries tell of it as a whole.
    pub vigil: Vigil,
    /// Users whose details were asked for.
    pub wanted: Wanted,
    /// Where reconciliations that someone asked for are sent; `None` without an upstream.
    pub asked: Option<mpsc::Sender<Reconciliation>>,
    /// Reconciliations that someone cancelled, until the reconciler has seen it.
    pub cancelled: Mutex<BTreeSet<u64>>,
    /// Reconciliations whose deletions someone approved since the process began: none of them is held again.
    pub approved: Mutex<BTreeSet<u64>>,
    /// Whether the API token was read anew since the reconciler last looked.
    pub token_renewed: AtomicBool,
    /// Calls that the budgets still held when the reconciler last looked.
    pub budgets: Budgets,
    /// Tells its reconciler that gaps may be due.
    pub wake: Arc<Notify>,
}

impl Default for Tenant {
    fn default() -> Self {
        let rules = Rules { tolerance: Duration::ZERO, settle: Duration::ZERO, confirm: Duration::ZERO, reads: false, broken: None };
        Self {
            name: Arc::from(""),
            rules,
            remember_deliveries: Duration::ZERO,
            remember_changes: None,
            keys: ArcSwap::default(),
            time: UpstreamTime::new(Clock::system()),
            counters: Counters::default(),
            vigil: Vigil::default(),
            wanted: Wanted::default(),
            asked: None,
            cancelled: Mutex::default(),
            approved: Mutex::default(),
            token_renewed: AtomicBool::new(false),
            budgets: Budgets::default(),
            wake: Arc::default(),
        }
    }
}

impl Tenant {
    /// A source as it is configured; `asked` leads to its reconciler.
    #[must_use]
    pub fn new(name: &str, config: &config::Config, clock: &Clock, asked: Option<mpsc::Sender<Reconciliation>>) -> Self {
        let Some(source) = config.sources.get(name) else { return Self::default() };
        Self {
            name: Arc::from(name),
            rules: Rules {
                tolerance: source.reconcile.tolerance,
                settle: source.reconcile.settle,
                confirm: source.reconcile.confirm_deletes_after,
                reads: source.base_url.is_some(),
                broken: None,
            },
            remember_deliveries: config.store.remember_deliveries,
            remember_changes: config.store.remember_changes,
            keys: ArcSwap::from_pointee(Keys::new(&source.webhook_secrets.live())),
            time: UpstreamTime::new(clock.clone()),
            vigil: Vigil::new(source.reconcile.silence_after),
            asked,
            budgets: Budgets::new(source.bulk_requests_per_hour, source.lookup_requests_per_hour),
            ..Self::default()
        }
    }

    /// The same source, with a rule that does not hold.
    #[must_use]
    pub fn breaking(mut self, rule: Option<Broken>) -> Self {
        (self.rules.broken, self.time.walled) = (rule, rule == Some(Broken::WallClock));
        self
    }

    /// Why the webhook looks broken, apart from silence, until an authentic delivery is taken.
    #[must_use]
    pub fn broken_by(&self) -> Option<Reason> {
        let heard = self.counters.last_delivery();
        match self.vigil.down_at() {
            _ if self.counters.failures() >= FAILURES_MAX => Some(Reason::RefusedDelivery),
            Some(down) if heard.is_none_or(|heard| heard < down) => Some(Reason::Downtime),
            _ => None,
        }
    }
}

/// Upstream's clock as far as it is known: ours, monotonic, plus an offset learnt from `Date` headers.
#[derive(Debug)]
pub struct UpstreamTime {
    clock: Clock,
    base: Timestamp,
    offset_millis: AtomicI64,
    samples: Mutex<VecDeque<i64>>,
    /// Whether it is nothing but our wall clock: see [`Broken::WallClock`].
    walled: bool,
}

impl UpstreamTime {
    /// Answers whose `Date` headers are remembered.
    const SAMPLES_MAX: usize = 9;

    fn new(clock: Clock) -> Self {
        let base = Timestamp::from_millis(clock.now().as_millis().saturating_sub(i64::try_from(clock.elapsed().as_millis()).unwrap_or(0)));
        Self { clock, base, offset_millis: AtomicI64::new(0), samples: Mutex::default(), walled: false }
    }

    /// Now, by upstream's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        if self.walled {
            return self.clock.now();
        }
        let local = self.base + self.clock.elapsed();
        Timestamp::from_millis(local.as_millis().saturating_add(self.offset_millis.load(Ordering::Relaxed)))
    }

    /// Takes over an offset that was learnt before a restart.
    pub fn restore(&self, offset_millis: i64) {
        self.offset_millis.store(offset_millis, Ordering::Relaxed);
    }

    /// Learns from the `Date` of an answer that just ended; the median of the last few counts. Returns the offset.
    pub fn learn(&self, date: Timestamp) -> i64 {
        let local = self.base + self.clock.elapsed();
        let mut samples = self.samples.lock();
        if samples.len() == Self::SAMPLES_MAX {
            samples.pop_front();
        }
        samples.push_back(date.as_millis().saturating_sub(local.as_millis()));
        let mut sorted: Vec<i64> = samples.iter().copied().collect();
        sorted.sort_unstable();
        let median = sorted.get(sorted.len() / 2).copied().unwrap_or(0);
        self.offset_millis.store(median, Ordering::Relaxed);
        median
    }

    /// Upstream's clock less ours; `None` until an answer told it in this process.
    #[must_use]
    pub fn offset_millis(&self) -> Option<i64> {
        (!self.samples.lock().is_empty()).then(|| self.offset_millis.load(Ordering::Relaxed))
    }
}

/// What is left of the two budgets, for those who only look.
#[derive(Debug, Default)]
pub struct Budgets {
    bulk: AtomicU32,
    lookup: AtomicU32,
    caps: [AtomicU32; 2],
    capacities: (u32, u32),
}

impl Budgets {
    /// Budgets of this many calls an hour, untouched.
    #[must_use]
    pub const fn new(bulk: u32, lookup: u32) -> Self {
        let caps = [AtomicU32::new(bulk), AtomicU32::new(lookup)];
        Self { bulk: AtomicU32::new(bulk), lookup: AtomicU32::new(lookup), caps, capacities: (bulk, lookup) }
    }

    /// What an hour holds.
    #[must_use]
    pub const fn capacity(&self, endpoint: Endpoint) -> u32 {
        match endpoint {
            Endpoint::Bulk => self.capacities.0,
            Endpoint::Lookup => self.capacities.1,
        }
    }

    /// Notes what is left, and how many calls an hour are allowed at present.
    pub fn set(&self, endpoint: Endpoint, (remaining, cap): (u32, u32)) {
        self.of(endpoint).store(remaining, Ordering::Relaxed);
        self.cap_of(endpoint).store(cap, Ordering::Relaxed);
    }

    /// How many calls an hour are allowed at present: fewer than [`Budgets::capacity`] after upstream refused some below it.
    #[must_use]
    pub fn cap(&self, endpoint: Endpoint) -> u32 {
        self.cap_of(endpoint).load(Ordering::Relaxed)
    }

    /// What is left.
    #[must_use]
    pub fn get(&self, endpoint: Endpoint) -> u32 {
        self.of(endpoint).load(Ordering::Relaxed)
    }

    const fn cap_of(&self, endpoint: Endpoint) -> &AtomicU32 {
        let [bulk, lookup] = &self.caps;
        match endpoint {
            Endpoint::Bulk => bulk,
            Endpoint::Lookup => lookup,
        }
    }

    const fn of(&self, endpoint: Endpoint) -> &AtomicU32 {
        match endpoint {
            Endpoint::Bulk => &self.bulk,
            Endpoint::Lookup => &self.lookup,
        }
    }
}

/// Counts of one source since the start of the process.
#[derive(Debug)]
pub struct Counters {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    last_delivery: AtomicI64,
    failures: AtomicU32,
}

impl Default for Counters {
    fn default() -> Self {
        Self { outcomes: Default::default(), last_delivery: AtomicI64::new(i64::MIN), failures: AtomicU32::new(0) }
    }
}

impl Counters {
    /// An authentic delivery was taken; returns the failures in a row, now none.
    pub fn taken(&self, outcome: Outcome, at: Timestamp) {
        if let Some(count) = Outcome::ALL.iter().position(|other| *other == outcome).and_then(|index| self.outcomes.get(index)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.last_delivery.fetch_max(at.as_millis(), Ordering::Relaxed);
        self.failures.store(0, Ordering::Relaxed);
    }

    /// An authentic delivery was answered 503; returns how many in a row.
    pub fn refused(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Authentic deliveries answered 503 in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Authentic deliveries by outcome.
    #[must_use]
    pub fn outcomes(&self) -> BTreeMap<&'static str, u64> {
        Outcome::ALL.iter().zip(&self.outcomes).map(|(outcome, count)| (outcome.name(), count.load(Ordering::Relaxed))).collect()
    }

    /// When the last authentic delivery arrived, by the service's clock.
    #[must_use]
    pub fn last_delivery(&self) -> Option<Timestamp> {
        let millis = self.last_delivery.load(Ordering::Relaxed);
        (millis != i64::MIN).then(|| Timestamp::from_millis(millis))
    }

    /// Takes over the failures in a row of an earlier process.
    pub fn restore_failures(&self, failures: u32) {
        self.failures.store(failures, Ordering::Relaxed);
    }

    /// Takes over when the last delivery of an earlier process arrived.
    pub fn restore(&self, last_delivery: Timestamp) {
        self.last_delivery.fetch_max(last_delivery.as_millis(), Ordering::Relaxed);
    }
}

/// Users whose details someone asked for, first asked first; a full queue forgets the newest.
#[derive(Debug, Default)]
pub struct Wanted(Mutex<VecDeque<String>>);

impl Wanted {
    /// Puts a user in, once.
    pub fn push(&self, uid: &str) {
        let mut queue = self.0.lock();
        if queue.len() < WANTED_USERS_MAX && !queue.iter().any(|waiting| waiting == uid) {
            queue.push_back(uid.to_owned());
        }
    }

    /// Takes the first one out.
    pub fn pop(&self) -> Option<String> {
        self.0.lock().pop_front()
    }
}
