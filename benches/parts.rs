//! Where a delivery's time and allocations go: through HTTP, its signature, reading it, deciding, writing the record down, and the store.
//!
//! A line a part, each delivery: CPU time of all threads but the client's, allocations, and bytes of these; then what was written. The
//! allocator is the system's, since that is the one whose calls can be counted: the program's own is faster.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench that cannot go on stops, and tells what it found"
)]

use std::fs::read_to_string;
use std::hint::black_box;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rollcall::clock::Clock;
use rollcall::config::{self, Secrets};
use rollcall::directory::{Circumstances, Evidence, Known, Rules, Timestamp, code, decide};
use rollcall::http;
use rollcall::service::Running;
use rollcall::service::writer::GROUP_DELIVERIES_MAX;
use rollcall::storage::Store;
use rollcall::upstream::mangoapps::delivery::{Content, read};
use rollcall::upstream::signature::{Keys, Verdict, sign};
use secrecy::SecretString;
use serde_json::json;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const USERS: usize = 2_000;
/// Groups that are measured, and as many before them, after which everyone is known.
const GROUPS: usize = 200;
const DELIVERIES: usize = GROUPS * GROUP_DELIVERIES_MAX;

/// What a part took in all.
#[derive(Clone, Copy)]
struct Took {
    nanos: u64,
    allocations: usize,
    bytes: usize,
}

impl Took {
    /// Measures some work; `own` tells the time of threads that do not count.
    fn by(own: impl Fn() -> u64, work: impl FnOnce()) -> Self {
        let begin = nanos_of_all() - own();
        let region = Region::new(ALLOCATOR);
        work();
        let stats = region.change();
        let nanos = nanos_of_all() - own() - begin;
        Self { nanos, allocations: stats.allocations + stats.reallocations, bytes: stats.bytes_allocated }
    }

    const fn without(self, other: Self) -> Self {
        Self {
            nanos: self.nanos.saturating_sub(other.nanos),
            allocations: self.allocations.saturating_sub(other.allocations),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    fn tell(self, part: &str) {
        let each = |sum: f64| sum / DELIVERIES as f64;
        let (micros, allocations, bytes) = (each(self.nanos as f64 / 1e3), each(self.allocations as f64), each(self.bytes as f64));
        println!("{part:<44} {micros:>7.2} µs  {allocations:>6.1} allocations  {bytes:>7.0} bytes");
    }
}

/// CPU time of a thread, or of none that is left.
fn nanos_of(schedstat: &str) -> u64 {
    schedstat.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0)
}

fn nanos_of_all() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.map(|task| read_to_string(task.unwrap().path().join("schedstat")).map_or(0, |stat| nanos_of(&stat))).sum()
}

fn own_nanos() -> u64 {
    nanos_of(&read_to_string("/proc/thread-self/schedstat").unwrap())
}

/// An update as upstream documents it, 410 bytes; nobody had this job title before.
fn body(number: usize) -> Vec<u8> {
    let (user, at) = (number * 7 % USERS, Timestamp::from_millis(1_763_479_800_000 + i64::try_from(number).unwrap() * 1_000));
    let (uid, email) = (format!("E{:07}", 1_000_000 + user), format!("petra.muster{user}@example.com"));
    let user = json!({
        "uid": uid, "email": email, "first_name": "Petra", "last_name": format!("Muster{user}"), "full_name": format!("Petra Muster{user}"),
        "active": true, "job_title": format!("Clerk {number}"), "department": "Operations", "organizational_role": "Staff",
        "employment_status": "full_time", "employee_type": "Full-Time",
    });
    json!({"event": "user.updated", "timestamp": at.to_string(), "data": {"uid": uid, "changes": ["job_title"], "user": user}})
        .to_string()
        .into()
}

/// Through HTTP, a delivery on each of 64 connections at a time; returns what all but the first half took, what the same took again,
/// as duplicates, and the bytes that the former wrote to disk.
fn served(requests: &[Vec<u8>]) -> (Took, Took, u64) {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("rollcall.toml");
    let text = format!(
        "store.path = {:?}\nlog.level = \"error\"\nsources.main = {{ kind = \"mangoapps\", webhook_secrets = [{SECRET:?}] }}\n",
        folder.path().join("data")
    );
    std::fs::write(&settings, text).unwrap();
    let config = Arc::new(config::load(&[settings], std::iter::empty()).unwrap());
    let store = Arc::new(Store::open_sled(&config.store.path).unwrap());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = runtime.block_on(Running::start(config, store, Clock::system())).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let within = runtime.enter();
    let server = http::webhooks::serve(Arc::clone(&running.service), listener).unwrap();
    drop(runtime.spawn(server));
    drop(within);
    let mut lines: Vec<TcpStream> = (0..GROUP_DELIVERIES_MAX).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut answer = [0; 1024];
    let mut deliver = |requests: &[Vec<u8>]| {
        for group in requests.chunks(GROUP_DELIVERIES_MAX) {
            lines.iter_mut().zip(group).for_each(|(line, request)| line.write_all(request).unwrap());
            for line in &mut lines {
                let mut len = 0;
                while answer.get(..len).is_none_or(|told| told.last() != Some(&b'}')) {
                    len += line.read(answer.get_mut(len..).unwrap()).unwrap();
                }
                assert!(answer.starts_with(b"HTTP/1.1 200"));
            }
        }
    };
    let (before, after) = requests.split_at(DELIVERIES);
    deliver(before);
    let begin = written();
    let new = Took::by(own_nanos, || deliver(after));
    let written = written() - begin;
    (new, Took::by(own_nanos, || deliver(after)), written)
}

/// Bytes that this process caused to be written to disk so far.
fn written() -> u64 {
    let io = read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap()
}

fn main() {
    let bodies: Vec<Vec<u8>> = (0..2 * DELIVERIES).map(body).collect();
    let measured = &bodies[DELIVERIES..];
    let secret = SecretString::from(SECRET);
    let headers: Vec<String> = bodies.iter().map(|body| sign(&secret, body)).collect();
    let keys = Keys::new(&Secrets::fixed(vec![secret]).live());
    let verify = || {
        for (body, header) in measured.iter().zip(&headers[DELIVERIES..]) {
            assert!(matches!(keys.verify(Some(header.as_bytes()), body), Verdict::Authentic(_)));
        }
    };
    let verify = Took::by(|| 0, verify);
    let now = Timestamp::from_millis(1_763_480_000_000);
    let reading = Took::by(|| 0, || measured.iter().for_each(|body| drop(black_box(read(body, now)))));

    let [tolerance, settle, confirm] = [15, 3, 900].map(Duration::from_secs);
    let rules = Rules { tolerance, settle, confirm, reads: true, broken: None };
    let at = Circumstances { rules, now, wall: now };
    let mut evidence: Vec<Evidence> = Vec::with_capacity(bodies.len());
    for body in &bodies {
        let Content::Event(event) = read(body, now).content else { unreachable!("an update is an event") };
        evidence.push(Evidence::Event(event));
    }
    let mut users: Vec<Known> = vec![Known::default(); USERS];
    let mut turn = |evidence: &[Evidence], first: usize| {
        for (number, evidence) in (first..).zip(evidence) {
            let user = &mut users[number * 7 % USERS];
            *user = decide(std::mem::take(user), evidence, &at).known;
        }
    };
    turn(&evidence[..DELIVERIES], 0);
    let deciding = Took::by(|| 0, || turn(&evidence[DELIVERIES..], DELIVERIES));
    let mut buffer = Vec::with_capacity(64 * 1024);
    let writing_down = Took::by(
        || 0,
        || {
            for number in 0..DELIVERIES {
                buffer.clear();
                code::record(&users[number % USERS].record, &mut buffer);
            }
        },
    );

    let head = |body: &Vec<u8>, header: &String| {
        let length = body.len();
        format!(
            "POST /webhooks/main HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nX-MangoApps-Signature: {header}\r\n\r\n"
        )
    };
    let requests: Vec<Vec<u8>> = bodies.iter().zip(&headers).map(|(body, header)| [head(body, header).as_bytes(), body].concat()).collect();
    let (new, again, written) = served(&requests);

    again.without(verify).without(reading).tell("HTTP, to the writer and back, find the id");
    verify.tell("verify");
    reading.tell("read");
    deciding.tell("decide");
    writing_down.tell("write the record down");
    new.without(again).without(deciding).without(writing_down).tell("store: append, sync, show, settle");
    new.tell("all of it");
    println!("written to disk: {} bytes a delivery", written / DELIVERIES as u64);
}
