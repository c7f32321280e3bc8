//! How the REST API shows a user: the documented row of a listing, and the documented detail, in the documented order.

use serde::Serialize;

use super::names::Location;
use super::person::Person;
use super::tenant::Tenant;
use crate::directory::Timestamp;

/// A row of `GET /api/v1/users` (guide, step 2).
#[derive(Serialize)]
pub(super) struct Row<'a> {
    #[serde(flatten)]
    who: Who<'a>,
    original_hire_date: String,
    #[serde(flatten)]
    work: Work<'a>,
    locations: Vec<&'a str>,
    #[serde(flatten)]
    times: Times<'a>,
    /// Undocumented: some listings tell when a row's user was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Option<String>>,
}

/// The answer to a lookup (guide, step 3).
#[derive(Serialize)]
pub(super) struct Detail<'a> {
    #[serde(flatten)]
    who: Who<'a>,
    #[serde(flatten)]
    work: Work<'a>,
    direct_reports_count: u32,
    locations: Vec<Place<'a>>,
    organizational_department: Unit<'a>,
    flsa_status: &'a str,
    worker_classification: &'a str,
    time_zone: &'a str,
    external_employee_id: Option<String>,
    skills_count: u8,
    certifications_count: u8,
    #[serde(flatten)]
    times: Times<'a>,
}

#[derive(Serialize)]
struct Who<'a> {
    uid: String,
    id: u64,
    email: &'a str,
    first_name: &'a str,
    last_name: &'a str,
    full_name: String,
    active: bool,
    job_title: &'a str,
    department: &'a str,
    organizational_role: &'a str,
    hire_date: String,
}

#[derive(Serialize)]
struct Work<'a> {
    employment_status: &'a str,
    employee_type: &'a str,
    phone: String,
    manager: Option<Manager<'a>>,
}

#[derive(Serialize)]
struct Times<'a> {
    termination_date: Option<String>,
    termination_type: Option<&'a str>,
    created_at: String,
    updated_at: String,
    last_activity_at: String,
}

#[derive(Serialize)]
struct Manager<'a> {
    uid: String,
    email: &'a str,
    full_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_title: Option<&'a str>,
}

#[derive(Serialize)]
struct Place<'a> {
    name: &'a str,
    address: &'a str,
}

#[derive(Serialize)]
struct Unit<'a> {
    name: &'a str,
    code: &'a str,
}

impl<'a> Row<'a> {
    pub(super) fn new(tenant: &'a Tenant, person: &'a Person) -> Self {
        Self {
            who: Who::new(person),
            original_hire_date: day(person.originally_hired),
            work: Work::new(person, tenant.manager_of(person).map(|manager| Manager::new(manager, None))),
            locations: person.locations.iter().map(|location| location.name).collect(),
            times: Times::new(person),
            deleted_at: None,
        }
    }

    /// The row, which tells whether its user was deleted where `marks`.
    pub(super) fn marked(self, person: &Person, marks: bool) -> Self {
        Self { deleted_at: marks.then(|| person.deleted_at.map(|at| at.to_string())), ..self }
    }
}

impl<'a> Detail<'a> {
    pub(super) fn new(tenant: &'a Tenant, person: &'a Person) -> Self {
        let manager = tenant.manager_of(person).map(|manager| Manager::new(manager, Some(manager.job_title)));
        Self {
            who: Who::new(person),
            work: Work::new(person, manager),
            direct_reports_count: person.reports,
            locations: person.locations.iter().map(Place::new).collect(),
            organizational_department: Unit { name: person.department.name, code: person.department.code },
            flsa_status: person.flsa_status,
            worker_classification: person.classification,
            time_zone: person.time_zone,
            external_employee_id: person.external_id(),
            skills_count: person.skills,
            certifications_count: person.certifications,
            times: Times::new(person),
        }
    }
}

impl<'a> Who<'a> {
    fn new(person: &'a Person) -> Self {
        Self {
            uid: person.uid(),
            id: person.id(),
            email: &person.email,
            first_name: person.first_name,
            last_name: person.last_name,
            full_name: person.full_name(),
            active: person.active,
            job_title: person.job_title,
            department: person.department.name,
            organizational_role: person.role,
            hire_date: day(person.hired),
        }
    }
}

impl<'a> Work<'a> {
    fn new(person: &'a Person, manager: Option<Manager<'a>>) -> Self {
        Self {
            employment_status: person.employment.status,
            employee_type: person.employment.kind,
            phone: person.phone.to_string(),
            manager,
        }
    }
}

impl<'a> Times<'a> {
    fn new(person: &'a Person) -> Self {
        Self {
            termination_date: person.termination.map(|(at, _)| day(at)),
            termination_type: person.termination.map(|(_, why)| why),
            created_at: person.created_at.to_string(),
            updated_at: person.updated_at.to_string(),
            last_activity_at: person.last_activity_at.to_string(),
        }
    }
}

impl<'a> Manager<'a> {
    /// Listings tell no title.
    fn new(manager: &'a Person, job_title: Option<&'a str>) -> Self {
        Self { uid: manager.uid(), email: &manager.email, full_name: manager.full_name(), job_title }
    }
}

impl<'a> Place<'a> {
    fn new(location: &'a Location) -> Self {
        Self { name: location.name, address: location.address }
    }
}

/// The calendar day of a time, in UTC.
fn day(at: Timestamp) -> String {
    at.to_string().split('T').next().unwrap_or_default().to_owned()
}
