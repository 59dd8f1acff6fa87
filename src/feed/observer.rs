//! What the feed reports about itself, for metrics and events.

use super::request::FeedKey;
use crate::reason::Reason;
use std::time::Duration;

/// One completed fetch.
#[derive(Clone, Debug)]
pub struct CompletedFetch<'a> {
    /// The entry it was for.
    pub key: &'a FeedKey,
    /// What came of it: `Fetched`, `FeedExpired`, `FeedShrank`, `FeedGrew`, `FeedUnavailable`, `FeedRejected`,
    /// `FeedMalformed` or `RateLimited`.
    pub reason: Reason,
    /// What came of it, in words.
    pub message: &'a str,
    /// Whether the list in use changed by it.
    pub changed: bool,
    /// The id of the request.
    pub transaction_id: &'a str,
    /// How long it took.
    pub took: Duration,
}

/// Hears what the feed does. Every method may be called from any task and must not block.
pub trait FeedObserver: Send + Sync {
    /// A fetch was completed.
    fn fetched(&self, _fetch: &CompletedFetch<'_>) {}

    /// A request waited so long for its turn, from when it was due.
    fn limiter_waited(&self, _host: &str, _waited: Duration) {}

    /// The API asked for a pause of a whole host.
    fn host_paused(&self, _host: &str, _pause: Duration) {}

    /// A process before this one began a fetch that never completed, in words.
    fn fetch_interrupted(&self, _key: &FeedKey, _message: &str) {}

    /// What is saved in the cluster could not be read or written; the words say what was done instead.
    fn store_warning(&self, _message: &str) {}
}

/// An observer that hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl FeedObserver for NoObserver {}
