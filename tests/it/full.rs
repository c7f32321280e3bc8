//! A disk that fills up under a whole service: 503 without a lie, reads that go on, and no restart once there is room.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;

use crate::answers::{self, Answer};
use crate::house::until;
use crate::kill::{body, check};
use crate::program::{Program, rollcall, serving_beyond_limits, settings};

/// How soon after room returned deliveries have to be taken again.
const HEALED_WITHIN: Duration = Duration::from_secs(5);

/// A service, and what it answered 200.
struct Served {
    program: Program,
    webhooks: String,
    ops: String,
    next: usize,
    answered: Vec<usize>,
}

impl Served {
    fn start(command: &mut Command) -> Self {
        let (program, [webhooks, ops]) = Program::serve(command);
        Self { program, webhooks, ops, next: 0, answered: Vec::new() }
    }

    fn send(&self, number: usize) -> Answer {
        answers::post(&format!("{}/webhooks/main", self.webhooks), body(number).to_string().as_bytes())
    }

    /// Delivers so many events, all of which have to be taken.
    fn deliver(&mut self, count: usize) {
        for number in self.next..self.next + count {
            assert_eq!(self.send(number).outcome(), "applied");
            self.answered.push(number);
        }
        self.next += count;
    }

    /// Delivers until one is refused; the number of that one.
    fn deliver_until_refused(&mut self) -> usize {
        for refused in self.next..self.next + 10_000 {
            self.next = refused + 1;
            let answer = self.send(refused);
            if answer.status != 200 {
                assert_eq!((answer.status, answer.code()), (503, "unavailable"), "{}", answer.body);
                assert!(answer.header("retry-after").is_some());
                return refused;
            }
            assert_eq!(answer.outcome(), "applied");
            self.answered.push(refused);
        }
        panic!("nothing was refused");
    }

    /// Sends again what was refused until it is taken: soon, now that there is room.
    fn take(&mut self, refused: usize) {
        let began = Instant::now();
        until("a 200", || (self.send(refused).status == 200).then_some(()));
        assert!(began.elapsed() < HEALED_WITHIN, "it took {:?}", began.elapsed());
        self.answered.push(refused);
        assert_eq!(self.ready(), 200);
    }

    fn ready(&self) -> u16 {
        answers::read(&format!("{}/readyz", self.ops)).status
    }

    /// Everything that was answered 200 is there, now and after a restart.
    fn check(mut self, command: &mut Command) {
        check(&self.webhooks, &self.ops, &self.answered);
        self.program.kill();
        let (_program, [webhooks, ops]) = Program::serve(command);
        check(&webhooks, &ops, &self.answered);
    }
}

/// A small file system of its own; unmounted in the end. `None` where nothing can be mounted: that wants root.
struct Volume(TempDir);

impl Volume {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "tmpfs"]).arg(folder.path()).output();
        if mounted.as_ref().is_ok_and(|mounted| mounted.status.success()) {
            return Some(Self(folder));
        }
        // Straight to stderr: what a test prints is not shown while it passes.
        let told = "NOT PROVEN ON A FULL DISK: no file system can be mounted here, only a limit on files was tried";
        std::io::stderr().write_all(format!("{told} ({mounted:?})\n").as_bytes()).unwrap();
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(self.path()).output());
    }
}

#[test]
fn a_full_disk_refuses_deliveries_and_nothing_else_and_room_is_all_it_takes() {
    let Some(volume) = Volume::mount() else { return };
    let file = settings(volume.path(), "log.level = \"info\"");
    let command = || rollcall(&["serve", "--config", &file]);
    let mut served = Served::start(&mut command());
    served.deliver(30);
    for _ in 0..2 {
        let filler = volume.path().join("filler");
        let mut file = File::create(&filler).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
        drop(file);
        let refused = served.deliver_until_refused();
        assert_eq!(served.ready(), 503);
        until("reads to go on", || {
            let user = answers::read(&format!("{}/api/v1/users/E1", served.ops));
            (user.status == 200 && user.body["user"]["uid"] == "E1").then_some(())
        });
        assert_eq!(served.send(3).outcome(), "duplicate", "this needs no room");
        assert_eq!(served.send(refused).status, 503, "no false duplicate");
        fs::remove_file(&filler).unwrap();
        served.take(refused);
        served.deliver(30);
    }
    served.check(&mut command());
}

/// Limits how long a process's files may grow: without any privilege, its writes fail as they do on a full disk.
pub(crate) fn limit_files(program: &Program, bytes: Option<u64>) {
    let process = Pid::from_raw(program.id().try_into().unwrap());
    prlimit(process, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

#[test]
fn writes_that_fail_are_answered_503_until_they_succeed_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = settings(folder.path(), "log.level = \"info\"");
    let command = || serving_beyond_limits(&file);
    let mut served = Served::start(&mut command());
    served.deliver(30);
    for _ in 0..3 {
        limit_files(&served.program, Some(64 * 1024));
        let refused = served.deliver_until_refused();
        limit_files(&served.program, None);
        served.take(refused);
        let healed = served.program.line_with("the store commits again");
        assert!(healed.contains("anew=true"), "{healed}");
        served.deliver(30);
    }
    served.check(&mut command());
}
