//! A service whose process has no file descriptor left: it takes no connection or answers 503, tells no lie, and needs no restart.

use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::answers::{Answer, sign};
use crate::house::until;
use crate::kill::{body, check};
use crate::program::{Program, rollcall, run, serving_beyond_limits, settings, text};
use crate::wire::Wire;

/// How soon after descriptors returned deliveries have to be taken again.
const HEALED_WITHIN: Duration = Duration::from_secs(5);
/// How long a connection is listened to that nobody may have taken.
const HEAR: Duration = Duration::from_millis(200);
/// Descriptors that are free when the limit falls.
const SPARE: usize = 6;
/// The fewest that a service starts with.
const NEEDED: usize = 128;

/// A service, and what it answered 200.
struct Served {
    program: Program,
    webhooks: String,
    ops: String,
    next: usize,
    answered: Vec<usize>,
    unanswered: Vec<usize>,
}

impl Served {
    fn start(command: &mut Command) -> Self {
        let (program, [webhooks, ops]) = Program::serve(command);
        Self { program, webhooks, ops, next: 0, answered: Vec::new(), unanswered: Vec::new() }
    }

    fn connect(&self) -> Wire {
        Wire::to(self.webhooks.trim_start_matches("http://").parse().unwrap())
    }

    /// Delivers an event on a connection, and notes what was answered, if anything was.
    fn deliver(&mut self, wire: &mut Wire, number: usize) -> Option<Answer> {
        let answer = send(wire, number);
        match &answer {
            Some(answer) if answer.status == 200 => self.answered.push(number),
            _ => self.unanswered.push(number),
        }
        answer
    }

    /// Delivers the next event on a connection.
    fn deliver_next(&mut self, wire: &mut Wire) -> Option<Answer> {
        self.next += 1;
        self.deliver(wire, self.next - 1)
    }

    /// Delivers to a service that lacks nothing.
    #[track_caller]
    fn deliver_well(&mut self, wire: &mut Wire) {
        for _ in 0..10 {
            assert_eq!(self.deliver_next(wire).expect("an answer").outcome(), "applied");
        }
    }

    fn process(&self) -> Pid {
        Pid::from_raw(self.program.id().try_into().unwrap()).unwrap()
    }

    /// Limits the service from now on; `None` gives back what this process may have.
    fn limit(&self, what: Resource, most: Option<u64>) {
        let ours = getrlimit(what);
        prlimit(Some(self.process()), what, Rlimit { current: most.or(ours.current), ..ours }).unwrap();
    }

    /// How many descriptors are open, and one more than the greatest of them.
    fn open(&self) -> (usize, usize) {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.program.id())).unwrap();
        let open: Vec<usize> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
        (open.len(), open.iter().max().unwrap() + 1)
    }

    /// Leaves a few descriptors, and opens connections until none is left.
    fn exhaust(&self) -> Vec<Wire> {
        let (open, end) = self.open();
        let most = end + SPARE;
        self.limit(Resource::Nofile, Some(most as u64));
        let held = (0..=most - open).map(|_| self.connect()).collect();
        until("no descriptor to be left", || (self.open().0 == most).then_some(()));
        held
    }

    /// Takes deliveries on new connections within the time that healing may take, and then what had no 200 before.
    fn heal(&mut self) {
        let (began, number) = (Instant::now(), self.next);
        self.next += 1;
        until("a 200", || send(&mut self.connect(), number).filter(|answer| answer.status == 200));
        assert!(began.elapsed() < HEALED_WITHIN, "it took {:?}", began.elapsed());
        self.answered.push(number);
        let mut wire = self.connect();
        self.deliver_well(&mut wire);
        for number in std::mem::take(&mut self.unanswered) {
            // Its connection may have been taken after all. Whether a duplicate truly is one is checked in the end.
            self.deliver(&mut wire, number).expect("an answer").outcome();
        }
    }

    /// Everything that was answered 200 is there, now and after a restart.
    fn check(mut self, command: &mut Command) {
        check(&self.webhooks, &self.ops, &self.answered);
        self.program.kill();
        let (_program, [webhooks, ops]) = Program::serve(command);
        check(&webhooks, &ops, &self.answered);
    }
}

/// Sends an event on a connection: 200, 503, or no answer.
fn send(wire: &mut Wire, number: usize) -> Option<Answer> {
    let body = body(number).to_string();
    let (signature, length) = (sign(body.as_bytes()), body.len());
    let head = format!("POST /webhooks/main HTTP/1.1\r\nHost: house\r\nX-MangoApps-Signature: {signature}\r\nContent-Length: {length}");
    wire.send(format!("{head}\r\n\r\n{body}").as_bytes());
    let answer = wire.read()?;
    assert!(answer.status == 200 || (answer.status, answer.code()) == (503, "unavailable"), "{answer:?}");
    Some(answer)
}

/// How to serve below a limit, hard (`-n`) or soft (`-Sn`).
fn limited(file: &str, which: &str, most: usize) -> Command {
    let mut command = Command::new("sh");
    command.env_clear().args(["-c", &format!("ulimit {which} {most}; exec \"$0\" \"$@\"")]);
    command.arg(rollcall(&[]).get_program()).args(["serve", "--config", file]);
    command
}

#[test]
fn a_service_without_descriptors_takes_no_new_connection_and_heals_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "log.level = \"info\"");
    let command = || rollcall(&["serve", "--config", &file]);
    let mut served = Served::start(&mut command());
    for closing in [true, false, true] {
        let mut established = served.connect();
        served.deliver_well(&mut established);
        let held = served.exhaust();
        for _ in 0..3 {
            served.deliver_next(&mut served.connect().within(HEAR));
            served.deliver_next(&mut established);
        }
        assert!(!served.unanswered.is_empty(), "there were descriptors");
        if closing {
            drop(held);
        } else {
            served.limit(Resource::Nofile, None);
        }
        served.heal();
        served.limit(Resource::Nofile, None);
    }
    served.check(&mut command());
}

#[test]
fn a_store_that_failed_without_descriptors_heals_once_there_are_some() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "log.level = \"info\"");
    let command = || serving_beyond_limits(&file);
    let mut served = Served::start(&mut command());
    let mut wire = served.connect();
    served.deliver_well(&mut wire);
    // No new descriptor, and no longer file.
    served.limit(Resource::Nofile, Some(1));
    served.limit(Resource::Fsize, Some(64 * 1024));
    let refused = (0..10_000).find(|_| served.deliver_next(&mut wire).expect("an answer").status == 503);
    assert!(refused.is_some(), "nothing was refused");
    // Room alone does not always help: a store that has to open its files anew cannot yet.
    served.limit(Resource::Fsize, None);
    for _ in 0..20 {
        served.deliver_next(&mut wire).expect("an answer");
    }
    served.limit(Resource::Nofile, None);
    served.heal();
    served.check(&mut command());
}

#[test]
fn a_start_with_too_few_descriptors_fails_with_one_line_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "log.level = \"info\"");
    for most in [4, 6, 8, 9, 12, 15, 16, 20, 24, 33, 64, NEEDED - 1] {
        let output = run(&mut limited(&file, "-n", most), b"");
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(1), 1), "with {most}: {said}");
        assert!(said.contains("ulimit -n") && said.contains(&NEEDED.to_string()), "with {most}: {said}");
    }
    let mut served = Served::start(&mut limited(&file, "-n", NEEDED));
    let mut wire = served.connect();
    served.deliver_well(&mut wire);
    served.check(&mut limited(&file, "-n", NEEDED));
}

#[test]
fn a_service_takes_all_the_descriptors_that_it_may_have() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "log.level = \"info\"");
    let mut served = Served::start(&mut limited(&file, "-Sn", NEEDED));
    let idle: Vec<Wire> = (0..=NEEDED).map(|_| served.connect()).collect();
    served.deliver_well(&mut served.connect());
    drop(idle);
    served.check(&mut limited(&file, "-Sn", NEEDED));
}
