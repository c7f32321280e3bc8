//! `GET /api/v1/gaps`: evidence that the directory may have missed something.

use std::borrow::Cow;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::query::Query;
use super::{Problem, aside, list, respond};
use crate::directory::{ClosedGap, Gap, Reason};
use crate::service::Service;
use crate::storage::OpenGap;

/// A gap as it is listed; the contract's section 4 tells what each key means.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Shown {
    pub(crate) id: u64,
    pub(crate) source: String,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) uid: Option<String>,
    pub(crate) count: u64,
    pub(crate) detected_at: String,
    pub(crate) event_id: Option<String>,
    pub(crate) closed_at: Option<String>,
    pub(crate) closed_by: Option<u64>,
}

impl Shown {
    fn new(source: String, reason: Reason, uid: Option<String>, gap: Gap) -> Self {
        let Gap { id, count, detected_at, event_id, need: _, happened: _, due: _ } = gap;
        let (reason, detected_at) = (Cow::Borrowed(reason.name()), detected_at.to_string());
        Self { id, source, reason, uid, count, detected_at, event_id, closed_at: None, closed_by: None }
    }
}

impl From<OpenGap> for Shown {
    fn from(OpenGap { source, gap }: OpenGap) -> Self {
        Self::new(source, gap.reason, gap.uid, gap.gap)
    }
}

impl From<ClosedGap> for Shown {
    fn from(ClosedGap { source, reason, uid, gap, closed_at, closed_by }: ClosedGap) -> Self {
        // A replay closes a gap without any reconciliation.
        let closed_by = Some(closed_by).filter(|id| *id != 0);
        Self { closed_at: Some(closed_at.to_string()), closed_by, ..Self::new(source, reason, uid, gap) }
    }
}

/// `GET /api/v1/gaps?state=open|closed`; the open ones when it is not said.
pub(super) async fn list(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let query = Query::of(&request)?;
    let open = query.word("state", &[("open", true), ("closed", false)])?.unwrap_or(true);
    let (limit, before) = (query.limit()?, query.before()?);
    let body = aside(service, move |service| {
        let store = &service.store;
        let gaps: Vec<Shown> = match open {
            true => store.open_gaps(before, limit + 1)?.into_iter().map(Shown::from).collect(),
            false => store.closed_gaps(before, limit + 1)?.into_iter().map(Shown::from).collect(),
        };
        list::page("gaps", limit, gaps, (|gap: &Shown| gap.id, |gap| gap))
    });
    Ok(respond(HttpResponse::Ok(), body.await?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::directory::{Need, Timestamp};

    fn gap() -> Gap {
        let at = Timestamp::parse("2025-11-18T15:30:00Z").unwrap();
        Gap { id: 4, count: 2, detected_at: at, event_id: Some("e-9".to_owned()), need: Need::Any, happened: at, due: at }
    }

    #[test]
    fn a_gap_has_the_promised_keys() {
        let shown = Shown::new("main".to_owned(), Reason::UncarriedChange, Some("E1".to_owned()), gap());
        let open = json!({
            "id": 4, "source": "main", "reason": "uncarried_change", "uid": "E1", "count": 2,
            "detected_at": "2025-11-18T15:30:00Z", "event_id": "e-9", "closed_at": null, "closed_by": null
        });
        assert_eq!(serde_json::to_value(&shown).unwrap(), open);
    }

    #[test]
    fn a_closed_gap_tells_when_and_by_what() {
        let closed_at = Timestamp::parse("2025-11-18T15:31:00Z").unwrap();
        let (source, gap) = ("main".to_owned(), gap());
        let closed = ClosedGap { source, reason: Reason::InitialLoad, uid: None, gap, closed_at, closed_by: 3 };
        let shown = serde_json::to_value(Shown::from(closed)).unwrap();
        assert_eq!((&shown["closed_at"], &shown["closed_by"]), (&json!("2025-11-18T15:31:00Z"), &json!(3)));
        assert_eq!(shown["uid"], json!(null));
    }

    #[test]
    fn a_gap_that_a_replay_closed_names_no_reconciliation() {
        let (source, gap) = ("main".to_owned(), gap());
        let closed_at = gap.detected_at;
        let shown = Shown::from(ClosedGap { source, reason: Reason::Undecodable, uid: None, gap, closed_at, closed_by: 0 });
        assert_eq!((shown.closed_at.is_some(), shown.closed_by), (true, None));
    }
}
