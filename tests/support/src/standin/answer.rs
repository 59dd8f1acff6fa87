//! Answers: headers, compression, not-modified, and how each fault spoils one.

use std::convert::Infallible;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream::{self, StreamExt};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::{Value, json};

use super::connection::Switch;
use super::fault::{Fault, RetryAfter, http_date};
use super::server::MOVED;

/// What padding is sent in pieces of.
const PIECE: usize = 64 * 1024;

/// An answer before compression.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    status: u16,
    headers: Vec<(HeaderName, String)>,
    body: Vec<u8>,
}

impl Answer {
    /// An error as JSON: what went wrong, in words, and the parameter it is about.
    pub(super) fn error(status: u16, kind: &str, detail: &str, parameter: Option<&str>) -> Self {
        let mut body = json!({ "status": status, "type": kind, "detail": detail });
        if let Some(parameter) = parameter {
            body["parameters"] = json!([{ "name": parameter, "reason": detail }]);
        }
        Self {
            status,
            headers: vec![(header::CONTENT_TYPE, "application/json".to_owned())],
            body: body.to_string().into_bytes(),
        }
    }

    /// A list, or 304 where the client has it already. With `tagged` it carries an `ETag` beside its `Last-Modified`.
    pub(super) fn list(
        body: Value,
        modified: Timestamp,
        cache_control: Option<String>,
        tagged: bool,
        request: &HeaderMap,
    ) -> Self {
        let body = body.to_string();
        let tag = tagged.then(|| tag_of(&body));
        let mut headers =
            vec![(header::LAST_MODIFIED, http_date(modified)), (header::VARY, "Accept-Encoding".to_owned())];
        if let Some(value) = cache_control {
            headers.push((header::CACHE_CONTROL, value));
        }
        if let Some(tag) = &tag {
            headers.push((header::ETAG, tag.clone()));
        }
        // Where both are asked, the tag alone is compared (RFC 9110, section 13.2.2).
        let has_it = match (text(request, &header::IF_NONE_MATCH), &tag) {
            (Some(held), Some(tag)) => matches(held, tag),
            _ => text(request, &header::IF_MODIFIED_SINCE)
                .and_then(|since| rfc2822::DateTimeParser::new().parse_timestamp(since).ok())
                .is_some_and(|since| modified <= since),
        };
        if has_it {
            return Self { status: 304, headers, body: Vec::new() };
        }
        headers.push((header::CONTENT_TYPE, "application/json; charset=utf-8".to_owned()));
        Self { status: 200, headers, body: body.into_bytes() }
    }

    pub(super) fn retry_after(mut self, after: RetryAfter, now: Timestamp) -> Self {
        self.headers.push((header::RETRY_AFTER, after.value(now)));
        self
    }

    /// The answer as it goes out, compressed where the client takes it.
    pub(super) fn into_response(mut self, request: &HeaderMap) -> Response {
        if self.status == 200 && accepts_gzip(request) {
            self.body = gzip(&self.body, 0);
            self.headers.push((header::CONTENT_ENCODING, "gzip".to_owned()));
        }
        let body = Body::from(std::mem::take(&mut self.body));
        self.with_body(body)
    }

    fn with_body(self, body: Body) -> Response {
        let mut response = Response::new(body);
        *response.status_mut() = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }

    fn header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A tag of a body; weak, since the compressed answer carries it too.
fn tag_of(body: &str) -> String {
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    format!("W/\"{:016x}\"", hasher.finish())
}

/// Whether `If-None-Match` names the tag, by weak comparison (RFC 9110, section 8.8.3.2).
fn matches(held: &str, tag: &str) -> bool {
    let opaque = |text: &str| text.trim().trim_start_matches("W/").to_owned();
    held.trim() == "*" || held.split(',').any(|held| opaque(held) == opaque(tag))
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether `Accept-Encoding` names gzip (or anything) without a weight of zero.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    text(headers, &header::ACCEPT_ENCODING).unwrap_or_default().split(',').any(|choice| {
        let mut parts = choice.split(';').map(str::trim);
        let named = matches!(parts.next(), Some("gzip" | "x-gzip" | "*"));
        let refused = parts.any(|part| {
            part.strip_prefix("q=").is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight == 0.0))
        });
        named && !refused
    })
}

/// `body` behind so many spaces, compressed.
fn gzip(body: &[u8], padding: usize) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let spaces = [b' '; PIECE];
    let mut left = padding;
    // A Vec takes every byte it is given: nothing here can fail.
    let mut write = |bytes: &[u8]| encoder.write_all(bytes).expect("a Vec takes every byte");
    while left > 0 {
        let piece = left.min(PIECE);
        write(&spaces[..piece]);
        left -= piece;
    }
    write(body);
    encoder.finish().expect("a Vec takes every byte")
}

/// The answer as this fault spoils it. `answer` is the right one.
pub(super) async fn faulty(
    fault: Fault,
    answer: Answer,
    request: &HeaderMap,
    uri: &Uri,
    host: &str,
    connection: &Switch,
) -> Response {
    let now = Timestamp::now();
    match fault {
        Fault::Status { status, retry_after } => {
            let refusal = Answer::error(status, "fault", "something went wrong on purpose", None);
            match retry_after {
                Some(after) => refusal.retry_after(after, now),
                None => refusal,
            }
            .into_response(request)
        }
        Fault::Silence => std::future::pending().await,
        Fault::Delay(delay) => {
            tokio::time::sleep(delay).await;
            answer.into_response(request)
        }
        Fault::SlowBody { interval } => slow(answer, interval),
        Fault::TruncatedBody => truncated(answer),
        Fault::HtmlPage => {
            page(200, "text/html; charset=utf-8", "<!DOCTYPE html><html><body>Please sign in.</body></html>")
        }
        Fault::MalformedJson => {
            let half = answer.body.len() / 2;
            Answer { body: answer.body[..half].to_vec(), ..answer }.into_response(request)
        }
        Fault::EmptyServices => {
            let mut document: Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| json!({}));
            document["services"] = json!([]);
            Answer { body: document.to_string().into_bytes(), ..answer }.into_response(request)
        }
        Fault::OversizedBody { padding } => oversized(answer, padding),
        Fault::GzipBomb { padding } => {
            let body = Body::from(gzip(&answer.body, padding));
            answer.header(header::CONTENT_ENCODING, "gzip").with_body(body)
        }
        Fault::RedirectSameHost => redirect(&format!("{MOVED}{uri}")),
        Fault::RedirectOtherHost => {
            let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
            let scheme = if connection.is_tls() { "https" } else { "http" };
            redirect(&format!("{scheme}://localhost:{port}{MOVED}{uri}"))
        }
        Fault::Redirect(place) => redirect(&place),
        Fault::WrongContentEncoding => {
            let body = Body::from(answer.body.clone());
            answer.header(header::CONTENT_ENCODING, "gzip").with_body(body)
        }
        Fault::UnaskedEncoding => {
            let body = Body::from(answer.body.clone());
            answer.header(header::CONTENT_ENCODING, "br").with_body(body)
        }
        Fault::Reset => {
            connection.cut();
            std::future::pending().await
        }
        Fault::Answer { status, content_type, body } => page(status, &content_type, &body),
    }
}

fn page(status: u16, content_type: &str, body: &str) -> Response {
    let headers = vec![(header::CONTENT_TYPE, content_type.to_owned())];
    Answer { status, headers, body: Vec::new() }.with_body(Body::from(body.to_owned()))
}

fn redirect(place: &str) -> Response {
    let headers = vec![(header::LOCATION, place.to_owned())];
    Answer { status: 302, headers, body: Vec::new() }.with_body(Body::empty())
}

fn slow(mut answer: Answer, interval: Duration) -> Response {
    let body = std::mem::take(&mut answer.body);
    let length = body.len().to_string();
    let bytes = stream::iter(body).then(move |byte| async move {
        tokio::time::sleep(interval).await;
        Ok::<_, Infallible>(Bytes::copy_from_slice(&[byte]))
    });
    answer.header(header::CONTENT_LENGTH, length).with_body(Body::from_stream(bytes))
}

fn truncated(mut answer: Answer) -> Response {
    let mut body = std::mem::take(&mut answer.body);
    let length = body.len().to_string();
    body.truncate(body.len() / 2);
    let pieces = stream::iter([Ok(Bytes::from(body))]).chain(stream::once(async {
        // Let the first half leave before the connection is cut.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionAborted))
    }));
    answer.header(header::CONTENT_LENGTH, length).with_body(Body::from_stream(pieces))
}

fn oversized(mut answer: Answer, padding: usize) -> Response {
    let body = std::mem::take(&mut answer.body);
    let spaces = Bytes::from(vec![b' '; PIECE]);
    let whole = stream::iter(std::iter::repeat_n(spaces.clone(), padding / PIECE));
    let rest = stream::iter([spaces.slice(..padding % PIECE), Bytes::from(body)]);
    answer.with_body(Body::from_stream(whole.chain(rest).map(Ok::<_, Infallible>)))
}
