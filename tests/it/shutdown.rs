//! The way down: what a service that was told to end still does, whatever it was doing, and that nothing of it is lost.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rollcall::clock::Clock;
use rollcall::simulator::api::Api;
use rollcall::simulator::desk::Rules;
use rollcall::simulator::tenant::Tenant;
use serde_json::json;
use tempfile::TempDir;

use crate::answers::{self, Answer, list, sign};
use crate::full::limit_files;
use crate::house::{API_TOKEN, RUNTIME, until};
use crate::kill::{body, check};
use crate::program::{Program, pause, rollcall, serving_beyond_limits, settings};
use crate::wire::Wire;

/// Within this a service ends, behind its delay.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// A delay that only a second signal ends.
const LONG: &str = "10m";
const SENDERS: usize = 3;

/// A service on a store of its own, and what it answered 200.
struct Served {
    folder: TempDir,
    program: Program,
    webhooks: String,
    ops: String,
    answered: Vec<usize>,
}

fn command(folder: &Path, delay: &str) -> Command {
    let mut command = rollcall(&["serve", "--config", folder.join("rollcall.toml").to_str().unwrap()]);
    command.env("ROLLCALL__WEBHOOKS__DRAIN_DELAY", delay);
    command
}

impl Served {
    fn start(delay: &str) -> Self {
        Self::with("", delay)
    }

    /// A service with more settings of its source.
    fn with(more: &str, delay: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = settings(folder.path(), "log.level = \"info\"");
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap() + more).unwrap();
        let serve = command(folder.path(), delay);
        Self::by(serve, folder)
    }

    fn by(mut command: Command, folder: TempDir) -> Self {
        let (program, [webhooks, ops]) = Program::serve(&mut command);
        Self { folder, program, webhooks, ops, answered: Vec::new() }
    }

    fn send(&self, number: usize) -> Option<Answer> {
        send(&self.webhooks, number)
    }

    fn deliver(&mut self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            assert_eq!(self.send(number).expect("an answer").outcome(), "applied");
            self.answered.push(number);
        }
    }

    fn connect(&self) -> Wire {
        Wire::to(address(&self.webhooks))
    }

    fn read(&self, path: &str) -> Answer {
        answers::read(&format!("{}{path}", self.ops))
    }

    /// Tells it to drain, and waits until it does.
    fn drain(&self) {
        self.program.signal("TERM");
        self.program.line_with("draining");
    }

    /// Waits for its end, which has to be a good one, and starts it anew.
    #[track_caller]
    fn restarts_well(self) -> (Self, Duration) {
        let (status, took) = self.program.end();
        assert!(status.code() == Some(0) && took < ENDS_WITHIN, "{status} after {took:?}");
        let next = Self::by(command(self.folder.path(), "0s"), self.folder);
        (Self { answered: self.answered, ..next }, took)
    }

    /// The same, and all that was answered is there; how long it took to end.
    #[track_caller]
    fn ends_well(self) -> Duration {
        let (next, took) = self.restarts_well();
        check(&next.webhooks, &next.ops, &next.answered);
        took
    }
}

fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().unwrap()
}

/// Sends a delivery; `None` when there is no whole answer.
fn send(webhooks: &str, number: usize) -> Option<Answer> {
    answers::try_post(&format!("{webhooks}/webhooks/main"), body(number).to_string().as_bytes())
}

/// The bytes of a delivery.
fn request(number: usize) -> Vec<u8> {
    let body = body(number).to_string();
    let (signature, length) = (sign(body.as_bytes()), body.len());
    let head = format!("POST /webhooks/main HTTP/1.1\r\nHost: house\r\nX-MangoApps-Signature: {signature}\r\nContent-Length: {length}");
    format!("{head}\r\n\r\n{body}").into_bytes()
}

/// Sends a delivery on a connection that is kept.
fn deliver_on(wire: &mut Wire, number: usize) -> Answer {
    wire.send(&request(number));
    wire.read().expect("an answer")
}

#[test]
fn a_draining_service_is_unready_and_takes_everything_until_a_second_signal() {
    let mut served = Served::start(LONG);
    let mut kept = served.connect();
    let before = deliver_on(&mut kept, 0);
    assert_eq!((before.outcome(), before.header("connection")), ("applied", None));
    let idle = served.connect();
    served.drain();
    let ready = served.read("/readyz");
    assert_eq!((ready.status, &ready.body["checks"]["serving"]["status"]), (503, &json!("failing")));
    assert_eq!((ready.header("connection"), served.read("/livez").status), (Some("close"), 200));
    let metrics = String::from_utf8(answers::read_bytes(&format!("{}/metrics", served.ops))).unwrap();
    assert!(metrics.lines().any(|line| line == "rollcall_draining 1"), "{metrics}");
    // Whoever keeps a connection is asked to leave it, and who comes on a new one is served.
    let last = deliver_on(&mut kept, 1);
    assert_eq!((last.outcome(), last.header("connection")), ("applied", Some("close")));
    assert_eq!(kept.read(), None, "it is closed");
    for number in 2..20 {
        assert_eq!(deliver_on(&mut served.connect(), number).outcome(), "applied");
    }
    served.answered.extend(0..20);
    served.program.signal("INT");
    served.program.line_with("told again");
    let took = served.ends_well();
    assert!(took < Duration::from_secs(5), "an idle connection held it up: {took:?}");
    drop(idle);
}

#[test]
fn the_delay_passes_by_itself() {
    let mut served = Served::start("1s");
    served.deliver(0..5);
    let began = std::time::Instant::now();
    served.drain();
    served.deliver(5..10);
    served.ends_well();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_delivery_that_is_half_there_when_the_listeners_close_is_taken() {
    let mut served = Served::start("0s");
    let mut wire = served.connect();
    let request = request(0);
    let (half, rest) = request.split_at(request.len() - 100);
    wire.send(half);
    // Whoever comes first is served first: once this is answered, the half is there.
    served.deliver(1..2);
    served.drain();
    until("the listener to be closed", || TcpStream::connect(address(&served.webhooks)).is_err().then_some(()));
    wire.send(rest);
    assert_eq!(wire.read().expect("an answer").outcome(), "applied");
    served.answered.push(0);
    served.ends_well();
}

#[test]
fn under_load_nothing_is_refused_before_the_delay_is_over_and_nothing_answered_is_lost() {
    let mut served = Served::start(LONG);
    let webhooks = served.webhooks.clone();
    let (next, told, taken) = (AtomicUsize::new(0), AtomicBool::new(false), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..SENDERS {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    match send(&webhooks, number) {
                        Some(answer) => {
                            assert_eq!(answer.outcome(), "applied");
                            taken.lock().unwrap().push(number);
                        }
                        None if told.load(Ordering::SeqCst) => return,
                        None => panic!("evt-{number} was not answered while the service drained"),
                    }
                }
            });
        }
        let more = |count: usize| {
            let enough = taken.lock().unwrap().len() + count;
            until("some deliveries", || (taken.lock().unwrap().len() >= enough).then_some(()));
        };
        more(50);
        served.drain();
        more(100);
        told.store(true, Ordering::SeqCst);
        served.program.signal("TERM");
    });
    served.answered = taken.into_inner().unwrap();
    served.ends_well();
}

#[test]
fn a_stream_goes_on_while_the_service_drains_and_ends_with_a_hint_when_to_come_again() {
    let mut served = Served::start(LONG);
    let (ops, stream) = (served.ops.clone(), format!("{}/api/v1/changes/stream?after=0", served.ops));
    served.deliver(0..1);
    std::thread::scope(|scope| {
        let stream = scope.spawn(|| answers::read_bytes(&stream));
        let waiting = scope.spawn(|| answers::read(&format!("{ops}/api/v1/changes?after=2&wait=60")));
        served.drain();
        served.deliver(1..2);
        served.program.signal("TERM");
        let text = String::from_utf8(stream.join().unwrap()).unwrap();
        let events: Vec<_> = text.split_terminator("\n\n").filter(|event| *event != ":").collect();
        assert_eq!(events.len(), 3, "{text}");
        assert!(events[0].starts_with("id: 1\n") && events[1].starts_with("id: 2\n"), "{text}");
        let after: u64 = events[2].strip_prefix("retry: ").expect("a hint").parse().unwrap();
        assert!((500..=10_000).contains(&after), "{text}");
        assert_eq!(waiting.join().unwrap().body, json!({"changes": [], "next": 2}));
    });
    served.ends_well();
}

/// Whether a process would hear of SIGTERM, as the system tells it.
fn listens(program: &Program) -> bool {
    const SIGTERM: u32 = 15;
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.is_some_and(|caught| u64::from_str_radix(caught.trim(), 16).unwrap() >> (SIGTERM - 1) & 1 == 1)
}

#[test]
fn a_start_that_is_called_off_ends_well_at_any_moment() {
    let mut served = Served::start("0s");
    served.deliver(0..300);
    // So that the next start has something to put in order.
    served.program.kill();
    let start = || {
        let program = Program::start(&mut command(served.folder.path(), "0s"));
        // Looked at often: a start may be over in some milliseconds.
        let began = Instant::now();
        while !listens(&program) {
            assert!(began.elapsed() < ENDS_WITHIN, "waited in vain for the service to listen for signals");
            pause(Duration::from_micros(100));
        }
        program
    };
    let (mut program, began) = (start(), Instant::now());
    program.line_with("ready");
    let whole = began.elapsed();
    program.kill();
    let mut luck = SmallRng::seed_from_u64(5);
    let mut called_off = 0;
    for _ in 0..20 {
        let program = start();
        pause(luck.random_range(Duration::ZERO..whole));
        program.signal("TERM");
        if program.line_with("stopped").contains("before it was ready") {
            called_off += 1;
        }
        let (status, took) = program.end();
        assert!(status.code() == Some(0) && took < ENDS_WITHIN, "{status} after {took:?}");
    }
    assert!(called_off > 0, "every start was over before it was called off");
    let (_program, [webhooks, ops]) = Program::serve(&mut command(served.folder.path(), "0s"));
    check(&webhooks, &ops, &served.answered);
}

#[test]
fn a_service_whose_store_is_in_trouble_ends_well() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "log.level = \"info\"");
    let mut served = Served::by(serving_beyond_limits(&file), folder);
    served.deliver(0..30);
    limit_files(&served.program, Some(64 * 1024));
    let refused = (30..10_000).find(|number| {
        let answer = served.send(*number).expect("an answer");
        if answer.status == 200 {
            served.answered.push(*number);
        }
        answer.status == 503
    });
    assert!(refused.is_some(), "nothing was refused");
    served.program.line_with("nothing can be committed");
    served.program.signal("TERM");
    served.ends_well();
}

#[test]
fn a_sweep_that_is_under_way_goes_on_in_the_next_process() {
    let clock = Clock::system();
    let within = RUNTIME.enter();
    let tenant = Tenant::new(250, 7, clock.clone()).shared();
    let api = Api::start(tenant, Rules::documented(API_TOKEN, 1), "127.0.0.1:0".parse().unwrap(), &clock).unwrap();
    drop(within);
    let more = format!("base_url = {:?}\napi_token = {API_TOKEN:?}\nbulk_requests_per_hour = 1\n", api.base_url());
    let served = Served::with(&more, "0s");
    let sweep = |ops: &str| {
        let runs = list(&answers::read(&format!("{ops}/api/v1/reconciliations")), "reconciliations");
        runs.into_iter().find(|run| run["mode"] == "full" && run["progress"]["calls"] == 1)
    };
    let before = until("the sweep to have read a page", || sweep(&served.ops));
    served.program.signal("TERM");
    let (next, _) = served.restarts_well();
    let after = until("the sweep to be taken up", || sweep(&next.ops));
    assert_eq!(after["id"], before["id"]);
    assert!(["waiting", "running"].contains(&after["state"].as_str().unwrap()), "{after}");
}

/// A service that has some MiB to copy.
fn laden() -> Served {
    let mut served = Served::start("0s");
    let mut luck = SmallRng::seed_from_u64(6);
    for number in 0..30 {
        // What cannot be packed.
        let text: String = (0..900_000).map(|_| char::from(luck.random_range(b'a'..=b'z'))).collect();
        let body = json!({"event_id": format!("evt-{}", 1_000_000 + number), "text": text}).to_string();
        assert_eq!(answers::post(&format!("{}/webhooks/main", served.webhooks), body.as_bytes()).outcome(), "quarantined");
    }
    served.deliver(0..20);
    served
}

#[test]
fn a_backup_that_nobody_takes_is_cut_off_when_the_service_ends() {
    let served = laden();
    let mut stalled = Wire::to(address(&served.ops));
    stalled.send(b"GET /api/v1/backup HTTP/1.1\r\nHost: house\r\n\r\n");
    assert_eq!(stalled.read().expect("the head of an answer").status, 200);
    assert_eq!(served.read("/api/v1/backup").code(), "backup_running");
    served.program.signal("TERM");
    served.ends_well();
}

#[test]
fn a_compaction_is_called_off_when_the_service_ends_or_comes_to_its_end() {
    let served = laden();
    let url = format!("{}/api/v1/compaction", served.ops);
    std::thread::scope(|scope| {
        let compaction = scope.spawn(|| answers::try_ask(&url));
        pause(Duration::from_millis(20));
        served.program.signal("TERM");
        let answer = compaction.join().unwrap();
        let is_told = |answer: &Answer| answer.status == 200 || (answer.status, answer.code()) == (503, "unavailable");
        assert!(answer.as_ref().is_none_or(is_told), "{answer:?}");
    });
    served.ends_well();
}
