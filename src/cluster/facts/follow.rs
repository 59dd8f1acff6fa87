//! Follows objects of one kind and keeps only the relevant part of each.

use crate::cluster::client::CallError;
use crate::cluster::watch_pauses::WatchPauses;
use futures::StreamExt as _;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

/// The first pause after a refusal (403), or if the kind does not exist (404); it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// The longest such pause: RBAC may be granted, and the cluster upgraded, while the operator runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// News of the followed objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report<T> {
    /// All current objects, by the key that `keep` returned. Reported only when they changed.
    Now(BTreeMap<String, T>),
    /// Access is refused, or the kind does not exist; it is tried again now and then.
    Refused,
}

/// Follows the objects of `api` for as long as it is polled. `keep` returns an object's key and its relevant part.
///
/// A failed connection is retried with kube's own back-off, a refusal after much longer pauses.
pub(super) async fn follow<K, T>(
    api: Api<K>,
    config: watcher::Config,
    what: String,
    keep: impl Fn(&K) -> (String, T),
    report: impl Fn(Report<T>),
) where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    T: Clone + PartialEq,
{
    let mut current: Option<BTreeMap<String, T>> = None;
    let mut pause = FIRST_PAUSE;
    let mut complaint = String::new();
    loop {
        let mut events = std::pin::pin!(watcher(api.clone(), config.clone()).backoff(WatchPauses::new()));
        let mut listed = BTreeMap::new();
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => {
                    let (key, value) = keep(&object);
                    listed.insert(key, value);
                }
                Ok(Event::InitDone) => {
                    if !std::mem::take(&mut complaint).is_empty() {
                        tracing::info!(what, "can be watched again");
                    }
                    pause = FIRST_PAUSE;
                    if current.as_ref() != Some(&listed) {
                        report(Report::Now(listed.clone()));
                        current = Some(std::mem::take(&mut listed));
                    }
                }
                Ok(Event::Apply(object)) => {
                    let (key, value) = keep(&object);
                    let current = current.get_or_insert_default();
                    if current.get(&key) != Some(&value) {
                        current.insert(key, value);
                        report(Report::Now(current.clone()));
                    }
                }
                Ok(Event::Delete(object)) => {
                    let current = current.get_or_insert_default();
                    if current.remove(&keep(&object).0).is_some() {
                        report(Report::Now(current.clone()));
                    }
                }
                Err(error) => {
                    let (code, text) = match failed_call(error) {
                        Ok(call) => (call.code(), call.to_string()),
                        Err(error) => (None, error.to_string()),
                    };
                    if text != complaint {
                        tracing::warn!(what, error = text, "cannot be watched; what is known of it stays");
                        complaint = text;
                    }
                    if matches!(code, Some(403 | 404)) {
                        report(Report::Refused);
                        break;
                    }
                }
            }
        }
        tokio::time::sleep(pause.mul_f64(1.0 + fastrand::f64() / 5.0)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The call that failed; the error itself where the API server answered something else.
fn failed_call(error: watcher::Error) -> Result<CallError, watcher::Error> {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => Ok(CallError::Api(error)),
        watcher::Error::WatchError(status) => Ok(CallError::Api(kube::Error::Api(status))),
        error @ watcher::Error::NoResourceVersion => Err(error),
    }
}
