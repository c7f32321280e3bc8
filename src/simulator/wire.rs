//! The tenant's REST API without sockets: requests and answers travel in simulated time, and may not arrive.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use reqwest::Url;
use reqwest::header::{DATE, HeaderMap, HeaderValue, RETRY_AFTER};

use super::desk::{Ask, Desk, Reply, Rules};
use super::limits::Traffic;
use super::tenant::Shared;
use crate::clock::Clock;
use crate::directory::Timestamp;
use crate::upstream::mangoapps::client::Failure;
use crate::upstream::mangoapps::client::line::{Delivered, Delivering, Wire};

/// How long whoever waits for an answer waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// What happens on the way: chances between 0 (never) and 1 (always), times in simulated time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Weather {
    /// The longest that a request travels; so does its answer.
    pub travel_max: Duration,
    /// A request never arrives.
    pub refused: f64,
    /// A request arrives, and its answer is lost at once.
    pub reset: f64,
    /// A request arrives, and its answer is waited for in vain.
    pub silence: f64,
    /// An answer breaks off.
    pub broken: f64,
}

/// The API at the end of a wire.
#[derive(Debug)]
pub struct Wired {
    clock: Clock,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    desk: Desk,
    weather: Weather,
    rng: SmallRng,
}

/// What the way has in store for one request.
struct Fate {
    there: Duration,
    back: Duration,
    luck: [f64; 4],
}

impl Wired {
    /// The API of `tenant`, by upstream's own clock; `seed` decides what happens on the way.
    #[must_use]
    pub fn new(tenant: Shared, rules: Rules, seed: u64, clock: &Clock) -> Self {
        let desk = Desk::new(tenant, rules, clock.clone());
        let inner = Inner { desk, weather: Weather::default(), rng: SmallRng::seed_from_u64(seed) };
        Self { clock: clock.clone(), inner: Mutex::new(inner) }
    }

    /// Changes how it behaves from now on, and what happens on the way; hourly limits stay as they were.
    pub fn behave(&self, change: impl FnOnce(&mut Rules, &mut Weather)) {
        let Inner { desk, weather, .. } = &mut *self.inner.lock();
        change(desk.rules_mut(), weather);
    }

    /// Remembers the tenant as it is now, for answers that lag behind it.
    pub fn remember(&self) {
        self.inner.lock().desk.remember();
    }

    /// What became of the requests for listings.
    #[must_use]
    pub fn bulk_traffic(&self) -> Traffic {
        self.inner.lock().desk.bulk_traffic()
    }

    /// What became of the lookups.
    #[must_use]
    pub fn lookup_traffic(&self) -> Traffic {
        self.inner.lock().desk.lookup_traffic()
    }

    fn fate(&self) -> (Weather, Fate) {
        let Inner { weather, rng, .. } = &mut *self.inner.lock();
        let mut travel = || weather.travel_max.mul_f64(rng.random::<f64>().powi(3));
        let (there, back) = (travel(), travel());
        (*weather, Fate { there, back, luck: rng.random() })
    }

    fn answer(&self, url: &Url, authorization: &HeaderValue) -> Reply {
        let token = authorization.to_str().ok().and_then(|value| value.strip_prefix("Bearer "));
        let path = percent_encoding::percent_decode_str(url.path()).decode_utf8_lossy();
        let parameters: HashMap<String, String> = url.query_pairs().into_owned().collect();
        let ask = match path.strip_prefix("/api/v1/users") {
            Some("") => Ask::Page(&parameters),
            Some(rest) => match (rest.strip_prefix("/by_email/"), rest.strip_prefix('/')) {
                (Some(email), _) => Ask::Email(email),
                (None, Some(uid)) => Ask::Uid(uid),
                (None, None) => Ask::Unknown,
            },
            None => Ask::Unknown,
        };
        self.inner.lock().desk.answer(true, token, ask)
    }

    async fn travel(&self, url: Url, authorization: HeaderValue) -> Result<Delivered, Failure> {
        let (weather, Fate { there, back, luck: [refused, reset, silence, broken] }) = self.fate();
        self.clock.sleep(there).await;
        if refused < weather.refused {
            return Err(Failure::Unreachable("there is no connection"));
        }
        // From here on upstream has counted it, whatever becomes of whoever asked.
        let reply = self.answer(&url, &authorization);
        if reset < weather.reset {
            return Err(Failure::Unreachable("the connection broke"));
        }
        if silence < weather.silence {
            self.clock.sleep(PATIENCE.saturating_sub(there)).await;
            return Err(Failure::Unreachable("it took too long"));
        }
        self.clock.sleep(reply.delay).await;
        let mut headers = HeaderMap::new();
        headers.extend(header(&http_date(self.clock.now())).map(|date| (DATE, date)));
        let wait = reply.retry_after.map(|wait| wait.as_secs().saturating_add(1).to_string());
        headers.extend(wait.and_then(|wait| header(&wait)).map(|wait| (RETRY_AFTER, wait)));
        self.clock.sleep(back).await;
        let body = if broken < weather.broken { Err(Failure::Unreachable("the answer was cut")) } else { Ok(reply.body) };
        Ok(Delivered { status: reply.status, headers, body })
    }
}

impl Wire for Wired {
    fn get(&self, url: Url, authorization: HeaderValue) -> Delivering<'_> {
        Box::pin(self.travel(url, authorization))
    }
}

fn header(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(text).ok()
}

/// As HTTP writes a time.
fn http_date(now: Timestamp) -> String {
    let since = Duration::from_secs(u64::try_from(now.as_seconds()).unwrap_or(0));
    actix_web::http::header::HttpDate::from(std::time::UNIX_EPOCH + since).to_string()
}
