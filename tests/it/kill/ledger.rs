//! What was sent to the services that lived on one store, and whether the newest of them holds what was answered 200.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rollcall::directory::Timestamp;
use serde_json::{Value, json};

use crate::answers::{self, list};
use crate::house::event;

const USERS: usize = 12;
/// Deliveries that are sent once more, and read one by one, in each check: the newest ones.
const AGAIN: usize = 10;
const PAGE: usize = 1000;

/// Each event makes its own effective change, and later ones win.
pub(crate) fn body(number: usize) -> Value {
    let stamp = Timestamp::parse("2026-03-01T08:00:00Z").unwrap() + Duration::from_secs(number as u64);
    let mut body = event("updated", &uid(number), stamp, json!({"job_title": format!("Title {number}")}));
    body["event_id"] = json!(format!("evt-{number}"));
    body
}

fn uid(number: usize) -> String {
    format!("E{}", number % USERS)
}

/// Which event an event id, or a title, comes from.
fn number_in(text: &Value) -> usize {
    let number = text.as_str().and_then(|text| text.strip_prefix("evt-").or_else(|| text.strip_prefix("Title ")));
    number.unwrap_or_else(|| panic!("{text} was never sent")).parse().unwrap()
}

/// A delivery that was answered 200.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    number: usize,
    /// As it was answered, where that is known.
    outcome: Option<String>,
    /// Just before it was sent.
    sent: Instant,
}

/// A service's feed, from the last check on.
#[derive(Default)]
struct Stretch {
    /// Each user's newest title.
    titles: BTreeMap<String, Value>,
    /// Whether what comes right after the last check is forgotten.
    forgotten: bool,
}

/// What was sent, what was answered, and what the last check found.
pub(super) struct Ledger {
    /// How long deliveries and changes have to be kept; `None` is for ever.
    keep: Option<Duration>,
    next: AtomicUsize,
    fresh: Mutex<Vec<Taken>>,
    checked: Vec<Taken>,
    /// The feed's newest cursor in the last check.
    cursor: u64,
    /// The cursor of the change that an event made.
    told: HashMap<usize, u64>,
    /// Each user's title at the last check.
    titles: BTreeMap<String, Value>,
}

impl Ledger {
    pub(super) fn new(keep: Option<Duration>) -> Self {
        let (next, fresh, checked) = (AtomicUsize::new(0), Mutex::default(), Vec::new());
        Self { keep, next, fresh, checked, cursor: 0, told: HashMap::new(), titles: BTreeMap::new() }
    }

    /// Sends the next event; `None` when the service is gone.
    pub(super) fn send(&self, webhooks: &str) -> Option<()> {
        let (number, sent) = (self.next.fetch_add(1, Ordering::SeqCst), Instant::now());
        let answer = answers::try_post(&format!("{webhooks}/webhooks/main"), body(number).to_string().as_bytes())?;
        let outcome = Some(answer.outcome().to_owned());
        self.fresh.lock().unwrap().push(Taken { number, outcome, sent });
        Some(())
    }

    /// How many were answered since the last check.
    pub(super) fn fresh(&self) -> usize {
        self.fresh.lock().unwrap().len()
    }

    /// How many were ever answered 200.
    pub(super) fn answered(&self) -> usize {
        self.checked.len() + self.fresh()
    }

    /// Where the feed ended at the last check.
    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Checks a service that was started anew: what was answered 200 since the last check is there, once and whole, and what
    /// the last check found is as it was.
    pub(super) fn check(&mut self, [webhooks, ops]: [&str; 2]) {
        let fresh = std::mem::take(&mut *self.fresh.lock().unwrap());
        let Stretch { titles, forgotten } = self.read_feed(ops);
        if forgotten {
            self.titles.clear();
        }
        self.titles.extend(titles);
        self.check_deliveries(ops, &fresh);
        self.checked.extend(fresh);
        self.check_users(ops);
        self.send_again(webhooks);
    }

    /// The same for everything that was ever answered.
    pub(super) fn check_all(&mut self, at: [&str; 2]) {
        let answered = std::mem::take(&mut self.checked);
        self.fresh.get_mut().unwrap().splice(0..0, answered);
        self.titles.clear();
        self.cursor = 0;
        self.check(at);
    }

    /// Whether something of this age may be forgotten.
    fn may_forget(&self, taken: &Taken) -> bool {
        self.keep.is_some_and(|keep| taken.sent.elapsed() > keep)
    }

    fn read_feed(&mut self, ops: &str) -> Stretch {
        let newest = answers::read(&format!("{ops}/api/v1/users?per_page=1")).header("rollcall-cursor").unwrap().parse().unwrap();
        assert!(newest >= self.cursor, "the feed ended at {} and ends at {newest}", self.cursor);
        // Where something is forgotten, what is left is read as a whole: it must have no hole.
        let kept = kept_from(ops, if self.keep.is_some() { 0 } else { self.cursor }, newest);
        let mut stretch = Stretch { forgotten: kept > self.cursor, ..Stretch::default() };
        assert!(!stretch.forgotten || self.keep.is_some(), "the feed reaches back to {kept} only");
        self.cursor = kept;
        while self.cursor < newest {
            let page = list(&answers::read(&format!("{ops}/api/v1/changes?limit={PAGE}&after={}", self.cursor)), "changes");
            assert!(!page.is_empty(), "the feed ends at {}, before {newest}", self.cursor);
            for change in page {
                assert_eq!(change["cursor"], self.cursor + 1, "the feed has a hole");
                self.cursor += 1;
                let number = number_in(&change["cause"]["event_id"]);
                assert!(number < *self.next.get_mut(), "evt-{number} was never sent");
                let former = self.told.insert(number, self.cursor);
                assert!(former.is_none_or(|former| former == self.cursor), "evt-{number} made the changes {former:?} and {}", self.cursor);
                stretch.titles.insert(uid(number), change["user"]["job_title"].clone());
            }
        }
        stretch
    }

    /// Every one of these deliveries is kept with the outcome that was answered, and in the feed if it was applied.
    fn check_deliveries(&self, ops: &str, fresh: &[Taken]) {
        let mut kept = kept_deliveries(ops, fresh);
        for taken in fresh.iter().rev().take(AGAIN) {
            let alone = answers::read(&format!("{ops}/api/v1/deliveries/evt-{}", taken.number));
            let outcome = (alone.status == 200).then(|| alone.body["outcome"].clone());
            let listed = kept.insert(taken.number, outcome.clone().unwrap_or_default());
            assert!(listed == outcome, "evt-{} is listed as {listed:?} and shown as {outcome:?}", taken.number);
        }
        for taken @ Taken { number, outcome, .. } in fresh {
            let Some(kept) = kept.get(number).and_then(Value::as_str) else {
                assert!(self.may_forget(taken), "evt-{number} was answered 200 and is lost");
                continue;
            };
            // What was forgotten and sent again may be judged anew, and tells nothing new.
            if !self.may_forget(taken) {
                assert!(outcome.as_ref().is_none_or(|answered| answered == kept), "evt-{number} was {outcome:?}, and is kept as {kept}");
                assert!(kept != "applied" || self.told.contains_key(number), "evt-{number} was applied and is not in the feed");
            }
        }
    }

    /// Every user is as the feed told last, and as new as what was answered.
    fn check_users(&self, ops: &str) {
        let listed = list(&answers::read(&format!("{ops}/api/v1/users?per_page=100")), "users");
        let listed: BTreeMap<_, _> = listed.iter().map(|user| (user["uid"].as_str().unwrap(), &user["job_title"])).collect();
        for (uid, title) in &self.titles {
            assert_eq!(listed.get(uid.as_str()), Some(&title), "{uid} is listed unlike the feed told");
        }
        let mut newest: BTreeMap<String, usize> = BTreeMap::new();
        for taken in &self.checked {
            let newest = newest.entry(uid(taken.number)).or_default();
            *newest = taken.number.max(*newest);
        }
        for (uid, number) in newest {
            let shown = answers::read(&format!("{ops}/api/v1/users/{uid}")).body["user"]["job_title"].clone();
            assert_eq!(Some(&&shown), listed.get(uid.as_str()), "{uid} is torn");
            assert!(number_in(&shown) >= number, "{uid} is shown with {shown}, but evt-{number} was answered 200");
        }
    }

    /// A repetition is known as one, and changes nothing.
    fn send_again(&self, webhooks: &str) {
        for taken in self.checked.iter().rev().take(AGAIN) {
            let again = answers::post(&format!("{webhooks}/webhooks/main"), body(taken.number).to_string().as_bytes());
            assert!(again.outcome() == "duplicate" || self.may_forget(taken), "evt-{}: {}", taken.number, again.body);
        }
    }
}

/// The first cursor from `after` on behind which nothing is forgotten, in a feed that ends at `newest`.
pub(super) fn kept_from(ops: &str, after: u64, newest: u64) -> u64 {
    let expired = |after: u64| {
        let answer = answers::read(&format!("{ops}/api/v1/changes?limit=1&after={after}"));
        assert!(answer.status == 200 || answer.code() == "cursor_expired", "{answer:?}");
        answer.status == 410
    };
    let (mut kept, mut lost) = (after, newest);
    if !expired(after) {
        return after;
    }
    // Behind `kept` something is forgotten until both meet; behind `newest` there is nothing.
    while lost - kept > 1 {
        let between = kept.midpoint(lost);
        if expired(between) { kept = between } else { lost = between }
    }
    lost
}

/// The outcomes of deliveries that the service lists, back to the oldest of `fresh`.
fn kept_deliveries(ops: &str, fresh: &[Taken]) -> HashMap<usize, Value> {
    let (mut kept, mut after) = (HashMap::new(), String::new());
    while !fresh.iter().all(|taken| kept.contains_key(&taken.number)) {
        let page = answers::read(&format!("{ops}/api/v1/deliveries?limit={PAGE}{after}"));
        for delivery in list(&page, "deliveries") {
            let twice = kept.insert(number_in(&delivery["event_id"]), delivery["outcome"].clone());
            assert_eq!(twice, None, "{delivery} is listed twice");
        }
        if page.body["next"].is_null() {
            break;
        }
        after = format!("&after={}", page.body["next"]);
    }
    kept
}

/// Checks a service that was started anew: what was answered 200 is there, once and whole.
pub(crate) fn check(webhooks: &str, ops: &str, answered: &[usize]) {
    let mut ledger = Ledger::new(None);
    *ledger.next.get_mut() = usize::MAX;
    let taken = answered.iter().map(|number| Taken { number: *number, outcome: None, sent: Instant::now() });
    *ledger.fresh.get_mut().unwrap() = taken.collect();
    ledger.check([webhooks, ops]);
}
