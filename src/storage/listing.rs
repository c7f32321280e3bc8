//! What is asked of the directory, and the answers: the same order, ties and null order in every engine.
//!
//! # The order
//! - Times are compared as times, to the millisecond. A time that is absent, null or unreadable is null.
//! - Names are compared without case: by the Unicode code points of `full_name` in lower case ([`str::to_lowercase`]). No locale
//!   has a say; a database sorts so with its collation `C`, over a column that holds the lower case as written here.
//! - Null comes before every value, the empty name among them, upwards; so it comes last downwards.
//! - Ties go by uid, by code points, in the listing's direction. So there are no ties, and downwards is upwards backwards.
//!
//! # Who matches
//! - Hidden users never, deleted ones only with `include_deleted`. All given filters hold at once; null matches none of them.
//! - `active`: a deleted user is not active. One of whom it is not known matches neither value.
//! - `department`, `employment_status`: the very text, case and all.
//! - `updated_after`: strictly.
//! - `search`: its lower case is part of the lower case of the full name or of the e-mail. The empty text is part of any text.
//!
//! `total` counts all who match; a page behind the last one is empty. The file `laws` holds an engine to all of this.

#[cfg(test)]
pub(in crate::storage) mod laws;

use crate::directory::{Need, Reason, Record, Timestamp};

use super::SourceGap;

/// How a listing is sorted. Ties go by uid, in the same direction; users without the value come first upwards and last downwards (see
/// [the order](self#the-order)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortBy {
    /// By `created_at`.
    #[default]
    CreatedAt,
    /// By `updated_at`.
    UpdatedAt,
    /// By `full_name`, without case (Unicode lower case).
    Name,
}

/// One page of the directory: filters as in upstream's `GET /api/v1/users`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Rows to skip.
    pub offset: usize,
    /// Rows to return, 1 to 100.
    pub limit: usize,
    /// Only users whose `active` is this.
    pub active: Option<bool>,
    /// Only users whose full name or e-mail contains this, without case.
    pub search: Option<String>,
    /// Only users of the department with exactly this name.
    pub department: Option<String>,
    /// Only users with exactly this status.
    pub employment_status: Option<String>,
    /// Only users updated after this, strictly.
    pub updated_after: Option<Timestamp>,
    /// Deleted users too.
    pub include_deleted: bool,
    /// The order.
    pub sort_by: SortBy,
    /// Upwards instead of downwards.
    pub ascending: bool,
}

impl Default for Listing {
    fn default() -> Self {
        Self {
            offset: 0,
            limit: 25,
            active: None,
            search: None,
            department: None,
            employment_status: None,
            updated_after: None,
            include_deleted: false,
            sort_by: SortBy::CreatedAt,
            ascending: false,
        }
    }
}

/// A page, and what it is a page of.
#[derive(Debug)]
pub struct Page {
    /// uid and record, in order.
    pub users: Vec<(String, Record)>,
    /// Users that match, on all pages.
    pub total: usize,
    /// The feed's cursor that the page reflects.
    pub cursor: u64,
}

/// How many users there are in each state, and how many open gaps. Users not shown yet do not count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Live and active.
    pub active: u64,
    /// Live and not active.
    pub inactive: u64,
    /// Deleted.
    pub deleted: u64,
    /// Open gaps of users and of the source.
    pub gaps_open: u64,
    /// When the oldest open gap was detected, by the service's clock.
    pub oldest_gap: Option<Timestamp>,
}

/// An open gap and whose it is.
#[derive(Clone, Debug, PartialEq)]
pub struct OpenGap {
    /// The source's name.
    pub source: String,
    /// The gap, its reason and user.
    pub gap: SourceGap,
}

/// A user with open gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Who.
    pub uid: String,
    /// When the first gap is due, in upstream's time.
    pub due: Timestamp,
    /// Why, which read each wants, and when each is due.
    pub gaps: Vec<(Reason, Need, Timestamp)>,
}
