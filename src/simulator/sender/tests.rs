//! A sender before a receiver that says what the test wants.

use std::net::TcpListener;

use actix_web::dev::ServerHandle;
use actix_web::http::StatusCode;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use secrecy::SecretString;

use super::*;
use crate::config::Secrets;
use crate::directory::Timestamp;
use crate::simulator::tenant::{Shared, Tenant};
use crate::upstream::signature::{Keys, Verdict};

const MINUTE: Duration = Duration::from_secs(60);

/// Notes every body that came with a good signature, and answers with the status that is set.
#[derive(Clone)]
struct Receiver {
    status: Arc<Mutex<u16>>,
    bodies: Arc<Mutex<Vec<web::Bytes>>>,
}

struct Scene {
    receiver: Receiver,
    server: ServerHandle,
    clock: Clock,
    tenant: Shared,
    sender: Sender,
}

async fn receive(receiver: web::Data<Receiver>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let signature = request.headers().get("X-MangoApps-Signature").map(|value| value.as_bytes());
    let secrets = Secrets::fixed(vec![SecretString::from("hush")]);
    if !matches!(Keys::new(&secrets.live()).verify(signature, &body), Verdict::Authentic(_)) {
        return HttpResponse::Unauthorized().finish();
    }
    receiver.bodies.lock().push(body);
    let status = StatusCode::from_u16(*receiver.status.lock()).unwrap();
    HttpResponse::build(status).body(r#"{"status":"ok","outcome":"applied","event_id":"1"}"#)
}

impl Scene {
    fn open(chaos: Chaos) -> Self {
        Self::open_with(chaos, "hush")
    }

    fn open_with(chaos: Chaos, secret: &str) -> Self {
        let clock = Clock::manual(Timestamp::parse("2025-11-18T15:30:00Z").unwrap());
        let receiver = Receiver { status: Arc::new(Mutex::new(200)), bodies: Arc::default() };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/webhooks/test", listener.local_addr().unwrap());
        let data = receiver.clone();
        let app = move || App::new().app_data(web::Data::new(data.clone())).route("/webhooks/test", web::post().to(receive));
        let server = HttpServer::new(app).workers(1).shutdown_timeout(1).disable_signals().listen(listener).unwrap().run();
        let handle = server.handle();
        tokio::spawn(server);
        let post = Post::new(&url, SecretString::from(secret)).unwrap();
        let tenant = Tenant::new(0, 1, clock.clone()).shared();
        Self { receiver, server: handle, sender: Sender::new(post, chaos, clock.clone()), clock, tenant }
    }

    async fn create(&self) {
        let event = self.tenant.lock().create();
        self.sender.offer(event).await;
    }

    fn received(&self) -> usize {
        self.receiver.bodies.lock().len()
    }

    async fn advance(&self, span: Duration) {
        self.clock.advance(span);
        self.sender.step().await;
    }
}

#[tokio::test]
async fn signed_bodies_arrive_and_their_outcomes_are_counted() {
    let scene = Scene::open(Chaos::none());
    for _ in 0..30 {
        scene.create().await;
    }
    scene.sender.step().await;
    assert_eq!(scene.received(), 30);
    let stats = scene.sender.stats();
    assert_eq!((stats.posted, stats.outcomes.get("applied"), stats.failed), (30, Some(&30), 0));
    scene.server.stop(true).await;
}

#[tokio::test]
async fn a_refused_delivery_comes_again_after_one_and_five_minutes() {
    let scene = Scene::open(Chaos::none());
    *scene.receiver.status.lock() = 503;
    scene.create().await;
    scene.sender.step().await;
    for (pause, received) in [(MINUTE - Duration::from_secs(1), 1), (Duration::from_secs(1), 2), (MINUTE * 4, 2)] {
        scene.advance(pause).await;
        assert_eq!(scene.received(), received);
    }
    *scene.receiver.status.lock() = 200;
    scene.advance(MINUTE).await;
    assert_eq!(scene.received(), 3);
    assert!(scene.sender.at_rest());
    let bodies = scene.receiver.bodies.lock().clone();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    assert_eq!(scene.sender.stats().retried, 2);
    scene.server.stop(true).await;
}

#[tokio::test]
async fn a_receiver_that_is_down_is_given_up_after_five_failures() {
    let scene = Scene::open(Chaos::none());
    scene.server.stop(true).await;
    scene.create().await;
    for minutes in [0, 1, 5, 15, 60, 240] {
        scene.advance(MINUTE * minutes).await;
    }
    let stats = scene.sender.stats();
    assert_eq!((stats.posted, stats.failed, stats.unsent, stats.deactivated), (5, 5, 1, true));
    scene.create().await;
    scene.advance(MINUTE).await;
    assert_eq!((scene.sender.stats().posted, scene.sender.stats().unsent), (5, 2));
}

#[tokio::test]
async fn rest_waits_until_everything_held_back_has_arrived() {
    let chaos = Chaos { reorder: 0.5, double: 0.3, delay_max: MINUTE, seed: 9, ..Chaos::none() };
    let scene = Scene::open(chaos);
    let sender = scene.sender.clone();
    let running = tokio::spawn(async move { sender.run().await });
    for _ in 0..100 {
        scene.create().await;
    }
    scene.sender.rest().await;
    assert_eq!(scene.received() as u64, 100 + scene.sender.stats().doubled);
    assert!(scene.sender.at_rest());
    running.abort();
    scene.server.stop(true).await;
}

#[tokio::test]
async fn a_wrong_secret_is_a_failure() {
    let scene = Scene::open_with(Chaos::none(), "rush");
    scene.create().await;
    scene.sender.step().await;
    let stats = scene.sender.stats();
    assert_eq!((scene.received(), stats.failed, stats.waiting), (0, 1, 1));
    scene.server.stop(true).await;
}

#[test]
fn what_is_no_web_address_is_refused_at_once() {
    for bad in ["ftp://127.0.0.1/", "nowhere", ""] {
        assert!(Post::new(bad, SecretString::from("hush")).unwrap_err().contains("http"), "{bad}");
    }
}
