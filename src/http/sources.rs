//! Which source a request is about, and `GET /api/v1/sources`.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;

use super::query::Query;
use super::reconciliations::Shown;
use super::{Problem, answer, problem};
use crate::config::Secret;
use crate::directory::Timestamp;
use crate::service::Service;
use crate::storage::{self, Reconciliation, RunState};

/// Reconciliations that are looked through for the running one: more than can wait at once.
const RECENT: usize = 100;

/// The source that a request names: by its path, by `?source=`, or by being the only one.
///
/// # Errors
/// 404 for an unknown source, 400 when there are several and none is named.
pub(super) fn named<'a>(request: &HttpRequest, query: &Query, service: &'a Service) -> Result<&'a str, Problem> {
    let Some(name) = request.match_info().get("source").or_else(|| query.text("source")) else {
        return service.only_source().ok_or_else(problem::source_required);
    };
    service.config.sources.get_key_value(name).map(|(name, _)| name.as_str()).ok_or_else(problem::unknown_source)
}

#[derive(Debug, Serialize)]
struct All<'a> {
    sources: Vec<Told<'a>>,
}

/// One source as `/api/v1/sources` shows it.
#[derive(Debug, Serialize)]
struct Told<'a> {
    name: &'a str,
    kind: &'static str,
    /// Since the start of the process, by outcome.
    deliveries: BTreeMap<&'static str, u64>,
    last_delivery: Option<String>,
    consecutive_failures: u32,
    /// In the order of their file.
    webhook_secrets: Vec<Used>,
    /// The one that is sent; `null` without an upstream.
    api_token: Option<Used>,
    users: Users,
    gaps_open: u64,
    oldest_gap: Option<String>,
    /// Passes go on behind this `updated_at`.
    watermark: Option<String>,
    swept_at: Option<String>,
    passed_at: Option<String>,
    budgets: Budgets,
    capabilities: Capabilities,
    clock_offset_millis: Option<i64>,
    reconciliation: Option<Shown>,
}

/// A secret that counts, by its number, since it first counted in this process.
#[derive(Debug, Serialize)]
struct Used {
    secret: u64,
    uses: u64,
    last_used: Option<String>,
}

impl From<&Arc<Secret>> for Used {
    fn from(secret: &Arc<Secret>) -> Self {
        let last_used = secret.usage.last_millis().map(|millis| Timestamp::from_millis(millis).to_string());
        Self { secret: secret.number, uses: secret.usage.uses(), last_used }
    }
}

#[derive(Debug, Serialize)]
struct Users {
    active: u64,
    inactive: u64,
    deleted: u64,
}

/// Calls that are left now.
#[derive(Debug, Serialize)]
struct Budgets {
    bulk: u32,
    lookup: u32,
    caps: Caps,
}

/// Calls that an hour may hold at present.
#[derive(Debug, Serialize)]
struct Caps {
    bulk: u32,
    lookup: u32,
}

/// What upstream was seen to do; `null` until it showed.
#[derive(Debug, Serialize)]
struct Capabilities {
    lookups_hide_deleted: Option<bool>,
    date_header: Option<bool>,
    /// Listings honour `updated_after` and `sort_by`.
    passes: Option<bool>,
    /// `updated_after` takes in the moment itself.
    updated_after_inclusive: Option<bool>,
    /// Rows of listings tell who was deleted; the documented ones do not.
    rows_mark_deleted: bool,
}

/// `GET /api/v1/sources`
pub(super) async fn list(service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let recent = service.store.reconciliations(u64::MAX, RECENT)?;
    // One that had begun and was interrupted, by a restart say, goes on: it is shown while nothing else runs.
    let under_way = |one: &&Reconciliation, state| one.state == state && one.started_at.is_some();
    let first = |source: &str, state| recent.iter().find(|one| one.source == source && under_way(one, state)).cloned();
    let running = |source: &str| first(source, RunState::Running).or_else(|| first(source, RunState::Waiting));
    let told = service.config.sources.keys().map(|name| tell(&service, name, running(name).map(Shown::from)));
    let sources = told.collect::<Result<Vec<_>, _>>()?;
    answer(&All { sources })
}

fn tell<'a>(service: &Service, name: &'a str, reconciliation: Option<Shown>) -> Result<Told<'a>, storage::Error> {
    let state = service.store.source(name)?;
    let counts = service.store.counts(name);
    let standing = service.standing(name);
    let source = service.config.sources.get(name);
    let webhook_secrets = source.map(|source| source.webhook_secrets.live().iter().map(Used::from).collect());
    let api_token = source.and_then(|source| source.api_token.as_ref()?.live().first().map(Used::from));
    let written = |time: Option<Timestamp>| time.map(|time| time.to_string());
    Ok(Told {
        name,
        kind: "mangoapps",
        deliveries: standing.deliveries,
        last_delivery: written(standing.last_delivery),
        consecutive_failures: standing.consecutive_failures,
        webhook_secrets: webhook_secrets.unwrap_or_default(),
        api_token,
        users: Users { active: counts.active, inactive: counts.inactive, deleted: counts.deleted },
        gaps_open: counts.gaps_open,
        oldest_gap: written(counts.oldest_gap),
        watermark: written(state.cursor),
        swept_at: written(state.swept_at),
        passed_at: written(state.passed_at),
        budgets: Budgets {
            bulk: standing.bulk_remaining,
            lookup: standing.lookup_remaining,
            caps: Caps { bulk: standing.bulk_cap, lookup: standing.lookup_cap },
        },
        capabilities: Capabilities {
            lookups_hide_deleted: state.lookups_hide_deleted,
            date_header: standing.clock_offset_millis.or(state.clock_offset_millis).map(|_| true),
            passes: state.passes_usable,
            updated_after_inclusive: state.updated_after_inclusive,
            rows_mark_deleted: state.rows_mark_deleted,
        },
        clock_offset_millis: standing.clock_offset_millis,
        reconciliation,
    })
}
