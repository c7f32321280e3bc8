//! What a durable commit costs: groups of 1, 8 and 64 deliveries, against the plain layout with a row for each thing.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on stops, and tells what it found")]

use std::fs::File;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rollcall::directory::{Cause, Change, ChangeKind, Fields, Life, Outcome, Read, Record, Sight, Timestamp, User, code};
use rollcall::storage::entry::Numbers;
use rollcall::storage::{Batch, Delivery, Listing, SortBy, Store, StoredUser};
use serde_json::json;

const USERS: [u64; 2] = [2_000, 100_000];
const GROUPS: [u64; 3] = [1, 8, 64];

fn at(number: u64) -> Timestamp {
    Timestamp::from_millis(1_763_479_800_000 + i64::try_from(number).unwrap() * 1000)
}

/// A user of about 700 bytes.
fn fields(user: u64, number: u64) -> Fields {
    let row = json!({
        "uid": uid(user), "id": user, "email": format!("user{user}@example.com"), "first_name": "Petra", "last_name": format!("Muster{user}"),
        "full_name": format!("Petra Muster{user}"), "active": true, "job_title": format!("Senior Clerk {number}"), "department": "Operations",
        "organizational_role": "Member", "hire_date": "2019-04-01", "original_hire_date": "2019-04-01", "employment_status": "Full Time",
        "employee_type": "Regular", "phone": "+1 555 0100", "locations": ["Springfield", "Shelbyville"], "termination_date": null,
        "manager": {"uid": "boss", "email": "boss@example.com", "full_name": "The Boss"}, "termination_type": null,
        "created_at": at(user).to_string(), "updated_at": at(number).to_string(), "last_activity_at": null,
    });
    row.as_object().cloned().unwrap().into()
}

fn uid(user: u64) -> String {
    format!("8f14e45f-{user:08}")
}

fn group(numbers: Numbers, users: impl Iterator<Item = u64>) -> Batch {
    let mut batch = Batch::default();
    for (step, user) in (1..).zip(users) {
        let (number, cursor) = (numbers.delivery + step, numbers.cursor + step);
        let (source, uid, fields): (Arc<str>, _, _) = ("acme".into(), uid(user), fields(user, number));
        let event_id = format!("evt_{number:032x}");
        let from = json!({"job_title": "Clerk"}).as_object().cloned().unwrap().into();
        batch.changes.push(Change {
            cursor,
            at: at(number),
            source: source.clone(),
            uid: uid.clone(),
            kind: ChangeKind::Updated,
            from,
            cause: Cause::EventId(event_id.clone()),
            previous: cursor.saturating_sub(1),
            user: User { fields: fields.clone(), deleted_at: None }.into(),
        });
        let life = Life { sight: Some(Sight { alive: true, began: at(0), call: 0, deleted_at: None }), known: true, ..Life::default() };
        let record = Record { listing: Some(Read { fields, began: at(0), call: 0 }), life, last_change: cursor, ..Record::default() };
        batch.users.push(StoredUser { source: source.clone(), uid: uid.clone(), known: Arc::new(record.into()) });
        batch.deliveries.push(Delivery {
            number,
            source,
            event_id,
            event: Some("user.updated".to_owned()),
            uid: Some(uid),
            outcome: Outcome::Applied,
            reason: None,
            received_at: at(number),
            expires_at: at(number + 7_776_000),
            body: None,
        });
    }
    batch
}

/// Different users, somewhere in the directory.
fn some_users(random: &mut SmallRng, users: u64, count: u64) -> impl Iterator<Item = u64> + use<> {
    let start = random.random_range(0..users);
    (0..count).map(move |step| (start + step * (users / count)) % users)
}

fn filled(users: u64) -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open_sled(folder.path()).unwrap();
    for start in (0..users).step_by(64) {
        store.commit(&group(store.numbers(), start..(start + 64).min(users))).unwrap();
    }
    (folder, store)
}

/// The layout to beat: event id, record, change and delivery in a row each.
struct Plain {
    tree: sled::Db,
    file: File,
}

impl Plain {
    fn open(folder: &std::path::Path) -> Self {
        let config = sled::Config::new().path(folder).cache_capacity(64 * 1024 * 1024).flush_every_ms(Some(10));
        Self { tree: config.open().unwrap(), file: File::open(folder.join("db")).unwrap() }
    }

    fn commit(&self, batch: &Batch) {
        let mut rows = sled::Batch::default();
        for ((delivery, user), change) in batch.deliveries.iter().zip(&batch.users).zip(&batch.changes) {
            rows.insert(format!("i{}", delivery.event_id).as_bytes(), &delivery.number.to_le_bytes());
            let mut record = Vec::new();
            code::record(&user.known.record, &mut record);
            rows.insert(format!("u{}", user.uid).as_bytes(), record);
            let told = json!({"uid": change.uid, "kind": change.kind, "from": change.from, "user": change.user.fields});
            rows.insert([b"c", change.cursor.to_be_bytes().as_slice()].concat(), serde_json::to_vec(&told).unwrap());
            rows.insert([b"d", delivery.number.to_be_bytes().as_slice()].concat(), serde_json::to_vec(delivery).unwrap());
        }
        self.tree.apply_batch(rows).unwrap();
        self.tree.flush().unwrap();
        self.file.sync_data().unwrap();
    }
}

/// Time for `rounds` commits, the making of the batches aside.
fn timed(rounds: u64, mut batch: impl FnMut() -> Batch, commit: impl Fn(&Batch)) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        let batch = batch();
        let start = Instant::now();
        commit(black_box(&batch));
        took += start.elapsed();
    }
    took
}

/// One layout at a time: sled's own threads go on working in an open store.
fn commits(criterion: &mut Criterion) {
    for users in USERS {
        let (_folder, store) = filled(users);
        rounds(criterion, ("packed", users), store.numbers(), |batch| store.commit(batch).unwrap());
        println!("{} deliveries take {} KiB", store.numbers().delivery, store.bytes() / 1024);
    }
    for users in USERS {
        let folder = tempfile::tempdir().unwrap();
        let plain = Plain::open(folder.path());
        let mut numbers = Numbers::default();
        for start in (0..users).step_by(64) {
            let batch = group(numbers, start..(start + 64).min(users));
            plain.commit(&batch);
            numbers = behind(numbers, &batch);
        }
        rounds(criterion, ("plain", users), numbers, |batch| plain.commit(batch));
    }
}

fn rounds(criterion: &mut Criterion, (layout, users): (&str, u64), mut numbers: Numbers, commit: impl Fn(&Batch)) {
    let mut random = SmallRng::seed_from_u64(1);
    let mut bench = criterion.benchmark_group(format!("commit, {layout}, {users} users"));
    for count in GROUPS {
        bench.throughput(Throughput::Elements(count));
        bench.bench_function(BenchmarkId::from_parameter(count), |bench| {
            bench.iter_custom(|rounds| {
                let batch = || {
                    let batch = group(numbers, some_users(&mut random, users, count));
                    numbers = behind(numbers, &batch);
                    batch
                };
                timed(rounds, batch, &commit)
            });
        });
    }
    bench.finish();
}

fn behind(numbers: Numbers, batch: &Batch) -> Numbers {
    let count = batch.deliveries.len() as u64;
    Numbers { delivery: numbers.delivery + count, cursor: numbers.cursor + count, ..numbers }
}

fn reads(criterion: &mut Criterion) {
    let users = 100_000;
    let (folder, store) = filled(users);
    let mut bench = criterion.benchmark_group(format!("read with {users} users"));
    bench.bench_function("record", |bench| bench.iter(|| store.record("acme", black_box(&uid(77_777)))));
    for sort_by in [SortBy::CreatedAt, SortBy::UpdatedAt, SortBy::Name] {
        let listing = Listing { offset: 50_000, sort_by, ..Listing::default() };
        bench.bench_function(format!("a page of 25 by {sort_by:?}"), |bench| bench.iter(|| store.list("acme", black_box(&listing))));
    }
    let search = Listing { search: Some("muster9999".to_owned()), ..Listing::default() };
    bench.bench_function("a search", |bench| bench.iter(|| store.list("acme", black_box(&search))));
    bench.bench_function("the feed's last 100", |bench| bench.iter(|| store.changes(black_box(users - 100), 100)));
    bench.finish();
    drop(store);
    let start = Instant::now();
    let store = Store::open_sled(folder.path()).unwrap();
    println!("opened {} users in {:?}", store.counts("acme").active, start.elapsed());
}

mod groups {
    criterion::criterion_group!(benches, super::commits, super::reads);
}

criterion::criterion_main!(groups::benches);
