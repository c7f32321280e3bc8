//! What a listing is asked for, and which users answer it (guide, step 2, "Query Parameters").

use std::collections::HashMap;

use serde::Serialize;

use super::person::Person;
use super::tenant::Tenant;
use super::view::Row;
use crate::directory::Timestamp;

const PER_PAGE: usize = 25;
const PER_PAGE_MAX: usize = 100;

/// The parameters of `GET /api/v1/users`, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    page: usize,
    per_page: usize,
    active: Option<bool>,
    search: Option<String>,
    department: Option<String>,
    employment_status: Option<String>,
    updated_after: Option<Timestamp>,
    include_deleted: bool,
    sort_by: SortBy,
    ascending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SortBy {
    Name,
    CreatedAt,
    UpdatedAt,
}

/// How the tenant reads its own documentation.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manners {
    /// `updated_after` is passed over.
    pub(super) windowless: bool,
    /// `updated_after` means at or after.
    pub(super) inclusive: bool,
    /// What the order of equal rows depends on this time; `None` for always the same one.
    pub(super) ties: Option<u64>,
    /// Rows tell who was deleted.
    pub(super) marked: bool,
    /// Users whose number is a multiple of this are not shown.
    pub(super) hidden: Option<u32>,
}

/// One page of users and where it stands.
#[derive(Serialize)]
pub(super) struct Listing<'a> {
    users: Vec<Row<'a>>,
    meta: Meta,
}

#[derive(Serialize)]
struct Meta {
    total_count: usize,
    total_pages: usize,
    current_page: usize,
    per_page: usize,
}

impl Query {
    /// Reads the parameters; unknown ones are passed over, empty ones count as absent.
    ///
    /// # Errors
    /// The parameter that cannot be read.
    pub fn read(parameters: &HashMap<String, String>) -> Result<Self, &'static str> {
        let given = |name: &str| parameters.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let count = |name: &'static str| match given(name).map(str::parse::<usize>) {
            None => Ok(None),
            Some(Ok(count)) if count > 0 => Ok(Some(count)),
            Some(_) => Err(name),
        };
        let flag = |name: &'static str| match given(name) {
            None => Ok(None),
            Some("true" | "1") => Ok(Some(true)),
            Some("false" | "0") => Ok(Some(false)),
            Some(_) => Err(name),
        };
        Ok(Self {
            page: count("page")?.unwrap_or(1),
            per_page: count("per_page")?.unwrap_or(PER_PAGE).min(PER_PAGE_MAX),
            active: flag("active")?,
            search: given("search").map(str::to_lowercase),
            department: given("department").map(str::to_owned),
            employment_status: given("employment_status").map(str::to_owned),
            updated_after: match given("updated_after") {
                None => None,
                Some(text) => Some(Timestamp::parse(text).ok_or("updated_after")?),
            },
            include_deleted: flag("include_deleted")?.unwrap_or(false),
            sort_by: match given("sort_by") {
                Some("name") => SortBy::Name,
                Some("updated_at") => SortBy::UpdatedAt,
                None | Some("created_at") => SortBy::CreatedAt,
                Some(_) => return Err("sort_by"),
            },
            ascending: match given("sort_order") {
                Some("asc") => true,
                None | Some("desc") => false,
                Some(_) => return Err("sort_order"),
            },
        })
    }

    /// The page of the tenant's users that was asked for; beyond the end it is empty.
    pub(super) fn answer<'a>(&self, tenant: &'a Tenant, manners: Manners) -> Listing<'a> {
        let shown = |person: &&Person| manners.hidden.is_none_or(|each| !person.number.is_multiple_of(each));
        let mut found: Vec<&Person> = tenant.people().filter(shown).filter(|person| self.wants(person, manners)).collect();
        if let Some(salt) = manners.ties {
            // A stable sort leaves equal rows in this order, apart from what is sorted by number as well.
            found.sort_by_key(|person| (u64::from(person.number) ^ salt).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        }
        self.sort(&mut found, manners.ties.is_some());
        let from = self.page.saturating_sub(1).saturating_mul(self.per_page);
        Listing {
            users: found
                .iter()
                .skip(from)
                .take(self.per_page)
                .map(|person| Row::new(tenant, person).marked(person, manners.marked))
                .collect(),
            meta: Meta {
                total_count: found.len(),
                total_pages: found.len().div_ceil(self.per_page),
                current_page: self.page,
                per_page: self.per_page,
            },
        }
    }

    fn wants(&self, person: &Person, manners: Manners) -> bool {
        (self.include_deleted || person.deleted_at.is_none())
            && self.active.is_none_or(|active| person.active == active)
            && self
                .updated_after
                .is_none_or(|after| manners.windowless || person.updated_at > after || manners.inclusive && person.updated_at == after)
            && self.department.as_deref().is_none_or(|department| person.department.name == department)
            && self.employment_status.as_deref().is_none_or(|status| person.employment.status == status)
            && self
                .search
                .as_deref()
                .is_none_or(|text| person.full_name().to_lowercase().contains(text) || person.email.to_lowercase().contains(text))
    }

    /// Ties go by id, in the same direction. The users come in the order of their ids, which is that of their creation, so that the
    /// default order costs a stable sort nothing.
    fn sort(&self, found: &mut [&Person], unstable: bool) {
        let number = |person: &Person| if unstable { 0 } else { person.number };
        match self.sort_by {
            SortBy::Name => found.sort_by_cached_key(|person| (person.full_name().to_lowercase(), number(person))),
            SortBy::CreatedAt => found.sort_by_key(|person| (person.created_at, number(person))),
            SortBy::UpdatedAt => found.sort_by_key(|person| (person.updated_at, number(person))),
        }
        if !self.ascending {
            found.reverse();
        }
    }
}
