//! A resource's view of its list.

use super::request::{FeedKey, FeedRequest};
use crate::crd::Problem;
use crate::reason::Reason;
use connectivity_allowlist::{Allowlist, Cloud};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// A resource's list at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedView {
    /// The newest accepted list, for every geo and direction; `None` before the first.
    pub allowlist: Option<Arc<Allowlist>>,
    /// The list accepted before it, until a further fetch confirms the newer one.
    pub previous: Option<Arc<Allowlist>>,
    /// How many fetches have returned the content of `allowlist`. While it is one, do not act on a list that empties or halves the
    /// plan of an unchanged resource: use `previous`, and call [`super::Feeds::confirm`].
    pub confirmations: u32,
    /// Equal for equal content of `allowlist`, within one process; 0 without a list.
    pub digest: u64,
    /// The reason of the condition `FeedCurrent`.
    pub reason: Reason,
    /// Its message: what happened, and the remedy.
    pub message: String,
    /// Its status: whether the newest fetch brought or confirmed a list within its validity.
    pub current: bool,
    /// Problems of the feed itself. The list has its own.
    pub problems: Vec<Problem>,
    /// The cloud.
    pub cloud: Cloud,
    /// When the list was last fetched or confirmed.
    pub fetched_at: Option<Timestamp>,
    /// About when the next fetch is: without jitter, set when a fetch completes or the request changes.
    pub next_fetch: Option<Timestamp>,
    /// The id of the last completed request.
    pub transaction_id: Option<String>,
    /// The newest refresh of the resource that a completed fetch has answered.
    pub handled_refresh: Option<Arc<str>>,
}

/// One entry of the shared table, for metrics and for people.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedSnapshot {
    /// The entry.
    pub key: FeedKey,
    /// How many resources need it.
    pub subscribers: usize,
    /// The time since the list was last fetched or confirmed.
    pub age: Option<Duration>,
    /// The end of its validity.
    pub valid_until: Option<Timestamp>,
    /// When the vendor published it.
    pub version: Option<String>,
    /// About when it is requested again.
    pub next_fetch: Option<Timestamp>,
    /// Its place among the due requests that wait for their turn, from 1.
    pub queue_place: Option<usize>,
    /// The reason of the condition `FeedCurrent`.
    pub reason: Reason,
    /// Whether a list is held back.
    pub held_back: bool,
    /// How many requests in a row have failed.
    pub failures: u32,
}

/// The view for an invalid customer id, which no request can carry. The schema refuses it; a cluster without the newest schema may
/// not.
pub(super) fn unusable(request: &FeedRequest) -> FeedView {
    FeedView {
        reason: Reason::FeedRejected,
        message: format!("customerId `{}` is not usable: 1 to 12 letters and digits are allowed", request.customer),
        ..empty_view(request.cloud)
    }
}

pub(super) fn empty_view(cloud: Cloud) -> FeedView {
    FeedView {
        allowlist: None,
        previous: None,
        confirmations: 0,
        digest: 0,
        reason: Reason::WaitingForFeed,
        message: String::new(),
        current: false,
        problems: Vec::new(),
        cloud,
        fetched_at: None,
        next_fetch: None,
        transaction_id: None,
        handled_refresh: None,
    }
}
