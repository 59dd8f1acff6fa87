//! The watch over what the operator keeps. It runs on standbys too, so that a new leader starts from a warm cache.

use super::owned::OwnedObjects;
use super::scope::Scope;
use crate::crd::{FIELD_MANAGER, MANAGED_BY_LABEL};
use crate::objects::key::{Kind, ObjectKey};
use crate::objects::observed::{self, Observed};
use crate::subscriber::Waker;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

/// Pages of a list: policies may be large, and a page is held in memory whole.
pub(super) const PAGE: u32 = 50;

/// Events of every API of a scope, each with the namespace it is from.
pub(super) fn events<K>(
    client: &Client,
    scope: &Scope,
    config: &watcher::Config,
) -> SelectAll<BoxStream<'static, Sourced<K>>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let streams = scope.apis::<K>(client).into_iter().map(|(namespace, api)| {
        watch(api, config.clone()).default_backoff().map(move |event| (namespace.clone(), event)).boxed()
    });
    futures::stream::select_all(streams)
}

/// An event, and the namespace whose watch it is from; `None` for the watch of all namespaces.
pub(super) type Sourced<K> = (Option<String>, Result<Event<K>, watcher::Error>);

/// Keeps `owned` as the cluster is, and wakes the resources whose objects are not as they were left. Never ends by
/// itself.
pub async fn keep_owned(client: Client, scope: Scope, owned: Arc<OwnedObjects>, waker: Waker) {
    loop {
        tokio::select! {
            () = follow_owned(&client, &scope, &owned, &waker) => {}
            () = owned.restarted() => {}
        }
    }
}

async fn follow_owned(client: &Client, scope: &Scope, owned: &OwnedObjects, waker: &Waker) {
    let owned = owned.current();
    let config = watcher::Config::default().labels(&format!("{MANAGED_BY_LABEL}={FIELD_MANAGER}")).page_size(PAGE);
    let policies = events::<NetworkPolicy>(client, scope, &config).map(|(namespace, event)| {
        (
            Kind::Policy,
            namespace,
            event.map(|event| {
                fold(event, owned.objects(), Kind::Policy, observed::fold_policy, observed::fold_known_policy)
            }),
        )
    });
    let maps = events::<ConfigMap>(client, scope, &config).map(|(namespace, event)| {
        (
            Kind::ConfigMap,
            namespace,
            event.map(|event| {
                fold(
                    event,
                    owned.objects(),
                    Kind::ConfigMap,
                    observed::fold_config_map,
                    observed::fold_known_config_map,
                )
            }),
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
                    owned.all_listed();
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
    let key = |object: &K| ObjectKey::new(kind, object.namespace().unwrap_or_default(), object.name_any());
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
