//! What every delivery costs before anything is stored: its signature, reading it, and deciding what it means.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use rollcall::directory::{Circumstances, Event, Evidence, Rules, Timestamp, decide};
use rollcall::upstream::mangoapps::delivery::{Content, read};
use rollcall::upstream::signature::{Keys, Verdict, sign};
use secrecy::SecretString;

/// The documented `user.updated`, spaced as most programs write JSON (upstream guide, "Webhook Payload Format").
const UPDATE: &[u8] = br#"{"event": "user.updated", "timestamp": "2025-11-18T15:30:00Z", "data": {"uid": "E1000001", "changes": ["job_title", "department"], "user": {"uid": "E1000001", "email": "alice.anderson@example.com", "first_name": "Alice", "last_name": "Anderson", "full_name": "Alice Anderson", "active": true, "job_title": "Engineering Manager", "employment_status": "full_time", "employee_type": "Full-Time"}}}"#;

fn verifying(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("verify");
    group.throughput(Throughput::Elements(1));
    for count in [1, 3] {
        let secrets: Vec<_> = (0..count).map(|number| SecretString::from(format!("whsec_{number}_0123456789abcdef"))).collect();
        let keys = Keys::new(&secrets);
        let header = secrets.last().map(|secret| sign(secret, UPDATE)).unwrap_or_default();
        assert_eq!(keys.verify(Some(header.as_bytes()), UPDATE), Verdict::Authentic);
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
    let at = Circumstances {
        rules: Rules { tolerance: Duration::from_secs(15), settle: Duration::from_secs(3), reads: true },
        now: Timestamp::from_millis(1_763_480_000_000),
        wall: Timestamp::from_millis(1_763_480_000_000),
    };
    let known = decide(None, &Evidence::Event(retitled(0)), &at).known;
    let next = Evidence::Event(retitled(1));
    assert!(decide(known.clone(), &next, &at).difference.is_some());
    let mut group = bench.benchmark_group("decide");
    group.throughput(Throughput::Elements(1));
    group.bench_function("an update of a known user", |bencher| {
        bencher.iter_batched(|| known.clone(), |known| decide(known, black_box(&next), &at), BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(hot_path, verifying, reading, deciding);
criterion_main!(hot_path);
