//! Reading a window of a listing by keyset, so that rows that move while it is read are not lost.
//!
//! Always the first page behind the newest `updated_at` seen; only when a page holds nothing but one second, its further pages. What was
//! read is counted against what upstream counts, because ties of one second come in no certain order. Where it falls short, the whole
//! window is read page by page in an order that does not move: rows only enter a window, so that they shift others to later pages.
//!
//! Each round counts for itself, and without those who came in while it was read: else one who came, or one who left after an earlier
//! round, stands for one who was never seen, and who then looks deleted. Only where upstream's count never moved do the rounds count together.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use super::Sent;
use crate::directory::{Fields, Timestamp, merge};
use crate::upstream::mangoapps::client::{PageQuery, UserPage};

/// Rows asked for at once: upstream's maximum.
pub const PAGE_ROWS_MAX: u64 = 100;
/// Rows that one walk gathers; beyond that the next walk goes on behind its newest.
const WALK_ROWS_MAX: usize = 5000;
/// By what a window is read, until its count adds up: first by keyset, then page by page.
const ORDERS: [&str; 3] = ["updated_at", "created_at", "name"];

/// How late a row may become visible that moved before.
const VISIBLE_AFTER: Duration = Duration::from_secs(15);

/// One row and the request that brought it.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The row as it came.
    pub fields: Fields,
    /// When it was asked for.
    pub sent: Sent,
}

/// The rows from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The moment, as an `updated_at`.
    pub from: Timestamp,
    /// How far before a moment to ask, so that rows of that moment are told.
    pub margin: Duration,
}

/// One listing's window on its way.
#[derive(Clone, Debug)]
pub struct Walk {
    window: Window,
    include_deleted: bool,
    cursor: Timestamp,
    page: u64,
    expected: Option<u64>,
    /// Which of [`ORDERS`] it is read by.
    walk: usize,
    rows: BTreeMap<String, Row>,
    newest: Option<Timestamp>,
    began: Option<Sent>,
    /// Whether any page was asked for by its number.
    by_number: bool,
    /// What the page before told.
    total: u64,
    /// What the round's first page told.
    first: u64,
    /// When the round began.
    round_began: Option<Timestamp>,
    /// Whom the round showed who were there when it began.
    counted: HashSet<String>,
    /// Whom it showed who may have come since.
    moved: HashSet<String>,
    /// Whether upstream counted the window alike whenever it was asked.
    steady: bool,
    /// Whether someone left while pages were asked for by their numbers: the rows behind then move to pages that were read already.
    shrank: bool,
}

/// How a walk stands after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to ask for.
    More,
    /// The window was read as a whole.
    Complete,
    /// Enough was gathered: the rows behind [`Walk::newest`] wait for the next walk.
    Enough,
    /// The window never added up to upstream's count: nothing may be concluded, and the cursor must stay.
    Uncertain,
    /// The rows are not what was asked for: upstream ignores the window, or the order.
    Ignored,
}

impl Walk {
    /// A walk over a window's rows.
    #[must_use]
    pub fn new(window: Window, include_deleted: bool) -> Self {
        Self {
            window,
            include_deleted,
            cursor: window.from,
            page: 1,
            expected: None,
            walk: 0,
            rows: BTreeMap::new(),
            newest: None,
            began: None,
            by_number: false,
            total: 0,
            first: 0,
            round_began: None,
            counted: HashSet::new(),
            moved: HashSet::new(),
            steady: true,
            shrank: false,
        }
    }

    /// The whole window.
    #[must_use]
    pub const fn window(&self) -> Window {
        self.window
    }

    /// The `updated_after` to ask for next.
    #[must_use]
    pub fn after(&self) -> Timestamp {
        self.cursor - self.window.margin
    }

    /// The page to ask for next.
    #[must_use]
    pub fn query(&self) -> PageQuery {
        PageQuery {
            page: self.page,
            per_page: PAGE_ROWS_MAX,
            sort_by: ORDERS.get(self.walk).copied().unwrap_or("name"),
            updated_after: Some(self.after()),
            include_deleted: self.include_deleted,
            search: None,
        }
    }

    /// How many rows upstream said that the window holds.
    #[must_use]
    pub const fn expected(&self) -> Option<u64> {
        self.expected
    }

    /// When the window's first page was asked for, the first time.
    #[must_use]
    pub const fn began(&self) -> Option<Sent> {
        self.began
    }

    /// Takes a page in; `sent` is when it was asked for.
    pub fn take(&mut self, page: UserPage, sent: Sent) -> Progress {
        self.began = self.began.or(Some(sent));
        if page.total == 0 && self.expected.is_some_and(|expected| expected > 0) {
            // An answer without content, after one with some.
            return Progress::Uncertain;
        }
        let opens = self.cursor == self.window.from && self.page == 1;
        if opens {
            self.steady &= self.expected.is_none_or(|expected| expected == page.total);
            self.expected = Some(self.expected.map_or(page.total, |expected| expected.min(page.total)));
            (self.first, self.round_began) = (page.total, Some(sent.began));
        }
        if !self.is_asked_for(&page) {
            return Progress::Ignored;
        }
        self.shrank |= self.page > 1 && page.total < self.total;
        self.steady &= self.page == 1 || page.total == self.total;
        self.total = page.total;
        // A short page is no end: upstream may hold back less than it was asked for, and tells how many pages there are.
        let ended = page.rows.is_empty() || self.page >= page.pages;
        let mut newest = self.cursor;
        for (uid, fields) in page.rows {
            let updated = merge::time(&fields, "updated_at");
            newest = newest.max(updated.unwrap_or(newest));
            let before = self.rows.insert(uid.clone(), Row { fields, sent });
            // The page that told the count shows who was counted.
            let came = !opens && before.is_none() && updated >= self.round_began.map(|began| began - VISIBLE_AFTER);
            if came {
                self.moved.insert(uid);
            } else if !self.moved.contains(&uid) {
                self.counted.insert(uid);
            }
        }
        self.newest = self.newest.max(Some(newest).filter(|_| !self.rows.is_empty()));
        if ended {
            return self.end();
        }
        if newest > self.cursor && self.walk == 0 {
            (self.cursor, self.page) = (newest, 1);
        } else {
            self.page += 1;
            self.by_number = true;
        }
        if self.rows.len() >= WALK_ROWS_MAX && self.page == 1 { Progress::Enough } else { Progress::More }
    }

    /// Whether the rows lie in the window and stand in order.
    fn is_asked_for(&self, page: &UserPage) -> bool {
        let times = || page.rows.iter().filter_map(|(_, fields)| merge::time(fields, "updated_at"));
        // Upstream may mean the second itself, and tell parts of it.
        let begin = self.cursor - Duration::from_secs(2);
        times().all(|time| time >= begin) && (self.walk > 0 || times().is_sorted())
    }

    fn end(&mut self) -> Progress {
        // By keyset alone nobody is lost, whoever comes.
        let came = if self.by_number { 0 } else { self.moved.len() };
        let round = !self.shrank && (self.counted.len() + came) as u64 >= self.first;
        let together = self.steady && self.moved.is_empty() && self.rows.len() as u64 >= self.first;
        if round || together {
            return Progress::Complete;
        }
        if self.walk + 1 == ORDERS.len() {
            return Progress::Uncertain;
        }
        self.walk += 1;
        (self.cursor, self.page, self.shrank) = (self.window.from, 1, false);
        self.counted.clear();
        self.moved.clear();
        Progress::More
    }

    /// The greatest `updated_at` seen; `None` when there was no row.
    #[must_use]
    pub const fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// What was read, by uid.
    #[must_use]
    pub const fn rows(&self) -> &BTreeMap<String, Row> {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn second(offset: i64) -> Timestamp {
        Timestamp::from_millis((1_763_000_000 + offset) * 1000)
    }

    fn window(from: i64) -> Window {
        Window { from: second(from), margin: Duration::from_secs(1) }
    }

    /// An upstream that holds users by `updated_at` and answers strictly, with ties in an order of its own for each call; only names differ.
    fn answer(users: &[(u32, i64)], query: &PageQuery, call: u32) -> UserPage {
        let after = query.updated_after.expect("a window");
        let mut rows: Vec<_> = users.iter().filter(|(_, updated)| second(*updated) > after).collect();
        let by_time = query.sort_by == "updated_at";
        if query.sort_by != "name" {
            rows.sort_by_key(|(id, updated)| (by_time.then_some(*updated), id.wrapping_mul(2_654_435_761).rotate_left(call * 5)));
        }
        let total = rows.len() as u64;
        let skip = usize::try_from((query.page - 1) * query.per_page).expect("small");
        let rows = rows.into_iter().skip(skip).take(100);
        let rows = rows.map(|(id, updated)| {
            let fields = json!({"uid": id.to_string(), "updated_at": second(*updated).to_string()});
            (id.to_string(), fields.as_object().cloned().expect("an object").into())
        });
        UserPage { rows: rows.collect(), total, pages: total.div_ceil(query.per_page) }
    }

    fn walk(users: &mut Vec<(u32, i64)>, mut between: impl FnMut(&mut Vec<(u32, i64)>, u32)) -> (Walk, Progress, u32) {
        let mut walk = Walk::new(window(0), true);
        for call in 1..200 {
            let progress = walk.take(answer(users, &walk.query(), call), Sent { began: second(1000), call: u64::from(call) });
            if progress != Progress::More {
                return (walk, progress, call);
            }
            between(users, call);
        }
        panic!("the walk did not end");
    }

    #[test]
    fn rows_that_move_while_it_reads_are_not_lost() {
        let mut users: Vec<(u32, i64)> = (0..1000).map(|id| (id, i64::from(id))).collect();
        let (walk, progress, _) = walk(&mut users, |users, call| {
            for step in 0..4 {
                users[(call as usize * 37 + step * 211) % 1000].1 = 1000 + i64::from(call);
            }
        });
        assert_eq!((walk.rows().len(), progress), (1000, Progress::Complete));
    }

    #[test]
    fn any_number_of_rows_of_one_second_is_read_as_a_whole() {
        for count in [99_u32, 100, 101, 250, 2_500, 6_000] {
            let mut users: Vec<(u32, i64)> = (0..count).map(|id| (id, 7)).collect();
            let (found, progress, calls) = walk(&mut users, |_, _| {});
            assert_eq!((found.rows().len(), progress), (count as usize, Progress::Complete), "{count} users, {calls} calls");
            assert!(calls <= 3 * count.div_ceil(100) + 2, "{count} users, {calls} calls");
        }
    }

    #[test]
    fn what_moves_while_a_window_is_read_by_another_order_is_not_lost() {
        let mut users: Vec<(u32, i64)> = (0..600).map(|id| (id, 7)).collect();
        let (found, progress, _) = walk(&mut users, |users, call| users[(call as usize * 97) % 600].1 = 20 + i64::from(call));
        assert_eq!((found.rows().len(), progress), (600, Progress::Complete));
    }

    #[test]
    fn whoever_leaves_while_pages_are_read_by_number_hides_nobody() {
        for (victim, call) in (0..10).flat_map(|victim| (1..6).map(move |call| (victim * 25, call))) {
            let mut users: Vec<(u32, i64)> = (0..250).map(|id| (id, 7)).collect();
            let (found, progress, _) = walk(&mut users, |users, now| {
                if now == call {
                    users.retain(|(id, _)| *id != victim);
                }
            });
            let missing = users.iter().filter(|(id, _)| !found.rows().contains_key(&id.to_string())).count();
            assert_eq!((missing, progress), (0, Progress::Complete), "{victim} after call {call}");
        }
    }

    #[test]
    fn nobody_who_comes_or_leaves_stands_for_one_who_was_never_seen() {
        let mut uncertain = 0;
        for (coming, leaving) in (1..10).flat_map(|coming| (1..10).map(move |leaving| (coming, leaving))) {
            let mut users: Vec<(u32, i64)> = (0..250).map(|id| (id, 7)).collect();
            let (found, progress, _) = walk(&mut users, |users, call| {
                if call == coming {
                    users.insert(0, (1000, 500));
                }
                if call == leaving {
                    users.retain(|(id, _)| *id != 17);
                }
            });
            let missing = users.iter().filter(|(id, _)| *id < 1000 && !found.rows().contains_key(&id.to_string())).count();
            assert!(
                missing == 0 || progress == Progress::Uncertain,
                "{missing} missing, one came after {coming}, one left after {leaving}"
            );
            uncertain += usize::from(progress == Progress::Uncertain);
        }
        assert!(uncertain < 40, "{uncertain} of 81 windows were read in vain");
    }

    #[test]
    fn an_upstream_that_ignores_what_is_asked_for_is_noticed() {
        let users: Vec<(u32, i64)> = (0..10).map(|id| (id, i64::from(id))).collect();
        let sent = Sent { began: second(1000), call: 1 };
        let asked = Walk::new(window(5), true);
        let mut everyone = answer(&users, &Walk::new(window(0), true).query(), 1);
        assert_eq!(asked.clone().take(everyone.clone(), sent), Progress::Ignored);
        everyone.rows.retain(|(uid, _)| uid.parse::<u32>().unwrap() >= 5);
        everyone.total = 5;
        assert_eq!(asked.clone().take(everyone.clone(), sent), Progress::Complete);
        everyone.rows.reverse();
        assert_eq!(asked.clone().take(everyone, sent), Progress::Ignored);
    }

    #[test]
    fn an_empty_window_is_complete() {
        let (walk, progress, calls) = walk(&mut Vec::new(), |_, _| {});
        assert_eq!((walk.newest(), progress, calls), (None, Progress::Complete, 1));
    }
}
