//! The mirror: MangoApps' own user API, answered from the directory (upstream guide, steps 2 to 4; contract, section 4).

use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::query::Query;
use super::rows::{Managers, Row};
use super::{Problem, answer, aside, problem, respond, sources, written};
use crate::directory::{Shape, Timestamp, User, merge};
use crate::service::Service;
use crate::storage::{self, Listing, SortBy, Store};

/// Rows of a page when `per_page` is not given.
const PER_PAGE_DEFAULT: u64 = 25;
/// More than this counts as this.
const PER_PAGE_MAX: u64 = 100;
/// The feed's cursor that a listing reflects.
const CURSOR: HeaderName = HeaderName::from_static("rollcall-cursor");
const SORTS: [(&str, SortBy); 3] = [("name", SortBy::Name), ("created_at", SortBy::CreatedAt), ("updated_at", SortBy::UpdatedAt)];
const ORDERS: [(&str, bool); 2] = [("asc", true), ("desc", false)];

/// What a request for a page asks.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    page: u64,
    per_page: u64,
    listing: Listing,
}

impl Asked {
    fn read(query: &Query) -> Result<Self, Problem> {
        let page = query.positive("page")?.unwrap_or(1);
        let per_page = query.positive("per_page")?.unwrap_or(PER_PAGE_DEFAULT).min(PER_PAGE_MAX);
        let offset = (page - 1).saturating_mul(per_page);
        let listing = Listing {
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
            limit: usize::try_from(per_page).unwrap_or(usize::MAX),
            active: query.flag("active")?,
            search: query.text("search").map(str::to_owned),
            department: query.text("department").map(str::to_owned),
            employment_status: query.text("employment_status").map(str::to_owned),
            updated_after: updated_after(query)?,
            include_deleted: query.flag("include_deleted")?.unwrap_or(false),
            sort_by: query.word("sort_by", &SORTS)?.unwrap_or_default(),
            ascending: query.word("sort_order", &ORDERS)?.unwrap_or(false),
        };
        Ok(Self { page, per_page, listing })
    }
}

/// A plus sign that was not encoded arrives as a space: `2025-11-18T14:00:00+02:00` is written so by many clients.
fn updated_after(query: &Query) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = query.text("updated_after") else { return Ok(None) };
    let time = Timestamp::parse(text).or_else(|| Timestamp::parse(&text.replace(' ', "+")));
    let wanted = "a time as in ISO 8601, such as 2025-11-17T00:00:00Z";
    time.map(Some).ok_or_else(|| problem::invalid_parameter("updated_after", wanted))
}

#[derive(Serialize)]
struct PageShown<'a> {
    users: Vec<Row<'a>>,
    meta: Meta,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Meta {
    total_count: u64,
    total_pages: u64,
    current_page: u64,
    per_page: u64,
}

impl Meta {
    fn new(total: usize, asked: &Asked) -> Self {
        let total_count = u64::try_from(total).unwrap_or(u64::MAX);
        let total_pages = total_count.div_ceil(asked.per_page);
        Self { total_count, total_pages, current_page: asked.page, per_page: asked.per_page }
    }
}

/// `GET /api/v1/users`
pub(super) async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let source = sources::named(&request, &query, &service)?.to_owned();
    let asked = Asked::read(&query)?;
    let (cursor, body) = aside(service, move |service| page(&service.store, &source, &asked)).await?;
    let mut response = HttpResponse::Ok();
    response.insert_header((CURSOR, cursor));
    Ok(respond(response, body))
}

/// One page, written out, and the feed's cursor that it reflects; reads the store, perhaps all of it.
fn page(store: &Store, source: &str, asked: &Asked) -> Result<(u64, Vec<u8>), Problem> {
    let page = store.list(source, &asked.listing)?;
    let users: Vec<User> = page.users.iter().filter_map(|(_, record)| merge::view(record)).collect();
    let mut managers = Managers::new(store, source);
    let rows = users.iter().map(|user| Row::joined(user, Shape::Listing, &mut managers)).collect::<Result<_, _>>()?;
    Ok((page.cursor, written(&PageShown { users: rows, meta: Meta::new(page.total, asked) })?))
}

/// The `{uid}` of a path, decoded.
#[derive(Debug, Deserialize)]
pub(super) struct ByUid {
    pub(super) uid: String,
}

/// The `{email}` of a path, decoded: a plus sign is itself.
#[derive(Debug, Deserialize)]
pub(super) struct ByEmail {
    email: String,
}

/// `GET /api/v1/users/{uid}`
pub(super) async fn by_uid(request: HttpRequest, path: web::Path<ByUid>, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let source = sources::named(&request, &query, &service)?;
    let deleted_too = query.flag("include_deleted")?.unwrap_or(false);
    let found = show(&service, source, &path.uid, deleted_too)?;
    found.ok_or_else(|| problem::user_not_found(&format!("UID '{}'", path.uid)))
}

/// `GET /api/v1/users/by_email/{email}`
pub(super) async fn by_email(request: HttpRequest, path: web::Path<ByEmail>, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let source = sources::named(&request, &query, &service)?;
    let deleted_too = query.flag("include_deleted")?.unwrap_or(false);
    for uid in service.store.by_email(source, &path.email)? {
        if let Some(found) = show(&service, source, &uid, deleted_too)? {
            return Ok(found);
        }
    }
    Err(problem::user_not_found(&format!("email '{}'", path.email)))
}

/// `{"user":…}`; whoever was never looked up moves to the front of those who will be.
fn show(service: &Service, source: &str, uid: &str, deleted_too: bool) -> Result<Option<HttpResponse>, Problem> {
    let Some(record) = service.store.record(source, uid)? else { return Ok(None) };
    let Some(user) = merge::view(&record).filter(|user| deleted_too || !user.is_deleted()) else { return Ok(None) };
    if record.detail.is_none() && !user.is_deleted() {
        service.want_details(source, uid);
    }
    let row = Row::joined(&user, Shape::Detail, &mut Managers::new(&service.store, source))?;
    answer(&UserShown { user: row }).map(Some)
}

/// One user as a row of a listing, deleted or not; `None` for someone whom the directory does not show.
///
/// # Errors
/// When the store cannot be read.
pub fn row(store: &Store, source: &str, uid: &str) -> Result<Option<serde_json::Value>, storage::Error> {
    let Some(user) = store.record(source, uid)?.as_ref().and_then(merge::view) else { return Ok(None) };
    let row = Row::joined(&user, Shape::Listing, &mut Managers::new(store, source))?;
    Ok(Some(serde_json::to_value(row).unwrap_or_default()))
}

#[derive(Serialize)]
struct UserShown<'a> {
    user: Row<'a>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Asked, Problem> {
        Asked::read(&Query::parse(text).unwrap())
    }

    #[test]
    fn the_defaults_are_upstreams() {
        let asked = asked("").unwrap();
        assert_eq!(asked, Asked { page: 1, per_page: 25, listing: Listing::default() });
        assert_eq!((asked.listing.sort_by, asked.listing.ascending), (SortBy::CreatedAt, false));
    }

    #[test]
    fn every_parameter_is_read() {
        let text = "page=3&per_page=500&active=true&search=a%20b&department=R%26D&employment_status=full_time\
                    &updated_after=2025-11-18T14:00:00%2B02:00&include_deleted=1&sort_by=name&sort_order=asc&source=main&unknown=x";
        let noon = Timestamp::parse("2025-11-18T12:00:00Z");
        let listing = Listing {
            offset: 200,
            limit: 100,
            active: Some(true),
            search: Some("a b".to_owned()),
            department: Some("R&D".to_owned()),
            employment_status: Some("full_time".to_owned()),
            updated_after: noon,
            include_deleted: true,
            sort_by: SortBy::Name,
            ascending: true,
        };
        assert_eq!(asked(text).unwrap(), Asked { page: 3, per_page: 100, listing });
        assert_eq!(asked("updated_after=2025-11-18T14:00:00+02:00").unwrap().listing.updated_after, noon);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let bad = "page=x page=-1 page=0 per_page=0 per_page=-3 per_page=many active=perhaps updated_after=yesterday \
                   sort_by=password sort_order=sideways include_deleted=7up page=99999999999999999999";
        for text in bad.split_whitespace() {
            let problem = asked(text).unwrap_err();
            assert_eq!((problem.status.as_u16(), problem.code), (400, "invalid_parameter"), "{text}");
            assert!(problem.message.starts_with(text.split('=').next().unwrap()), "{}", problem.message);
        }
    }

    #[test]
    fn the_last_page_may_be_beyond_all_numbers() {
        let asked = asked("page=18446744073709551615&per_page=100").unwrap();
        assert_eq!(asked.listing.offset, usize::MAX);
    }

    #[test]
    fn nothing_has_no_pages() {
        let asked = asked("per_page=50").unwrap();
        assert_eq!(Meta::new(0, &asked).total_pages, 0);
        assert_eq!(Meta::new(51, &asked), Meta { total_count: 51, total_pages: 2, current_page: 1, per_page: 50 });
    }
}
