//! Strangers on the webhook listener: what each of them can take, and that deliveries go on among many of them.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rollcall::directory::Timestamp;
use rustls::ClientConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::answers::{read_bytes, sign};
use crate::certificates::{Authority, Mounted};
use crate::house::{House, RUNTIME, event, until};
use crate::program::{Program, settings, text, told};
use crate::tls::metric;
use crate::wire::{Wire, exchange};

/// A request's head has this long (contract, section 3).
const HEAD_WITHIN: Duration = Duration::from_secs(5);
const CROWDED: &str = "rollcall_webhook_connections_cut_total{reason=\"crowded\"}";
const SLOW: &str = "rollcall_webhook_connections_cut_total{reason=\"slow\"}";
const SLOWED: &str = "rollcall_refusals_slowed_total";

fn count(house: &House, name: &str) -> i64 {
    metric(&text(&read_bytes(&format!("http://{}/metrics", house.ops()))), name).unwrap()
}

/// A good delivery, as bytes on the wire.
fn delivery(uid: &str) -> Vec<u8> {
    let stamp = Timestamp::parse("2026-03-01T08:00:00Z").unwrap();
    let body = event("updated", uid, stamp, json!({})).to_string();
    let head = "POST /webhooks/main HTTP/1.1\r\nHost: house\r\nX-MangoApps-Signature: ";
    format!("{head}{}\r\nContent-Length: {}\r\n\r\n{body}", sign(body.as_bytes()), body.len()).into_bytes()
}

#[test]
fn of_strangers_at_one_address_the_oldest_go_and_no_delivery_is_refused() {
    let house = House::alone().set("webhooks.connections_per_address", 4).open();
    let mut proven = Wire::to(house.webhooks());
    proven.send(&delivery("E1"));
    assert_eq!(proven.read().expect("an answer").outcome(), "applied");
    let mut burst: Vec<Wire> = (0..9).map(|_| Wire::to(house.webhooks())).collect();
    // None of them has to go while it is young; each that comes later makes all go that no longer are, but four.
    let began = Instant::now();
    let later = std::cell::RefCell::new(Vec::new());
    until("the burst to go", || {
        later.borrow_mut().push(Wire::to(house.webhooks()));
        (count(&house, CROWDED) >= 9).then_some(())
    });
    assert!(began.elapsed() > Duration::from_secs(1), "{:?}", began.elapsed());
    for stranger in &mut burst {
        assert!(stranger.read().is_none(), "it was asked to go");
    }
    let mut youngest = later.borrow_mut().pop().unwrap();
    for (wire, uid) in [(&mut youngest, "E2"), (&mut proven, "E3")] {
        wire.send(&delivery(uid));
        assert_eq!(wire.read().expect("an answer").outcome(), "applied");
    }
    drop((later, burst, youngest, proven));
    until("all of them to be gone", || (count(&house, "rollcall_webhook_connections_open") == 0).then_some(()));
}

#[test]
fn trusted_proxies_have_room_for_as_many_connections_as_they_like() {
    let plan = House::alone().set("webhooks.connections_per_address", 1).set("webhooks.refusals_per_minute", 1);
    let house = plan.set("webhooks.trusted_proxies", "[\"127.0.0.0/8\"]").open();
    let mut wires: Vec<Wire> = (0..5).map(|_| Wire::to(house.webhooks())).collect();
    for wire in &mut wires {
        wire.send(b"GET / HTTP/1.1\r\nHost: house\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n");
        assert_eq!(wire.read().expect("an answer").status, 404);
    }
    assert_eq!((count(&house, CROWDED), count(&house, SLOWED)), (0, 0));
}

#[test]
fn refusals_beyond_the_limit_come_late_and_deliveries_do_not() {
    let house = House::alone().set("webhooks.refusals_per_minute", 3).open();
    let forged = "POST /webhooks/main HTTP/1.1\nX-MangoApps-Signature: x\nContent-Length: 2";
    for number in 1..=5 {
        let began = Instant::now();
        let answer = exchange(house.webhooks(), forged, b"{}");
        assert_eq!((answer.status, answer.code()), (401, "invalid_signature"));
        if number > 3 {
            assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
            assert_eq!(answer.header("connection"), Some("close"));
        }
    }
    assert_eq!(count(&house, SLOWED), 2);
    let mut wire = Wire::to(house.webhooks());
    for number in 0..10 {
        wire.send(&delivery(&format!("E{number}")));
        assert_eq!(wire.read().expect("an answer").outcome(), "applied");
    }
    assert_eq!(count(&house, SLOWED), 2, "none of these was slowed");
}

#[test]
fn every_head_of_a_connection_has_its_time_and_its_length() {
    let house = House::alone().open();
    let mut wire = Wire::to(house.webhooks());
    for number in 0..2 {
        wire.send(&delivery(&format!("E{number}")));
        assert_eq!(wire.read().expect("an answer").outcome(), "applied");
    }
    let half = delivery("E2");
    wire.send(&half[..40]);
    let mut silent = Wire::to(house.webhooks());
    let began = Instant::now();
    assert_eq!(wire.read().expect("an answer").status, 408);
    assert!(wire.read().is_none(), "the connection stayed");
    assert!((HEAD_WITHIN..HEAD_WITHIN * 3).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(silent.read().expect("an answer").status, 408);
    until("both to be counted", || (count(&house, SLOW) == 2).then_some(()));
    for (bytes, status) in [(1_000, 404), (20_000, 404), (60_000, 400), (1 << 20, 400)] {
        let head = format!("GET / HTTP/1.1\nX-Long: {}", "x".repeat(bytes));
        assert_eq!(exchange(house.webhooks(), &head, b"").status, status, "{bytes}");
    }
}

#[test]
fn a_large_body_that_is_refused_holds_nobody_else_up() {
    let house = House::alone().open();
    let mut others: Vec<Wire> = (0..8).map(|_| Wire::to(house.webhooks())).collect();
    for bytes in [100_000, 1 << 20, (1 << 20) + 1, 4 << 20] {
        let head = format!("POST /webhooks/main HTTP/1.1\nContent-Length: {bytes}");
        let answer = exchange(house.webhooks(), &head, &vec![b'x'; bytes]);
        assert_eq!(answer.status, if bytes > 1 << 20 { 413 } else { 401 });
        for (number, other) in others.iter_mut().enumerate() {
            other.send(&delivery(&format!("E{bytes}-{number}")));
            assert_eq!(other.read().expect("an answer").outcome(), "applied");
        }
    }
}

#[test]
fn a_handshake_that_does_not_come_is_given_up() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let house = Mounted::new(folder.path(), &authority.sign(0)).set(House::alone()).open();
    let mut socket = std::net::TcpStream::connect(house.webhooks()).unwrap();
    socket.set_read_timeout(Some(HEAD_WITHIN * 3)).unwrap();
    socket.write_all(&[22, 3, 1]).unwrap();
    let began = Instant::now();
    assert_eq!(socket.read(&mut [0; 16]).unwrap(), 0);
    assert!(began.elapsed() >= HEAD_WITHIN, "{:?}", began.elapsed());
    assert_eq!(count(&house, "rollcall_webhook_connections_cut_total{reason=\"handshake\"}"), 1);
}

/// What one stranger does, over and over.
#[derive(Clone, Copy, Debug)]
enum Mischief {
    Silence,
    SlowHead,
    SlowBody,
    HugeHead,
    Garbage,
    HalfAHandshake,
}

const MISCHIEF: [Mischief; 6] =
    [Mischief::Silence, Mischief::SlowHead, Mischief::SlowBody, Mischief::HugeHead, Mischief::Garbage, Mischief::HalfAHandshake];

/// A listener under attack.
#[derive(Clone)]
struct Target {
    at: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
}

trait Bytestream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Bytestream for T {}

impl Target {
    async fn connect(&self, from: Ipv4Addr, encrypted: bool) -> std::io::Result<Box<dyn Bytestream>> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream: TcpStream = socket.connect(self.at).await?;
        match &self.tls {
            Some(config) if encrypted => Ok(Box::new(TlsConnector::from(Arc::clone(config)).connect(self.at.ip().into(), stream).await?)),
            _ => Ok(Box::new(stream)),
        }
    }

    /// One connection, used badly until the service has had enough of it.
    async fn trouble(&self, what: Mischief, from: Ipv4Addr) -> std::io::Result<()> {
        let encrypted = !matches!(what, Mischief::HalfAHandshake | Mischief::Garbage);
        let mut stream = self.connect(from, encrypted).await?;
        let (first, more, pause): (&[u8], &[u8], u64) = match what {
            Mischief::Silence => (b"", b"", 1000),
            Mischief::SlowHead => (b"POST /webhooks/main HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n", 500),
            Mischief::SlowBody => {
                (b"POST /webhooks/main HTTP/1.1\r\nHost: x\r\nX-MangoApps-Signature: x\r\nContent-Length: 1000000\r\n\r\n", b"x", 500)
            }
            Mischief::HugeHead => (b"GET / HTTP/1.1\r\n", &[b'a'; 4096], 10),
            Mischief::Garbage => (&[0x9c; 4096], &[0x9c; 4096], 10),
            Mischief::HalfAHandshake => (&[22, 3, 1, 2, 0, 1, 0], b"", 1000),
        };
        stream.write_all(first).await?;
        loop {
            // Whatever is answered is read, so that it is seen when the connection ends.
            match timeout(Duration::from_millis(pause), stream.read(&mut [0; 1024])).await {
                Ok(Ok(0) | Err(_)) => return Ok(()),
                _ => stream.write_all(more).await?,
            }
        }
    }

    /// Delivers until it is told to stop, half of it on new connections; how long each took.
    async fn deliver(self, sender: usize, done: Arc<AtomicBool>, took: Arc<Mutex<Vec<Duration>>>) {
        let mut kept = None;
        for number in 0.. {
            if done.load(Ordering::Relaxed) {
                return;
            }
            let began = Instant::now();
            let stream = if sender.is_multiple_of(2) { kept.take() } else { None };
            let mut stream = match stream {
                Some(stream) => stream,
                None => self.connect(Ipv4Addr::LOCALHOST, true).await.expect("a connection"),
            };
            stream.write_all(&delivery(&format!("E{sender}-{}", number % 1000))).await.expect("a connection that stays");
            let mut answer = [0; 1024];
            let bytes = stream.read(&mut answer).await.expect("an answer");
            assert!(answer[..bytes].starts_with(b"HTTP/1.1 200 "), "{:?}", text(&answer[..bytes]));
            took.lock().unwrap().push(began.elapsed());
            kept = Some(stream);
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Kibibytes of memory that a process holds now.
fn memory_kib(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What came of an attack.
struct Outcome {
    deliveries: usize,
    p50: Duration,
    p99: Duration,
    memory_before_kib: u64,
    memory_most_kib: u64,
    connections_most: i64,
    /// Connections that had to go for newer ones.
    crowded: i64,
}

impl fmt::Debug for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { deliveries, p50, p99, memory_before_kib, memory_most_kib, connections_most, crowded } = self;
        write!(f, "{deliveries} deliveries, p50 {p50:.1?}, p99 {p99:.1?}; memory {} MiB before, ", memory_before_kib / 1024)?;
        write!(f, "{} MiB at most; {connections_most} connections at most, {crowded} made room", memory_most_kib / 1024)
    }
}

/// Runs a service, delivers to it for a while, then has so many strangers at it for so long while deliveries go on.
fn besiege(mut command: Command, (strangers, span): (usize, Duration), authority: Option<&Authority>) -> Outcome {
    let (program, [webhooks, ops]) = Program::serve(&mut command);
    let tls = authority.map(|authority| Arc::new(authority.client(&[&TLS13, &TLS12], &[])));
    let target = Target { at: webhooks.trim_start_matches("http://").parse().unwrap(), tls };
    let (done, took) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
    let senders: Vec<_> =
        (0..8).map(|sender| RUNTIME.spawn(target.clone().deliver(sender, Arc::clone(&done), Arc::clone(&took)))).collect();
    let told = |name| metric(&text(&read_bytes(&format!("{ops}/metrics"))), name).unwrap();
    let open = || told("rollcall_webhook_connections_open");
    until("some deliveries", || (took.lock().unwrap().len() > 500).then_some(()));
    took.lock().unwrap().clear();
    let memory_before_kib = memory_kib(program.id());
    let attackers: Vec<_> = (0..strangers)
        .map(|number| {
            let (target, what) = (target.clone(), MISCHIEF[number % MISCHIEF.len()]);
            // Some share the senders' address.
            let from = Ipv4Addr::new(127, 0, 0, u8::try_from(1 + number / MISCHIEF.len() % 4).unwrap());
            RUNTIME.spawn(async move {
                loop {
                    drop(target.trouble(what, from).await);
                    sleep(Duration::from_millis(500 + u64::try_from(number).unwrap() % 1000)).await;
                }
            })
        })
        .collect();
    let (began, mut memory_most_kib, mut connections_most) = (Instant::now(), 0, 0);
    while began.elapsed() < span {
        memory_most_kib = memory_most_kib.max(memory_kib(program.id()));
        connections_most = connections_most.max(open());
        crate::program::pause(Duration::from_millis(200));
    }
    done.store(true, Ordering::Relaxed);
    for sender in senders {
        RUNTIME.block_on(sender).expect("a sender whose deliveries were all taken");
    }
    attackers.iter().for_each(tokio::task::JoinHandle::abort);
    until("all of them to be gone", || (open() == 0).then_some(()));
    let mut took = std::mem::take(&mut *took.lock().unwrap());
    took.sort_unstable();
    let at = |share: usize| took[took.len() * share / 100];
    Outcome {
        deliveries: took.len(),
        p50: at(50),
        p99: at(99),
        memory_before_kib,
        memory_most_kib,
        connections_most,
        crowded: told(CROWDED),
    }
}

/// Settings with a certificate, or without one.
fn besieged(folder: &std::path::Path, authority: Option<&Authority>, more: &str) -> String {
    let Some(authority) = authority else { return settings(folder, more) };
    let mounted = Mounted::new(folder, &authority.sign(0));
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| mounted.path(name));
    settings(folder, &format!("webhooks.tls_certificate = {certificate:?}\nwebhooks.tls_key = {key:?}\n{more}"))
}

#[test]
fn deliveries_go_on_among_strangers_and_memory_stays() {
    let authority = Authority::new();
    for authority in [None, Some(&authority)] {
        let folder = tempfile::tempdir().unwrap();
        let file = besieged(folder.path(), authority, "webhooks.connections_per_address = 10");
        let command = crate::program::rollcall(&["serve", "--config", &file]);
        let outcome = besiege(command, (200, Duration::from_secs(8)), authority);
        println!("200 strangers{}: {outcome:?}", if authority.is_some() { " over TLS" } else { "" });
        assert!(outcome.crowded > 0, "{outcome:?}");
        assert!(outcome.memory_most_kib < outcome.memory_before_kib + 32 * 1024, "{outcome:?}");
    }
}

#[test]
#[ignore = "a measurement of a release binary, which wants the machine for itself: scripts/prove hostile"]
fn two_thousand_strangers_hold_no_delivery_up() {
    let binary = told("ROLLCALL_BINARY").expect("ROLLCALL_BINARY: a release binary");
    let authority = Authority::new();
    for authority in [None, Some(&authority)] {
        let folder = tempfile::tempdir().unwrap();
        let file = besieged(folder.path(), authority, "");
        let mut command = Command::new(&binary);
        command.args(["serve", "--config", &file]).stdin(Stdio::null()).env_clear();
        let outcome = besiege(command, (2_000, Duration::from_secs(40)), authority);
        println!("2,000 strangers{}: {outcome:?}", if authority.is_some() { " over TLS" } else { "" });
        assert!(outcome.p99 < Duration::from_millis(250), "{outcome:?}");
        assert!(outcome.memory_most_kib < outcome.memory_before_kib + 128 * 1024, "{outcome:?}");
    }
}
