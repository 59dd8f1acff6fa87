//! Watches over what the operator acts on and what it keeps. They run on standbys too, so that a new leader starts from
//! caches that are warm.

use super::key::{Kind, ObjectKey};
use super::owned::{self, Observed, OwnedObjects};
use super::scope::Scope;
use crate::crd::{CitrixAllowlist, FIELD_MANAGER, MANAGED_BY_LABEL, REFRESH_ANNOTATION};
use crate::subscriber::{Subscriber, Waker};
use futures::stream::{BoxStream, SelectAll};
use futures::{Stream, StreamExt};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;
use tokio::sync::watch as signal;

/// Pages of a list: policies may be large, and a page is held in memory whole.
const PAGE: u32 = 50;

/// Events of every API of a scope, each with the namespace it is from.
fn events<K>(client: &Client, scope: &Scope, config: &watcher::Config) -> SelectAll<BoxStream<'static, Sourced<K>>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let streams = scope.apis::<K>(client).into_iter().map(|(namespace, api)| {
        watch(api, config.clone()).default_backoff().map(move |event| (namespace.clone(), event)).boxed()
    });
    futures::stream::select_all(streams)
}

type Sourced<K> = (Option<String>, Result<Event<K>, watcher::Error>);

/// Keeps `owned` as the cluster is, and wakes the resources whose objects are not as they were left. Never ends by
/// itself. `synced` is true while everything has been listed.
pub async fn keep_owned(
    client: Client,
    scope: Scope,
    owned: Arc<OwnedObjects>,
    waker: Waker,
    synced: signal::Sender<bool>,
) {
    loop {
        tokio::select! {
            () = follow_owned(&client, &scope, &owned, &waker, &synced) => {}
            () = owned.restarted() => {}
        }
        synced.send_replace(false);
    }
}

async fn follow_owned(
    client: &Client,
    scope: &Scope,
    owned: &OwnedObjects,
    waker: &Waker,
    synced: &signal::Sender<bool>,
) {
    let config = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={FIELD_MANAGER}")).page_size(PAGE);
    let policies = events::<NetworkPolicy>(client, scope, &config).map(|(namespace, event)| {
        (
            Kind::Policy,
            namespace,
            event.map(|event| fold(event, owned, Kind::Policy, owned::fold_policy, owned::fold_known_policy)),
        )
    });
    let maps = events::<ConfigMap>(client, scope, &config).map(|(namespace, event)| {
        (
            Kind::ConfigMap,
            namespace,
            event
                .map(|event| fold(event, owned, Kind::ConfigMap, owned::fold_config_map, owned::fold_known_config_map)),
        )
    });
    let expected = scope.apis::<ConfigMap>(client).len() * 2;
    let mut listed: HashMap<(Kind, Option<String>), HashSet<ObjectKey>> = HashMap::new();
    let mut done: HashSet<(Kind, Option<String>)> = HashSet::new();
    let mut stream = futures::stream::select(policies, maps);
    while let Some((kind, namespace, event)) = stream.next().await {
        let woken = match event {
            Err(error) => {
                tracing::warn!(kind = kind.as_str(), error = %error, "watch failed; it is started again");
                continue;
            }
            Ok(Folded::Started) => {
                listed.insert((kind, namespace), HashSet::new());
                continue;
            }
            Ok(Folded::Listed(key, observed)) => {
                listed.entry((kind, namespace)).or_default().insert(key.clone());
                observed.map_or_else(Vec::new, |observed| owned.observe(key, observed))
            }
            Ok(Folded::Complete) => {
                let all = listed.remove(&(kind, namespace.clone())).unwrap_or_default();
                let woken = owned.retain_listed(kind, namespace.as_deref(), &all);
                done.insert((kind, namespace));
                if done.len() == expected {
                    synced.send_if_modified(|synced| !std::mem::replace(synced, true));
                }
                woken
            }
            Ok(Folded::Changed(key, observed)) => {
                observed.map_or_else(Vec::new, |observed| owned.observe(key, observed))
            }
            Ok(Folded::Gone(key, uid)) => owned.forget(&key, &uid),
        };
        for subscriber in woken {
            waker.wake(&subscriber);
        }
    }
}

/// A watch event whose object has been folded already, so that no page of whole objects outlives its arrival; nothing
/// of an object in the very version that is known.
enum Folded {
    Started,
    Listed(ObjectKey, Option<Observed>),
    Complete,
    Changed(ObjectKey, Option<Observed>),
    Gone(ObjectKey, String),
}

fn fold<K: ResourceExt>(
    event: Event<K>,
    owned: &OwnedObjects,
    kind: Kind,
    with_memory: impl Fn(&K) -> Observed,
    without: impl Fn(&K) -> Observed,
) -> Folded {
    let key = |object: &K| ObjectKey {
        kind,
        namespace: object.namespace().unwrap_or_default().into(),
        name: object.name_any().into(),
    };
    let news = |key: &ObjectKey, object: &K| match owned.knows(key, object.meta()) {
        true => None,
        false if owned.has_remembered(object.meta()) => Some(without(object)),
        false => Some(with_memory(object)),
    };
    match event {
        Event::Init => Folded::Started,
        Event::InitApply(object) => {
            let key = key(&object);
            let news = news(&key, &object);
            Folded::Listed(key, news)
        }
        Event::InitDone => Folded::Complete,
        Event::Apply(object) => {
            let key = key(&object);
            let news = news(&key, &object);
            Folded::Changed(key, news)
        }
        Event::Delete(object) => Folded::Gone(key(&object), object.uid().unwrap_or_default()),
    }
}

/// What a change of a resource means to the tables and the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceChange {
    /// It is new, or its spec or a request of its user changed.
    Changed(Subscriber),
    /// It is gone.
    Gone(Subscriber),
}

/// What of a resource a reconcile answers to: a status written by ourselves is none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    uid: Option<String>,
    generation: Option<i64>,
    refresh: Option<String>,
    deleting: bool,
}

impl Asked {
    fn of(resource: &CitrixAllowlist) -> Self {
        Self {
            uid: resource.uid(),
            generation: resource.metadata.generation,
            refresh: resource.annotations().get(REFRESH_ANNOTATION).cloned(),
            deleting: resource.metadata.deletion_timestamp.is_some(),
        }
    }
}

/// Keeps the store of resources as the cluster is, and says which changed in what a user asks for. Never ends by
/// itself. `synced` becomes true once everything has been listed.
pub fn resources(
    client: &Client,
    scope: &Scope,
    store: Writer<CitrixAllowlist>,
    synced: signal::Sender<bool>,
) -> impl Stream<Item = Vec<ResourceChange>> + use<> {
    let mut awaited: HashSet<Option<String>> =
        scope.apis::<CitrixAllowlist>(client).into_iter().map(|(namespace, _)| namespace).collect();
    let config = watcher::Config::default().page_size(PAGE);
    let stream = events::<DeserializeGuard<CitrixAllowlist>>(client, scope, &config);
    let mut table =
        ResourceTable { reader: store.as_reader(), store, early: Some(HashMap::new()), known: HashMap::new() };
    let mut listed: HashMap<Option<String>, HashSet<Subscriber>> = HashMap::new();
    stream.map(move |(namespace, event)| match event {
        Err(error) => {
            tracing::warn!(kind = "CitrixAllowlist", error = %error, "watch failed; it is started again");
            Vec::new()
        }
        Ok(Event::Init) => {
            listed.insert(namespace, HashSet::new());
            Vec::new()
        }
        Ok(Event::InitApply(guarded)) => {
            listed.entry(namespace).or_default().insert(subscriber_of(&guarded));
            table.take_in(guarded)
        }
        Ok(Event::InitDone) => {
            let all = listed.remove(&namespace).unwrap_or_default();
            let gone: Vec<Subscriber> = table
                .known
                .keys()
                .filter(|who| namespace.as_deref().is_none_or(|namespace| &*who.namespace == namespace))
                .filter(|who| !all.contains(*who))
                .cloned()
                .collect();
            let changes = gone.into_iter().flat_map(|who| table.take_out(&who)).collect();
            awaited.remove(&namespace);
            if awaited.is_empty() && synced.send_if_modified(|synced| !std::mem::replace(synced, true)) {
                table.open();
            }
            changes
        }
        Ok(Event::Apply(guarded)) => table.take_in(guarded),
        Ok(Event::Delete(guarded)) => table.take_out(&subscriber_of(&guarded)),
    })
}

fn subscriber_of(object: &impl ResourceExt) -> Subscriber {
    Subscriber::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// The store that reconciles read, fed from one watch for each namespace.
struct ResourceTable {
    store: Writer<CitrixAllowlist>,
    reader: Store<CitrixAllowlist>,
    /// What arrived before every namespace was listed: a store is opened whole, once.
    early: Option<HashMap<Subscriber, CitrixAllowlist>>,
    known: HashMap<Subscriber, Asked>,
}

impl ResourceTable {
    fn take_in(&mut self, DeserializeGuard(read): DeserializeGuard<CitrixAllowlist>) -> Vec<ResourceChange> {
        let mut resource = match read {
            Ok(resource) => resource,
            Err(invalid) => {
                let namespace = invalid.metadata.namespace.unwrap_or_default();
                let name = invalid.metadata.name.unwrap_or_default();
                // Only an older or foreign CRD lets one in. It stays listed, so what was applied for it stays.
                tracing::error!(
                    namespace,
                    name,
                    error = invalid.error,
                    "a CitrixAllowlist cannot be read: left as it is"
                );
                return Vec::new();
            }
        };
        // The managers' history of a resource is never read, and weighs as much as its spec.
        resource.metadata.managed_fields = None;
        let who = subscriber_of(&resource);
        let asked = Asked::of(&resource);
        match &mut self.early {
            Some(early) => drop(early.insert(who.clone(), resource)),
            None => self.store.apply_watcher_event(&Event::Apply(resource)),
        }
        let changed = self.known.insert(who.clone(), asked.clone()) != Some(asked);
        changed.then_some(ResourceChange::Changed(who)).into_iter().collect()
    }

    fn take_out(&mut self, who: &Subscriber) -> Vec<ResourceChange> {
        self.known.remove(who);
        if let Some(early) = &mut self.early {
            early.remove(who);
        } else if let Some(resource) = self.reader.get(&ObjectRef::new(&who.name).within(&who.namespace)) {
            self.store.apply_watcher_event(&Event::Delete(Arc::unwrap_or_clone(resource)));
        }
        vec![ResourceChange::Gone(who.clone())]
    }

    fn open(&mut self) {
        self.store.apply_watcher_event(&Event::Init);
        for resource in self.early.take().into_iter().flat_map(HashMap::into_values) {
            self.store.apply_watcher_event(&Event::InitApply(resource));
        }
        self.store.apply_watcher_event(&Event::InitDone);
    }
}
