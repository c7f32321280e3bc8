//! A house joined to a simulated tenant: what happens there, and whether the directory is right about it.

use std::time::Duration;

use rollcall::clock::Clock;
use rollcall::simulator::api::Api;
use rollcall::simulator::desk::Rules;
use rollcall::simulator::edit::Edit;
use rollcall::simulator::event::Event;
use rollcall::simulator::tenant::Tenant;
use serde_json::Value;

use crate::answers::{Answer, list};
use crate::house::{API_TOKEN, House, Plan};

/// A house's time runs so many times as fast: what a gap waits for takes a quarter of a second.
pub(crate) const BRISK: u32 = 60;
/// An hour takes a second.
pub(crate) const HASTY: u32 = 3600;
/// Longer than any event waits for the read that covers it. Seconds of the house.
pub(crate) const COVERED_AFTER: u64 = 20;

// The tenant's first users.
pub(crate) const ADA: &str = "E1000001";
pub(crate) const BEN: &str = "E1000002";
pub(crate) const EVE: &str = "E1000003";

impl House {
    /// A house with a tenant of so many users; its time runs `speed` times as fast.
    pub(crate) fn joined(users: u32, speed: u32) -> Plan {
        Self::joined_by(users, Clock::fast(Clock::system().now(), speed))
    }

    /// A house with a tenant of so many users, both by this clock.
    pub(crate) fn joined_by(users: u32, clock: Clock) -> Plan {
        let tenant = Tenant::new(users, 7, clock.clone()).shared();
        let mut plan = Self::alone();
        (plan.clock, plan.tenant) = (clock, Some(tenant));
        plan
    }

    /// Does something to the tenant, or asks what is true of it.
    pub(crate) fn tenant<T>(&self, act: impl FnOnce(&mut Tenant) -> T) -> T {
        act(&mut self.tenant.as_ref().expect("a house with a tenant").lock())
    }

    pub(crate) fn api(&self) -> &Api {
        self.api.as_ref().expect("a house with a tenant")
    }

    /// The tenant's API behaves otherwise from now on.
    pub(crate) fn behave(&self, change: impl FnOnce(&mut Rules)) {
        self.api().behave(|rules| {
            *rules = Rules::documented(API_TOKEN, 2);
            change(rules);
        });
    }

    /// Delivers what the tenant announces.
    pub(crate) fn hear(&self, event: &Event) -> Answer {
        self.deliver_bytes(&event.body)
    }

    /// A user as they are listed, deleted or not; of the first hundred by age.
    pub(crate) fn row(&self, uid: &str) -> Option<Value> {
        let listed = list(&self.get("/api/v1/users?include_deleted=true&per_page=100&sort_order=asc"), "users");
        listed.into_iter().find(|row| row["uid"] == uid)
    }

    /// Waits until the first sweep is over.
    pub(crate) fn swept(self) -> Self {
        self.until("the first sweep", || self.gaps("closed").iter().any(|gap| gap["reason"] == "initial_load").then_some(()));
        self
    }

    /// Waits until the house's clock has gone on by so much.
    pub(crate) fn later(&self, seconds: u64) {
        let then = self.clock.now() + Duration::from_secs(seconds);
        self.until("time to pass", || (self.clock.now() > then).then_some(()));
    }

    /// Somebody gets another job title; what the tenant announces of it.
    pub(crate) fn retitled(&self, uid: &str) -> Event {
        let mut titles = ["Night Auditor", "Trainer"].into_iter();
        titles.find_map(|title| self.tenant(|tenant| tenant.update(uid, &[Edit::JobTitle(title)]))).unwrap()
    }

    /// Waits until the directory lists a user as the tenant does.
    #[track_caller]
    pub(crate) fn becomes_right_about(&self, uid: &str) {
        let truth = self.tenant(|tenant| tenant.truth(uid)).unwrap();
        self.until(&format!("{uid} to be right"), || {
            let row = self.row(uid)?;
            let is_right = |(field, value): (&String, &Value)| match field.as_str() {
                // As of the last read, whenever that was.
                "last_activity_at" => true,
                "active" if truth.deleted_at.is_some() => row["active"] == false,
                _ => row[field] == *value,
            };
            let lives = row.get("deleted_at").is_some() == truth.deleted_at.is_some();
            (lives && truth.listing.iter().all(is_right)).then_some(())
        });
    }
}
