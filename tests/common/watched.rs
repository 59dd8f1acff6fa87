//! Objects of a namespace as a watch shows them: tests wait for what it brings, and look back on all it brought.

use futures::StreamExt;
use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long a test waits for what is to come. Nothing that it waits for comes by a timer of the operator's: those are
/// minutes and hours. How soon things come is measured by benchmarks; a machine that also builds is no reason to fail.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The objects of one kind by name, at one moment.
pub type Objects<K> = BTreeMap<String, K>;

/// The objects as they were from a moment on.
type Moment<K> = (Instant, Objects<K>);

/// A watch on one kind of object in one namespace. Ends when dropped.
pub struct Watched<K> {
    now: watch::Receiver<Objects<K>>,
    history: Arc<Mutex<Vec<Moment<K>>>>,
    task: JoinHandle<()>,
}

impl<K> Drop for Watched<K> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<K> Watched<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    /// Starts to watch, and returns when everything there is has been listed.
    pub async fn start(client: Client, namespace: &str) -> Self {
        let api: Api<K> = Api::namespaced(client, namespace);
        let (sender, mut now) = watch::channel(Objects::new());
        let history: Arc<Mutex<Vec<_>>> = Arc::default();
        let past = Arc::clone(&history);
        let (listed, mut all) = watch::channel(false);
        let task = tokio::spawn(async move {
            let mut events = watcher::watcher(api, watcher::Config::default()).boxed();
            let mut objects = Objects::new();
            while let Some(event) = events.next().await {
                match event {
                    Ok(Event::Init) => {
                        objects.clear();
                        continue;
                    }
                    Ok(Event::InitApply(object)) => {
                        objects.insert(object.name_any(), object);
                        continue;
                    }
                    Ok(Event::InitDone) => {}
                    Ok(Event::Apply(object)) => drop(objects.insert(object.name_any(), object)),
                    Ok(Event::Delete(object)) => drop(objects.remove(&object.name_any())),
                    Err(error) => panic!("the test's own watch failed: {error}"),
                }
                past.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), objects.clone()));
                sender.send_replace(objects.clone());
                listed.send_replace(true);
            }
        });
        all.wait_for(|listed| *listed).await.expect("a watch");
        now.mark_unchanged();
        Self { now, history, task }
    }

    /// What there is now.
    pub fn now(&self) -> Objects<K> {
        self.now.borrow().clone()
    }

    /// Waits until the objects are so, and says how long that took.
    ///
    /// # Panics
    /// Where they are not in time; with what they are.
    pub async fn until(&self, what: &str, holds: impl Fn(&Objects<K>) -> bool) -> Duration {
        let started = Instant::now();
        self.find(what, |objects| holds(objects).then_some(())).await;
        started.elapsed()
    }

    /// Waits until the objects are so again, after they have not been since a moment; says how long that took.
    ///
    /// # Panics
    /// Where they are not in time; with what they are.
    pub async fn until_again(&self, what: &str, since: Instant, holds: impl Fn(&Objects<K>) -> bool) -> Duration {
        // By the history alone: what is current may still be what was before the newest entry of it.
        let again = |_: &Objects<K>| {
            let past = self.since(since);
            past.last().is_some_and(&holds) && !past.iter().all(&holds)
        };
        self.until(what, again).await;
        since.elapsed()
    }

    /// Waits until something is found in the objects.
    ///
    /// # Panics
    /// Where it is not in time; with what they are.
    pub async fn find<T>(&self, what: &str, find: impl Fn(&Objects<K>) -> Option<T>) -> T {
        let mut now = self.now.clone();
        let found = async {
            loop {
                let found = find(&now.borrow_and_update());
                match found {
                    Some(found) => return found,
                    None => now.changed().await.expect("the watch lasts"),
                }
            }
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => panic!("not within {PATIENCE:?}: {what}: {:#?}", self.now()),
        }
    }

    /// All that the watch has brought since a moment: the state at that moment first.
    pub fn since(&self, moment: Instant) -> Vec<Objects<K>> {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let first = history.iter().rposition(|(at, _)| *at <= moment).unwrap_or(0);
        history[first..].iter().map(|(_, objects)| objects.clone()).collect()
    }
}

/// What tells whether a policy changed: its generation moves with its spec, its uid when it is made again.
pub fn generations<K: ResourceExt>(objects: &Objects<K>) -> BTreeMap<String, (Option<String>, Option<i64>)> {
    objects.iter().map(|(name, object)| (name.clone(), (object.uid(), object.meta().generation))).collect()
}
