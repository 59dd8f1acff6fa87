//! What a resource sees of its list.

use super::request::{FeedKey, FeedRequest};
use crate::crd::Problem;
use crate::reason::Reason;
use connectivity_allowlist::{Allowlist, Cloud};
use jiff::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// What is known of a resource's list, at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedView {
    /// The newest list that is accepted, for every geo and direction; `None` before there was one.
    pub allowlist: Option<Arc<Allowlist>>,
    /// The list accepted before it, while no further fetch has confirmed the newer one.
    pub previous: Option<Arc<Allowlist>>,
    /// How many fetches have returned the content of `allowlist`. While it is one, a list that empties or halves the
    /// plan of an unchanged resource is not to be acted on: use `previous`, and ask for [`super::Feeds::confirm`].
    pub confirmations: u32,
    /// Equal for equal content of `allowlist`, within one process; 0 without a list.
    pub digest: u64,
    /// The reason of the condition `FeedCurrent`.
    pub reason: Reason,
    /// Its message: what happened and what a person can do.
    pub message: String,
    /// Its status: whether the newest fetch brought or confirmed a list that is within its validity.
    pub current: bool,
    /// Problems of the feed itself. Those of the list stand in the list.
    pub problems: Vec<Problem>,
    /// The cloud that is asked.
    pub cloud: Cloud,
    /// When the list was last fetched or confirmed.
    pub fetched_at: Option<Timestamp>,
    /// About when the next fetch is: without jitter, set when a fetch completes or what is asked for changes.
    pub next_fetch: Option<Timestamp>,
    /// The id of the last completed request.
    pub transaction_id: Option<String>,
    /// The newest refresh that the resource asked for and a completed fetch has answered.
    pub handled_refresh: Option<Arc<str>>,
}

/// What is known of one entry of the shared table, for metrics and for people who look into it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedSnapshot {
    /// The entry.
    pub key: FeedKey,
    /// How many resources need it.
    pub subscribers: usize,
    /// How old the list is: since it was last fetched or confirmed.
    pub age: Option<Duration>,
    /// Until when the vendor vouches for it.
    pub valid_until: Option<Timestamp>,
    /// When the vendor published it.
    pub version: Option<String>,
    /// About when it is asked for again.
    pub next_fetch: Option<Timestamp>,
    /// Its place among the requests that are due and wait for their turn, from 1.
    pub queue_place: Option<usize>,
    /// The reason of the condition `FeedCurrent`.
    pub reason: Reason,
    /// Whether a list is held back.
    pub held_back: bool,
    /// How many requests in a row have failed.
    pub failures: u32,
}

/// What a resource sees whose customer id no request can carry. The schema refuses it; a cluster without the newest
/// schema may not.
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
