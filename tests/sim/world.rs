//! The world of one seed: the tenant, its webhook, the way between, and the service, all by simulated time.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rollcall::clock::Clock;
use rollcall::config::{self, Config};
use rollcall::directory::Timestamp;
use rollcall::service::{Parts, Receipt, Refusal, Service};
use rollcall::simulator::event::Event;
use rollcall::simulator::faults::Faults;
use rollcall::simulator::outbox::{Chaos, Outbox, Parcel};
use rollcall::simulator::tenant::{Shared, Tenant};
use rollcall::simulator::wire::{Weather, Wired};
use rollcall::storage::Store;
use rollcall::storage::memory::Memory;
use rollcall::upstream::signature;
use secrecy::SecretString;
use tempfile::TempDir;

use crate::checks::Checks;
use crate::executor::Executor;
use crate::happenings::{Happening, Happenings};
use crate::plan::{API_TOKEN, Plan};

const SECRET: &str = "secret-of-a-simulation";
pub(crate) const SOURCE: &str = "main";
/// Polls without any time going by, after which nothing gets on any more.
const POLLS_MAX: u32 = 1_000_000;
/// How often the operator looks what waits for a word.
const OPERATOR_EVERY: Duration = Duration::from_secs(300);

/// What became of one delivery.
type Answered = (u64, Result<Receipt, Refusal>);

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) clock: Clock,
    pub(crate) tenant: Shared,
    pub(crate) wired: Arc<Wired>,
    pub(crate) outbox: Outbox,
    pub(crate) checks: Checks,
    pub(crate) tally: Tally,
    pub(crate) rng: SmallRng,
    executor: Executor,
    config: Arc<Config>,
    disk: Disk,
    engine: Option<Engine>,
    under_way: BTreeMap<u64, Parcel>,
    answered: Arc<Mutex<Vec<Answered>>>,
    sent: u64,
}

/// What outlives a process.
enum Disk {
    Memory(Arc<Memory>),
    Folder(TempDir),
}

impl Disk {
    fn of(plan: &Plan) -> Self {
        if !plan.on_disk {
            return Self::Memory(Arc::default());
        }
        let memory = Path::new("/dev/shm");
        Self::Folder(if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap())
    }

    fn open(&self) -> Store {
        match self {
            Self::Memory(memory) => Store::open_memory(memory),
            Self::Folder(folder) => Store::open_sled(&folder.path().join("data")).unwrap(),
        }
    }
}

/// A process that runs.
struct Engine {
    service: Arc<Service>,
    up: Arc<AtomicBool>,
}

/// What a simulation was, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Polls of actors.
    pub(crate) polls: u64,
    /// What happened to users.
    pub(crate) happened: u64,
    /// Deliveries tried.
    pub(crate) deliveries: u64,
    pub(crate) kills: u64,
    pub(crate) calls: u64,
    pub(crate) changes: u64,
    pub(crate) elapsed: Duration,
}

impl World {
    pub(crate) fn new(plan: Plan) -> Self {
        let start = Plan::start();
        let clock = Clock::simulated(start);
        let upstream = clock.elsewhere(Timestamp::from_millis(start.as_millis() + plan.skew_millis));
        let tenant = Tenant::new(plan.users, plan.seed, upstream.clone()).shared();
        tenant.lock().take_habits(plan.habits);
        let wired = Wired::new(Arc::clone(&tenant), plan.rules.clone(), plan.seed ^ 7, &upstream);
        wired.behave(|_, weather| *weather = plan.weather);
        wired.remember();
        let mut world = Self {
            config: Arc::new(settings(&plan)),
            outbox: Outbox::new(plan.chaos),
            rng: SmallRng::seed_from_u64(plan.seed ^ 0x51AE),
            checks: Checks::default(),
            tally: Tally::default(),
            executor: Executor::default(),
            wired: Arc::new(wired),
            engine: None,
            under_way: BTreeMap::new(),
            answered: Arc::default(),
            sent: 0,
            disk: Disk::of(&plan),
            plan,
            clock,
            tenant,
        };
        world.checks.witness(&world.tenant.lock(), Duration::ZERO);
        world.start();
        world
    }

    pub(crate) fn store(&self) -> Option<&Arc<Store>> {
        self.engine.as_ref().map(|engine| &engine.service.store)
    }

    pub(crate) fn now(&self) -> Duration {
        // Never restarted, so this is simulated time itself.
        self.clock.elapsed()
    }

    /// The whole story; whatever does not hold ends it with a panic that says what.
    pub(crate) fn run(mut self) -> Tally {
        let mut happenings = Happenings::of(&self.plan);
        let end_of_trouble = self.plan.trouble;
        self.run_until(end_of_trouble, &mut happenings);
        self.calm();
        let end = end_of_trouble + self.plan.healing;
        self.run_until(end, &mut Happenings::none());
        self.checks.at_rest(&self);
        self.tally.calls = self.wired.bulk_traffic().requests + self.wired.lookup_traffic().requests;
        self.tally.changes = self.store().map_or(0, |store| store.watermark());
        self.tally.elapsed = self.now();
        self.tally
    }

    /// Faults stop: what was switched off is switched on again.
    fn calm(&mut self) {
        self.allow(true);
        self.outbox.behave(Chaos::none());
        self.outbox.reactivate();
        self.wired.behave(|rules, weather| {
            (rules.faults, rules.hidden) = (Faults::default(), None);
            *weather = Weather { travel_max: weather.travel_max, ..Weather::default() };
        });
        self.start();
    }

    fn run_until(&mut self, end: Duration, happenings: &mut Happenings) {
        let mut polls = 0;
        let mut operator = self.now();
        loop {
            if self.executor.poll(&mut self.rng) {
                polls += 1;
                assert!(polls < POLLS_MAX, "nothing gets on any more");
                self.tally.polls += 1;
                self.settle();
                self.check_feed();
                if happenings.kills_now() {
                    self.kill();
                }
                continue;
            }
            let now = self.now();
            if now >= end {
                return;
            }
            let next = [self.clock.next(), happenings.next(), self.outbox.next_due(), Some(operator), Some(end)];
            let next = next.into_iter().flatten().min().unwrap_or(end).max(now);
            polls = if next > now { 0 } else { polls + 1 };
            assert!(polls < POLLS_MAX, "time stands still");
            self.clock.move_to(next);
            while let Some(happening) = happenings.take(self.now()) {
                self.happen(happening);
            }
            while let Some(parcel) = self.outbox.take(self.now()) {
                self.deliver(parcel);
            }
            if self.now() >= operator {
                operator = self.now() + OPERATOR_EVERY;
                self.operate();
            }
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Life(life) => {
                self.tally.happened += 1;
                let events = life.live(&mut self.tenant.lock(), &mut self.rng);
                self.announce(events);
            }
            Happening::ClockStep(millis) => self.clock.set_by(millis),
            Happening::Restart => self.start(),
            Happening::Scope(may_read) => self.allow(may_read),
            Happening::FailedCommit(reaches) => {
                if let Disk::Memory(memory) = &self.disk {
                    memory.fail_next(reaches);
                }
            }
            Happening::Hide(each) => self.wired.behave(|rules, _| rules.hidden = each),
        }
        self.checks.hides(&happening, self.now());
    }

    fn allow(&self, may_read: bool) {
        self.wired.behave(|rules, _| _ = rules.tokens.insert(API_TOKEN.to_owned(), may_read));
    }

    fn announce(&mut self, events: Vec<Event>) {
        self.wired.remember();
        let now = self.now();
        self.checks.witness(&self.tenant.lock(), now);
        for event in events {
            self.outbox.offer(event, now);
        }
    }

    fn deliver(&mut self, parcel: Parcel) {
        self.tally.deliveries += 1;
        let Some(engine) = self.engine.as_ref().filter(|engine| engine.up.load(Ordering::SeqCst)) else {
            let now = self.now();
            return self.outbox.failed(parcel, now);
        };
        self.sent += 1;
        let (number, body) = (self.sent, parcel.event.body.clone());
        self.under_way.insert(number, parcel);
        let (service, answered) = (Arc::clone(&engine.service), Arc::clone(&self.answered));
        self.executor.spawn(async move {
            let signed = signature::sign(&SecretString::from(SECRET), &body);
            let result = service.receive(SOURCE, Some(signed.as_bytes()), body).await;
            answered.lock().push((number, result));
        });
    }

    /// Tells the outbox what was answered.
    fn settle(&mut self) {
        let answered = std::mem::take(&mut *self.answered.lock());
        let now = self.now();
        for (number, result) in answered {
            let Some(parcel) = self.under_way.remove(&number) else { continue };
            match result {
                Ok(receipt) => {
                    self.checks.acknowledged(&receipt);
                    self.outbox.delivered(Some(receipt.outcome));
                }
                Err(_) => self.outbox.failed(parcel, now),
            }
        }
    }

    fn check_feed(&mut self) {
        let Some(store) = self.engine.as_ref().map(|engine| Arc::clone(&engine.service.store)) else { return };
        if store.watermark() > self.checks.cursor {
            let now = self.now();
            self.checks.feed(&store, &self.plan, now);
        }
    }

    /// Someone looks after what waits for a word: deletions go on if they are true, else they are called off.
    fn operate(&mut self) {
        let Some(engine) = &self.engine else { return };
        let service = Arc::clone(&engine.service);
        self.checks.now_and_then(self);
        for run in self.checks.awaiting(&service.store) {
            let uids = service.store.candidates_of(SOURCE, run, 1000);
            let true_of_all = uids.iter().all(|uid| !self.tenant.lock().lives(uid));
            let service = Arc::clone(&service);
            self.executor.spawn(async move {
                let done = if true_of_all { service.approve(run).await } else { service.cancel(run).await };
                // It may be over by now.
                drop(done);
            });
        }
    }

    /// Starts the process, unless it runs.
    fn start(&mut self) {
        if self.engine.is_some() {
            return;
        }
        let store = Arc::new(self.disk.open());
        let parts = Parts::breaking(Arc::clone(&self.config), store, self.clock.restarted(), self.plan.broken);
        let service = Arc::clone(&parts.service);
        let (writer, waiting) = parts.split();
        let (up, wire) = (Arc::new(AtomicBool::new(false)), Arc::clone(&self.wired));
        self.executor.spawn(writer.run_polled());
        let ready = Arc::clone(&up);
        self.executor.spawn(async move {
            for reconciler in waiting.reconcilers(Some(wire)).await.unwrap() {
                ready.store(true, Ordering::SeqCst);
                reconciler.run().await;
            }
        });
        self.engine = Some(Engine { service, up });
    }

    /// The process ends here and now; whoever waits for an answer of it waits in vain.
    fn kill(&mut self) {
        if self.engine.is_none() {
            return;
        }
        self.checks.now_and_then(self);
        self.tally.kills += 1;
        self.executor.kill();
        self.engine = None;
        self.answered.lock().clear();
        let now = self.now();
        for parcel in std::mem::take(&mut self.under_way).into_values() {
            self.outbox.failed(parcel, now);
        }
    }
}

fn settings(plan: &Plan) -> Config {
    let keys = [
        ("KIND", "mangoapps".to_owned()),
        ("WEBHOOK_SECRETS", SECRET.to_owned()),
        ("BASE_URL", "http://127.0.0.1:1".to_owned()),
        ("API_TOKEN", API_TOKEN.to_owned()),
        ("BULK_REQUESTS_PER_HOUR", plan.budgets.0.to_string()),
        ("LOOKUP_REQUESTS_PER_HOUR", plan.budgets.1.to_string()),
        ("RECONCILE__FULL_EVERY", plan.full_every.to_owned()),
        ("RECONCILE__TOLERANCE", format!("{}s", plan.tolerance.as_secs())),
        ("RECONCILE__MAX_DELETES", plan.max_deletes.to_owned()),
        ("RECONCILE__DETAILS", if plan.details { "background" } else { "off" }.to_owned()),
    ];
    let variables = keys.into_iter().map(|(key, value)| (format!("ROLLCALL__SOURCES__MAIN__{key}"), value));
    config::load(&[], variables).unwrap()
}
