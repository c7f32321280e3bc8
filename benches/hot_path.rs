//! What every delivery costs before anything is stored: its signature, reading it, deciding what it means, and loading its user.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rollcall::config::Secrets;
use rollcall::directory::code;
use rollcall::directory::{Circumstances, Event, Evidence, Known, Rules, Shape, Sighting, Sign, Timestamp, decide};
use rollcall::upstream::mangoapps::delivery::{Content, read};
use rollcall::upstream::signature::{Keys, Verdict, sign};
use secrecy::SecretString;
use serde_json::json;

/// The program's own, so that the numbers hold for it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// When and by which rules everything is decided.
const AT: Circumstances = Circumstances {
    rules: Rules {
        tolerance: Duration::from_secs(15),
        settle: Duration::from_secs(3),
        confirm: Duration::from_secs(900),
        reads: true,
        broken: None,
    },
    now: Timestamp::from_millis(1_763_480_000_000),
    wall: Timestamp::from_millis(1_763_480_000_000),
};

/// The documented `user.updated`, spaced as most programs write JSON (upstream guide, "Webhook Payload Format").
const UPDATE: &[u8] = br#"{"event": "user.updated", "timestamp": "2025-11-18T15:30:00Z", "data": {"uid": "E1000001", "changes": ["job_title", "department"], "user": {"uid": "E1000001", "email": "alice.anderson@example.com", "first_name": "Alice", "last_name": "Anderson", "full_name": "Alice Anderson", "active": true, "job_title": "Engineering Manager", "employment_status": "full_time", "employee_type": "Full-Time"}}}"#;

fn verifying(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("verify");
    group.throughput(Throughput::Elements(1));
    for count in [1, 3] {
        let secrets: Vec<_> = (0..count).map(|number| SecretString::from(format!("whsec_{number}_0123456789abcdef"))).collect();
        let keys = Keys::new(&Secrets::fixed(secrets.clone()).live());
        let header = secrets.last().map(|secret| sign(secret, UPDATE)).unwrap_or_default();
        assert!(matches!(keys.verify(Some(header.as_bytes()), UPDATE), Verdict::Authentic(_)));
        group.bench_function(format!("{count} secrets"), |bencher| {
            bencher.iter(|| keys.verify(Some(black_box(header.as_bytes())), black_box(UPDATE)));
        });
    }
    group.finish();
}

fn reading(bench: &mut Criterion) {
    let received = Timestamp::from_millis(1_763_480_000_000);
    assert!(matches!(read(UPDATE, received).content, Content::Event(_)));
    let mut group = bench.benchmark_group("read");
    group.throughput(Throughput::Elements(1));
    group.bench_function("documented update", |bencher| bencher.iter(|| read(black_box(UPDATE), received)));
    group.finish();
}

/// The update again, with a job title that nobody had yet, so that each decision makes a change.
fn retitled(number: i64) -> Box<Event> {
    let body = String::from_utf8_lossy(UPDATE).replace("Engineering Manager", &format!("Engineering Manager {number}"));
    let stamp = Timestamp::from_millis(1_763_479_800_000 + number * 1000);
    match read(body.as_bytes(), stamp).content {
        Content::Event(event) => Box::new(Event { stamp, ..*event }),
        other => unreachable!("the documented update is an event, not {other:?}"),
    }
}

fn deciding(bench: &mut Criterion) {
    let known = decide(None, &Evidence::Event(retitled(0)), &AT).known;
    let next = Evidence::Event(retitled(1));
    assert!(decide(known.clone(), &next, &AT).difference.is_some());
    let mut group = bench.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    group.bench_function("an update of a known user", |bencher| {
        bencher.iter_batched(|| known.clone(), |known| decide(known, black_box(&next), &AT), BatchSize::SmallInput);
    });
    group.finish();
}

/// A user as the store holds them: a listing told of every field, and an event of some since.
fn held() -> Vec<u8> {
    let fields = json!({
        "uid": "E1000001", "id": 1, "email": "alice.anderson@example.com", "first_name": "Alice", "last_name": "Anderson",
        "full_name": "Alice Anderson", "active": true, "job_title": "Engineer", "department": "Engineering", "organizational_role": "Member",
        "hire_date": "2019-04-01", "original_hire_date": "2019-04-01", "employment_status": "full_time", "employee_type": "Full-Time",
        "phone": "+1 555 0100", "locations": ["Springfield"], "manager": {"uid": "boss", "full_name": "The Boss"},
        "termination_date": null, "termination_type": null, "created_at": "2019-04-01T08:00:00Z", "updated_at": "2025-06-01T08:00:00Z",
        "last_activity_at": null,
    });
    let fields = fields.as_object().cloned().unwrap_or_default().into();
    let began = Timestamp::from_millis(1_763_400_000_000);
    let row = Sighting { shape: Shape::Listing, fields, began, call: 1, sign: Sign::Alive, expected: true, swept: None };
    let known = decide(None, &Evidence::Sighting(Box::new(row)), &AT).known;
    let record = decide(known, &Evidence::Event(retitled(1)), &AT).known.record;
    let mut content = Vec::new();
    code::record(&record, &mut content);
    content
}

/// Apart, so that a profiler can tell it from the rest.
#[inline(never)]
fn load(content: &[u8]) -> Option<Known> {
    code::read_record(content).map(Known::from)
}

/// Apart, as well.
#[inline(never)]
fn forget(known: Option<Known>) {
    drop(known);
}

#[inline(never)]
fn write_down(buffer: &mut Vec<u8>, known: &Known) -> bool {
    buffer.clear();
    code::record(&known.record, buffer);
    !buffer.is_empty()
}

fn loading(bench: &mut Criterion) {
    let content = held();
    let known = load(&content).unwrap_or_default();
    assert!(known.view.is_some());
    let mut group = bench.benchmark_group("load");
    group.throughput(Throughput::Elements(1));
    group.bench_function("a user from the record, and forget them", |bencher| bencher.iter(|| forget(load(black_box(&content)))));
    group.bench_function("write the record down", |bencher| {
        let mut buffer = Vec::with_capacity(content.len());
        bencher.iter(|| write_down(&mut buffer, black_box(&known)));
    });
    group.finish();
}

criterion_group!(hot_path, verifying, reading, deciding, loading);
criterion_main!(hot_path);
