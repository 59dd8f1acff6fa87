//! Follows objects of one kind and keeps of each only what matters.

use futures::StreamExt as _;
use kube::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

/// The first pause after a refusal (403) or where the kind does not exist (404); it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// The longest such pause: RBAC may be granted, and the cluster upgraded, while the operator runs.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// What following brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Report<T> {
    /// Everything there is now, by the key that `keep` gave. Reported only when it changed.
    Now(BTreeMap<String, T>),
    /// It may not be asked for, or does not exist; it will be tried again now and then.
    Refused,
}

/// Follows the objects of `api` for as long as it is polled. `keep` takes from an object its key and what matters.
///
/// A connection that fails is tried again with kube's own back-off, a refusal after much longer pauses.
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
    let mut held: Option<BTreeMap<String, T>> = None;
    let mut pause = FIRST_PAUSE;
    let mut complaint = String::new();
    loop {
        let mut events = std::pin::pin!(watcher(api.clone(), config.clone()).default_backoff());
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
                    if held.as_ref() != Some(&listed) {
                        report(Report::Now(listed.clone()));
                        held = Some(std::mem::take(&mut listed));
                    }
                }
                Ok(Event::Apply(object)) => {
                    let (key, value) = keep(&object);
                    let held = held.get_or_insert_default();
                    if held.get(&key) != Some(&value) {
                        held.insert(key, value);
                        report(Report::Now(held.clone()));
                    }
                }
                Ok(Event::Delete(object)) => {
                    let held = held.get_or_insert_default();
                    if held.remove(&keep(&object).0).is_some() {
                        report(Report::Now(held.clone()));
                    }
                }
                Err(error) => {
                    let refused = matches!(code(&error), Some(403 | 404));
                    let text = text(&error);
                    if text != complaint {
                        tracing::warn!(what, error = text, "cannot be watched; what is known of it stays");
                        complaint = text;
                    }
                    if refused {
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

fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

fn text(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => crate::cluster::client::describe(error),
        watcher::Error::WatchError(status) => format!("{} ({})", status.message, status.code),
        watcher::Error::NoResourceVersion => error.to_string(),
    }
}
