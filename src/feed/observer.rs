//! Events of the feed, for metrics and logs.

use super::request::FeedKey;
use crate::reason::Reason;
use std::time::Duration;

/// One completed fetch.
#[derive(Clone, Debug)]
pub struct CompletedFetch<'a> {
    /// Its entry.
    pub key: &'a FeedKey,
    /// Its outcome: `Fetched`, `FeedExpired`, `FeedShrank`, `FeedGrew`, `FeedUnavailable`, `FeedRejected`, `FeedMalformed` or
    /// `RateLimited`.
    pub reason: Reason,
    /// Its outcome in words.
    pub message: &'a str,
    /// Whether the list in use changed by it.
    pub changed: bool,
    /// The id of the request.
    pub transaction_id: &'a str,
    /// How long it took.
    pub took: Duration,
}

/// Is notified of the feed's events; `()` ignores all of them. Any task may call any method, which must not block.
pub trait FeedObserver: Send + Sync {
    /// A fetch was completed.
    fn fetched(&self, _fetch: &CompletedFetch<'_>) {}

    /// A request waited this long for its turn since it was due.
    fn limiter_waited(&self, _host: &str, _waited: Duration) {}

    /// The API asked for a pause of a whole host.
    fn host_paused(&self, _host: &str, _pause: Duration) {}

    /// An earlier process began a fetch that never completed; the message says so.
    fn fetch_interrupted(&self, _key: &FeedKey, _message: &str) {}

    /// Saved state could not be read or written; the message says what happens instead.
    fn store_warning(&self, _message: &str) {}
}

impl FeedObserver for () {}
