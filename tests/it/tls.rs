//! HTTPS on the webhook listener: what is agreed on in a handshake, and certificates that change under load.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rollcall::http::tls::Keeper;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, ProtocolVersion, StreamOwned};
use serde_json::json;

use crate::answers::{answered, sign};
use crate::certificates::{Authority, Mounted, Pair};
use crate::house::{House, PATIENCE, RUNTIME, SECRET, event, until};
use crate::program::{Program, rollcall, run, settings, text};

/// A house with a certificate.
struct Secure {
    house: House,
    mounted: Mounted,
    authority: Authority,
    first: Pair,
    _folder: tempfile::TempDir,
}

impl Secure {
    fn open() -> Self {
        let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
        let first = authority.sign(0);
        let mounted = Mounted::new(folder.path(), &first);
        let house = mounted.set(House::alone()).open();
        Self { house, mounted, authority, first, _folder: folder }
    }

    fn client(&self, protocols: &[&str]) -> ClientConfig {
        self.authority.client(&[&TLS13, &TLS12], protocols)
    }

    fn url(&self) -> String {
        format!("https://{}/webhooks/main", self.house.webhooks())
    }

    /// When the certificate expires that a new connection is shown.
    fn shown(&self) -> String {
        let mut connection = shake(self.house.webhooks(), self.client(&[])).expect("a handshake");
        connection.flush().unwrap();
        format!("{:?}", connection.conn.peer_certificates().unwrap()[0])
    }

    /// The value of a metric without its labels, or with them.
    fn metric(&self, name: &str) -> Option<i64> {
        metric(&text(&crate::answers::read_bytes(&format!("http://{}/metrics", self.house.ops()))), name)
    }
}

pub(crate) fn metric(metrics: &str, name: &str) -> Option<i64> {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

/// Makes a handshake.
fn shake(at: SocketAddr, config: ClientConfig) -> Result<StreamOwned<ClientConnection, TcpStream>, rustls::Error> {
    let mut socket = TcpStream::connect(at).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), at.ip().into()).unwrap();
    while connection.is_handshaking() {
        if let Err(error) = connection.complete_io(&mut socket) {
            return Err(error.downcast::<rustls::Error>().unwrap_or_else(|error| rustls::Error::General(error.to_string())));
        }
    }
    Ok(StreamOwned::new(connection, socket))
}

fn http(config: ClientConfig) -> reqwest::Client {
    // Each request comes on a connection of its own.
    reqwest::Client::builder().tls_backend_preconfigured(config).pool_max_idle_per_host(0).no_proxy().build().unwrap()
}

fn signed(client: &reqwest::Client, url: &str, body: String) -> reqwest::RequestBuilder {
    client.post(url).header("X-MangoApps-Signature", sign(body.as_bytes())).body(body)
}

#[test]
fn deliveries_come_by_tls_1_2_and_1_3() {
    let secure = Secure::open();
    for (version, expected) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        let mut connection = shake(secure.house.webhooks(), secure.authority.client(&[version], &[])).expect("a handshake");
        assert_eq!(connection.conn.protocol_version(), Some(expected));
        let body = event("updated", &format!("E{expected:?}"), secure.house.now(), json!({})).to_string();
        let head = format!("POST /webhooks/main HTTP/1.1\r\nHost: house\r\nX-MangoApps-Signature: {}\r\n", sign(body.as_bytes()));
        write!(connection, "{head}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = Vec::new();
        // Whether the end is announced in TLS too does not matter here.
        drop(connection.read_to_end(&mut answer));
        assert!(text(&answer).starts_with("HTTP/1.1 200 ") && text(&answer).contains("applied"), "{}", text(&answer));
    }
}

#[test]
fn tls_1_1_and_plain_http_are_refused() {
    let secure = Secure::open();
    // A greeting that offers TLS 1.1 and two suites of its time: version, random, session, suites, compression, and ECDSA as an
    // extension; around it a handshake, around that a record.
    let hello = [&[3, 2][..], &[7; 32], &[0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0], &[0, 8, 0, 13, 0, 4, 0, 2, 4, 3]].concat();
    let handshake = [&[1, 0, 0, u8::try_from(hello.len()).unwrap()][..], &hello].concat();
    let record = [&[22, 3, 1, 0, u8::try_from(handshake.len()).unwrap()][..], &handshake].concat();
    let mut socket = TcpStream::connect(secure.house.webhooks()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&record).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    // A fatal alert: protocol version.
    assert_eq!((answer[0], &answer[5..]), (21, &[2, 70][..]), "{answer:?}");
    let mut socket = TcpStream::connect(secure.house.webhooks()).unwrap();
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    drop(socket.read_to_end(&mut answer));
    assert!(!text(&answer).contains("HTTP"), "{answer:?}");
    until("both to be counted", || {
        (secure.metric("rollcall_webhook_connections_cut_total{reason=\"handshake\"}") == Some(2)).then_some(())
    });
}

#[test]
fn http_2_is_spoken_with_those_who_speak_it() {
    let secure = Secure::open();
    for (protocols, expected) in
        [(&["h2", "http/1.1"][..], reqwest::Version::HTTP_2), (&["http/1.1"], reqwest::Version::HTTP_11), (&[], reqwest::Version::HTTP_11)]
    {
        let client = http(secure.client(protocols));
        let body = event("updated", &format!("E{}", protocols.len()), secure.house.now(), json!({})).to_string();
        let response = RUNTIME.block_on(signed(&client, &secure.url(), body.clone()).send()).unwrap();
        assert_eq!((response.version(), response.status().as_u16()), (expected, 200));
        assert_eq!(answered(signed(&client, &secure.url(), body)).outcome(), "duplicate");
        let forged = answered(client.post(secure.url()).header("X-MangoApps-Signature", "x").body("{}"));
        assert_eq!((forged.status, forged.code()), (401, "invalid_signature"), "{expected:?}");
        assert_eq!(answered(client.get(secure.url())).header("allow"), Some("POST"));
        assert_eq!(answered(signed(&client, &secure.url(), " ".repeat(2 << 20))).status, 413);
        assert_eq!(
            answered(signed(&client, &secure.url(), " ".repeat(1 << 20))).outcome(),
            if protocols.len() == 2 { "quarantined" } else { "duplicate" }
        );
        let long = answered(client.get(secure.url()).header("x-long", "x".repeat(60_000)));
        assert!([400, 431].contains(&long.status), "{long:?}");
    }
}

#[test]
fn many_deliveries_share_a_connection_of_http_2() {
    let secure = Secure::open();
    let client = reqwest::Client::builder().tls_backend_preconfigured(secure.client(&["h2"])).no_proxy().build().unwrap();
    let now = secure.house.now();
    RUNTIME.block_on(async {
        let all = (0..500).map(|number| {
            let body = event("updated", &format!("E{number}"), now, json!({})).to_string();
            signed(&client, &secure.url(), body).send()
        });
        for response in futures_util::future::join_all(all).await {
            assert_eq!(response.unwrap().status(), 200);
        }
    });
    assert_eq!(secure.metric("rollcall_webhook_connections_open"), Some(1));
}

#[test]
fn two_hundred_rotations_under_load_refuse_no_delivery() {
    const ROTATIONS: i32 = 200;
    let secure = Secure::open();
    let (done, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (done, taken, url) = (Arc::clone(&done), Arc::clone(&taken), secure.url());
            let client = http(secure.client(if sender % 2 == 0 { &["h2"] } else { &[] }));
            let now = secure.house.now();
            RUNTIME.spawn(async move {
                for number in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let body = event("updated", &format!("E{sender}-{number}"), now, json!({})).to_string();
                    let response = signed(&client, &url, body).timeout(PATIENCE).send().await;
                    assert_eq!(response.expect("an answer").status(), 200);
                    taken.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut keeper = Keeper::default();
    for number in 1..=ROTATIONS {
        let pair = secure.authority.sign(number);
        if number % 2 == 0 {
            secure.mounted.swap(&pair);
        } else {
            secure.mounted.write("tls.key", &pair.key);
            // Looked at in between, the two do not fit.
            keeper.look(secure.house.service());
            secure.mounted.write("tls.crt", &pair.certificate);
        }
        keeper.look(secure.house.service());
        assert_eq!(secure.metric("rollcall_tls_certificate_expiry_timestamp_seconds"), Some(pair.expiry));
        // Whoever connects from now on meets it.
        let (before, watched) = (taken.load(Ordering::Relaxed), Arc::clone(&taken));
        until("a delivery on it", move || (watched.load(Ordering::Relaxed) > before).then_some(()));
    }
    done.store(true, Ordering::Relaxed);
    for sender in senders {
        RUNTIME.block_on(sender).expect("a sender whose deliveries were all taken");
    }
    assert_eq!(secure.metric("rollcall_tls_reloads_total{result=\"done\"}"), Some(ROTATIONS.into()));
    assert_eq!(secure.metric("rollcall_tls_reloads_total{result=\"failed\"}"), Some(0));
    println!("{} deliveries, each on a connection of its own, over {ROTATIONS} rotations", taken.load(Ordering::Relaxed));
}

#[test]
fn files_that_cannot_be_used_change_nothing_until_they_can() {
    let secure = Secure::open();
    let (first, other) = (&secure.first, secure.authority.sign(1));
    let half = &other.certificate[..other.certificate.len() / 2];
    let shown = secure.shown();
    let mut keeper = Keeper::default();
    for (n, (certificate, key)) in [
        ("no PEM at all", first.key.as_str()),
        (half, &other.key),
        ("", &first.key),
        (&first.certificate, "no PEM at all"),
        (&first.certificate, &other.key),
        (&other.certificate, ""),
        (&other.certificate, &first.key),
    ]
    .into_iter()
    .enumerate()
    {
        secure.mounted.write("tls.crt", certificate);
        secure.mounted.write("tls.key", key);
        for _ in 0..3 {
            keeper.look(secure.house.service());
        }
        assert_eq!(secure.shown(), shown, "{n}");
        // However often it is looked at, it is told once.
        assert_eq!(secure.metric("rollcall_tls_reloads_total{result=\"failed\"}"), Some(i64::try_from(n).unwrap() + 1));
        assert_eq!(secure.metric("rollcall_tls_certificate_expiry_timestamp_seconds"), Some(first.expiry));
    }
    std::fs::remove_file(secure.mounted.path("tls.crt")).unwrap();
    keeper.look(secure.house.service());
    assert_eq!(secure.shown(), shown);
    secure.mounted.write("tls.crt", &other.certificate);
    secure.mounted.write("tls.key", &other.key);
    keeper.look(secure.house.service());
    assert_ne!(secure.shown(), shown);
    assert_eq!(secure.metric("rollcall_tls_certificate_expiry_timestamp_seconds"), Some(other.expiry));
    assert_eq!(secure.metric("rollcall_tls_reloads_total{result=\"done\"}"), Some(1));
}

#[test]
fn a_service_reads_a_changed_certificate_by_itself_and_tells_one_that_it_cannot_use() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let pairs = [0, 1].map(|number| authority.sign(number));
    let mounted = Mounted::new(folder.path(), &pairs[0]);
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let tls = format!("webhooks.tls_certificate = {:?}\nwebhooks.tls_key = {:?}", mounted.path("tls.crt"), mounted.path("tls.key"));
    let file = settings(folder.path(), &tls);
    let checked = run(&mut rollcall(&["check", "--config", &file]), b"");
    assert!(checked.status.success() && text(&checked.stdout).contains("tls.crt until 2100-01-01"), "{checked:?}");
    let (program, [webhooks, ops]) = Program::serve(&mut rollcall(&["serve", "--config", &file]));
    let url = format!("{}/webhooks/main", webhooks.replace("http://", "https://"));
    let send = |more: &[&str]| run(&mut rollcall(&[&["send", "--secret", SECRET, "--url", &url], more].concat()), b"not JSON");
    let ca = ca.display().to_string();
    let sent = send(&["--ca", &ca]);
    assert!(sent.status.success() && text(&sent.stdout).contains("quarantined"), "{sent:?}");
    let refused = send(&[]);
    assert!(refused.status.code() == Some(1) && text(&refused.stderr).contains("its certificate is not trusted; --ca"), "{refused:?}");
    mounted.swap(&pairs[1]);
    let began = std::time::Instant::now();
    let expiry =
        || metric(&text(&crate::answers::read_bytes(&format!("{ops}/metrics"))), "rollcall_tls_certificate_expiry_timestamp_seconds");
    until("the other certificate", || (expiry() == Some(pairs[1].expiry)).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(send(&["--ca", &ca]).status.success());
    mounted.write("tls.key", &pairs[0].key);
    let line = program.line_with("the former certificate stays");
    assert!(line.contains("webhooks.tls_key") && line.contains("does not fit") && line.contains("tls.crt"), "{line}");
    assert!(send(&["--ca", &ca]).status.success());
}

#[test]
fn a_start_with_a_certificate_that_cannot_be_used_is_refused_and_names_the_key() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new());
    let [one, two] = [0, 1].map(|number| authority.sign(number));
    let mounted = Mounted::new(folder.path(), &one);
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| mounted.path(name));
    let said = |more: &str| {
        let output = run(&mut rollcall(&["serve", "--config", &settings(folder.path(), more)]), b"");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        text(&output.stderr)
    };
    let both = format!("webhooks.tls_certificate = {certificate:?}\nwebhooks.tls_key = {key:?}");
    assert!(said(&format!("webhooks.tls_key = {key:?}")).contains("webhooks.tls_certificate: is required with tls_key"));
    assert!(said(&format!("webhooks.tls_certificate = {certificate:?}")).contains("webhooks.tls_key: is required with tls_certificate"));
    let absent = both.replace("tls.key", "tls.kex");
    assert!(said(&absent).contains("webhooks.tls_key: the file ") && said(&absent).contains("cannot be read"));
    mounted.write("tls.key", &two.key);
    assert!(said(&both).contains("webhooks.tls_key: the file ") && said(&both).contains("does not fit the certificate"));
    mounted.write("tls.crt", &two.key);
    assert!(said(&both).contains("webhooks.tls_certificate: the file ") && said(&both).contains("holds no certificate"));
    assert!(!said(&both).contains("PRIVATE"));
}
