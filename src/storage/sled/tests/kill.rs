//! `kill -9` at any moment: nothing acknowledged is lost, and every group is whole.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::batches::{SOURCE, change, closed, delivery, gap, record, stored};
use crate::directory::{Outcome, Reason, Record};
use crate::storage::entry::Numbers;
use crate::storage::{Batch, Store};

const KILLS: usize = 60;
const USERS: u64 = 40;

/// Delivery `number` is about user `number % USERS`, makes change `number` and closes gap `number`; its event id tells its group's end.
fn group(numbers: Numbers, count: u64) -> Batch {
    let mut batch = Batch::default();
    let end = numbers.delivery + count;
    for number in numbers.delivery + 1..=end {
        let uid = format!("u{}", number % USERS);
        let mut delivery = delivery(number, Outcome::Applied);
        delivery.event_id = format!("{number} of {end}");
        if number % 7 == 0 {
            delivery.outcome = Outcome::Quarantined;
            delivery.body = Some(vec![7; 9_000]);
        }
        batch.deliveries.push(delivery);
        let mut record = Record { last_change: number, ..record(&uid, &"t".repeat(number as usize * 31 % 6_000)) };
        record.gaps.insert(Reason::Operator, gap(number, 10));
        batch.users.push(stored(&uid, record));
        batch.changes.push(change(number, &uid, number.saturating_sub(USERS)));
        batch.closed.push(closed(number));
    }
    batch
}

/// Not a test of its own: commits until it is killed, and tells each group's end once it is acknowledged.
#[test]
#[ignore = "the child of acknowledged_groups_survive_kill_9"]
fn child() {
    let mut folder = String::new();
    std::io::stdin().read_line(&mut folder).unwrap();
    let store = Store::open_sled(Path::new(folder.trim_end())).unwrap();
    let mut random = SmallRng::from_os_rng();
    let mut out = std::io::stdout();
    loop {
        store.commit(&group(store.numbers(), random.random_range(1..=16))).unwrap();
        writeln!(out, "acknowledged {}", store.numbers().delivery).unwrap();
        out.flush().unwrap();
    }
}

/// Runs the child for a random while, kills it, and returns the last number it acknowledged.
fn acknowledged(folder: &Path) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "storage::sled::tests::kill::child", "--ignored", "--nocapture"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(child.stdin.take().unwrap(), "{}", folder.display()).unwrap();
    let (sender, lines) = mpsc::channel();
    let out = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        let numbers = out.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok());
        numbers.for_each(|number: u64| sender.send(number).unwrap());
    });
    let mut last = lines.recv_timeout(Duration::from_secs(20)).expect("the child commits");
    let end = Instant::now() + Duration::from_micros(SmallRng::from_os_rng().random_range(0..80_000));
    while let Ok(number) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        last = number;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap();
    lines.try_iter().last().unwrap_or(last)
}

fn check(store: &Store, acknowledged: u64) {
    let end = store.numbers().delivery;
    assert!(end >= acknowledged, "{acknowledged} was acknowledged, {end} is there");
    assert_eq!(store.numbers(), Numbers { delivery: end, cursor: end, gap: end, ..Numbers::default() });
    let last = store.delivery(end).unwrap().unwrap();
    assert_eq!(last.event_id, format!("{end} of {end}"), "the last group is whole");
    for number in end.saturating_sub(300).max(1)..=end {
        let delivery = store.delivery(number).unwrap().unwrap();
        assert_eq!(store.seen(SOURCE, &delivery.event_id).unwrap().map(|seen| seen.number), Some(number));
        assert_eq!(delivery.body.is_some(), number % 7 == 0);
        assert_eq!(store.change(number).unwrap().unwrap().uid, format!("u{}", number % USERS));
    }
    for number in end.saturating_sub(USERS - 1).max(1)..=end {
        let record = store.record(SOURCE, &format!("u{}", number % USERS)).unwrap().unwrap();
        assert_eq!((record.last_change, record.gaps[&Reason::Operator].id), (number, number));
    }
    assert_eq!(store.closed_gaps(u64::MAX, usize::MAX).unwrap().len() as u64, end);
    assert_eq!(store.counts(SOURCE).gaps_open, end.min(USERS));
}

#[test]
fn acknowledged_groups_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..KILLS {
        let acknowledged = acknowledged(folder.path());
        check(&Store::open_sled(folder.path()).unwrap(), acknowledged);
    }
}
