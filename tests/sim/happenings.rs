//! What happens in a world by itself, and when.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use rollcall::simulator::event::Event;
use rollcall::simulator::tenant::Tenant;

use crate::plan::Plan;

/// Rows of one import.
const IMPORT_ROWS: u32 = 250;
/// Commits that fail one after the other, fewer than this.
const FAILED_IN_A_ROW_MAX: u64 = 60;
/// Polls between two kills that were drawn, at most.
const KILL_WITHIN: u32 = 4000;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Happening {
    /// Something happens to someone.
    Life(Life),
    /// Our wall clock is set by so many milliseconds.
    ClockStep(i64),
    /// The process is started again, if it is down.
    Restart,
    /// The token no longer sees one user in so many, or sees all again.
    Hide(Option<u32>),
    /// The token may read users, or may not any more.
    Scope(bool),
    /// The store's next commit fails, and reaches the disk all the same, or does not.
    FailedCommit(bool),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Life {
    Someone,
    /// Someone is moved several times within a second.
    Burst,
    Swap,
    Purge,
    Import,
    /// Somebody new gets the uid of someone who was deleted.
    Rehire,
}

/// Happenings by their time.
#[derive(Default)]
pub(crate) struct Happenings {
    due: BTreeMap<(Duration, u32), Happening>,
    /// Polls until the process is killed; with each kill goes one.
    kills: Vec<u32>,
    down: Vec<Duration>,
    now: Duration,
}

impl Happenings {
    pub(crate) fn none() -> Self {
        Self::default()
    }

    pub(crate) fn of(plan: &Plan) -> Self {
        let rng = &mut SmallRng::seed_from_u64(plan.seed ^ 0x11FE);
        let mut happenings = Self::default();
        let quiet = plan.narrowed.then(|| {
            let begin = plan.trouble.mul_f64(0.4);
            (begin, begin + Duration::from_secs(4 * 3600))
        });
        let mut at = Duration::ZERO;
        loop {
            at += Duration::from_secs_f64(60.0 / plan.per_minute * -(1.0 - rng.random::<f64>()).ln());
            if at >= plan.trouble {
                break;
            }
            let life = match rng.random_range(0..100) {
                0..80 => Life::Someone,
                80..90 => Life::Burst,
                90..94 => Life::Swap,
                94..97 => Life::Purge,
                97..98 => Life::Rehire,
                _ => Life::Someone,
            };
            happenings.put(at, Happening::Life(life));
        }
        let within = |rng: &mut SmallRng| plan.trouble.mul_f64(rng.random());
        (0..plan.imports).for_each(|_| happenings.put(within(rng), Happening::Life(Life::Import)));
        for _ in 0..plan.steps {
            let step = rng.random_range(-3_600_000..=3_600_000);
            happenings.put(within(rng), Happening::ClockStep(step));
        }
        for _ in 0..plan.failed_commits {
            let begin = within(rng);
            // One after the other, as a full disk has it.
            for second in 0..rng.random_range(1..FAILED_IN_A_ROW_MAX) {
                happenings.put(begin + Duration::from_secs(second), Happening::FailedCommit(rng.random()));
            }
        }
        if let Some(span) = plan.without_scope {
            let begin = within(rng);
            happenings.put(begin, Happening::Scope(false));
            happenings.put(begin + span, Happening::Scope(true));
        }
        for _ in 0..plan.kills {
            happenings.kills.push(rng.random_range(1..KILL_WITHIN));
            happenings.down.push(plan.down_max.mul_f64(rng.random()));
        }
        if let Some((begin, end)) = quiet {
            happenings.due.retain(|(at, _), happening| !matches!(happening, Happening::Life(_)) || *at < begin.mul_f64(0.5) || *at > end);
            happenings.put(begin, Happening::Hide(Some(2)));
            happenings.put(end.min(plan.trouble), Happening::Hide(None));
        }
        happenings
    }

    fn put(&mut self, at: Duration, happening: Happening) {
        let number = u32::try_from(self.due.len()).unwrap();
        self.due.insert((at, number), happening);
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn take(&mut self, now: Duration) -> Option<Happening> {
        self.now = now;
        let first = self.due.first_entry().filter(|first| first.key().0 <= now)?;
        Some(first.remove())
    }

    /// Whether the process is killed after this poll; it is started again some time later.
    pub(crate) fn kills_now(&mut self) -> bool {
        let Some(left) = self.kills.last_mut() else { return false };
        *left -= 1;
        if *left > 0 {
            return false;
        }
        self.kills.pop();
        let down = self.down.pop().unwrap_or_default();
        let restart = (self.now + down, u32::MAX - u32::try_from(self.kills.len()).unwrap());
        self.due.insert(restart, Happening::Restart);
        true
    }
}

impl Life {
    /// Lives it; returns what is announced.
    pub(crate) fn live(self, tenant: &mut Tenant, rng: &mut SmallRng) -> Vec<Event> {
        match self {
            Self::Someone => someone(tenant, rng),
            Self::Burst => (0..rng.random_range(2..5)).flat_map(|_| someone(tenant, rng)).collect(),
            Self::Swap => match (anyone(tenant, rng), anyone(tenant, rng)) {
                (Some(one), Some(other)) if one != other => tenant.swap_emails(&one, &other),
                _ => Vec::new(),
            },
            Self::Purge => {
                if let Some(uid) = anyone(tenant, rng) {
                    tenant.purge(&uid);
                }
                Vec::new()
            }
            Self::Rehire => (0..16).find_map(|_| tenant.rehire(&anyone(tenant, rng)?)).into_iter().collect(),
            Self::Import => (0..IMPORT_ROWS).map(|_| tenant.create()).collect(),
        }
    }
}

fn anyone(tenant: &Tenant, rng: &mut SmallRng) -> Option<String> {
    tenant.uid(rng.random_range(1..=tenant.users().max(1)))
}

fn someone(tenant: &mut Tenant, rng: &mut SmallRng) -> Vec<Event> {
    for _ in 0..16 {
        let Some(uid) = anyone(tenant, rng) else { return Vec::new() };
        let done = match rng.random_range(0..100) {
            0..50 => tenant.update_randomly(&uid),
            50..60 => return vec![tenant.create()],
            60..70 => tenant.deactivate(&uid),
            70..80 => tenant.activate(&uid),
            80..88 => tenant.delete(&uid),
            88..95 => {
                if tenant.restore(&uid) {
                    return Vec::new();
                }
                None
            }
            _ => {
                tenant.visit(&uid);
                return Vec::new();
            }
        };
        if let Some(event) = done {
            return vec![event];
        }
    }
    Vec::new()
}
