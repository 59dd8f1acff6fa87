//! `/debug/state`: for one reader at a time, piece by piece, and only with the right to read it.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use futures::stream;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The header of a reader's token. The API server's proxy keeps `Authorization` for itself.
pub const TOKEN_HEADER: &str = "x-citrix-allowlist-token";

/// How many tokens are reviewed at a time: each review is two calls to the API server.
const REVIEWS: usize = 2;

/// How long a request waits for its review's turn.
const REVIEW_WAIT: Duration = Duration::from_secs(2);

/// How long a request waits for the reader before it. A reader that reads takes milliseconds.
const READER_WAIT: Duration = Duration::from_secs(1);

/// The tables as JSON, in pieces. Each is made when the reader has taken the ones before: the memory of an answer does not grow
/// with the tables.
pub type StatePieces = Box<dyn Iterator<Item = Vec<u8>> + Send>;

/// Starts a reading of the process's current tables.
pub type StateSource = Arc<dyn Fn() -> StatePieces + Send + Sync>;

/// Whether a client may read the tables. Each refusal is a sentence that says what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// The client may.
    Granted,
    /// The client is not identified.
    Unknown(String),
    /// The client may not.
    Denied(String),
    /// It cannot be decided now.
    Undecided(String),
}

/// Decides who may read the tables.
pub trait Authorizer: Send + Sync {
    /// Whether the bearer of this token may read them.
    fn judge<'a>(&'a self, token: Option<&'a str>) -> BoxFuture<'a, Access>;
}

/// Serves the tables, to one reader at a time.
#[derive(Clone)]
pub(super) struct StateRoom {
    source: StateSource,
    authorizer: Option<Arc<dyn Authorizer>>,
    reviews: Arc<Semaphore>,
    reader: Arc<Semaphore>,
}

impl StateRoom {
    pub fn new(source: StateSource, authorizer: Option<Arc<dyn Authorizer>>) -> Self {
        let (reviews, reader) = (Arc::new(Semaphore::new(REVIEWS)), Arc::new(Semaphore::new(1)));
        Self { source, authorizer, reviews, reader }
    }

    async fn access(&self, headers: &HeaderMap) -> Access {
        let Some(authorizer) = &self.authorizer else { return Access::Granted };
        let Some(token) = token(headers) else {
            // Without a token, nothing is sent to the API server.
            return authorizer.judge(None).await;
        };
        match tokio::time::timeout(REVIEW_WAIT, self.reviews.acquire()).await {
            Ok(Ok(_permit)) => authorizer.judge(Some(token)).await,
            _ => Access::Undecided("too many tokens are being reviewed".to_owned()),
        }
    }
}

/// The token of a request: in its own header, or in HTTP's.
fn token(headers: &HeaderMap) -> Option<&str> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = || header(header::AUTHORIZATION.as_str())?.strip_prefix("Bearer ");
    header(TOKEN_HEADER).or_else(bearer).map(str::trim).filter(|token| !token.is_empty())
}

/// Answers a request for the tables.
pub(super) async fn answer(State(room): State<StateRoom>, headers: HeaderMap) -> Response {
    let refused = |status: StatusCode, reason: String| (status, format!("{reason}\n")).into_response();
    match room.access(&headers).await {
        Access::Granted => {}
        Access::Unknown(reason) => return refused(StatusCode::UNAUTHORIZED, reason),
        Access::Denied(reason) => return refused(StatusCode::FORBIDDEN, reason),
        Access::Undecided(reason) => return refused(StatusCode::SERVICE_UNAVAILABLE, reason),
    }
    let Ok(Ok(place)) = tokio::time::timeout(READER_WAIT, Arc::clone(&room.reader).acquire_owned()).await else {
        let busy = "another reader is being answered: try again in a few seconds".to_owned();
        return refused(StatusCode::SERVICE_UNAVAILABLE, busy);
    };
    // The answer owns the place: it is free again when the last piece is taken, or the connection ends.
    let pieces = stream::unfold(((room.source)(), place), |(mut pieces, place)| async move {
        let piece = pieces.next()?;
        Some((Ok::<_, Infallible>(piece), (pieces, place)))
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(pieces)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
    }

    #[test]
    fn a_token_comes_in_its_own_header_or_in_https() {
        assert_eq!(token(&headers(&[(TOKEN_HEADER, "a"), ("authorization", "Bearer b")])), Some("a"));
        assert_eq!(token(&headers(&[("authorization", "Bearer b ")])), Some("b"));
        assert_eq!(token(&headers(&[])), None);
        for none in [("authorization", "Basic eA=="), (TOKEN_HEADER, ""), ("authorization", "Bearer ")] {
            assert_eq!(token(&headers(&[none])), None, "{none:?}");
        }
    }
}
