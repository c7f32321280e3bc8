//! Who is connected to the public listener, and how much of a stranger each of them is.
//!
//! # Why
//! Upstream switches a webhook off after five failures in a row, and often shares its address with others: a proxy, an exit of a
//! cloud. So no limit here ever refuses a request, and none counts what is authentic. A connection is a stranger's until it has
//! carried an authentic delivery. Of strangers' connections an address has only so many that are older than two seconds, and all
//! addresses together only so many: one more is taken, and the oldest goes instead. A burst of deliveries on new connections survives
//! that, since each needs milliseconds to prove itself; slow handshakes, slow heads and bodies, and idle connections do not. (To spare
//! the oldest whose request is under way would be a gift to slow bodies: whoever has just connected would have to go for them.)
//! Requests that are refused are counted by address; those beyond a limit get the same answer as ever, a second later, and their
//! connection closes. That makes guessing slow, and holds no delivery up: by then it is known that this was none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

/// Strangers' connections of all addresses together, where there are descriptors for that many.
const STRANGERS_MAX: usize = 4096;
/// Addresses whose refusals are counted; beyond that the others are forgotten, which is to their good.
const ADDRESSES_MAX: usize = 4096;
/// So long a connection may stay, however many others its address has: a delivery and its handshake need no more on a busy machine.
const YOUTH: Duration = Duration::from_secs(2);
const WINDOW: Duration = Duration::from_secs(60);

/// Everyone who is connected.
#[derive(Debug)]
pub(super) struct Visitors {
    strangers: Mutex<Strangers>,
    refusals: Mutex<HashMap<IpAddr, Window>>,
    refusals_max: u32,
}

/// The connections that have proven nothing yet, by the order in which they came.
#[derive(Debug)]
struct Strangers {
    next: u64,
    all: BTreeMap<u64, Arc<Visit>>,
    of_address: HashMap<IpAddr, BTreeSet<u64>>,
    of_address_max: usize,
    all_max: usize,
}

/// Refusals of this minute and of the one before.
#[derive(Clone, Copy, Debug)]
struct Window {
    began: Duration,
    now: u32,
    before: u32,
}

/// One connection, as everyone who deals with it sees it.
#[derive(Debug)]
pub(super) struct Visit {
    /// Where it comes from.
    pub(super) peer: IpAddr,
    since: Duration,
    number: u64,
    stranger: AtomicBool,
    requests: AtomicU32,
    /// Requests that ever began.
    began: AtomicU32,
    unwanted: AtomicBool,
    waker: AtomicWaker,
}

/// A connection that is counted until this is dropped.
#[derive(Debug)]
pub(super) struct Guest {
    visitors: Arc<Visitors>,
    /// The connection.
    pub(super) visit: Arc<Visit>,
}

/// A request that is under way until this is dropped.
#[derive(Debug)]
pub(super) struct Underway(Arc<Visit>);

impl Visitors {
    /// Nobody is there yet. An address may have so many strangers' connections, and so many refusals a minute; there are so many
    /// descriptors, where anyone tells.
    pub(super) fn new(of_address_max: usize, refusals_max: u32, descriptors: Option<u64>) -> Self {
        // The other half is for those who have proven themselves, for the store and for the private listener.
        let all_max = descriptors.map_or(STRANGERS_MAX, |most| usize::try_from(most / 2).unwrap_or(usize::MAX).min(STRANGERS_MAX));
        let strangers = Strangers { next: 0, all: BTreeMap::new(), of_address: HashMap::new(), of_address_max, all_max };
        Self { strangers: Mutex::new(strangers), refusals: Mutex::default(), refusals_max }
    }

    /// A connection came at `since`; `trusted` ones are nobody's strangers. Tells too how many others have to go for it.
    pub(super) fn enter(self: &Arc<Self>, peer: IpAddr, trusted: bool, since: Duration) -> (Guest, usize) {
        let mut strangers = self.strangers.lock();
        strangers.next += 1;
        let visit = Arc::new(Visit {
            peer,
            since,
            number: strangers.next,
            stranger: AtomicBool::new(!trusted),
            requests: AtomicU32::new(0),
            began: AtomicU32::new(0),
            unwanted: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        let gone = if trusted { 0 } else { strangers.add(&visit) };
        (Guest { visitors: Arc::clone(self), visit }, gone)
    }

    /// A connection carried an authentic delivery: it is no stranger's any more.
    pub(super) fn prove(&self, visit: &Visit) {
        if visit.stranger.load(Ordering::Relaxed) && visit.stranger.swap(false, Ordering::Relaxed) {
            self.strangers.lock().remove(visit);
        }
    }

    /// A request of this address was refused at `now`. Tells whether there were too many of them within a minute.
    pub(super) fn refused(&self, peer: IpAddr, now: Duration) -> bool {
        let mut refusals = self.refusals.lock();
        if refusals.len() >= ADDRESSES_MAX && !refusals.contains_key(&counted_as(peer)) {
            refusals.retain(|_, window| window.sum(now) > 0.0);
            if refusals.len() >= ADDRESSES_MAX {
                refusals.clear();
            }
        }
        let window = refusals.entry(counted_as(peer)).or_insert(Window { began: now, now: 0, before: 0 });
        window.count(now);
        window.sum(now) > f64::from(self.refusals_max)
    }
}

impl Strangers {
    /// Adds a connection; tells how many others have to go, which are asked to.
    fn add(&mut self, visit: &Arc<Visit>) -> usize {
        self.all.insert(visit.number, Arc::clone(visit));
        self.of_address.entry(counted_as(visit.peer)).or_default().insert(visit.number);
        let mut gone = 0;
        while let Some(oldest) = self.superfluous(visit) {
            self.remove(&oldest);
            oldest.unwanted.store(true, Ordering::Release);
            oldest.waker.wake();
            gone += 1;
        }
        gone
    }

    /// Who has to go now that this one has come.
    fn superfluous(&self, newest: &Visit) -> Option<Arc<Visit>> {
        let numbers = self.of_address.get(&counted_as(newest.peer))?;
        let first = self.all.get(numbers.first()?)?;
        let settled = newest.since.saturating_sub(first.since) >= YOUTH;
        let oldest = if numbers.len() > self.of_address_max && settled {
            Some(first)
        } else if self.all.len() > self.all_max {
            self.all.values().next()
        } else {
            None
        };
        oldest.cloned()
    }

    fn remove(&mut self, visit: &Visit) {
        if self.all.remove(&visit.number).is_none() {
            return;
        }
        let address = counted_as(visit.peer);
        if let Some(numbers) = self.of_address.get_mut(&address) {
            numbers.remove(&visit.number);
            if numbers.is_empty() {
                self.of_address.remove(&address);
            }
        }
    }
}

/// What an address counts as: whoever has one IPv6 address has the 2^64 of its network.
fn counted_as(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(six) => Ipv6Addr::from_bits(six.to_bits() >> 64 << 64).into(),
        four => four,
    }
}

impl Window {
    fn count(&mut self, now: Duration) {
        self.turn(now);
        self.now = self.now.saturating_add(1);
    }

    fn turn(&mut self, now: Duration) {
        let away = now.saturating_sub(self.began);
        if away >= WINDOW {
            self.before = if away < WINDOW * 2 { self.now } else { 0 };
            self.began = if away < WINDOW * 2 { self.began + WINDOW } else { now };
            self.now = 0;
        }
    }

    /// How many within the last minute, as if those of the window before had come evenly.
    fn sum(mut self, now: Duration) -> f64 {
        self.turn(now);
        let left = 1.0 - now.saturating_sub(self.began).as_secs_f64() / WINDOW.as_secs_f64();
        f64::from(self.now) + f64::from(self.before) * left
    }
}

impl Visit {
    /// A request's head is there; it is under way until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.began.fetch_add(1, Ordering::Relaxed);
        Underway(Arc::clone(self))
    }

    /// Requests that are under way.
    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Requests that ever began, modulo 2^32.
    pub(super) fn began(&self) -> u32 {
        self.began.load(Ordering::Relaxed)
    }

    /// Ready once the connection has to go; if it has proven itself meanwhile it stays.
    pub(super) fn poll_unwanted(&self, cx: &Context<'_>) -> Poll<()> {
        self.waker.register(cx.waker());
        let has_to = self.unwanted.load(Ordering::Acquire) && self.stranger.load(Ordering::Relaxed);
        if has_to { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if self.visit.stranger.load(Ordering::Relaxed) {
            self.visitors.strangers.lock().remove(&self.visit);
        }
    }
}

#[cfg(test)]
mod tests;
