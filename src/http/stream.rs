//! `GET /api/v1/changes/stream`: the change feed as server-sent events; `id:` is the cursor.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;

use super::changes::{self, Told};
use super::query::Query;
use super::{Problem, problem};
use crate::directory::Change;
use crate::service::Service;

/// Changes read at once; a client that reads slowly holds no more.
const READ_MAX: usize = 100;
/// A comment is sent when nothing else was for this long, so that proxies keep the connection.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// The last that a stream tells when the service ends: come back after so many milliseconds, about as long as a restart takes. One that
/// comes too early finds nobody, and comes again after as long.
const FAREWELL: &[u8] = b"retry: 2000\n\n";
/// The header that a browser sends when it comes back.
const LAST_EVENT_ID: &str = "Last-Event-ID";

/// Where one stream stands.
struct Reader {
    service: Arc<Service>,
    cursor: u64,
    ready: VecDeque<Change>,
    said_farewell: bool,
}

/// `GET /api/v1/changes/stream?after=CURSOR`; `Last-Event-ID` goes before `after`, and without both it begins now.
pub(super) async fn open(request: HttpRequest, service: web::Data<Service>) -> Result<HttpResponse, Problem> {
    let after = Query::of(&request)?.number("after")?;
    let last = request.headers().get(LAST_EVENT_ID).map(|id| read_cursor(id.as_bytes())).transpose()?;
    let service = service.into_inner();
    let cursor = last.or(after).unwrap_or_else(|| service.store.watermark());
    // What is no longer kept is answered 410 before the stream begins.
    let ready = changes::read_after(&service.store, cursor, READ_MAX)?.into();
    let events = stream::unfold(Reader { service, cursor, ready, said_farewell: false }, |mut reader| async move {
        let bytes = reader.next().await?;
        Some((Ok::<_, Infallible>(bytes), reader))
    });
    let mut response = HttpResponse::Ok();
    response.insert_header((CONTENT_TYPE, "text/event-stream")).insert_header((CACHE_CONTROL, "no-store"));
    Ok(response.streaming(events))
}

fn read_cursor(id: &[u8]) -> Result<u64, Problem> {
    let text = std::str::from_utf8(id).ok().map(str::trim);
    text.and_then(|text| text.parse().ok()).ok_or_else(|| problem::invalid_parameter(LAST_EVENT_ID, "a cursor of this feed"))
}

impl Reader {
    /// The next event or comment; `None` ends the stream: the service ends, the store fails, or what comes next is no
    /// longer kept. The client comes back with its cursor and is told.
    async fn next(&mut self) -> Option<Bytes> {
        if self.said_farewell {
            return None;
        }
        let waited = match self.ready.is_empty() {
            true => tokio::time::timeout(SILENCE_MAX, self.service.changed_after(self.cursor)).await,
            false => Ok(()),
        };
        // What is still to be told is told by the next process: a slow client must not hold this one up.
        if self.service.is_ending() {
            self.said_farewell = true;
            return Some(Bytes::from_static(FAREWELL));
        }
        if self.ready.is_empty() {
            self.ready = changes::read_after(&self.service.store, self.cursor, READ_MAX).ok()?.into();
            if self.ready.is_empty() {
                return waited.is_err().then(|| Bytes::from_static(b":\n\n"));
            }
        }
        let change = self.ready.pop_front()?;
        self.cursor = change.cursor;
        written(&change)
    }
}

/// One event; JSON has no line breaks, so one `data:` line holds it.
fn written(change: &Change) -> Option<Bytes> {
    let mut text = format!("id: {}\ndata: ", change.cursor).into_bytes();
    serde_json::to_writer(&mut text, &Told::from(change)).ok()?;
    text.extend_from_slice(b"\n\n");
    Some(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::{Cause, ChangeKind, Fields, Timestamp, User};

    #[test]
    fn an_event_is_two_lines_and_a_blank_one() {
        let mut fields = Fields::new();
        fields.insert("job_title".to_owned(), "two\nlines".into());
        let change = Change {
            cursor: 12,
            at: Timestamp::from_millis(0),
            source: "main".into(),
            uid: "E1".to_owned(),
            kind: ChangeKind::Updated,
            from: Fields::new(),
            cause: Cause::Reconciliation(1),
            previous: 0,
            user: User { fields, deleted_at: None }.into(),
        };
        let text = String::from_utf8(written(&change).unwrap().to_vec()).unwrap();
        let lines: Vec<_> = text.split('\n').collect();
        assert!(lines[0] == "id: 12" && lines[1].starts_with("data: {") && lines[2..] == ["", ""], "{text}");
        let data: serde_json::Value = serde_json::from_str(lines[1].strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(data["user"]["job_title"], "two\nlines");
    }

    #[test]
    fn only_a_cursor_resumes() {
        assert_eq!(read_cursor(b" 41 ").unwrap(), 41);
        for bad in [&b"-1"[..], b"x", b"\xff", b""] {
            assert_eq!(read_cursor(bad).unwrap_err().code, "invalid_parameter");
        }
    }
}
