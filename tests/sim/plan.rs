//! What a seed stands for: which faults, how often, and for how long.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rollcall::directory::{Broken, Timestamp};
use rollcall::simulator::desk::Rules;
use rollcall::simulator::outbox::Chaos;
use rollcall::simulator::tenant::Habits;
use rollcall::simulator::wire::Weather;

pub(crate) const API_TOKEN: &str = "token-of-a-simulation";

/// One seed in so many goes over the embedded store.
const ON_DISK_EACH: u64 = 25;

/// One simulation.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) users: u32,
    /// How long anything may happen and go wrong.
    pub(crate) trouble: Duration,
    /// How long the directory then has to become right.
    pub(crate) healing: Duration,
    /// How often something happens to someone, in a minute.
    pub(crate) per_minute: f64,
    /// Imports of 250 users within a second.
    pub(crate) imports: u32,
    pub(crate) chaos: Chaos,
    pub(crate) habits: Habits,
    pub(crate) rules: Rules,
    pub(crate) weather: Weather,
    /// Upstream's clock less ours.
    pub(crate) skew_millis: i64,
    /// How often our wall clock is set by up to an hour.
    pub(crate) steps: u32,
    /// How often the process is killed, at any await.
    pub(crate) kills: u32,
    /// The longest that it stays down then.
    pub(crate) down_max: Duration,
    /// Someone narrows the token's scope for a while, in which nothing else happens.
    pub(crate) narrowed: bool,
    /// How often commits begin to fail.
    pub(crate) failed_commits: u32,
    /// For so long the token lacks its scope.
    pub(crate) without_scope: Option<Duration>,
    /// Calls an hour: listings, lookups.
    pub(crate) budgets: (u32, u32),
    pub(crate) tolerance: Duration,
    pub(crate) max_deletes: &'static str,
    pub(crate) details: bool,
    pub(crate) full_every: &'static str,
    pub(crate) broken: Option<Broken>,
    /// Over the embedded store instead of one in memory.
    pub(crate) on_disk: bool,
}

/// One of these: mostly nothing, now and then much.
fn chance(rng: &mut SmallRng, most: f64) -> f64 {
    if rng.random_bool(0.6) { 0.0 } else { rng.random_range(0.0..most) }
}

fn span(rng: &mut SmallRng, most: f64) -> Duration {
    Duration::from_secs_f64(chance(rng, most))
}

fn skew(rng: &mut SmallRng) -> i64 {
    *[0, 0, 0, 2000, -3000, 60_000, -60_000, 3_600_000, -3_600_000].get(rng.random_range(0..9)).unwrap()
}

impl Plan {
    /// When the story begins, by our clock.
    pub(crate) fn start() -> Timestamp {
        Timestamp::parse("2026-03-01T08:00:00Z").unwrap()
    }

    /// How far the story is at a moment of upstream's clock, which nobody sets.
    pub(crate) fn elapsed_at(&self, moment: Timestamp) -> Duration {
        moment.since(Timestamp::from_millis(Self::start().as_millis() + self.skew_millis))
    }

    pub(crate) fn of(seed: u64) -> Self {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let budgets = if rng.random_bool(0.25) { (40, 60) } else { (100, 300) };
        let narrowed = rng.random_bool(0.15);
        let mut plan = Self {
            seed,
            users: rng.random_range(6..36),
            trouble: Duration::from_secs(60 * rng.random_range(60..240)),
            healing: Duration::from_secs(7 * 3600),
            per_minute: rng.random_range(0.2..3.0),
            imports: u32::from(rng.random_bool(0.15)),
            chaos: chaos(rng),
            habits: Habits {
                events_ahead_millis: if rng.random_bool(0.5) { skew(rng) } else { 0 },
                unbumped: chance(rng, 0.2),
                visits_bump: rng.random_bool(0.2),
            },
            rules: rules(rng, seed),
            weather: Weather {
                travel_max: Duration::from_millis(rng.random_range(50..20_000)),
                refused: chance(rng, 0.2),
                reset: chance(rng, 0.1),
                silence: chance(rng, 0.1),
                broken: chance(rng, 0.1),
            },
            skew_millis: skew(rng),
            steps: if rng.random_bool(0.4) { rng.random_range(1..4) } else { 0 },
            kills: if rng.random_bool(0.6) { rng.random_range(1..6) } else { 0 },
            down_max: Duration::from_secs(rng.random_range(1..2400)),
            narrowed,
            failed_commits: 0,
            without_scope: None,
            budgets,
            tolerance: Duration::from_secs(15),
            max_deletes: "5%",
            details: !narrowed && rng.random_bool(0.4),
            full_every: "2h",
            broken: None,
            on_disk: seed.is_multiple_of(ON_DISK_EACH),
        };
        if plan.narrowed {
            plan.trouble += Duration::from_secs(4 * 3600);
        }
        (plan.rules.bulk_per_hour, plan.rules.lookups_per_hour) = (100, 300);
        // Only the engine in memory fails on purpose; what becomes of a disk's is proved elsewhere.
        plan.failed_commits = if !plan.on_disk && rng.random_bool(0.3) { rng.random_range(1..6) } else { 0 };
        plan.without_scope = rng.random_bool(0.15).then(|| Duration::from_secs(60 * rng.random_range(1..90)));
        if plan.imports > 0 && plan.budgets.0 < 100 {
            // A sweep over so many, in so small a budget, takes hours.
            plan.healing += Duration::from_secs(4 * 3600);
        }
        // Where no row moves unseen, deliveries and passes have to do without sweeps.
        if plan.habits.unbumped <= 0.0 && !plan.narrowed && rng.random_bool(0.4) {
            plan.full_every = "7d";
            // Whoever was deleted for good is found by a sweep that comes six hours after the last one.
            plan.healing += Duration::from_secs(4 * 3600);
        }
        plan
    }
}

fn chaos(rng: &mut SmallRng) -> Chaos {
    Chaos {
        loss: if rng.random_bool(0.1) { 1.0 } else { chance(rng, 0.7) },
        double: chance(rng, 0.4),
        reorder: chance(rng, 0.5),
        hold_max: Duration::from_secs(rng.random_range(1..900)),
        delay_max: span(rng, 30.0),
        seed: rng.random(),
    }
}

fn rules(rng: &mut SmallRng, seed: u64) -> Rules {
    let mut rules = Rules::documented(API_TOKEN, seed);
    rules.lookups_show_deleted = rng.random_bool(0.3);
    rules.rows_mark_deleted = rng.random_bool(0.15);
    rules.updated_after_inclusive = rng.random_bool(0.5);
    rules.unstable_ties = rng.random_bool(0.5);
    rules.lag = span(rng, 10.0);
    let faults = &mut rules.faults;
    faults.error = chance(rng, 0.3);
    faults.limited = chance(rng, 0.1);
    faults.cut = chance(rng, 0.2);
    faults.html = chance(rng, 0.2);
    faults.empty = chance(rng, 0.2);
    faults.ignored = chance(rng, 0.2);
    (faults.slow, faults.slow_by) = (chance(rng, 0.3), Duration::from_secs(20));
    rules
}
