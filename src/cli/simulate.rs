//! `rollcall simulate`: only the simulated tenant, for people who test their own integrations.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use secrecy::SecretString;

use crate::clock::Clock;
use crate::simulator::api::Api;
use crate::simulator::desk::Rules;
use crate::simulator::faults::Faults;
use crate::simulator::life::Life;
use crate::simulator::outbox::Chaos;
use crate::simulator::post::Post;
use crate::simulator::sender::Sender;
use crate::simulator::tenant::Tenant;

const EXAMPLES: &str = "Examples:
  The REST API alone:
    rollcall simulate --users 1000
    curl -H 'Authorization: Bearer simulated' 'http://127.0.0.1:8090/api/v1/users?per_page=5'
  A lively one that tells your webhook, with one delivery in ten lost:
    rollcall simulate --webhook http://127.0.0.1:8080/webhooks/hr --secret hush --loss 10%
  A bad day, an hour of it in each minute:
    rollcall simulate --webhook http://127.0.0.1:8080/webhooks/hr --secret hush --speed 60 \\
      --loss 5% --double 5% --reorder 20% --errors 10% --cut 2%

A chance P is a number from 0 to 1, or a percentage such as 5%.";

/// Simulate a MangoApps tenant: its REST API with limits and errors, its webhook with retries and deactivation.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// How many users there are at the start
    #[arg(long, default_value_t = 200, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=5_000_000))]
    users: u32,
    /// Decides who there is and what happens; the same seed tells the same story
    #[arg(long, default_value_t = 1, value_name = "S")]
    seed: u64,
    /// Where the REST API listens; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8090", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// The API token that is accepted
    #[arg(long, default_value = "simulated")]
    token: String,
    /// Requests for listings that are answered in any hour
    #[arg(long, default_value_t = 100, value_name = "N")]
    bulk_per_hour: u32,
    /// Lookups that are answered in any hour
    #[arg(long, default_value_t = 300, value_name = "N")]
    lookups_per_hour: u32,
    /// Let lookups answer about deleted users too
    #[arg(long)]
    lookups_show_deleted: bool,
    /// Chance that the REST API answers 500, 502 or 503
    #[arg(long, default_value = "0", value_name = "P", value_parser = chance)]
    errors: f64,
    /// Chance that the REST API's JSON ends in the middle
    #[arg(long, default_value = "0", value_name = "P", value_parser = chance)]
    cut: f64,
    /// Run the tenant's time so many times as fast; leave it at 1 for a receiver that compares times with its own clock
    #[arg(long, default_value_t = 1, value_name = "X", value_parser = clap::value_parser!(u32).range(1..=3600))]
    speed: u32,
    /// How many things happen in a minute of the tenant's time
    #[arg(long, default_value_t = 6.0, value_name = "R")]
    events_per_minute: f64,
    #[command(flatten)]
    webhook: Webhook,
}

/// Where events go, and what happens to them on the way.
#[derive(Debug, clap::Args)]
struct Webhook {
    /// Post every event to this URL
    #[arg(long, value_name = "URL", requires = "secret")]
    webhook: Option<String>,
    /// The webhook secret that signs them
    #[arg(long, env = "ROLLCALL_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Chance that a delivery is lost
    #[arg(long, default_value = "0", value_name = "P", value_parser = chance)]
    loss: f64,
    /// Chance that a delivery arrives twice
    #[arg(long, default_value = "0", value_name = "P", value_parser = chance)]
    double: f64,
    /// Chance that a delivery is overtaken by later ones
    #[arg(long, default_value = "0", value_name = "P", value_parser = chance)]
    reorder: f64,
    /// How many seconds of the tenant's time every delivery may take
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    delay: u64,
}

/// Simulates until Ctrl-C, then tells what became of everything.
///
/// # Errors
/// When the address cannot be had or the webhook's URL is none.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let clock = if args.speed == 1 { Clock::system() } else { Clock::fast(Clock::system().now(), args.speed) };
    let sender = args.webhook.sender(args.seed, &clock)?;
    let tenant = Tenant::new(args.users, args.seed, clock.clone()).shared();
    let api = Api::start(tenant.clone(), args.rules(), args.listen, &clock)
        .with_context(|| format!("cannot listen on {}: choose another with --listen", args.listen))?;
    say(&args.welcome(&api)).or_else(past_a_broken_pipe)?;
    let mut life = Life::new(tenant, args.events_per_minute, args.seed, clock);
    let lively = async {
        match &sender {
            Some(sender) => tokio::join!(life.run(sender), sender.run()).0,
            None => life.run_unheard().await,
        }
    };
    tokio::select! {
        () = lively => {}
        stopped = tokio::signal::ctrl_c() => stopped.context("cannot listen for Ctrl-C")?,
    }
    say(&farewell(&api, sender.as_ref())).or_else(past_a_broken_pipe)?;
    api.stop().await;
    Ok(())
}

impl Args {
    fn rules(&self) -> Rules {
        Rules {
            bulk_per_hour: self.bulk_per_hour,
            lookups_per_hour: self.lookups_per_hour,
            lookups_show_deleted: self.lookups_show_deleted,
            faults: Faults { error: self.errors, cut: self.cut, ..Faults::default() },
            ..Rules::documented(&self.token, self.seed)
        }
    }

    fn welcome(&self, api: &Api) -> String {
        let url = api.base_url();
        let events = match &self.webhook.webhook {
            Some(webhook) => format!("Events go to {webhook}, about {} a minute.", self.events_per_minute),
            None => "Events go nowhere: name a receiver with --webhook and --secret.".to_owned(),
        };
        format!(
            "A simulated tenant of {} users listens on {url}.\n{events}\nTo point rollcall at it, put into its configuration:\n\n  \
             [sources.simulated]\n  kind = \"mangoapps\"\n  base_url = \"{url}\"\n  api_token = \"…\"        # the --token: {}\n  \
             webhook_secrets = [\"…\"]  # the --secret\n\nCtrl-C ends it.\n",
            self.users,
            if self.token == "simulated" { "simulated" } else { "the one you gave" },
        )
    }
}

impl Webhook {
    fn sender(&self, seed: u64, clock: &Clock) -> anyhow::Result<Option<Sender>> {
        let (Some(url), Some(secret)) = (&self.webhook, &self.secret) else { return Ok(None) };
        let post = Post::new(url, SecretString::from(secret.as_str())).map_err(anyhow::Error::msg)?;
        let chaos = Chaos {
            loss: self.loss,
            double: self.double,
            reorder: self.reorder,
            delay_max: Duration::from_secs(self.delay),
            seed,
            ..Chaos::none()
        };
        Ok(Some(Sender::new(post, chaos, clock.clone())))
    }
}

/// What became of everything.
fn farewell(api: &Api, sender: Option<&Sender>) -> String {
    let (bulk, lookups) = (api.bulk_traffic(), api.lookup_traffic());
    let mut text = format!(
        "\nListings: {} requests, {} refused, at most {} in an hour. Lookups: {}, {}, {}.\n",
        bulk.requests, bulk.refused, bulk.worst_hour, lookups.requests, lookups.refused, lookups.worst_hour
    );
    if let Some(stats) = sender.map(Sender::stats) {
        text += &format!(
            "Events: {}; lost {}, doubled {}, held back {}, unsent {}. Deliveries: {} posted, {} failed, {} retried, {} waiting.\n",
            stats.offered,
            stats.lost,
            stats.doubled,
            stats.held_back,
            stats.unsent,
            stats.posted,
            stats.failed,
            stats.retried,
            stats.waiting
        );
        let outcomes: Vec<_> = stats.outcomes.iter().map(|(outcome, count)| format!("{outcome} {count}")).collect();
        text += &format!("Answers: {}.\n", if outcomes.is_empty() { "none".to_owned() } else { outcomes.join(", ") });
        if stats.deactivated {
            text += "The webhook was deactivated after five failures in a row.\n";
        }
    }
    text
}

/// Reads a chance: a number from 0 to 1, or a percentage.
fn chance(text: &str) -> Result<f64, String> {
    let parsed = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().map(|percent| percent / 100.0),
        None => text.parse::<f64>(),
    };
    parsed
        .ok()
        .filter(|chance| (0.0..=1.0).contains(chance))
        .ok_or_else(|| "give a number from 0 to 1, or a percentage such as 5%".to_owned())
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Whoever reads our output may leave before its end.
pub(super) fn past_a_broken_pipe(fault: io::Error) -> io::Result<()> {
    if fault.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(fault) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn a_chance_is_a_part_or_a_percentage() {
        assert_eq!(chance("0.25"), Ok(0.25));
        assert_eq!(chance("5%"), Ok(0.05));
        for bad in ["-1", "1.5", "101%", "NaN", "often", "%"] {
            assert!(chance(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_webhook_wants_a_secret() {
        let line = ["simulate", "--webhook", "http://127.0.0.1:1/"];
        assert!(Line::try_parse_from(line).is_err());
        assert!(Line::try_parse_from(line.iter().chain(&["--secret", "hush"])).is_ok());
    }

    #[test]
    fn what_is_not_told_is_as_documented() {
        let rules = Line::try_parse_from(["simulate"]).unwrap().args.rules();
        assert_eq!((rules.bulk_per_hour, rules.lookups_per_hour, rules.lookups_show_deleted), (100, 300, false));
        assert_eq!(rules.faults, Faults::default());
    }
}
