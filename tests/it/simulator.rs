//! A simulated tenant seen from outside: what it tells and what it lists agree with what is true.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Client;
use rollcall::clock::Clock;
use rollcall::directory::Timestamp;
use rollcall::simulator::api::Api;
use rollcall::simulator::desk::Rules;
use rollcall::simulator::event::Event;
use rollcall::simulator::life::Life;
use rollcall::simulator::tenant::{Shared, Tenant};
use serde_json::Value;

const MINUTE: Duration = Duration::from_secs(60);

/// A tenant after an hour of life, what it announced, and its API.
struct Town {
    tenant: Shared,
    events: Vec<Event>,
    api: Api,
    client: Client,
}

impl Town {
    fn after_an_hour() -> Self {
        // Another test may have installed it already, which is just as well.
        drop(rustls::crypto::ring::default_provider().install_default());
        let clock = Clock::manual(Timestamp::parse("2026-03-01T08:00:00Z").unwrap());
        let tenant = Tenant::new(230, 11, clock.clone()).shared();
        let mut life = Life::new(tenant.clone(), 10.0, 12, clock.clone());
        let mut events = Vec::new();
        for _ in 0..60 {
            clock.advance(MINUTE);
            events.extend(life.step());
        }
        let api = Api::start(tenant.clone(), Rules::documented("good", 1), "127.0.0.1:0".parse().unwrap(), &clock).unwrap();
        Self { tenant, events, api, client: Client::new() }
    }

    async fn get(&self, path: &str) -> Value {
        let response = self.client.get(format!("{}{path}", self.api.base_url())).bearer_auth("good").send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
    }

    /// Every row of every page.
    async fn list(&self, parameters: &str) -> BTreeMap<String, Value> {
        let mut rows = BTreeMap::new();
        for page in 1.. {
            let listing = self.get(&format!("/api/v1/users?per_page=100&page={page}&{parameters}")).await;
            rows.extend(listing["users"].as_array().unwrap().iter().map(|row| (row["uid"].as_str().unwrap().to_owned(), row.clone())));
            if page >= listing["meta"]["total_pages"].as_u64().unwrap() {
                break;
            }
        }
        rows
    }
}

#[tokio::test]
async fn listings_tell_the_truth_of_the_live_and_of_the_deleted() {
    let town = Town::after_an_hour();
    let truths: Vec<_> = town.tenant.lock().live_and_deleted().collect();
    assert!(truths.iter().any(|truth| truth.deleted_at.is_some()));
    let row = |fields: &serde_json::Map<String, Value>| Value::Object(fields.clone());
    let all: BTreeMap<_, _> = truths.iter().map(|truth| (truth.uid.clone(), row(&truth.listing))).collect();
    let live = truths.iter().filter(|truth| truth.deleted_at.is_none()).map(|truth| (truth.uid.clone(), row(&truth.listing)));
    assert_eq!(town.list("include_deleted=true&sort_by=created_at&sort_order=asc").await, all);
    assert_eq!(town.list("sort_by=name").await, live.collect());
    town.api.stop().await;
}

#[tokio::test]
async fn lookups_tell_the_truth_in_detail() {
    let town = Town::after_an_hour();
    let truths: Vec<_> = town.tenant.lock().live_and_deleted().filter(|truth| truth.deleted_at.is_none()).take(40).collect();
    for truth in &truths {
        let found = town.get(&format!("/api/v1/users/{}", truth.uid)).await;
        assert_eq!(found["user"], Value::Object(truth.detail.clone()));
    }
    assert_eq!(town.api.lookup_traffic().requests, 40);
    town.api.stop().await;
}

#[tokio::test]
async fn whoever_was_announced_is_listed_as_updated_since() {
    let town = Town::after_an_hour();
    let announced: BTreeSet<_> = town.events.iter().map(|event| event.uid.clone()).collect();
    assert!(announced.len() > 100);
    let updated = town.list("include_deleted=true&updated_after=2026-03-01T08:00:00Z").await;
    assert!(announced.iter().all(|uid| updated.contains_key(uid)));
    town.api.stop().await;
}

#[tokio::test]
async fn what_events_carry_agrees_with_the_last_of_them() {
    let town = Town::after_an_hour();
    let bodies = town.events.iter().map(|event| serde_json::from_slice::<Value>(&event.body).unwrap());
    let last: BTreeMap<_, _> = bodies.map(|body| (body["data"]["uid"].as_str().unwrap().to_owned(), body)).collect();
    let mut shown = 0;
    for (uid, body) in &last {
        let truth = town.tenant.lock().truth(uid).unwrap();
        for (field, value) in body["data"]["user"].as_object().unwrap() {
            assert_eq!(truth.listing.get(field), Some(value), "{uid} {field}");
            shown += 1;
        }
    }
    assert!(shown > 500);
    town.api.stop().await;
}
