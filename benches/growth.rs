//! Growth: millions of deliveries over 200,000 users through the writer, while what is old expires and the store compacts itself.
//! Prints a table, and fails unless the files stay small, memory flat, and the writer as fast as it was.
//!
//! Every delivery is new and changes its user, who comes again only when all others have: nothing can be saved on repetitions. The
//! clock moves on by a second a delivery; the last tenth of the deliveries, and their changes, are remembered. Content is all rows
//! of a backup, keys and values, in the journal as well as in the database; files are everything in the store's folder but the
//! ballast. Time is the writer's: making the deliveries and measuring the store are not in it; processor time is the whole process's,
//! the making of deliveries included, and tells whether others had the machine. The first delivery of each user is not counted.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that cannot go on stops, and is there to be read"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rollcall::clock::Clock;
use rollcall::config;
use rollcall::directory::Timestamp;
use rollcall::service::compactor::{Compactor, LOOK_EVERY};
use rollcall::service::group::Surroundings;
use rollcall::service::job::{Deliver, Job};
use rollcall::service::replies::Reply;
use rollcall::service::tenant::Tenant;
use rollcall::service::writer::{GROUP_DELIVERIES_MAX, QUEUE_JOBS_MAX, Writer};
use rollcall::storage::{Error, Store};
use rollcall::telemetry::Metrics;
use rollcall::upstream::mangoapps::delivery;
use serde_json::json;
use tokio::sync::{mpsc, watch};

/// The program's own, so that the numbers hold for it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SOURCE: &str = "acme";
const USERS: u64 = 200_000;
/// Each user comes once before any comes again.
const STRIDE: u64 = 7_919;
const DELIVERIES: u64 = 5_000_000;
const START_MILLIS: i64 = 1_763_479_800_000;
const ROWS: u64 = 20;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Files may be so many times their content, in the end.
const FACTOR_MAX: f64 = 3.0;
/// Memory in the last quarter may be so many times that in the second.
const MEMORY_MAX: f64 = 1.15;
/// The last tenth has to be so many times as fast as the first.
const SPEED_MIN: f64 = 0.8;

/// One line of the table.
struct Row {
    deliveries: u64,
    seconds: f64,
    /// Processor time.
    busy: f64,
    files: u64,
    content: u64,
    memory: u64,
}

/// A writer that is stepped by hand.
struct Desk {
    writer: Writer,
    jobs: mpsc::Sender<Job>,
    source: Arc<str>,
    store: Arc<Store>,
    clock: Clock,
    number: u64,
}

impl Desk {
    fn new(store: Arc<Store>, remembered: u64) -> Self {
        let settings = format!(
            "store.remember_deliveries = \"{remembered}s\"\nstore.remember_changes = \"{remembered}s\"\n\
             [sources.{SOURCE}]\nkind = \"mangoapps\"\nwebhook_secrets = [\"hush-hush\"]\n"
        );
        let file = tempfile::NamedTempFile::with_suffix(".toml").unwrap();
        std::fs::write(file.path(), settings).unwrap();
        let config = config::load(&[file.path().to_owned()], std::iter::empty()).unwrap();
        let clock = Clock::manual(Timestamp::from_millis(START_MILLIS));
        let tenant = Arc::new(Tenant::new(SOURCE, &config, &clock, None));
        let around = Surroundings {
            store: Arc::clone(&store),
            tenants: Arc::new(BTreeMap::from([(SOURCE.to_owned(), tenant)])),
            clock: clock.clone(),
            metrics: Arc::new(Metrics::new(&[SOURCE])),
        };
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let writer = Writer::new(around, queue, watch::channel(0).0);
        Self { writer, jobs, source: SOURCE.into(), store, clock, number: 0 }
    }

    /// Delivers so many, in full groups; the time that the writer took.
    fn deliver(&mut self, deliveries: u64) -> Duration {
        let end = self.number + deliveries;
        let mut took = Duration::ZERO;
        while self.number < end {
            let mut replies = Vec::with_capacity(GROUP_DELIVERIES_MAX);
            let mut jobs = Vec::with_capacity(GROUP_DELIVERIES_MAX);
            while jobs.len() < GROUP_DELIVERIES_MAX && self.number < end {
                let (reply, answer) = Reply::channel();
                replies.push(answer);
                jobs.push(self.delivery(reply));
            }
            let first = jobs.remove(0);
            jobs.into_iter().for_each(|job| self.jobs.try_send(job).unwrap());
            let began = Instant::now();
            self.writer.step(first);
            took += began.elapsed();
            replies.iter_mut().for_each(|answer| assert!(answer.try_recv().is_ok_and(|answer| answer.is_ok()), "a delivery was refused"));
        }
        took
    }

    fn delivery(&mut self, reply: Reply) -> Job {
        self.number += 1;
        self.clock.advance(Duration::from_secs(1));
        let received_at = self.clock.now();
        let body = Bytes::from(body(self.number, self.number * STRIDE % USERS, received_at));
        let delivery = delivery::read(&body, received_at);
        Job::Deliver(Box::new(Deliver { source: Arc::clone(&self.source), delivery, body, received_at, again: false, reply }))
    }

    /// Delivers and measures.
    fn row(&mut self, deliveries: u64) -> Row {
        let began = processor_seconds();
        let seconds = self.deliver(deliveries).as_secs_f64();
        let busy = processor_seconds() - began;
        Row { deliveries, seconds, busy, memory: memory(), files: self.store.bytes(), content: content(&self.store) }
    }
}

/// An update as upstream documents it, about 400 bytes; nobody had this job title before.
fn body(number: u64, user: u64, at: Timestamp) -> String {
    let uid = format!("E{:07}", 1_000_000 + user);
    json!({
        "event": if number <= USERS { "user.created" } else { "user.updated" }, "timestamp": at.to_string(),
        "event_id": format!("evt_{number:024x}"),
        "data": {"uid": uid, "changes": ["job_title"], "user": {
            "uid": uid, "email": format!("petra.muster{user}@example.com"), "first_name": "Petra", "last_name": format!("Muster{user}"),
            "full_name": format!("Petra Muster{user}"), "active": true, "job_title": format!("Clerk {number}"), "department": "Operations",
            "employment_status": "full_time", "employee_type": "Full-Time",
        }},
    })
    .to_string()
}

/// Bytes of all rows that a backup would hold.
fn content(store: &Store) -> u64 {
    let snapshot = loop {
        match store.snapshot() {
            // A compaction is under way.
            Err(Error::Busy) => std::thread::park_timeout(LOOK_AGAIN),
            taken => break taken.unwrap(),
        }
    };
    snapshot.map(|row| row.map(|row| (row.key.len() + row.value.len()) as u64).unwrap()).sum()
}

/// Bytes of memory that this process has.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Processor time that this process has used so far.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    // In hundredths of a second: the 14th and the 15th field of the line.
    after_name.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Compacts as the service would, until it is over.
fn compact(store: Arc<Store>, over: &AtomicBool, compactions: &AtomicU64) {
    let mut compactor = Compactor::new(store, Clock::system(), Arc::default());
    while !over.load(Ordering::Relaxed) {
        std::thread::park_timeout(LOOK_EVERY);
        if let Some(done) = compactor.step(&|| !over.load(Ordering::Relaxed)) {
            println!("compacted: {} MiB became {}", mib(done.before), mib(done.after));
            compactions.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn mib(bytes: u64) -> u64 {
    bytes / 1024 / 1024
}

fn factor(row: &Row) -> f64 {
    row.files as f64 / row.content as f64
}

fn speed(rows: &[Row]) -> f64 {
    rows.iter().map(|row| row.deliveries as f64).sum::<f64>() / rows.iter().map(|row| row.seconds).sum::<f64>()
}

fn mean_memory(rows: &[Row]) -> f64 {
    rows.iter().map(|row| row.memory as f64).sum::<f64>() / rows.len() as f64
}

/// What does not hold, if anything.
fn faults(rows: &[Row]) -> Vec<String> {
    let (tenth, quarter) = (rows.len() / 10, rows.len() / 4);
    let files = rows.last().map_or(f64::NAN, factor);
    let memory = mean_memory(rows.rchunks(quarter).next().unwrap()) / mean_memory(rows.chunks(quarter).nth(1).unwrap());
    let speed = speed(rows.rchunks(tenth).next().unwrap()) / speed(rows.chunks(tenth).next().unwrap());
    println!("in the end files are {files:.2} times their content; memory is {memory:.2} and speed {speed:.2} times what it was");
    let judged = [
        (files <= FACTOR_MAX, format!("files are {files:.2} times their content, more than {FACTOR_MAX}")),
        (memory <= MEMORY_MAX, format!("memory in the last quarter is {memory:.2} times that in the second, more than {MEMORY_MAX}")),
        (speed >= SPEED_MIN, format!("the last tenth is {speed:.2} times as fast as the first, less than {SPEED_MIN}")),
    ];
    judged.into_iter().filter(|(holds, _)| !holds).map(|(_, fault)| fault).collect()
}

fn main() -> ExitCode {
    let deliveries = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(DELIVERIES);
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Store::open_sled(&folder.path().join("data")).unwrap());
    let mut desk = Desk::new(Arc::clone(&store), deliveries / 10);
    let (over, compactions) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut rows = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| compact(store, &over, &compactions));
        desk.deliver(USERS);
        println!("  deliveries  deliveries/s  CPU µs each  files MiB  content MiB  factor  memory MiB  compactions");
        for number in 1..=ROWS {
            let row = desk.row(deliveries / ROWS);
            let (at, speed) = (number * (deliveries / ROWS), row.deliveries as f64 / row.seconds);
            let (files, content, memory, factor) = (mib(row.files), mib(row.content), mib(row.memory), factor(&row));
            let (busy, compactions) = (row.busy * 1e6 / row.deliveries as f64, compactions.load(Ordering::Relaxed));
            println!("{at:>12}  {speed:>12.0}  {busy:>11.0}  {files:>9}  {content:>11}  {factor:>6.2}  {memory:>10}  {compactions:>11}");
            rows.push(row);
        }
        over.store(true, Ordering::Relaxed);
    });
    let fill = desk.store.fill(&|| true).unwrap();
    println!("its database file has {} MiB, which hold {}; the rest is the journal", mib(fill.file), mib(fill.content));
    let faults = faults(&rows);
    faults.iter().for_each(|fault| eprintln!("growth: {fault}"));
    if faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
