//! `rollcall serve`: the service, until it is told to end.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::http;
use crate::service::Running;
use crate::storage::Store;
use crate::telemetry::log;

/// How long the way down may take, behind the delay, before the rest is left to the store's recovery.
const STOP_MAX: Duration = Duration::from_secs(9);

/// Fewer descriptors than this are refused: the runtime panics in the middle of its work where it gets none for its threads.
/// Listeners, their ten threads on a large machine, and the store take about 70; connections come on top.
const DESCRIPTORS_MIN: u64 = 128;

/// What `rollcall serve` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = super::check::NOTES)]
pub struct Args {
    /// A configuration file (TOML); may be repeated, later files win.
    #[arg(long = "config", value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Serves until SIGTERM or Ctrl-C.
///
/// # Errors
/// Faults of the configuration, too few file descriptors, an address that cannot be bound, a store that cannot be opened.
pub fn run(args: &Args) -> Result<(), Failure> {
    have_descriptors()?;
    let runtime = actix_web::rt::System::new();
    // Before all that may take a while: nobody hears a signal to a container's first process before it listens.
    let mut signals = runtime.block_on(async { Signals::listen() })?;
    let config = Arc::new(config::load(&args.files, config::environment())?);
    log::init(&config.log).map_err(Failure::Failed)?;
    let done = runtime.block_on(serve(config, &mut signals));
    // Dropping it would wait for threads in the midst of their work: a store that is being opened, a disk that hangs. Who does not end in
    // time is cut off as by `kill -9`, which the store is made for.
    std::mem::forget(runtime);
    done
}

/// Takes all the descriptors that may be had, and sees to it that they are enough. The listeners have limits of their own; with the
/// usual 1,024, idle connections to the public one would keep those from the private one that ask for our health.
fn have_descriptors() -> Result<(), Failure> {
    let allowed = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: allowed.maximum, ..allowed });
    match raised.map_or(allowed.current, |()| allowed.maximum) {
        Some(most) if most < DESCRIPTORS_MIN => Err(Failure::Failed(format!(
            "only {most} files and connections may be open at once: allow at least {DESCRIPTORS_MIN}, and one more for each \
             connection (ulimit -n, LimitNOFILE=)"
        ))),
        _ => Ok(()),
    }
}

async fn serve(config: Arc<Config>, signals: &mut Signals) -> Result<(), Failure> {
    let served = tokio::select! {
        served = Served::start(config) => served?,
        () = signals.told() => {
            tracing::info!("stopped before it was ready");
            return Ok(());
        }
    };
    signals.told().await;
    served.end(signals).await;
    Ok(())
}

/// A service and its listeners, ready.
struct Served {
    running: Running,
    listeners: Listeners,
    drain_delay: Duration,
}

impl Served {
    async fn start(config: Arc<Config>) -> Result<Self, Failure> {
        let webhooks = bind("webhooks.listen", config.webhooks.listen)?;
        let ops = bind("ops.listen", config.ops.listen)?;
        let (webhooks_at, ops_at) = (address(&webhooks)?, address(&ops)?);
        let (folder, drain_delay) = (config.store.path.clone(), config.webhooks.drain_delay);
        let store = actix_web::rt::task::spawn_blocking(move || Store::open_sled(&folder)).await;
        let store = store.map_err(|error| Failure::Failed(format!("the store could not be opened: {error}")))?;
        let store = Arc::new(store.map_err(|error| Failure::Failed(error.to_string()))?);
        let running = Running::start(config, store, Clock::system()).await.map_err(Failure::Failed)?;
        let listeners = Listeners::start(&running, (webhooks, ops))?;
        tracing::info!(webhooks = %webhooks_at, ops = %ops_at, "ready");
        Ok(Self { running, listeners, drain_delay })
    }

    /// Says that it ends, takes everything as before while others learn of that, then ends.
    async fn end(self, signals: &mut Signals) {
        self.running.drain();
        tracing::info!(delay = ?self.drain_delay, "draining; a second signal ends the delay");
        tokio::select! {
            () = tokio::time::sleep(self.drain_delay) => {}
            () = signals.told() => tracing::info!("told again: the rest of the delay is left out"),
        }
        let stopped = tokio::time::timeout(STOP_MAX, async {
            self.running.end();
            self.listeners.stop().await;
            self.running.stop().await;
        });
        if stopped.await.is_err() {
            tracing::warn!("not everything ended in time; what was answered is durable all the same");
        }
        tracing::info!("stopped");
    }
}

/// Both HTTP listeners of a running service.
pub(super) struct Listeners(Vec<actix_web::dev::ServerHandle>);

impl Listeners {
    /// Serves both faces on these sockets.
    pub(super) fn start(running: &Running, (webhooks, ops): (TcpListener, TcpListener)) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::Failed(format!("a listener could not be started: {error}"));
        let webhooks = http::webhooks::serve(Arc::clone(&running.service), webhooks).map_err(failed)?;
        let ops = http::operations::serve(Arc::clone(&running.service), ops).map_err(failed)?;
        let handles = vec![webhooks.handle(), ops.handle()];
        // Each ends when its handle is told to stop; how it ended changes nothing then.
        drop(actix_web::rt::spawn(webhooks));
        drop(actix_web::rt::spawn(ops));
        Ok(Self(handles))
    }

    /// Ends both once their open requests are answered; both at once, so that one does not use up the other's time.
    pub(super) async fn stop(self) {
        drop(join_all(self.0.iter().map(|handle| handle.stop(true))).await);
    }
}

/// Binds an address that the configuration names under `key`.
pub(super) fn bind(key: &str, at: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(at).map_err(|error| Failure::Failed(format!("{key}: {at} cannot be bound ({error}): free the port or set another")))
}

/// Where a socket is bound: port 0 has become a real one.
pub(super) fn address(listener: &TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|error| Failure::Failed(format!("a bound address cannot be read: {error}")))
}

/// SIGTERM and Ctrl-C: from [`Signals::listen`] on they end nothing by themselves.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens from now on. Wants a tokio runtime.
    pub(super) fn listen() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::Failed(format!("signals cannot be waited for: {error}"));
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        Ok(Self { terminate, interrupt })
    }

    /// Waits for either; one that came meanwhile counts.
    pub(super) async fn told(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
