//! The REST API without the network: who may ask, how often, and what they are told (guide, steps 2 to 4, "Rate Limits").

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use serde_json::json;

use super::faults::{Faults, Instead};
use super::limits::{Limit, Tally, Traffic};
use super::person::Person;
use super::query::{Manners, Query};
use super::tenant::{Shared, Tenant};
use super::view::Detail;
use crate::clock::Clock;

/// How the API of a tenant behaves.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Every token and whether it has the scope `read:users`.
    pub tokens: HashMap<String, bool>,
    /// Requests that each token may make to `GET /api/v1/users` in any hour.
    pub bulk_per_hour: u32,
    /// Requests that each token may make to both lookups together in any hour.
    pub lookups_per_hour: u32,
    /// Lookups answer about deleted users too, as if they were not deleted.
    pub lookups_show_deleted: bool,
    /// Rows of listings tell who was deleted; the documented ones do not.
    pub rows_mark_deleted: bool,
    /// `updated_after` means at or after.
    pub updated_after_inclusive: bool,
    /// `updated_after` is passed over.
    pub windowless: bool,
    /// Rows that are equal in what they are sorted by come in another order each time.
    pub unstable_ties: bool,
    /// Answers show the tenant as it was so long ago, as far as [`Desk`] was told to remember that.
    pub lag: Duration,
    /// The token sees no user whose number is a multiple of this: its scope was changed.
    pub hidden: Option<u32>,
    /// What goes wrong on purpose.
    pub faults: Faults,
    /// Decides what goes wrong when.
    pub seed: u64,
}

impl Rules {
    /// The documented limits, one good token, and no faults.
    #[must_use]
    pub fn documented(token: &str, seed: u64) -> Self {
        Self {
            tokens: HashMap::from([(token.to_owned(), true)]),
            bulk_per_hour: 100,
            lookups_per_hour: 300,
            lookups_show_deleted: false,
            rows_mark_deleted: false,
            updated_after_inclusive: false,
            windowless: false,
            unstable_ties: false,
            lag: Duration::ZERO,
            hidden: None,
            faults: Faults::default(),
            seed,
        }
    }
}

/// What a request is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask<'a> {
    /// `GET /api/v1/users`, with its parameters.
    Page(&'a HashMap<String, String>),
    /// `GET /api/v1/users/{uid}`.
    Uid(&'a str),
    /// `GET /api/v1/users/by_email/{email}`.
    Email(&'a str),
    /// Some other path.
    Unknown,
}

/// An answer, ready to be sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    pub(super) retry_after: Option<Duration>,
    /// How long to wait before sending it, in simulated time.
    pub(super) delay: Duration,
}

/// Answers requests about one tenant.
#[derive(Debug)]
pub(super) struct Desk {
    tenant: Shared,
    clock: Clock,
    rules: Rules,
    rng: SmallRng,
    bulk: Endpoint,
    lookups: Endpoint,
    /// The tenant after each of its last moves, by the monotonic clock.
    past: VecDeque<(Duration, Tenant)>,
}

#[derive(Debug)]
struct Endpoint {
    per_hour: u32,
    /// By token, of those that exist.
    limits: HashMap<String, Limit>,
    tally: Tally,
}

impl Desk {
    pub(super) fn new(tenant: Shared, rules: Rules, clock: Clock) -> Self {
        Self {
            tenant,
            clock,
            rng: SmallRng::seed_from_u64(rules.seed),
            bulk: Endpoint::new(rules.bulk_per_hour),
            lookups: Endpoint::new(rules.lookups_per_hour),
            rules,
            past: VecDeque::new(),
        }
    }

    /// Remembers the tenant as it is now, for answers that lag.
    pub(super) fn remember(&mut self) {
        if self.rules.lag.is_zero() {
            return;
        }
        self.past.push_back((self.clock.elapsed(), self.tenant.lock().clone()));
        while self.past.get(1).is_some_and(|(at, _)| *at + self.rules.lag <= self.clock.elapsed()) {
            self.past.pop_front();
        }
    }

    /// Answers one request that came with `token`.
    pub(super) fn answer(&mut self, is_get: bool, token: Option<&str>, ask: Ask<'_>) -> Reply {
        let Some((token, &may_read)) = token.and_then(|token| self.rules.tokens.get_key_value(token)) else {
            return Reply::error(401, "unauthorized", "Invalid or expired authentication token");
        };
        if !may_read {
            return Reply::error(403, "insufficient_scope", "Insufficient scope: this needs read:users or admin");
        }
        let endpoint = match ask {
            Ask::Page(_) => &mut self.bulk,
            Ask::Uid(_) | Ask::Email(_) => &mut self.lookups,
            Ask::Unknown => return Reply::error(404, "not_found", "There is nothing at this path"),
        };
        if !is_get {
            return Reply::error(405, "method_not_allowed", "Only GET is answered here");
        }
        if let Err(wait) = endpoint.admit(token, self.clock.elapsed()) {
            // The guide does not promise the header: half of the refusals come without.
            return Reply::limited(self.rng.random_bool(0.5).then_some(wait));
        }
        let mishap = self.rules.faults.draw(&mut self.rng);
        let mut reply = match mishap.status {
            None => self.serve_or(ask, mishap.instead),
            Some(429) => Reply::limited(None),
            Some(status) => Reply::error(status, "internal_server_error", "Something went wrong on purpose"),
        };
        if let Some(part) = mishap.keep {
            reply.cut(part);
        }
        reply.delay = mishap.delay;
        reply
    }

    pub(super) const fn rules_mut(&mut self) -> &mut Rules {
        &mut self.rules
    }

    /// What became of the requests for listings.
    pub(super) fn bulk_traffic(&self) -> Traffic {
        self.bulk.tally.traffic()
    }

    /// What became of the lookups.
    pub(super) fn lookup_traffic(&self) -> Traffic {
        self.lookups.tally.traffic()
    }

    fn serve_or(&mut self, ask: Ask<'_>, instead: Option<Instead>) -> Reply {
        match (instead, ask) {
            (Some(Instead::Html), _) => Reply::new(200, b"<!DOCTYPE html><title>Log in</title>".to_vec()),
            // A search that finds nobody looks just so: nobody could tell, so that much is not asked of anyone.
            (Some(Instead::NoUsers), Ask::Page(parameters)) if !parameters.contains_key("search") => {
                let asked = |name: &str| parameters.get(name).and_then(|text| text.parse().ok()).unwrap_or(1_u64);
                let meta = json!({"total_count": 0, "total_pages": 0, "current_page": asked("page"), "per_page": asked("per_page")});
                Reply::json(&json!({"users": [], "meta": meta}))
            }
            (Some(Instead::Nothing | Instead::NoUsers), _) => Reply::new(200, Vec::new()),
            (Some(Instead::Unasked), Ask::Page(_)) => self.serve(Ask::Page(&HashMap::new())),
            (Some(Instead::Unasked) | None, ask) => self.serve(ask),
        }
    }

    fn serve(&mut self, ask: Ask<'_>) -> Reply {
        let ties = self.rules.unstable_ties.then(|| self.rng.random());
        let Rules { updated_after_inclusive: inclusive, rows_mark_deleted: marked, hidden, windowless, .. } = self.rules;
        let manners = Manners { inclusive, ties, marked, hidden, windowless };
        let lagging = self.clock.elapsed().saturating_sub(self.rules.lag);
        let past = self.past.iter().rev().find(|(at, _)| *at <= lagging).or_else(|| self.past.front());
        let now = self.tenant.lock();
        let tenant = match past.filter(|_| !self.rules.lag.is_zero()) {
            Some((_, past)) => past,
            None => &*now,
        };
        match ask {
            Ask::Page(parameters) => match Query::read(parameters) {
                Ok(query) => Reply::json(&query.answer(tenant, manners)),
                Err(name) => Reply::error(400, "invalid_parameter", &format!("Parameter '{name}' cannot be read")),
            },
            Ask::Uid(uid) => self.detail(tenant, tenant.person(uid), &format!("UID '{uid}'")),
            Ask::Email(email) => {
                let found = tenant.people().filter(|person| self.shows(person));
                let found = found.into_iter().find(|person| person.email.eq_ignore_ascii_case(email));
                self.detail(tenant, found, &format!("email '{email}'"))
            }
            Ask::Unknown => Reply::error(404, "not_found", "There is nothing at this path"),
        }
    }

    fn detail(&self, tenant: &Tenant, person: Option<&Person>, whom: &str) -> Reply {
        match person.filter(|person| self.shows(person)) {
            Some(person) => Reply::json(&Found { user: Detail::new(tenant, person) }),
            None => Reply::error(404, "user_not_found", &format!("User with {whom} not found in current business")),
        }
    }

    /// Whether lookups answer about them.
    fn shows(&self, person: &Person) -> bool {
        let hidden = self.rules.hidden.is_some_and(|each| person.number.is_multiple_of(each));
        !hidden && (self.rules.lookups_show_deleted || person.deleted_at.is_none())
    }
}

#[derive(Serialize)]
struct Found<'a> {
    user: Detail<'a>,
}

impl Endpoint {
    fn new(per_hour: u32) -> Self {
        Self { per_hour, limits: HashMap::new(), tally: Tally::default() }
    }

    fn admit(&mut self, token: &str, now: Duration) -> Result<(), Duration> {
        self.tally.note(now);
        let limit = self.limits.entry(token.to_owned()).or_insert_with(|| Limit::new(self.per_hour));
        limit.admit(now).inspect_err(|_| self.tally.note_refused())
    }
}

impl Reply {
    fn new(status: u16, body: Vec<u8>) -> Self {
        Self { status, body, retry_after: None, delay: Duration::ZERO }
    }

    fn json(value: &impl Serialize) -> Self {
        // Views are texts, numbers and lists: there is nothing that could fail to be written.
        Self::new(200, serde_json::to_vec(value).unwrap_or_default())
    }

    fn error(status: u16, code: &str, message: &str) -> Self {
        Self::new(status, json!({ "error": { "code": code, "message": message } }).to_string().into_bytes())
    }

    fn limited(retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..Self::error(429, "rate_limit_exceeded", "Too Many Requests") }
    }

    /// Keeps this part of the body, and never all of it.
    fn cut(&mut self, part: f64) {
        let keep = (self.body.len() as f64 * part) as usize;
        self.body.truncate(keep.min(self.body.len().saturating_sub(1)));
    }
}

#[cfg(test)]
mod tests;
