//! What an update moves, and the names that `changes` gives it.

use rand::Rng;
use rand::rngs::SmallRng;

use super::names::{self, Department, Employment, Location, Phone};
use super::person::{self, Person};
use crate::directory::Timestamp;

/// A new value of one field, or of two that go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// `first_name`, and with it `full_name`.
    FirstName(&'static str),
    /// `last_name`, and with it `full_name`.
    LastName(&'static str),
    /// `email`; nobody else's.
    Email(String),
    /// `job_title`.
    JobTitle(&'static str),
    /// `employment_status` and `employee_type`.
    Employment(&'static Employment),
    /// `department`; snapshots do not carry it, nor anything below.
    Department(&'static Department),
    /// `organizational_role`.
    Role(&'static str),
    /// `phone`.
    Phone(Phone),
    /// `manager`, by uid; a uid that the tenant does not hold changes nothing.
    Manager(Option<String>),
    /// `locations`.
    Locations(&'static [Location]),
    /// `time_zone`: only details carry it.
    TimeZone(&'static str),
    /// `termination_date` and `termination_type`.
    Termination(Option<(Timestamp, &'static str)>),
}

impl Edit {
    /// A move of some field of `person` to a value it has not; half of them are of fields that snapshots do not carry. `colleague` is who
    /// may become their manager.
    pub(super) fn random(person: &Person, colleague: u32, rng: &mut SmallRng) -> Self {
        match rng.random_range(0..12) {
            0 => Self::FirstName(names::FIRST_NAMES.pick_other(rng, &person.first_name)),
            1 => Self::LastName(names::LAST_NAMES.pick_other(rng, &person.last_name)),
            2 => {
                let distinction = format!("{}.{}", person.number, rng.random_range(0..1_000_000));
                Self::Email(person::email(person.first_name, person.last_name, &distinction))
            }
            3 | 4 => Self::JobTitle(names::JOB_TITLES.pick_other(rng, &person.job_title)),
            5 => Self::Employment(names::EMPLOYMENTS.pick_other(rng, person.employment)),
            6 => Self::Department(names::DEPARTMENTS.pick_other(rng, person.department)),
            7 => Self::Role(names::ROLES.pick_other(rng, &person.role)),
            8 => Self::Phone(Phone::random(rng)),
            // Only downwards, so that nobody ends up above themselves.
            9 if colleague < person.number => Self::Manager(Some(person::uid(colleague))),
            10 => Self::TimeZone(names::TIME_ZONES.pick_other(rng, &person.time_zone)),
            _ => Self::Locations(names::LOCATIONS.pick_other(rng, &person.locations)),
        }
    }

    /// Whether a tenant of so many users can make the move at all.
    pub(super) fn fits(&self, users: u32) -> bool {
        match self {
            Self::Manager(Some(uid)) => person::number(uid).is_some_and(|number| (1..=users).contains(&number)),
            _ => true,
        }
    }

    /// Makes the move; tells the documented names of what really changed. A manager's move is the tenant's to count.
    pub(super) fn apply(&self, person: &mut Person) -> &'static [&'static str] {
        match self {
            Self::FirstName(name) => moved(&mut person.first_name, *name, &["first_name"]),
            Self::LastName(name) => moved(&mut person.last_name, *name, &["last_name"]),
            Self::Email(email) => moved(&mut person.email, email.clone(), &["email"]),
            Self::JobTitle(title) => moved(&mut person.job_title, *title, &["job_title"]),
            Self::Employment(employment) => moved(&mut person.employment, *employment, &["employment_status", "employee_type"]),
            Self::Department(department) => moved(&mut person.department, *department, &["department"]),
            Self::Role(role) => moved(&mut person.role, *role, &["organizational_role"]),
            Self::Phone(phone) => moved(&mut person.phone, *phone, &["phone"]),
            Self::Manager(manager) => moved(&mut person.manager, manager.as_deref().and_then(person::number), &["manager"]),
            Self::Locations(locations) => moved(&mut person.locations, *locations, &["locations"]),
            Self::TimeZone(zone) => moved(&mut person.time_zone, *zone, &["time_zone"]),
            Self::Termination(end) => moved(&mut person.termination, *end, &["termination_date", "termination_type"]),
        }
    }
}

/// Puts `new` in the place of `old`; `names` when that made a difference.
fn moved<T: PartialEq>(old: &mut T, new: T, names: &'static [&'static str]) -> &'static [&'static str] {
    if *old == new {
        return &[];
    }
    *old = new;
    names
}
