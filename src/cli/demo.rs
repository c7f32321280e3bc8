//! `rollcall demo`: a simulated tenant and a service joined to it, with deliveries lost, doubled and reordered on purpose.
//!
//! Both share a clock that runs a minute a second, so that hours of budgets and schedules pass while one watches.

pub mod compare;
pub mod screen;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use secrecy::SecretString;

use super::Failure;
use super::serve::{Listeners, Signals, address, bind};
use crate::clock::Clock;
use crate::config::{self, Config, MaxDeletes, Reconcile, Secrets, Tokens};
use crate::service::Running;
use crate::simulator::api::Api;
use crate::simulator::desk::Rules;
use crate::simulator::life::Life;
use crate::simulator::outbox::Chaos;
use crate::simulator::post::Post;
use crate::simulator::sender::Sender;
use crate::simulator::tenant::{Shared, Tenant};
use crate::storage::Store;

use compare::Verdict;
use screen::Screen;

/// The simulated tenant's name among the sources.
pub(super) const SOURCE: &str = "demo";
const SECRET: &str = "demo-webhook-secret";
const TOKEN: &str = "demo-api-token";
/// How many simulated seconds pass in one.
const SPEED: u32 = 60;
/// Operations a simulated minute.
const EVENTS_PER_MINUTE: f64 = 12.0;
/// How long the tenant lives before it comes to rest, with `--once`.
const LIVELY: Duration = Duration::from_secs(8);
/// With `--once` the directory must equal the tenant this long after its start.
const ONCE_MAX: Duration = Duration::from_secs(45);
/// How often the screen is drawn.
const DRAW_EVERY: Duration = Duration::from_millis(250);

const NOTES: &str = "It needs no configuration and no network, listens on this host alone, and removes its temporary
folder. The lost events are never those of deletions: a lost one is not repaired yet.";

/// What `rollcall demo` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = NOTES)]
pub struct Args {
    /// Let the tenant come to rest after 8 seconds, and end when the directory equals it; exit 1 if it does not within 45.
    #[arg(long)]
    once: bool,
    /// Users of the simulated tenant at the start.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000), value_name = "N")]
    users: u32,
    /// Decides who the users are and what happens to them; the same number tells the same story.
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
}

/// Runs the demo until Ctrl-C, or until the directory equals the tenant.
///
/// # Errors
/// When something cannot be started, or when the directory did not become equal in time.
pub fn run(args: &Args) -> Result<(), Failure> {
    let runtime = actix_web::rt::System::new();
    // First of all, so that no signal can leave the folder behind.
    let mut signals = runtime.block_on(async { Signals::listen() })?;
    let folder = tempfile::Builder::new().prefix("rollcall-demo-").tempdir();
    let folder = folder.map_err(|error| Failure::Failed(format!("no temporary folder: {error}")))?;
    let done = runtime.block_on(async {
        let stage = Stage::set(args, folder.path()).await?;
        let done = tokio::select! {
            done = stage.play(args) => done,
            () = signals.told() => Ok(()),
        };
        stage.strike().await;
        done
    });
    folder.close().map_err(|error| Failure::Failed(format!("the demo's folder could not be removed: {error}")))?;
    done
}

/// Everything that plays a part.
pub(super) struct Stage {
    pub(super) clock: Clock,
    pub(super) tenant: Shared,
    pub(super) api: Api,
    pub(super) sender: Sender,
    pub(super) running: Running,
    pub(super) ops: SocketAddr,
    listeners: Listeners,
}

impl Stage {
    async fn set(args: &Args, folder: &Path) -> Result<Self, Failure> {
        let clock = Clock::fast(Clock::system().now(), SPEED);
        let tenant = Tenant::new(args.users, args.seed, clock.clone()).shared();
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let api = Api::start(tenant.clone(), Rules::documented(TOKEN, args.seed), anywhere, &clock);
        let api = api.map_err(|error| Failure::Failed(format!("the simulated API could not be started: {error}")))?;
        let (webhooks, ops) = (bind("webhooks.listen", anywhere)?, bind("ops.listen", anywhere)?);
        let url = format!("http://{}/webhooks/{SOURCE}", address(&webhooks)?);
        let config = Arc::new(configuration(&webhooks, &ops, (&api.base_url(), folder))?);
        let store = Arc::new(Store::open_sled(&config.store.path).map_err(|error| Failure::Failed(error.to_string()))?);
        let running = Running::start(config, store, clock.clone()).await.map_err(Failure::Failed)?;
        let ops_at = address(&ops)?;
        let listeners = Listeners::start(&running, (webhooks, ops))?;
        let post = Post::new(&url, SecretString::from(SECRET)).map_err(Failure::Failed)?;
        let sender = Sender::new(post, chaos(args.seed), clock.clone());
        Ok(Self { clock, tenant, api, sender, running, ops: ops_at, listeners })
    }

    /// Lets the tenant live and shows what happens.
    async fn play(&self, args: &Args) -> Result<(), Failure> {
        let mut screen = Screen::new(args.once);
        let began = Instant::now();
        let mut life = Life::new(self.tenant.clone(), EVENTS_PER_MINUTE, args.seed, self.clock.clone());
        let lively = async {
            tokio::select! {
                () = life.run(&self.sender) => {}
                () = tokio::time::sleep(LIVELY), if args.once => {}
            }
            self.sender.rest().await;
        };
        let mut draw = async |resting: bool| {
            loop {
                let verdict = compare::compare(self)?;
                let standing = self.running.service.store.counts(SOURCE);
                screen.draw(self, &verdict, if resting { "at rest" } else { "lively" });
                if resting && verdict.is_identical() && standing.gaps_open == 0 {
                    return Ok::<Verdict, Failure>(verdict);
                }
                if resting && began.elapsed() > ONCE_MAX {
                    return Ok(verdict);
                }
                tokio::time::sleep(DRAW_EVERY).await;
            }
        };
        tokio::select! {
            () = self.sender.run() => {}
            () = lively => {}
            verdict = draw(false) => drop(verdict?),
        }
        let verdict = draw(true).await?;
        screen.sum_up(self, &verdict, began.elapsed());
        if verdict.is_identical() { Ok(()) } else { Err(Failure::Failed("the directory is not identical to the tenant".to_owned())) }
    }

    /// Ends everything, in the order in which it depends on one another.
    async fn strike(self) {
        self.running.end();
        self.listeners.stop().await;
        self.running.stop().await;
        self.api.stop().await;
    }
}

/// What goes wrong on purpose.
const fn chaos(seed: u64) -> Chaos {
    let hold_max = Duration::from_secs(120);
    Chaos { loss: 0.15, double: 0.15, reorder: 0.15, hold_max, delay_max: Duration::from_secs(2), seed }
}

fn configuration(webhooks: &TcpListener, ops: &TcpListener, (base_url, folder): (&str, &Path)) -> Result<Config, Failure> {
    let reconcile = Reconcile {
        settle: Duration::from_secs(3),
        incremental_every: Duration::from_secs(180),
        degraded_every: Duration::from_secs(120),
        full_every: Duration::ZERO,
        tolerance: Duration::from_secs(15),
        lookback: Duration::from_secs(60),
        silence_after: Duration::ZERO,
        confirm_deletes_after: Duration::from_secs(900),
        max_deletes: MaxDeletes::Share(5.0),
        lookup_interval: Duration::from_secs(30),
        details_in_background: true,
    };
    let source = config::Source {
        webhook_secrets: Arc::new(Secrets::fixed(vec![SecretString::from(SECRET)])),
        base_url: Some(base_url.to_owned()),
        api_token: Some(Arc::new(Secrets::fixed(vec![SecretString::from(TOKEN)]))),
        bulk_requests_per_hour: 100,
        lookup_requests_per_hour: 300,
        reconcile,
    };
    Ok(Config {
        webhooks: config::Webhooks {
            listen: address(webhooks)?,
            body_bytes_max: 1 << 20,
            drain_delay: Duration::ZERO,
            tls: None,
            connections_per_address: 2048,
            refusals_per_minute: 600,
            trusted_proxies: Vec::new(),
        },
        ops: config::Ops { listen: address(ops)?, tokens: Arc::new(Tokens::default()) },
        store: config::Store {
            path: folder.join("data"),
            remember_deliveries: Duration::from_secs(90 * 24 * 3600),
            remember_changes: None,
        },
        sources: BTreeMap::from([(SOURCE.to_owned(), source)]),
        log: config::Log { json: false, level: "error".to_owned() },
    })
}
