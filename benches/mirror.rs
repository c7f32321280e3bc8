//! What a page of the mirror costs, by every order and filter, alone and while deliveries come in; and what the process weighs.
//!
//! `cargo bench --bench mirror` takes 100,000 users; a number behind `--` asks for as many: `cargo bench --bench mirror -- 1000000`.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench that cannot go on stops, and tells what it found")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng, SeedableRng};
use rollcall::directory::{
    Cause, Change, ChangeKind, Claim, EventKind, Fields, Life, Outcome, Read, Record, Sight, Timestamp, User, Witness,
};
use rollcall::storage::{Batch, Delivery, Error, Listing, SortBy, Store, StoredUser};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const SOURCE: &str = "acme";
const USERS_DEFAULT: u64 = 100_000;
/// 1,000 deliveries a second, in groups as a writer makes them.
const GROUP: u64 = 8;
const EVERY: Duration = Duration::from_millis(8);
/// Pages of a cell of the table.
const PAGES: usize = 300;
const CELL: Duration = Duration::from_secs(3);
const FIRST_NAMES: [&str; 8] = ["Petra", "Zoë", "John", "Mary", "Ravi", "Olu", "Yuki", "Fatima"];
const LAST_NAMES: [&str; 8] = ["Muster", "Smith", "García", "Nguyen", "Patel", "Okafor", "Müller", "Tanaka"];
const STATUSES: [&str; 3] = ["Full Time", "Part Time", "Contractor"];

fn at(second: u64) -> Timestamp {
    Timestamp::from_millis(1_763_479_800_000 + i64::try_from(second).unwrap() * 1000)
}

fn uid(user: u64) -> String {
    format!("8f14e45f-{user:08}")
}

/// A user of about 700 bytes: always the same one but for the title and the time.
fn fields(user: u64, second: u64) -> Fields {
    let mut random = SmallRng::seed_from_u64(user);
    let (first, last) = (FIRST_NAMES.choose(&mut random).unwrap(), LAST_NAMES.choose(&mut random).unwrap());
    let department = if random.random_bool(0.9) { random.random_range(0..20) } else { random.random_range(20..1_000) };
    let row = json!({
        "uid": uid(user), "id": user, "email": format!("{first}.{last}{user}@example.com"), "first_name": first, "last_name": last,
        "full_name": format!("{first} {last}{user}"), "active": random.random_bool(0.9), "job_title": format!("Senior Clerk {second}"),
        "department": format!("Department {department}"), "employment_status": STATUSES.choose(&mut random).unwrap(),
        "organizational_role": "Member", "hire_date": "2019-04-01", "original_hire_date": "2019-04-01", "employee_type": "Regular",
        "phone": "+1 555 0100", "locations": ["Springfield", "Shelbyville"], "termination_date": null, "termination_type": null,
        "manager": {"uid": "boss", "email": "boss@example.com", "full_name": "The Boss"}, "last_activity_at": null,
        "created_at": at(random.random_range(0..100_000_000)).to_string(), "updated_at": at(second).to_string(),
    });
    row.as_object().cloned().unwrap().into()
}

/// A user as read; one of fifty is deleted.
fn record(user: u64, second: u64) -> Record {
    let sight = Sight { alive: !user.is_multiple_of(50), began: at(0), call: 0, deleted_at: None };
    let life = Life { sight: Some(sight), known: true, ..Life::default() };
    Record { listing: Some(Read { fields: fields(user, second), began: at(0), call: 0 }), life, ..Record::default() }
}

fn stored(user: u64, record: Record) -> StoredUser {
    StoredUser { source: SOURCE.into(), uid: uid(user), known: Arc::new(record.into()) }
}

/// Deliveries that each claim another title of some user.
fn deliveries(store: &Store, users: u64, random: &mut SmallRng) -> Batch {
    let (numbers, mut batch) = (store.numbers(), Batch::default());
    let mut told = BTreeMap::new();
    while told.len() < usize::try_from(GROUP).unwrap() {
        let number = numbers.delivery + 1 + told.len() as u64;
        told.entry(random.random_range(0..users)).or_insert(number);
    }
    let mut told: Vec<(u64, u64)> = told.into_iter().collect();
    told.sort_unstable_by_key(|(_, number)| *number);
    for (user, number) in told {
        let (now, event_id) = (200_000_000 + number, format!("evt_{number:032x}"));
        let by = Witness { stamp: at(now), rank: EventKind::Updated, digest: number, received: at(now), event_id: event_id.clone() };
        let mut record = record(user, user);
        record.claims.insert("job_title".to_owned(), Claim { value: json!(format!("Title {number}")), by: by.into() });
        record.life.touched = Some((at(now), at(now)));
        record.last_change = numbers.cursor + number - numbers.delivery;
        batch.changes.push(Change {
            cursor: record.last_change,
            at: at(now),
            source: SOURCE.into(),
            uid: uid(user),
            kind: ChangeKind::Updated,
            from: json!({"job_title": "Clerk"}).as_object().cloned().unwrap().into(),
            cause: Cause::EventId(event_id.clone()),
            previous: 0,
            user: User { fields: fields(user, now), deleted_at: None }.into(),
        });
        batch.users.push(stored(user, record));
        batch.deliveries.push(Delivery {
            number,
            source: SOURCE.into(),
            event_id,
            event: Some("user.updated".to_owned()),
            uid: Some(uid(user)),
            outcome: Outcome::Applied,
            reason: None,
            received_at: at(now),
            expires_at: at(now + 7_776_000),
            body: None,
        });
    }
    batch
}

/// What a listing asks for, apart from order and page.
struct Filter {
    name: &'static str,
    listing: Listing,
    /// What is sought, in turns: more than the store remembers.
    searches: Vec<String>,
}

impl Filter {
    fn new(name: &'static str, listing: Listing) -> Self {
        Self { name, listing, searches: Vec::new() }
    }

    fn searching(self, searches: impl IntoIterator<Item = impl ToString>) -> Self {
        Self { searches: searches.into_iter().map(|text| text.to_string()).collect(), ..self }
    }

    fn listing(&self, turn: usize, random: &mut SmallRng, total: usize) -> Listing {
        let search = turn.checked_rem(self.searches.len()).and_then(|turn| self.searches.get(turn)).cloned();
        Listing { offset: random.random_range(0..=total), search, ..self.listing.clone() }
    }
}

/// The filters of the table. The times are before nearly everyone's, and that of the bench's deliveries.
fn filters(users: u64) -> Vec<Filter> {
    let text = |text: &str| Some(text.to_owned());
    let all = Listing::default;
    let large = || Listing { department: text("Department 7"), ..all() };
    let (status, recent) = (text("Full Time"), Some(at(users / 20)));
    let each = Listing { active: Some(true), employment_status: status.clone(), updated_after: recent, ..large() };
    let few = (0..50).map(|number| format!("smith{}", 1_000 + number));
    let many = "smith müller garc pat oka tan ngu must zo ra yu fat mar joh et mi en el i u s t r n".split(' ');
    let nearly_all = "a e m c p l x . @ ex com example example.com .com le.c ample".split(' ');
    vec![
        Filter::new("none", all()),
        Filter::new("deleted too", Listing { include_deleted: true, ..all() }),
        Filter::new("active", Listing { active: Some(true), ..all() }),
        Filter::new("inactive, deleted too", Listing { active: Some(false), include_deleted: true, ..all() }),
        Filter::new("a large department", large()),
        Filter::new("a small department", Listing { department: text("Department 777"), ..all() }),
        Filter::new("a status", Listing { employment_status: status, ..all() }),
        Filter::new("updated, nearly all", Listing { updated_after: recent, ..all() }),
        Filter::new("updated, few", Listing { updated_after: Some(at(200_000_000)), ..all() }),
        Filter::new("all of these", each),
        Filter::new("a search that few match", all()).searching(few),
        Filter::new("a search that many match", all()).searching(many.clone()),
        Filter::new("a search that all match", all()).searching(nearly_all),
        Filter::new("the same search again", all()).searching(["smith"]),
        Filter::new("a search in a department", large()).searching(many),
    ]
}

/// Half and the 99th of a hundred, in milliseconds.
fn quantiles(mut took: Vec<Duration>) -> (f64, f64) {
    took.sort_unstable();
    let quantile = |percent: usize| took.get((took.len() * percent).div_ceil(100).saturating_sub(1)).map_or(0.0, Duration::as_secs_f64);
    (quantile(50) * 1000.0, quantile(99) * 1000.0)
}

/// Pages anywhere in a listing.
fn pages(store: &Store, filter: &Filter, random: &mut SmallRng) -> (f64, f64) {
    let total = store.list(SOURCE, &filter.listing(0, random, 0)).unwrap().total;
    let (began, mut took) = (Instant::now(), Vec::with_capacity(PAGES));
    while took.len() < PAGES && (took.len() < PAGES / 3 || began.elapsed() < CELL) {
        let listing = filter.listing(took.len(), random, total);
        let start = Instant::now();
        black_box(store.list(SOURCE, black_box(&listing)).unwrap());
        took.push(start.elapsed());
    }
    quantiles(took)
}

/// Each order and filter: a row of the table.
fn table(store: &Store, users: u64, when: &str) {
    let mut random = SmallRng::seed_from_u64(7);
    let mut worst = (0.0, String::new());
    for (sort_by, by) in [(SortBy::CreatedAt, "created_at"), (SortBy::UpdatedAt, "updated_at"), (SortBy::Name, "name")] {
        for (ascending, direction) in [(false, "desc"), (true, "asc")] {
            for filter in filters(users) {
                let filter = Filter { listing: Listing { sort_by, ascending, ..filter.listing }, ..filter };
                let (half, most) = pages(store, &filter, &mut random);
                let row = format!("{by:10} {direction:4} {:26}", filter.name);
                println!("{row} {when:10} p50 {half:8.3} ms   p99 {most:8.3} ms");
                if most > worst.0 {
                    worst = (most, row);
                }
            }
        }
    }
    println!("the slowest p99 {when}: {:.3} ms, {}", worst.0, worst.1);
}

/// Commits groups at the pace until told to stop.
fn deliver(store: &Store, users: u64, stop: &mpsc::Receiver<()>) {
    let (mut random, mut took, began) = (SmallRng::seed_from_u64(8), Vec::new(), Instant::now());
    let mut due = began;
    loop {
        due += EVERY;
        match stop.recv_timeout(due.saturating_duration_since(Instant::now())) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            _ => break,
        }
        let batch = deliveries(store, users, &mut random);
        let start = Instant::now();
        store.commit(&batch).unwrap();
        took.push(start.elapsed());
    }
    let each_second = took.len() as f64 * GROUP as f64 / began.elapsed().as_secs_f64();
    let (half, most) = quantiles(took);
    println!("commits of {GROUP} deliveries meanwhile, {each_second:.0} deliveries/s: p50 {half:.3} ms   p99 {most:.3} ms");
}

fn memory(when: &str) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse::<u64>().ok());
    println!("memory {when}: {} MiB resident, {} MiB at most", kib("VmRSS:").unwrap() / 1024, kib("VmHWM:").unwrap() / 1024);
}

/// sled's own threads may hold the folder for a moment after they were told to end.
fn open(folder: &Path) -> Store {
    loop {
        match Store::open_sled(folder) {
            Err(Error::InUse { .. }) => std::thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

fn main() {
    let users = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(USERS_DEFAULT);
    let folder = tempfile::tempdir().unwrap();
    let (store, start) = (open(folder.path()), Instant::now());
    for first in (0..users).step_by(64) {
        let batch = (first..(first + 64).min(users)).map(|user| stored(user, record(user, user))).collect();
        store.commit(&Batch { users: batch, ..Batch::default() }).unwrap();
    }
    println!("{users} users committed in {:?}", start.elapsed());
    memory("once all are committed");
    drop(store);
    let start = Instant::now();
    let store = open(folder.path());
    println!("opened in {:?}", start.elapsed());
    memory("once opened anew");
    table(&store, users, "alone");
    std::thread::scope(|scope| {
        let (stop, stopped) = mpsc::channel();
        let store = &store;
        scope.spawn(move || deliver(store, users, &stopped));
        table(store, users, "delivering");
        stop.send(()).unwrap();
    });
    memory("at the end");
}
