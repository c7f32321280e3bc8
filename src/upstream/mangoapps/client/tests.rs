//! The client against servers that answer what a test gives them, well or badly.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use secrecy::SecretString;

use super::*;

const TOKEN: &str = "token-of-a-test";

/// A server that takes one connection for each answer, and tells the requests it got.
struct Canned {
    address: SocketAddr,
    requests: Receiver<String>,
}

impl Canned {
    /// Answers with these bytes, then hangs up.
    fn answering(answers: &[&str]) -> Self {
        let answers: Vec<_> = answers.iter().map(|answer| (*answer).to_owned()).collect();
        Self::doing(answers.len(), move |number, mut stream| drop(stream.write_all(answers[number].as_bytes())))
    }

    fn doing(connections: usize, act: impl Fn(usize, TcpStream) + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = channel();
        thread::spawn(move || {
            for number in 0..connections {
                let (mut stream, _) = listener.accept().unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    head.extend(byte);
                }
                sender.send(String::from_utf8(head).unwrap()).unwrap();
                act(number, stream);
            }
        });
        Self { address, requests }
    }

    fn client(&self) -> Client {
        self.client_within(Limits::default())
    }

    fn client_within(&self, limits: Limits) -> Client {
        Client::within(limits, &format!("http://{}", self.address), (token(TOKEN), Clock::system())).unwrap()
    }

    fn request(&self) -> String {
        self.requests.recv().unwrap()
    }
}

fn token(text: &str) -> Arc<Secrets> {
    Arc::new(Secrets::fixed(vec![SecretString::from(text), SecretString::from("a second one")]))
}

/// An answer with this status line, these headers and this body.
fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
}

fn query() -> PageQuery {
    PageQuery { page: 1, per_page: 2, sort_by: "updated_at", updated_after: None, include_deleted: false, search: None }
}

const PAGE: &str = r#"{"users":[{"uid":"E1"},{"uid":"E2"}],"meta":{"total_count":9,"total_pages":5,"current_page":1,"per_page":2}}"#;

/// What a lookup makes of one answer.
async fn looked_up(answer: &str) -> Answer<Lookup> {
    Canned::answering(&[answer]).client().lookup("E1").await
}

#[tokio::test]
async fn a_page_is_asked_for_as_documented() {
    let server = Canned::answering(&[&http("200 OK", "Date: Tue, 18 Nov 2025 15:30:00 GMT\r\n", PAGE)]);
    let full = PageQuery {
        updated_after: Timestamp::parse("2025-11-18T15:30:00.900Z"),
        include_deleted: true,
        search: Some("a+b@example.com &c".into()),
        ..query()
    };
    let answer = server.client().page(&full).await;
    assert_eq!((answer.status, answer.date), (Some(200), Timestamp::parse("2025-11-18T15:30:00Z")));
    assert_eq!(answer.result.unwrap().rows.len(), 2);
    let request = server.request().to_lowercase();
    assert!(request.starts_with(
        "get /api/v1/users?page=1&per_page=2&sort_by=updated_at&sort_order=asc&updated_after=2025-11-18t15%3a30%3a00z\
         &include_deleted=true&search=a%2bb%40example.com+%26c http/1.1\r\n"
    ));
    for header in ["authorization: bearer token-of-a-test", "accept: application/json", "user-agent: rollcall/"] {
        assert!(request.contains(&format!("\r\n{header}")), "{header} is not in {request}");
    }
}

#[tokio::test]
async fn what_is_not_asked_for_is_not_in_the_query() {
    let server = Canned::answering(&[&http("200 OK", "", PAGE)]);
    server.client().page(&query()).await.result.unwrap();
    assert!(server.request().starts_with("GET /api/v1/users?page=1&per_page=2&sort_by=updated_at&sort_order=asc HTTP/1.1\r\n"));
}

#[tokio::test]
async fn a_uid_stays_one_step_of_the_path() {
    for (uid, path) in
        [("E1", "E1"), ("a/b", "a%2Fb"), ("../x?y#z", "..%2Fx%3Fy%23z"), ("%2e", "%252e"), ("a\tb\n", "a%09b%0A"), ("ü", "%C3%BC")]
    {
        let body = serde_json::json!({"user": {"uid": uid}}).to_string();
        let server = Canned::answering(&[&http("200 OK", "", &body)]);
        assert!(matches!(server.client().lookup(uid).await.result, Ok(Lookup::Found(_))), "{uid:?}");
        let request = server.request();
        assert!(request.starts_with(&format!("GET /api/v1/users/{path} HTTP/1.1\r\n")), "{request}");
    }
}

#[tokio::test]
async fn a_uid_that_no_path_can_name_is_never_asked_for() {
    let client = Client::new("http://127.0.0.1:1", token(TOKEN), Clock::system()).unwrap();
    for uid in ["", ".", "..", &"x".repeat(201)] {
        let answer = client.lookup(uid).await;
        assert!(matches!(answer.result, Err(Failure::Unusable(_))) && answer.status.is_none(), "{uid:?}");
    }
}

#[tokio::test]
async fn every_status_has_its_own_meaning() {
    let gone = r#"{"error":{"code":"user_not_found","message":"m"}}"#;
    assert_eq!(looked_up(&http("404 Not Found", "", gone)).await.result, Ok(Lookup::NotFound));
    assert!(matches!(looked_up(&http("404 Not Found", "", "<html>")).await.result, Err(Failure::Unusable(_))));
    for (status, failure) in [
        ("401 Unauthorized", Failure::Unauthorized),
        ("403 Forbidden", Failure::Forbidden),
        ("429 Too Many Requests", Failure::Limited { retry_after: None }),
        ("500 Internal Server Error", Failure::Status(500)),
        ("503 Service Unavailable", Failure::Status(503)),
        ("204 No Content", Failure::Status(204)),
    ] {
        let answer = looked_up(&http(status, "", "")).await;
        assert_eq!(answer.result, Err(failure), "{status}");
        assert_eq!(answer.status.map(|code| code.to_string()).as_deref(), status.get(..3));
    }
}

#[tokio::test]
async fn a_listing_that_is_not_there_says_nothing_about_users() {
    let gone = http("404 Not Found", "", r#"{"error":{"code":"user_not_found","message":"m"}}"#);
    assert_eq!(Canned::answering(&[&gone]).client().page(&query()).await.result, Err(Failure::Status(404)));
}

#[tokio::test]
async fn retry_after_may_be_seconds_or_a_time() {
    let date = "Date: Tue, 18 Nov 2025 15:30:00 GMT\r\n";
    for (headers, seconds) in [
        ("Retry-After: 120\r\n".to_owned(), Some(120)),
        (format!("{date}Retry-After: Tue, 18 Nov 2025 15:31:30 GMT\r\n"), Some(90)),
        (format!("{date}Retry-After: Tue, 18 Nov 2025 15:29:00 GMT\r\n"), Some(0)),
        ("Retry-After: Tue, 18 Nov 2025 15:31:30 GMT\r\n".to_owned(), None),
        (format!("{date}Retry-After: soon\r\n"), None),
        (format!("{date}Retry-After: -5\r\n"), None),
    ] {
        let result = looked_up(&http("429 Too Many Requests", &headers, "")).await.result;
        assert_eq!(result, Err(Failure::Limited { retry_after: seconds.map(Duration::from_secs) }), "{headers}");
    }
}

#[tokio::test]
async fn a_date_that_cannot_be_read_is_none() {
    for date in ["", "Date: yesterday\r\n", "Date: 2025-11-18T15:30:00Z\r\n"] {
        assert_eq!(looked_up(&http("500 Internal Server Error", date, "")).await.date, None, "{date}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_the_token_goes_nowhere() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let location = format!("Location: http://{}/api/v1/users/E1\r\n", elsewhere.local_addr().unwrap());
    assert_eq!(looked_up(&http("302 Found", &location, "")).await.result, Err(Failure::Status(302)));
    elsewhere.set_nonblocking(true).unwrap();
    assert_eq!(elsewhere.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let server = Canned::doing(1, |_, mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        while stream.write_all(b"10\r\n                \r\n").is_ok() {}
    });
    let client = server.client_within(Limits { body_bytes_max: 10_000, ..Limits::default() });
    assert_eq!(client.lookup("E1").await.result, Err(Failure::Unusable("it is larger than 16 MiB")));
}

#[tokio::test]
async fn silence_and_dawdling_end_in_a_time_out() {
    let limits = Limits { answer: Duration::from_millis(100), ..Limits::default() };
    for beginning in ["", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"] {
        let server = Canned::doing(1, move |_, mut stream| {
            stream.write_all(beginning.as_bytes()).unwrap();
            drop(stream.read(&mut [0]));
        });
        let result = server.client_within(limits).lookup("E1").await.result;
        assert_eq!(result, Err(Failure::Unreachable("it took too long")));
    }
}

#[tokio::test]
async fn cut_answers_and_what_is_not_http_are_no_answer() {
    for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"user\":", "SSH-2.0-OpenSSH\r\n\r\n", ""] {
        assert!(matches!(looked_up(answer).await.result, Err(Failure::Unreachable(_))), "{answer}");
    }
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_connection() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let answer = Client::new(&format!("http://{address}"), token(TOKEN), Clock::system()).unwrap().lookup("E1").await;
    assert!(matches!(answer.result, Err(Failure::Unreachable(why)) if why.starts_with("there is no connection")));
    assert_eq!(answer.status, None);
}

#[tokio::test]
async fn without_a_token_that_can_be_sent_nothing_is_asked() {
    for tokens in [vec![], vec![SecretString::from("two\nlines")]] {
        let client = Client::new("http://127.0.0.1:1", Arc::new(Secrets::fixed(tokens)), Clock::system()).unwrap();
        assert_eq!(client.lookup("E1").await.result, Err(Failure::Unauthorized));
    }
}

#[tokio::test]
async fn no_failure_tells_the_token_or_the_uid() {
    let echo = format!("<html>E1 {TOKEN}</html>");
    for status in ["200 OK", "404 Not Found", "401 Unauthorized", "500 E1"] {
        let failure = looked_up(&http(status, "", &echo)).await.result.unwrap_err().to_string();
        assert!(!failure.contains(TOKEN) && !failure.contains("E1"), "{failure}");
    }
    assert!(!format!("{:?}", Canned::answering(&[]).client()).contains(TOKEN));
}

#[test]
fn a_client_speaks_tls_with_roots_of_its_own() {
    assert!(Client::new("https://tenant.example.com", token(TOKEN), Clock::system()).is_ok());
}
