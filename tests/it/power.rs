//! Power cuts: whatever a disk keeps of what was not synced, nothing acknowledged is lost and the store opens.
//!
//! A child commits under strace; from its calls [`disk`] rebuilds what may lie on the disk at any moment, and [`workload`] opens and
//! judges it. `scripts/prove` cuts more often.

mod disk;
mod workload;

use std::fmt;
use std::fs;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::{Mutex, mpsc};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use self::disk::{Disk, Image, Manner};
use self::workload::Said;
use crate::program::told;
use crate::trace::{self, Call};

/// Cuts of one recording.
const CUTS: u64 = 240;
/// Every so often a store goes on after its cut, and is opened once more.
const GO_ON_EVERY: u64 = 4;

/// One run of the child: how many groups it commits, and whether it is killed then.
struct Run(usize, bool);

/// Runs of the child on one folder, the first of which found `base` there, of which so much had been said.
struct Recording {
    root: PathBuf,
    base: Image,
    said: Said,
    steps: Vec<Step>,
    /// Steps before which something waits to be synced; and those of them while the store is opened or closed.
    dirty: Vec<usize>,
    quiet: Vec<usize>,
}

/// What happened at one line of the traces.
enum Step {
    Begin(Rc<Call>),
    End(Rc<Call>),
    Said(String, u64),
    ProcessEnded(usize),
}

impl Step {
    /// Does to the disk what was done at this line.
    fn play(&self, disk: &mut Disk) {
        match self {
            Self::Begin(call) => disk.begin(call),
            Self::End(call) => disk.end(call),
            Self::ProcessEnded(line) => disk.process_ended(*line),
            Self::Said(..) => {}
        }
    }
}

/// A moment without power.
struct Cut {
    seed: u64,
    recording: usize,
    /// Steps of the recording before it.
    moment: usize,
    manner: Manner,
}

impl Cut {
    /// What it leaves of a disk; always the same.
    fn image(&self, disk: &Disk) -> Image {
        disk.image(self.manner, &mut SmallRng::seed_from_u64(self.seed))
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seed {}: recording {}, cut before step {}, unsynced data {:?}", self.seed, self.recording, self.moment, self.manner)
    }
}

/// The store's folder below a recording's root: two new folders deep.
fn store_in(root: &Path) -> PathBuf {
    root.join("some").join("store")
}

fn say(word: &str, number: u64) {
    // The test harness may have begun a line.
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n{word} {number}").unwrap();
}

/// Not a test of its own: commits, says what it did, and ends as it is told.
#[test]
#[ignore = "the child that is recorded"]
fn child() {
    let mut order = String::new();
    std::io::stdin().lock().read_line(&mut order).unwrap();
    let [folder, groups, killed] = order.trim_end().split('\t').collect::<Vec<_>>().try_into().unwrap();
    let store = workload::open(Path::new(folder)).unwrap();
    (0..groups.parse().unwrap()).for_each(|_: usize| workload::step(&store, say));
    if killed == "true" {
        let (begun, heard) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                begun.send(()).unwrap();
                workload::step(&store, say);
            });
            heard.recv().unwrap();
            let moments = SmallRng::from_os_rng().random_range(0..20_000);
            (0..moments).for_each(|_| std::hint::spin_loop());
            std::process::abort();
        });
    }
}

impl Recording {
    /// Runs the child, and keeps what it did in `folder`.
    fn make(folder: &Path, base: &Image, said: Said, runs: &[Run]) {
        let root = folder.join("root");
        fs::create_dir_all(&root).unwrap();
        fs::create_dir(folder.join("base")).unwrap();
        disk::restore(base, &folder.join("base"));
        disk::restore(base, &root);
        for (place, Run(groups, killed)) in runs.iter().enumerate() {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "power::child", "--ignored", "--nocapture"]);
            let mut traced = trace::traced(&child, &folder.join(format!("trace-{place}")));
            let mut child = traced.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            writeln!(child.stdin.take().unwrap(), "{}\t{groups}\t{killed}", store_in(&root).display()).unwrap();
            let output = child.wait_with_output().unwrap();
            let heard = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() || *killed && output.status.code().is_none(), "the child failed: {} {heard}", output.status);
        }
        let Said { acknowledged, forgetting } = said;
        fs::write(folder.join("was"), format!("{acknowledged} {forgetting} {}", root.display())).unwrap();
        fs::remove_dir_all(root).unwrap();
    }

    /// Reads what [`Recording::make`] kept.
    fn read(folder: &Path) -> Self {
        let was = fs::read_to_string(folder.join("was")).unwrap();
        let [acknowledged, forgetting, root] = was.splitn(3, ' ').collect::<Vec<_>>().try_into().unwrap();
        let said = Said { acknowledged: acknowledged.parse().unwrap(), forgetting: forgetting.parse().unwrap() };
        let root = PathBuf::from(root);
        let mut steps = Vec::new();
        let mut next = 0;
        for place in 0.. {
            let file = folder.join(format!("trace-{place}"));
            if !file.exists() {
                break;
            }
            let (calls, end) = trace::read(&file, next);
            next = end + 1;
            steps.extend(calls.into_iter().filter(|call| concerns(call, &root)).flat_map(steps_of));
            steps.push((end, Step::ProcessEnded(end)));
        }
        // What begins and returns in one line does so in this order: the sort keeps it.
        steps.sort_by_key(|(line, _)| *line);
        let steps = steps.into_iter().map(|(_, step)| step).collect();
        let base = image_of(&folder.join("base"));
        let mut recording = Self { root, base, said, steps, dirty: Vec::new(), quiet: Vec::new() };
        recording.find_moments();
        recording
    }

    /// A moment when something waits to be synced; every third one while the store is opened or closed.
    fn moment(&self, random: &mut SmallRng) -> usize {
        let moments = if random.random_bool(1.0 / 3.0) { &self.quiet } else { &self.dirty };
        moments[random.random_range(0..moments.len())]
    }

    /// Finds the moments when something waits to be synced, and among them those before the first and after the last commit of a run.
    fn find_moments(&mut self) {
        let mut disk = Disk::new(&self.root, &self.base);
        let (mut since_commit, mut committed) = (Vec::new(), false);
        for (place, step) in self.steps.iter().enumerate() {
            if disk.is_dirty() {
                self.dirty.push(place);
                since_commit.push(place);
            }
            step.play(&mut disk);
            match step {
                Step::Said(..) => {
                    self.quiet.extend(since_commit.drain(..).filter(|_| !committed));
                    committed = true;
                }
                Step::ProcessEnded(_) => {
                    self.quiet.append(&mut since_commit);
                    committed = false;
                }
                Step::Begin(_) | Step::End(_) => {}
            }
        }
    }

    /// Walks to each of `cuts`, which are in order of their moments, and hands over what is left then.
    fn cut<'a>(&self, cuts: impl Iterator<Item = &'a Cut>, mut each: impl FnMut(&'a Cut, &Disk, Said)) {
        let (mut disk, mut said, mut done) = (Disk::new(&self.root, &self.base), self.said, 0);
        for cut in cuts {
            for step in self.steps.iter().take(cut.moment).skip(done) {
                step.play(&mut disk);
                match step {
                    Step::Said(word, number) if word == "acknowledged" => said.acknowledged = *number,
                    Step::Said(_, number) => said.forgetting = *number,
                    _ => {}
                }
            }
            done = cut.moment;
            each(cut, &disk, said);
        }
    }
}

fn concerns(call: &Call, root: &Path) -> bool {
    let root = root.to_string_lossy();
    call.name == "openat" || call.name == "write" || call.arguments.iter().take(4).any(|argument| argument.contains(root.as_ref()))
}

fn steps_of(call: Call) -> Vec<(usize, Step)> {
    if call.name == "write" && call.arguments[0].starts_with("1<") {
        let text = String::from_utf8(call.bytes(1)).unwrap();
        let heard = text.lines().filter_map(|line| {
            let (word, number) = line.split_once(' ').filter(|(word, _)| ["acknowledged", "forgetting"].contains(word))?;
            Some((call.began, Step::Said(word.to_owned(), number.parse().ok()?)))
        });
        return heard.collect();
    }
    let call = Rc::new(call);
    let end = call.ended.map(|ended| (ended, Step::End(Rc::clone(&call))));
    [(call.began, Step::Begin(call))].into_iter().chain(end).collect()
}

fn image_of(folder: &Path) -> Image {
    let (mut image, mut open) = (Image::new(), vec![folder.to_owned()]);
    while let Some(at) = open.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            let content = path.is_file().then(|| fs::read(&path).unwrap());
            image.insert(path.strip_prefix(folder).unwrap().to_owned(), content);
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    image
}

/// Two recordings: a new store that is killed, opened again, ended well and opened again; and one that goes on from a power cut.
fn record(folder: &Path, luck: &mut SmallRng) {
    let [first, second] = ["0", "1"].map(|number| folder.join(number));
    let mut run = |killed| Run(luck.random_range(8..24), killed);
    let runs = [run(true), run(false), run(true)];
    Recording::make(&first, &Image::new(), Said::default(), &runs);
    let first = Recording::read(&first);
    let moment = first.moment(luck).max(first.steps.len() / 3);
    let cut = Cut { seed: luck.random(), recording: 0, moment, manner: Manner::Torn(4096) };
    let mut run = |killed| Run(luck.random_range(8..24), killed);
    let runs = [run(true), run(true)];
    first.cut([&cut].into_iter(), |cut, disk, said| Recording::make(&second, &cut.image(disk), said, &runs));
}

fn cuts(recordings: &[Recording], seeds: impl Iterator<Item = u64>) -> Vec<Cut> {
    let cut = |seed| {
        let mut random = SmallRng::seed_from_u64(seed);
        let recording = usize::from(random.random_bool(0.3));
        Cut { seed, recording, moment: recordings[recording].moment(&mut random), manner: Manner::any(&mut random) }
    };
    let mut cuts: Vec<Cut> = seeds.map(cut).collect();
    cuts.sort_by_key(|cut| (cut.recording, cut.moment));
    cuts
}

/// Opens what a cut left; what is wrong with it.
fn judge(cut: &Cut, image: &Image, said: Said) -> Result<(), String> {
    let root = tempfile::tempdir().unwrap();
    disk::restore(image, root.path());
    let folder = store_in(root.path());
    let judged = catch_unwind(AssertUnwindSafe(|| {
        let store = workload::open(&folder).map_err(|error| error.to_string())?;
        let end = workload::check(&store, said);
        if cut.seed.is_multiple_of(GO_ON_EVERY) {
            (0..2).for_each(|_| workload::step(&store, |_, _| {}));
            drop(store);
            let store = workload::open(&folder).map_err(|error| format!("once more: {error}"))?;
            let said = Said { acknowledged: end + 2, forgetting: u64::MAX };
            workload::check(&store, said);
        }
        Ok(())
    }));
    judged.unwrap_or_else(|panic| Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".to_owned())))
}

/// Judges all cuts, two at a time; returns a line for each that lost something, and how many found something unsynced.
fn judged(recordings: &[Recording], cuts: &[Cut]) -> (Vec<String>, usize) {
    let mut telling = 0;
    let (sender, images) = mpsc::sync_channel::<(&Cut, Image, Said)>(2);
    let (images, failures) = (Mutex::new(images), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = images.lock().unwrap().recv();
                    let Ok((cut, image, said)) = next else { return };
                    if let Err(what) = judge(cut, &image, said) {
                        failures.lock().unwrap().push(format!("{cut}; {said:?}: {what}"));
                    }
                }
            });
        }
        for (number, recording) in recordings.iter().enumerate() {
            recording.cut(cuts.iter().filter(|cut| cut.recording == number), |cut, disk, said| {
                telling += usize::from(disk.is_dirty());
                sender.send((cut, cut.image(disk), said)).unwrap();
            });
        }
        drop(sender);
    });
    (failures.into_inner().unwrap(), telling)
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    if let Some(kept) = told("ROLLCALL_RECORDING") {
        let recordings = [0, 1].map(|number| Recording::read(&Path::new(&kept).join(number.to_string())));
        let seed = told("ROLLCALL_SEED").expect("ROLLCALL_SEED").parse().unwrap();
        let (failures, _) = judged(&recordings, &cuts(&recordings, seed..=seed));
        assert!(failures.is_empty(), "{failures:#?}");
        return;
    }
    let wanted = told("ROLLCALL_CUTS").map_or(CUTS, |cuts| cuts.parse().unwrap());
    for first in (0..wanted).step_by(CUTS as usize) {
        let folder = tempfile::tempdir().unwrap();
        record(folder.path(), &mut SmallRng::seed_from_u64(first));
        let recordings = [0, 1].map(|number| Recording::read(&folder.path().join(number.to_string())));
        let cuts = cuts(&recordings, first..wanted.min(first + CUTS));
        let (failures, telling) = judged(&recordings, &cuts);
        println!("{} cuts, {telling} of them while something was not synced: {} lost something", cuts.len(), failures.len());
        assert!(failures.is_empty(), "{} cuts lost something; {}\n{failures:#?}", failures.len(), again(folder));
        assert!(telling > cuts.len() * 9 / 10, "only {telling} of {} cuts could have lost anything", cuts.len());
    }
}

/// Keeps the recording of a failure, the newest one only, and tells how to run a cut of it once more.
fn again(folder: tempfile::TempDir) -> String {
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("power-cuts");
    drop(fs::remove_dir_all(&kept));
    let copied = Command::new("cp").arg("-r").args([folder.path(), &kept]).status().unwrap();
    assert!(copied.success(), "the recording could not be kept");
    format!("one again: ROLLCALL_RECORDING={} ROLLCALL_SEED=… cargo test --test it power_cuts", kept.display())
}
