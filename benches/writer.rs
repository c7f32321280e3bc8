//! What a group of 64 deliveries costs the writer, from its queue to the answers: users known from events alone, and users
//! whom a listing told of as well. And what a page of a sweep costs, whose hundred users are as they were, or have changed.
#![expect(clippy::unwrap_used, reason = "a bench that cannot go on stops")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rollcall::clock::Clock;
use rollcall::directory::{Evidence, Shape, Sighting, Sign, Timestamp};
use rollcall::service::group::Surroundings;
use rollcall::service::job::{Deliver, Job, Repair};
use rollcall::service::replies::Reply;
use rollcall::service::tenant::Tenant;
use rollcall::service::writer::{GROUP_DELIVERIES_MAX, QUEUE_JOBS_MAX, Writer};
use rollcall::storage::Store;
use rollcall::telemetry::Metrics;
use rollcall::upstream::mangoapps::delivery;
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

/// The program's own, so that the numbers hold for it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SOURCE: &str = "acme";
const USERS: usize = 2_000;
/// Users that are swept, and rows of a page.
const SWEPT_USERS: usize = 20_000;
const PAGE_ROWS: usize = 100;
const START_MILLIS: i64 = 1_763_479_800_000;

/// A writer that is stepped by hand, and what its jobs are made of.
struct Desk {
    writer: Writer,
    jobs: mpsc::Sender<Job>,
    store: Arc<Store>,
    source: Arc<str>,
    number: usize,
    _folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open_sled(folder.path()).unwrap());
        let around = Surroundings {
            store: Arc::clone(&store),
            tenants: Arc::new(BTreeMap::from([(SOURCE.to_owned(), Arc::new(Tenant::default()))])),
            clock: Clock::manual(Timestamp::from_millis(START_MILLIS)),
            metrics: Arc::new(Metrics::new(&[SOURCE])),
        };
        let (jobs, queue) = mpsc::channel(QUEUE_JOBS_MAX);
        let writer = Writer::new(around, queue, watch::channel(0).0);
        Self { writer, jobs, store, source: SOURCE.into(), number: 0, _folder: folder }
    }

    /// A listing tells of so many users.
    fn sweep(&mut self, users: usize) {
        for page in 0..users / PAGE_ROWS {
            self.page(page, (1, 0));
        }
    }

    /// Time that a page of a sweep takes: it asks who was seen before, decides and commits. `titles` of different calls change everyone.
    fn page(&mut self, page: usize, (call, title): (u64, u64)) -> Duration {
        let (reply, mut answer) = oneshot::channel();
        let users = page * PAGE_ROWS..(page + 1) * PAGE_ROWS;
        let evidence: Vec<_> = users.map(|user| (uid(user), row(user, (call, title)))).collect();
        let start = Instant::now();
        for (uid, _) in &evidence {
            black_box(self.store.record(SOURCE, uid).unwrap());
        }
        let source = Arc::clone(&self.source);
        let repair = Repair { source, run: None, evidence, shown: Vec::new(), closes: Vec::new(), call: None, edit: None, reply };
        self.writer.step(Job::Repair(Box::new(repair)));
        let took = start.elapsed();
        assert!(answer.try_recv().is_ok_and(|answer| answer.is_ok()));
        took
    }

    /// Time that one group of updates of different users takes; they are made and wait before the clock runs.
    fn timed(&mut self, step: fn(&mut Writer, Job)) -> Duration {
        let mut replies = Vec::with_capacity(GROUP_DELIVERIES_MAX);
        let mut jobs: Vec<Job> = (0..GROUP_DELIVERIES_MAX)
            .map(|_| {
                let (reply, answer) = Reply::channel();
                replies.push(answer);
                self.delivery(reply)
            })
            .collect();
        let first = jobs.remove(0);
        jobs.into_iter().for_each(|job| self.jobs.try_send(job).unwrap());
        let start = Instant::now();
        step(&mut self.writer, first);
        let took = start.elapsed();
        replies.iter_mut().for_each(|answer| assert!(answer.try_recv().is_ok_and(|answer| answer.is_ok())));
        took
    }

    fn delivery(&mut self, reply: Reply) -> Job {
        self.number += 1;
        let user = self.number * 7 % USERS;
        let received_at = Timestamp::from_millis(START_MILLIS + i64::try_from(self.number).unwrap() * 1_000);
        let body = Bytes::from(body(self.number, user, received_at));
        let delivery = delivery::read(&body, received_at);
        Job::Deliver(Box::new(Deliver { source: Arc::clone(&self.source), delivery, body, received_at, again: false, reply }))
    }
}

/// Apart, so that a profiler can tell it from the making of jobs and of users.
#[inline(never)]
fn measured(writer: &mut Writer, first: Job) {
    writer.step(black_box(first));
}

fn uid(user: usize) -> String {
    format!("E{:07}", 1_000_000 + user)
}

/// An update as upstream documents it, about 400 bytes; nobody had this job title before.
fn body(number: usize, user: usize, at: Timestamp) -> String {
    let uid = uid(user);
    json!({
        "event": "user.updated", "timestamp": at.to_string(), "event_id": format!("evt_{number:024x}"),
        "data": {"uid": uid, "changes": ["job_title"], "user": {
            "uid": uid, "email": format!("petra.muster{user}@example.com"), "first_name": "Petra", "last_name": format!("Muster{user}"),
            "full_name": format!("Petra Muster{user}"), "active": true, "job_title": format!("Clerk {number}"), "department": "Operations",
            "employment_status": "full_time", "employee_type": "Full-Time",
        }},
    })
    .to_string()
}

fn row(user: usize, (call, title): (u64, u64)) -> Evidence {
    let began = Timestamp::from_millis(START_MILLIS - 60_000);
    let fields = json!({
        "uid": uid(user), "id": user, "email": format!("petra.muster{user}@example.com"), "first_name": "Petra",
        "last_name": format!("Muster{user}"), "full_name": format!("Petra Muster{user}"), "active": true, "job_title": format!("Clerk {title}"),
        "department": "Operations", "organizational_role": "Member", "hire_date": "2019-04-01", "original_hire_date": "2019-04-01",
        "employment_status": "full_time", "employee_type": "Full-Time", "phone": "+1 555 0100", "locations": ["Springfield", "Shelbyville"],
        "manager": {"uid": "boss", "email": "boss@example.com", "full_name": "The Boss"}, "termination_date": null, "termination_type": null,
        "created_at": "2019-04-01T08:00:00Z", "updated_at": "2025-06-01T08:00:00Z", "last_activity_at": null,
    });
    let fields = fields.as_object().cloned().unwrap().into();
    Evidence::Sighting(Box::new(Sighting { shape: Shape::Listing, fields, began, call, sign: Sign::Alive, expected: true, swept: None }))
}

fn groups(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("a group of 64 updates");
    bench.throughput(Throughput::Elements(GROUP_DELIVERIES_MAX as u64));
    for (name, swept) in [("told by events", false), ("read before", true)] {
        let mut desk = Desk::new();
        if swept {
            desk.sweep(USERS);
        }
        // Once around, so that every user is known and lately decided about.
        for _ in 0..=USERS / GROUP_DELIVERIES_MAX {
            desk.timed(Writer::step);
        }
        bench.bench_function(name, |bencher| bencher.iter_custom(|rounds| (0..rounds).map(|_| desk.timed(measured)).sum()));
    }
    bench.finish();
}

fn pages(criterion: &mut Criterion) {
    let mut bench = criterion.benchmark_group("a page of a sweep");
    bench.throughput(Throughput::Elements(PAGE_ROWS as u64));
    let mut desk = Desk::new();
    desk.sweep(SWEPT_USERS);
    let mut call = 1;
    for (name, moves) in [("as it was", 0), ("changed", 1)] {
        bench.bench_function(name, |bencher| {
            bencher.iter_custom(|rounds| {
                let turn = |_| {
                    call += 1;
                    desk.page(usize::try_from(call).unwrap() * 7 % (SWEPT_USERS / PAGE_ROWS), (call, call * moves))
                };
                (0..rounds).map(turn).sum()
            });
        });
    }
    bench.finish();
}

criterion_group!(writer, groups, pages);
criterion_main!(writer);
