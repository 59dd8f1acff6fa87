//! The state that outlives the process: the last good lists, and the requests of the last minute.

use super::request::FeedKey;
use crate::lock::lock;
use connectivity_allowlist::{Cloud, Directions, Geo, ListForm};
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::time::Instant;

/// Keeps lists beyond the process's life. [`crate::cluster`] has the store in the cluster.
pub trait ListStore: Send + Sync {
    /// Loads everything. `warnings` name what cannot be read.
    fn load(&self) -> BoxFuture<'_, Result<Saved, StoreError>>;
    /// Replaces the list under its key.
    fn save(&self, list: SavedList) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Replaces the sent requests.
    fn save_requests(&self, requests: SavedRequests) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Forgets every list but those under the given keys.
    fn retain(&self, keys: BTreeSet<FeedKey>) -> BoxFuture<'_, Result<(), StoreError>>;
}

/// Why the store failed, for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// Everything that was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// The lists.
    pub lists: Vec<SavedList>,
    /// The sent requests.
    pub requests: SavedRequests,
    /// The present time of the clock that noted their times, or a moment before it; `None` where a note has no time of its own.
    pub requests_clock: Option<Timestamp>,
    /// What could not be read, each in words.
    pub warnings: Vec<String>,
}

/// The requests to each host in the last minute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedRequests {
    /// When this was noted, by the clock of the process that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// By host, as `scheme://host:port`.
    pub hosts: BTreeMap<String, SavedHost>,
    /// Fetches that were begun and have not completed: the answer of one may have ended the process.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub begun: Vec<SavedBegun>,
}

/// A fetch that was begun, noted before it is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedBegun {
    /// The list.
    #[serde(flatten)]
    pub list: SavedKey,
    /// When it was begun.
    pub at: Timestamp,
    /// How many fetches of the list in a row, this one included, were begun and did not complete.
    pub times: u32,
}

/// The key of a saved list. Another version of the program may have written it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedKey {
    /// The cloud.
    pub cloud: Cloud,
    /// The requested form: `json`, `zscaler` or `static`.
    pub form: String,
    /// The customer; none if one document serves every customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// The requested geo and direction, if the form needs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<(Geo, Directions)>,
}

impl SavedKey {
    /// The key as it is saved.
    #[must_use]
    pub fn of(key: &FeedKey) -> Self {
        let (form, customer) = (key.form.as_str().to_owned(), key.customer.as_deref().map(str::to_owned));
        Self { cloud: key.cloud, form, customer, scope: key.scope }
    }

    /// The key of the list; `None` for an unknown form.
    #[must_use]
    pub fn key(&self) -> Option<FeedKey> {
        let customer = self.customer.as_deref().map(Arc::from);
        Some(FeedKey { cloud: self.cloud, form: ListForm::named(&self.form)?, customer, scope: self.scope })
    }
}

/// The requests to one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedHost {
    /// When each request of the last window counted.
    pub sent: Vec<Timestamp>,
    /// The end of the pause that the host requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

/// A saved list: the document as received, so that a newer version of the program reads it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedList {
    /// Its entry.
    pub key: FeedKey,
    /// Its state.
    pub state: SavedState,
    /// The document, compressed with gzip.
    pub document: Arc<[u8]>,
    /// The document before it, until a further fetch confirms the newer one.
    pub previous: Option<Arc<[u8]>>,
}

/// The state of a saved list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedState {
    /// Which list it is.
    #[serde(flatten)]
    pub list: SavedKey,
    /// The address it was fetched from.
    pub url: String,
    /// When it was last fetched or confirmed.
    pub fetched_at: Timestamp,
    /// The server's `Last-Modified`, word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_modified: Option<String>,
    /// The server's `ETag`, word for word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The id of the request that brought or confirmed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_id: Option<String>,
    /// How many fetches have returned this content.
    pub confirmations: u32,
    /// How many answers in a row were no news or past their validity.
    pub stale_answers: u32,
    /// Since when every answer has been older than this list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older_since: Option<Timestamp>,
}

/// A store in the process's own memory: nothing outlives it. For tests, and for running without a cluster.
#[derive(Debug, Default)]
pub struct MemoryStore(Mutex<InMemory>);

#[derive(Debug, Default)]
struct InMemory {
    lists: BTreeMap<FeedKey, SavedList>,
    requests: SavedRequests,
    noted: Option<Instant>,
}

impl MemoryStore {
    fn lock(&self) -> MutexGuard<'_, InMemory> {
        lock(&self.0)
    }

    /// What is saved now.
    #[must_use]
    pub fn saved(&self) -> Saved {
        let InMemory { lists, requests, noted } = &*self.lock();
        let requests_clock =
            requests.at.zip(*noted).map(|(at, noted)| at.saturating_add(noted.elapsed()).unwrap_or(at));
        let lists = lists.values().cloned().collect();
        Saved { lists, requests: requests.clone(), requests_clock, warnings: Vec::new() }
    }
}

impl ListStore for MemoryStore {
    fn load(&self) -> BoxFuture<'_, Result<Saved, StoreError>> {
        Box::pin(async { Ok(self.saved()) })
    }

    fn save(&self, list: SavedList) -> BoxFuture<'_, Result<(), StoreError>> {
        self.lock().lists.insert(list.key.clone(), list);
        Box::pin(std::future::ready(Ok(())))
    }

    fn save_requests(&self, requests: SavedRequests) -> BoxFuture<'_, Result<(), StoreError>> {
        let mut saved = self.lock();
        (saved.requests, saved.noted) = (requests, Some(Instant::now()));
        Box::pin(std::future::ready(Ok(())))
    }

    fn retain(&self, keys: BTreeSet<FeedKey>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.lock().lists.retain(|key, _| keys.contains(key));
        Box::pin(std::future::ready(Ok(())))
    }
}
