//! From start to ready with many users: a measurement of a release binary, for `scripts/prove start`.

use std::fmt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rollcall::directory::Timestamp;
use serde_json::json;

use crate::answers;
use crate::house::event;
use crate::program::{Program, settings, told};

/// Unless told otherwise; with more a start may take longer.
const USERS: usize = 100_000;
const SENDERS: usize = 64;
const ROUNDS: usize = 3;
/// Deliveries between two starts.
const BETWEEN: usize = 500;
const READY_WITHIN: Duration = Duration::from_secs(2);
const MANY_READY_WITHIN: Duration = Duration::from_secs(10);

/// The first event of each of so many users, then further ones.
fn body(number: usize, users: usize) -> Vec<u8> {
    let stamp = Timestamp::parse("2026-03-01T08:00:00Z").unwrap() + Duration::from_secs(number as u64);
    let kind = if number < users { "created" } else { "updated" };
    let user = json!({
        "last_name": format!("Okafor {number}"), "full_name": format!("Ada Okafor {number}"), "job_title": format!("Title {number}")
    });
    event(kind, &format!("E{:07}", number % users), stamp, user).to_string().into_bytes()
}

/// Delivers events up to this one, from several senders at once.
fn deliver(webhooks: &str, users: usize, (next, end): (&AtomicUsize, usize)) {
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                while let number = next.fetch_add(1, Ordering::SeqCst)
                    && number < end
                {
                    assert_eq!(answers::post(&format!("{webhooks}/webhooks/main"), &body(number, users)).outcome(), "applied");
                }
            });
        }
    });
    next.store(end, Ordering::SeqCst);
}

/// How long a start took.
struct Start {
    took: Duration,
    /// Of its own threads; on a busy machine much less than it took.
    processor: Duration,
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2?} ({:.2?} of processor time)", self.took, self.processor)
    }
}

/// Processor time that a process has used so far.
fn processor_time(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    // In hundredths of a second: the 14th and the 15th field of the line.
    let hundredths: u64 = after_name.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * hundredths)
}

/// Starts a service; where its webhooks are, and how long it took to be ready.
fn serve(binary: &str, file: &str) -> (Program, String, Start) {
    let began = Instant::now();
    let mut command = Command::new(binary);
    let (program, [webhooks, ops]) = Program::serve(command.args(["serve", "--config", file]).stdin(Stdio::null()).env_clear());
    let start = Start { took: began.elapsed(), processor: processor_time(program.id()) };
    assert_eq!(answers::read(&format!("{ops}/readyz")).status, 200);
    (program, webhooks, start)
}

#[test]
#[ignore = "a measurement of a release binary, which takes minutes: scripts/prove start"]
fn a_service_with_many_users_is_ready_soon() {
    let binary = told("ROLLCALL_BINARY").expect("ROLLCALL_BINARY: a release binary");
    let users = told("ROLLCALL_USERS").map_or(USERS, |number| number.parse().expect("ROLLCALL_USERS: a number"));
    let within = if users > USERS { MANY_READY_WITHIN } else { READY_WITHIN };
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "log.level = \"info\"");
    let next = AtomicUsize::new(0);
    let (mut program, mut webhooks, _) = serve(&binary, &file);
    deliver(&webhooks, users, (&next, users));
    let (mut ended, mut killed) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        program.signal("TERM");
        assert!(program.end().0.success());
        let start;
        (program, webhooks, start) = serve(&binary, &file);
        ended.push(start);
        deliver(&webhooks, users, (&next, next.load(Ordering::SeqCst) + BETWEEN));
        program.kill();
        let start;
        (program, webhooks, start) = serve(&binary, &file);
        killed.push(start);
        deliver(&webhooks, users, (&next, next.load(Ordering::SeqCst) + BETWEEN));
    }
    println!("start to ready with {users} users: {ended:?} after a good end, {killed:?} after kill -9");
    assert!(ended.iter().chain(&killed).all(|start| start.took < within), "longer than {within:?}");
}
