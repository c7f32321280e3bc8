//! One simulated user: every field that upstream documents, and how it may move.

use std::time::Duration;

use rand::Rng;
use rand::rngs::SmallRng;

use super::names::{self, Department, Employment, Location, Phone};
use crate::directory::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// The documented example user E1000001 has the id 1753.
const ID_BASE: u64 = 1752;
const UID_BASE: u32 = 1_000_000;
/// Ids of those who bear somebody's uid after them.
const ID_AGAIN: u64 = 10_000_000;

/// A user of the tenant. Users are numbered from 1, in the order of their creation.
#[derive(Clone, Debug)]
pub(super) struct Person {
    pub(super) number: u32,
    /// How many bore the uid before.
    pub(super) predecessors: u32,
    pub(super) email: String,
    pub(super) first_name: &'static str,
    pub(super) last_name: &'static str,
    pub(super) active: bool,
    pub(super) job_title: &'static str,
    pub(super) department: &'static Department,
    pub(super) role: &'static str,
    pub(super) hired: Timestamp,
    pub(super) originally_hired: Timestamp,
    pub(super) employment: &'static Employment,
    pub(super) phone: Phone,
    pub(super) manager: Option<u32>,
    pub(super) reports: u32,
    pub(super) locations: &'static [Location],
    pub(super) flsa_status: &'static str,
    pub(super) classification: &'static str,
    pub(super) time_zone: &'static str,
    pub(super) has_external_id: bool,
    pub(super) skills: u8,
    pub(super) certifications: u8,
    pub(super) termination: Option<(Timestamp, &'static str)>,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    pub(super) last_activity_at: Timestamp,
    pub(super) deleted_at: Option<Timestamp>,
}

/// The uid of the user with this number: `E1000001` for the first.
pub(super) fn uid(number: u32) -> String {
    format!("E{}", UID_BASE.saturating_add(number))
}

/// The number behind a uid, where it is written as [`uid`] writes it.
pub(super) fn number(text: &str) -> Option<u32> {
    let number = text.strip_prefix('E')?.parse::<u32>().ok()?.checked_sub(UID_BASE)?;
    (uid(number) == text).then_some(number)
}

impl Person {
    /// A new user, active, without a manager, created at `created`.
    pub(super) fn random(number: u32, created: Timestamp, rng: &mut SmallRng) -> Self {
        let first_name = names::FIRST_NAMES.pick(rng);
        let last_name = names::LAST_NAMES.pick(rng);
        let hired = created.back(DAY * rng.random_range(0..1500));
        let rehired = rng.random_bool(0.1);
        Self {
            number,
            predecessors: 0,
            email: email(first_name, last_name, &number.to_string()),
            first_name,
            last_name,
            active: true,
            job_title: names::JOB_TITLES.pick(rng),
            department: names::DEPARTMENTS.pick(rng),
            role: names::ROLES.pick(rng),
            hired,
            originally_hired: if rehired { hired.back(DAY * 700) } else { hired },
            employment: names::EMPLOYMENTS.pick(rng),
            phone: Phone::random(rng),
            manager: None,
            reports: 0,
            locations: names::LOCATIONS.pick(rng),
            flsa_status: names::FLSA_STATUSES.pick(rng),
            classification: names::CLASSIFICATIONS.pick(rng),
            time_zone: names::TIME_ZONES.pick(rng),
            has_external_id: rng.random_bool(0.7),
            skills: rng.random_range(0..14),
            certifications: rng.random_range(0..5),
            termination: None,
            created_at: created,
            updated_at: created,
            last_activity_at: created,
            deleted_at: None,
        }
    }

    pub(super) fn uid(&self) -> String {
        uid(self.number)
    }

    pub(super) fn id(&self) -> u64 {
        ID_BASE.saturating_add(self.number.into()).saturating_add(ID_AGAIN.saturating_mul(self.predecessors.into()))
    }

    pub(super) fn full_name(&self) -> String {
        format!("{} {}", self.first_name, self.last_name)
    }

    pub(super) fn external_id(&self) -> Option<String> {
        self.has_external_id.then(|| format!("EMP-{:05}", self.number))
    }
}

/// An address of the domain that is kept for examples; `distinction` keeps it from being anyone else's.
pub(super) fn email(first_name: &str, last_name: &str, distinction: &str) -> String {
    let name = format!("{first_name}.{last_name}").to_lowercase();
    let name: String = name.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-'.".contains(*letter)).collect();
    let name = Some(name.trim_matches('.')).filter(|name| !name.is_empty()).unwrap_or("user");
    format!("{name}+{distinction}@example.com")
}
