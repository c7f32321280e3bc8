//! `kill -9` of a whole service, in each scene of its life: nothing that was answered 200 is lost, doubled or torn.

mod ledger;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::ledger::{Ledger, kept_from};
pub(crate) use self::ledger::{body, check};
use crate::answers;
use crate::house::{PATIENCE, until};
use crate::program::{Program, pause, rollcall, settings, told};

/// Kills in all scenes together.
const KILLS: usize = 120;
/// Kills of services on one store, at most.
const KILLS_A_STORE: usize = 40;
const SENDERS: usize = 4;
/// Kills in start-up between two services that are let live.
const STARTS: usize = 4;
/// A service that has something to forget begins with it after fewer answers than this.
const FORGETS_WITHIN: usize = 5_000;
/// What is forgotten in [`Scene::Expiry`] is at least so old.
const KEEP: Duration = Duration::from_secs(1);

/// Where in its life a service is killed. A new scene is a variant here and in [`Scene::ALL`], its settings, its way to kill in
/// [`Chain::kill`], and a test.
#[derive(Clone, Copy, Debug)]
enum Scene {
    /// While it takes deliveries from several senders.
    Load,
    /// From the moment it is started to a moment after it says that it is ready; the first times while it makes its store.
    StartUp,
    /// While it forgets what is old.
    Expiry,
    /// While it compacts its store and takes deliveries from several senders.
    Compaction,
}

impl Scene {
    const ALL: [Self; 4] = [Self::Load, Self::StartUp, Self::Expiry, Self::Compaction];

    /// As the tests' names end.
    fn name(self) -> &'static str {
        match self {
            Self::Load => "kill_9_under_load",
            Self::StartUp => "kill_9_in_start_up",
            Self::Expiry => "kill_9_in_expiry",
            Self::Compaction => "kill_9_in_compaction",
        }
    }

    fn settings(self) -> &'static str {
        match self {
            Self::Load | Self::StartUp | Self::Compaction => "",
            Self::Expiry => "store.remember_deliveries = \"1s\"\nstore.remember_changes = \"1s\"",
        }
    }

    fn keep(self) -> Option<Duration> {
        match self {
            Self::Load | Self::StartUp | Self::Compaction => None,
            Self::Expiry => Some(KEEP),
        }
    }
}

/// Services that are killed one after the other on one store.
struct Chain {
    scene: Scene,
    file: String,
    luck: SmallRng,
    ledger: Ledger,
    kills: usize,
    /// How long the last one took to be ready.
    start: Duration,
    /// In [`Scene::Expiry`]: the answers after which a service begins to forget.
    forgets_after: Option<usize>,
    /// In [`Scene::Compaction`]: how long the last one took that came to its end, and how many did not.
    compaction: Option<Duration>,
    cut: usize,
}

impl Chain {
    fn new(scene: Scene, seed: u64, folder: &Path) -> Self {
        let file = settings(folder, &format!("log.level = \"info\"\n{}", scene.settings()));
        let (luck, ledger) = (SmallRng::seed_from_u64(seed), Ledger::new(scene.keep()));
        Self { scene, file, luck, ledger, kills: 0, start: Duration::from_millis(200), forgets_after: None, compaction: None, cut: 0 }
    }

    fn command(&self) -> Command {
        rollcall(&["serve", "--config", &self.file])
    }

    /// Starts a service and checks what those before it have left.
    fn serve(&mut self) -> (Program, [String; 2]) {
        let began = Instant::now();
        let (program, at) = Program::serve(&mut self.command());
        self.start = began.elapsed();
        self.ledger.check(at.each_ref().map(String::as_str));
        (program, at)
    }

    /// Kills once, or a few times, as the scene has it.
    fn kill(&mut self) {
        match self.scene {
            Scene::Load => {
                let enough = self.luck.random_range(1..150);
                self.kill_under_load(SENDERS, enough);
            }
            Scene::StartUp => {
                for _ in 0..STARTS {
                    self.kill_in_start_up();
                }
                // So that the next ones have something to find.
                let enough = self.luck.random_range(1..40);
                self.kill_under_load(SENDERS, enough);
            }
            Scene::Expiry => match self.forgets_after {
                // One sender's deliveries are one commit each, so every service gets about as far as the one before it.
                Some(answers) if self.luck.random_bool(0.7) => {
                    let around = self.luck.random_range(answers.saturating_sub(1)..=answers);
                    self.kill_under_load(1, around);
                }
                Some(answers) => {
                    let enough = self.luck.random_range(1..2 * answers);
                    self.kill_under_load(SENDERS, enough);
                }
                None => self.learn_when_it_forgets(),
            },
            Scene::Compaction => self.kill_in_compaction(),
        }
    }

    /// Kills a service soon after it has answered so many deliveries.
    fn kill_under_load(&mut self, senders: usize, enough: usize) {
        let (mut program, [webhooks, _]) = self.serve();
        let late = Duration::from_micros(self.luck.random_range(0..4_000));
        self.under_load(&webhooks, (senders, enough), || {
            pause(late);
            program.kill();
        });
        self.kills += 1;
    }

    /// Sends from several senders at once until the service is gone, which `end` sees to: it is called when so many deliveries are answered.
    fn under_load<T>(&self, webhooks: &str, (senders, enough): (usize, usize), end: impl FnOnce() -> T) -> T {
        let (reached, heard) = channel();
        std::thread::scope(|scope| {
            for _ in 0..senders {
                let reached = reached.clone();
                scope.spawn(move || {
                    while self.ledger.send(webhooks).is_some() {
                        if self.ledger.fresh() >= enough {
                            // Only the first one is heard.
                            reached.send(()).ok();
                        }
                    }
                });
            }
            drop(reached);
            heard.recv_timeout(PATIENCE).expect("enough answers");
            end()
        })
    }

    /// Kills a service at any moment from its first on: before it says that it is ready, or just then.
    fn kill_in_start_up(&mut self) {
        if self.luck.random_bool(0.25) {
            let (mut program, _) = Program::serve(&mut self.command());
            pause(Duration::from_micros(self.luck.random_range(0..4_000)));
            program.kill();
        } else {
            let mut program = Program::start(&mut self.command());
            pause(self.start.mul_f64(self.luck.random_range(0.0..1.2)));
            program.kill();
        }
        self.kills += 1;
    }

    /// Kills a service at any moment of a compaction, or just behind it; the first one may come to its end.
    fn kill_in_compaction(&mut self) {
        let (mut program, [webhooks, ops]) = self.serve();
        let (enough, share) = (self.luck.random_range(1..60), self.luck.random_range(0.0..1.4));
        let late = self.compaction.map(|took| took.mul_f64(share));
        let took = self.under_load(&webhooks, (SENDERS, enough), || {
            let began = Instant::now();
            std::thread::scope(|scope| {
                let compacted =
                    scope.spawn(|| answers::try_ask(&format!("{ops}/api/v1/compaction")).map(|answer| (answer, began.elapsed())));
                match late {
                    Some(late) => pause(late),
                    None => until("a compaction", || compacted.is_finished().then_some(())),
                }
                program.kill();
                compacted.join().unwrap()
            })
        });
        self.kills += 1;
        match took {
            Some((answer, took)) => {
                assert_eq!(answer.status, 200, "{}", answer.body);
                self.compaction = Some(took);
            }
            None => self.cut += 1,
        }
    }

    /// Counts how many answers it takes, with one sender, until a service that has something to forget forgets it.
    fn learn_when_it_forgets(&mut self) {
        self.kill_under_load(SENDERS, 100);
        let (mut program, [webhooks, ops]) = self.serve();
        let began = Instant::now();
        until("everything to be old", || (began.elapsed() > KEEP).then_some(()));
        let (from, before) = (kept_from(&ops, 0, self.ledger.cursor()), self.ledger.fresh());
        while kept_from(&ops, from, self.ledger.cursor()) == from {
            self.ledger.send(&webhooks).expect("an answer");
            assert!(self.ledger.fresh() - before < FORGETS_WITHIN, "it never forgets");
        }
        self.forgets_after = Some(self.ledger.fresh() - before);
        program.kill();
        self.kills += 1;
    }

    /// Looks once more at everything.
    fn end(&mut self) {
        let (_program, at) = self.serve();
        self.ledger.check_all(at.each_ref().map(String::as_str));
        if self.scene.keep().is_some() {
            assert!(kept_from(&at[1], 0, self.ledger.cursor()) > 0, "nothing was ever forgotten");
        }
        let several = matches!(self.scene, Scene::Compaction) && self.kills > 10;
        assert!(!several || self.cut > self.kills / 4, "only {} compactions were cut short", self.cut);
    }
}

/// Kills services of one scene, its share of all kills; what fails tells how to do it once more.
#[expect(clippy::print_stdout, reason = "who asks for many kills wants to see them go on")]
fn kill(scene: Scene) {
    let told = |name| told(name).map(|number| number.parse::<usize>().unwrap());
    let wanted = told("ROLLCALL_KILLS").unwrap_or(KILLS).div_ceil(Scene::ALL.len());
    // A seed is the number of the first kill on its store.
    let (first, end) = told("ROLLCALL_SEED").map_or((0, wanted), |seed| (seed, seed + KILLS_A_STORE));
    for seed in (first..end).step_by(KILLS_A_STORE) {
        let folder = tempfile::tempdir().unwrap();
        let mut chain = Chain::new(scene, seed as u64, folder.path());
        let ended = catch_unwind(AssertUnwindSafe(|| {
            while chain.kills < KILLS_A_STORE.min(end - seed) {
                chain.kill();
            }
            chain.end();
        }));
        let (name, kills) = (scene.name(), chain.kills);
        if let Err(panic) = ended {
            let what = panic.downcast_ref::<String>().cloned().unwrap_or_default();
            let again = format!("ROLLCALL_SEED={seed} cargo test --test it {name}");
            panic!("{what}, after {kills} kills\nthe store is kept in {}; once more: {again}", folder.keep().display());
        }
        println!("{name}: {kills} kills, {} deliveries answered 200, nothing is lost", chain.ledger.answered());
    }
}

#[test]
fn nothing_answered_is_lost_doubled_or_torn_by_kill_9_under_load() {
    kill(Scene::Load);
}

#[test]
fn nothing_answered_is_lost_doubled_or_torn_by_kill_9_in_start_up() {
    kill(Scene::StartUp);
}

#[test]
fn nothing_is_lost_before_its_time_by_kill_9_in_expiry() {
    kill(Scene::Expiry);
}

#[test]
fn nothing_answered_is_lost_doubled_or_torn_by_kill_9_in_compaction() {
    kill(Scene::Compaction);
}
