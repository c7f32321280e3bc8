//! A house to test in: a real service on ports of its own in a temporary folder, perhaps with a simulated tenant beside it.
//!
//! Verbs wait for what they ask; what comes by itself is awaited with [`House::until`]. All houses share one runtime, so that
//! tests are plain functions.

use std::fmt::Display;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use actix_web::dev::ServerHandle;
use rollcall::clock::Clock;
use rollcall::directory::Timestamp;
use rollcall::service::{Running, Service};
use rollcall::simulator::api::Api;
use rollcall::simulator::desk::Rules;
use rollcall::simulator::tenant::{Shared, Tenant};
use rollcall::storage::{self, Store};
use rollcall::{config, http};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::answers::{Answer, answered, list, sign};
use crate::joined::COVERED_AFTER;

/// What the only source's deliveries are signed with.
pub(crate) const SECRET: &str = "secret-of-the-house";
/// What the simulated tenant's API accepts.
pub(crate) const API_TOKEN: &str = "token-of-the-house";
/// How long anything may take that comes by itself: others may need the machine too.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(15);

/// What everything asynchronous runs on.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    // Only the first one counts, whoever it is.
    drop(rustls::crypto::ring::default_provider().install_default());
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
});

/// What a house will be like.
pub(crate) struct Plan {
    pub(crate) clock: Clock,
    pub(crate) tenant: Option<Shared>,
    rules: Rules,
    settings: String,
    secrets: String,
}

/// A service that runs.
pub(crate) struct House {
    pub(crate) clock: Clock,
    pub(crate) tenant: Option<Shared>,
    pub(crate) api: Option<Api>,
    rooms: Option<Rooms>,
    http: reqwest::Client,
    folder: TempDir,
}

/// What a restart renews.
struct Rooms {
    running: Running,
    servers: [ServerHandle; 2],
    webhooks: SocketAddr,
    ops: SocketAddr,
}

impl Plan {
    /// Sets one more key, by its whole path.
    pub(crate) fn set(mut self, key: &str, value: impl Display) -> Self {
        self.settings += &format!("{key} = {value}\n");
        self
    }

    /// Has the webhook's secrets in a file, instead of [`SECRET`].
    pub(crate) fn secrets_in(self, file: &Path) -> Self {
        Self { secrets: format!("webhook_secrets_file = {file:?}"), ..self }
    }

    /// Changes how the tenant's API behaves.
    pub(crate) fn rules(mut self, change: impl FnOnce(&mut Rules)) -> Self {
        change(&mut self.rules);
        self
    }

    /// Does something to the tenant, or asks what is true of it, before anything is read of it.
    pub(crate) fn tenant<T>(&self, act: impl FnOnce(&mut Tenant) -> T) -> T {
        act(&mut self.tenant.as_ref().expect("a house with a tenant").lock())
    }

    /// Someone was deleted, so long ago that every listing tells.
    pub(crate) fn without(self, uid: &str) -> Self {
        self.tenant(|tenant| tenant.delete(uid)).unwrap();
        let then = self.clock.now() + Duration::from_secs(COVERED_AFTER);
        until("the deletion to be old", || (self.clock.now() > then).then_some(()));
        self
    }

    /// Starts everything.
    pub(crate) fn open(self) -> House {
        let folder = tempfile::tempdir().unwrap();
        let anywhere = "127.0.0.1:0".parse().unwrap();
        let _within = RUNTIME.enter();
        let api = self.tenant.clone().map(|tenant| Api::start(tenant, self.rules, anywhere, &self.clock).unwrap());
        let mut settings = self.settings;
        if let Some(api) = &api {
            settings += &format!("sources.main.base_url = {:?}\n", api.base_url());
            if !settings.contains("sources.main.api_token_file") {
                settings += &format!("sources.main.api_token = {API_TOKEN:?}\n");
            }
        }
        std::fs::write(folder.path().join("house.toml"), house_settings(folder.path(), &self.secrets)).unwrap();
        std::fs::write(folder.path().join("more.toml"), settings).unwrap();
        let mut house = House { clock: self.clock, tenant: self.tenant, api, rooms: None, http: reqwest::Client::new(), folder };
        house.start();
        house
    }
}

/// What every house begins with: nothing happens by itself but what a gap asks for.
fn house_settings(folder: &Path, secrets: &str) -> String {
    format!(
        r#"
webhooks.listen = "127.0.0.1:0"
ops.listen = "127.0.0.1:0"
store.path = {:?}
log.level = "error"
[sources.main]
kind = "mangoapps"
{secrets}
[sources.main.reconcile]
settle = "1s"
incremental_every = "0s"
full_every = "0s"
silence_after = "0s"
details = "off"
"#,
        folder.join("data")
    )
}

impl House {
    /// A house without an upstream.
    pub(crate) fn alone() -> Plan {
        let settings = String::new();
        let secrets = format!("webhook_secrets = [{SECRET:?}]");
        Plan { clock: Clock::system(), tenant: None, rules: Rules::documented(API_TOKEN, 1), settings, secrets }
    }

    fn start(&mut self) {
        let files = ["house.toml", "more.toml"].map(|name| self.folder.path().join(name));
        let config = Arc::new(config::load(&files, std::iter::empty()).unwrap());
        // The threads of the house before may hold the store for a moment after they were told to end.
        let store = until("the store to be free", || match Store::open_sled(&config.store.path) {
            Err(storage::Error::InUse { .. }) => None,
            opened => Some(Arc::new(opened.unwrap())),
        });
        let running = RUNTIME.block_on(Running::start(config, store, self.clock.clone())).unwrap();
        let _within = RUNTIME.enter();
        let [webhooks, ops] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let (webhooks_at, ops_at) = (webhooks.local_addr().unwrap(), ops.local_addr().unwrap());
        let servers = [
            http::webhooks::serve(Arc::clone(&running.service), webhooks).unwrap(),
            http::operations::serve(Arc::clone(&running.service), ops).unwrap(),
        ];
        let servers = servers.map(|server| {
            let handle = server.handle();
            drop(RUNTIME.spawn(server));
            handle
        });
        self.rooms = Some(Rooms { running, servers, webhooks: webhooks_at, ops: ops_at });
    }

    /// Ends the service in good order and starts it anew on the same store.
    pub(crate) fn restart(&mut self) {
        self.restart_after(Duration::ZERO);
    }

    /// The same; a manual clock moves on by so much in between.
    pub(crate) fn restart_after(&mut self, away: Duration) {
        if let Some(rooms) = self.rooms.take() {
            RUNTIME.block_on(rooms.close());
        }
        self.clock.advance(away);
        self.start();
    }

    /// Tells the service that it is about to end, and no more.
    pub(crate) fn drain(&self) {
        self.rooms().running.drain();
    }

    /// Has files of secrets be looked at once.
    pub(crate) fn look_at_secrets(&self) {
        self.rooms().running.service.refresh();
    }

    /// Has files of secrets be looked at until what is in them counts.
    pub(crate) fn refresh(&self) {
        (0..2).for_each(|_| self.look_at_secrets());
    }

    fn rooms(&self) -> &Rooms {
        self.rooms.as_ref().expect("a house that is open")
    }

    /// Where deliveries go.
    pub(crate) fn webhooks(&self) -> SocketAddr {
        self.rooms().webhooks
    }

    /// Where the operations listener is.
    pub(crate) fn ops(&self) -> SocketAddr {
        self.rooms().ops
    }

    /// Now, in whole seconds, as upstream writes its stamps.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now().floor_to_second()
    }

    /// Delivers these bytes to `source` with this signature.
    pub(crate) fn post(&self, source: &str, signature: Option<&str>, body: &[u8]) -> Answer {
        let url = format!("http://{}/webhooks/{source}", self.webhooks());
        let mut request = self.http.post(url).body(body.to_vec());
        if let Some(signature) = signature {
            request = request.header("X-MangoApps-Signature", signature);
        }
        answered(request)
    }

    /// Delivers these bytes, well signed.
    pub(crate) fn deliver_bytes(&self, body: &[u8]) -> Answer {
        self.post("main", Some(&sign(body)), body)
    }

    /// Delivers a body, well signed.
    pub(crate) fn deliver(&self, body: &Value) -> Answer {
        self.deliver_bytes(body.to_string().as_bytes())
    }

    /// Reads something of the operations listener.
    pub(crate) fn get(&self, path: &str) -> Answer {
        answered(self.http.get(format!("http://{}{path}", self.ops())))
    }

    /// The same with a token.
    pub(crate) fn get_as(&self, token: &str, path: &str) -> Answer {
        answered(self.http.get(format!("http://{}{path}", self.ops())).bearer_auth(token))
    }

    /// Asks the operations listener to do something.
    pub(crate) fn ask(&self, path: &str, body: &Value) -> Answer {
        answered(self.http.post(format!("http://{}{path}", self.ops())).body(body.to_string()))
    }

    /// The same with a token.
    pub(crate) fn ask_as(&self, token: &str, path: &str, body: &Value) -> Answer {
        answered(self.http.post(format!("http://{}{path}", self.ops())).bearer_auth(token).body(body.to_string()))
    }

    /// A user as the mirror shows them, deleted or not.
    pub(crate) fn user(&self, uid: &str) -> Option<Value> {
        let answer = self.get(&format!("/api/v1/users/{uid}?include_deleted=true"));
        match answer.status {
            200 => Some(answer.body["user"].clone()),
            404 => None,
            status => panic!("{status} {}", answer.body),
        }
    }

    /// How many users a listing counts.
    pub(crate) fn count(&self, parameters: &str) -> u64 {
        self.get(&format!("/api/v1/users?per_page=1&{parameters}")).body["meta"]["total_count"].as_u64().unwrap()
    }

    /// The gaps in this state (`open`, `closed`), the newest first.
    pub(crate) fn gaps(&self, state: &str) -> Vec<Value> {
        list(&self.get(&format!("/api/v1/gaps?limit=1000&state={state}")), "gaps")
    }

    /// Why gaps about this user were opened, whether still open or not.
    pub(crate) fn reasons(&self, uid: &str) -> Vec<String> {
        let all = self.gaps("open").into_iter().chain(self.gaps("closed")).filter(|gap| gap["uid"] == uid);
        let mut reasons: Vec<_> = all.map(|gap| gap["reason"].as_str().unwrap().to_owned()).collect();
        reasons.sort();
        reasons.dedup();
        reasons
    }

    /// The whole feed.
    pub(crate) fn changes(&self) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map_or(0, |change: &Value| change["cursor"].as_u64().unwrap());
            let page = list(&self.get(&format!("/api/v1/changes?limit=1000&after={after}")), "changes");
            if page.is_empty() {
                return all;
            }
            all.extend(page);
        }
    }

    /// The changes of one user, oldest first.
    pub(crate) fn changes_of(&self, uid: &str) -> Vec<Value> {
        self.changes().into_iter().filter(|change| change["uid"] == uid).collect()
    }

    /// Asks for a reconciliation; the record as it stands then.
    pub(crate) fn request(&self, mode: &str, more: Value) -> Value {
        let mut body = json!({"source": "main", "mode": mode});
        body.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        let answer = self.ask("/api/v1/reconciliations", &body);
        assert_eq!(answer.status, 202, "{}", answer.body);
        answer.body
    }

    /// Asks for a reconciliation and waits until it is over.
    pub(crate) fn reconcile(&self, mode: &str, more: Value) -> Value {
        let id = self.request(mode, more)["id"].clone();
        self.until(&format!("{mode} reconciliation {id} to be over"), || {
            let record = self.reconciliation(&id);
            ["done", "failed", "cancelled"].contains(&record["state"].as_str().unwrap()).then_some(record)
        })
    }

    pub(crate) fn reconciliation(&self, id: &Value) -> Value {
        let answer = self.get(&format!("/api/v1/reconciliations/{id}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// The store itself.
    pub(crate) fn store(&self) -> &Store {
        &self.rooms().running.service.store
    }

    /// The service itself.
    pub(crate) fn service(&self) -> &Service {
        &self.rooms().running.service
    }

    /// Calls to upstream that were ever logged, before they were sent.
    pub(crate) fn calls(&self) -> u64 {
        self.store().numbers().call
    }

    /// Every reconciliation, the newest first.
    pub(crate) fn reconciliations(&self) -> Vec<Value> {
        list(&self.get("/api/v1/reconciliations?limit=1000"), "reconciliations")
    }

    /// Looks until there is something; what it waits for is told when there never is.
    #[track_caller]
    pub(crate) fn until<T>(&self, what: &str, look: impl Fn() -> Option<T>) -> T {
        until(what, look)
    }
}

impl Rooms {
    async fn close(self) {
        self.running.end();
        for server in &self.servers {
            server.stop(false).await;
        }
        self.running.stop().await;
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let (rooms, api) = (self.rooms.take(), self.api.take());
        drop(RUNTIME.spawn(async {
            if let Some(rooms) = rooms {
                rooms.close().await;
            }
            if let Some(api) = api {
                api.stop().await;
            }
        }));
    }
}

/// A delivery as upstream documents it. `user` adds to the snapshot or replaces fields of it.
pub(crate) fn event(kind: &str, uid: &str, at: Timestamp, user: Value) -> Value {
    let mut snapshot = json!({
        "uid": uid, "email": format!("{uid}@example.com").to_lowercase(), "first_name": "Ada", "last_name": "Okafor",
        "full_name": "Ada Okafor", "active": true, "job_title": "Engineer", "employment_status": "full_time",
        "employee_type": "Full-Time"
    });
    snapshot.as_object_mut().unwrap().extend(user.as_object().cloned().unwrap_or_default());
    json!({"event": format!("user.{kind}"), "timestamp": at.to_string(), "data": {"uid": uid, "user": snapshot}})
}

/// Looks until there is something, every few milliseconds, for as long as patience lasts.
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {what}");
        RUNTIME.block_on(async { tokio::time::sleep(LOOK_AGAIN).await });
    }
}

/// Lets the others have the machine for a moment.
pub(crate) fn breathe() {
    RUNTIME.block_on(async { tokio::time::sleep(Duration::from_millis(3)).await });
}
