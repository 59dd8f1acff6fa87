//! The watch over the operator's objects. It runs on standbys too, so that a new leader starts with a warm cache.

use super::object::Object;
use super::owned::{OwnedObjects, owned_selector};
use super::scope::Scope;
use super::watch_pauses::WatchPauses;
use crate::objects::key::ObjectKey;
use crate::objects::kind::Kind;
use crate::objects::observed::Observed;
use crate::resource_ref::Waker;
use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet};
use std::fmt::Debug;
use std::sync::Arc;

/// Objects in one page of a list: policies may be large, and a page is in memory whole.
pub(super) const PAGE: u32 = 50;

/// Events of several APIs, each with its namespace.
pub(super) fn events<K>(
    apis: Vec<(Option<String>, Api<K>)>,
    config: &watcher::Config,
) -> SelectAll<BoxStream<'static, Sourced<K>>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let streams = apis.into_iter().map(|(namespace, api)| {
        watch(api, config.clone()).backoff(WatchPauses::new()).map(move |event| (namespace.clone(), event)).boxed()
    });
    futures::stream::select_all(streams)
}

/// An event, and the namespace of its watch; `None` for the watch of all namespaces.
pub(super) type Sourced<K> = (Option<String>, Result<Event<K>, watcher::Error>);

/// Keeps `owned` current, and wakes the resources whose objects were changed by others. Never ends by itself.
pub async fn keep_owned(
    client: Client,
    scope: Scope,
    kinds: Vec<&'static Kind>,
    owned: Arc<OwnedObjects>,
    waker: Waker,
) {
    loop {
        tokio::select! {
            () = follow_owned(&client, &scope, &kinds, &owned, &waker) => {}
            () = owned.restarted() => {}
        }
    }
}

async fn follow_owned(client: &Client, scope: &Scope, kinds: &[&'static Kind], owned: &OwnedObjects, waker: &Waker) {
    let owned = owned.current();
    let (mut streams, mut expected) = (Vec::new(), 0);
    for kind in kinds.iter().copied() {
        let apis = scope.apis_of(client, kind);
        expected += apis.len();
        let objects = owned.objects;
        let config = watcher::Config::default().labels(&owned_selector(kind)).page_size(PAGE);
        let folded = events(apis, &config)
            .map(move |(namespace, event)| (kind, namespace, event.map(|event| fold(event, objects, kind))));
        streams.push(folded);
    }
    let mut listed: HashMap<(&'static Kind, Option<String>), HashSet<ObjectKey>> = HashMap::new();
    let mut done: HashSet<(&'static Kind, Option<String>)> = HashSet::new();
    let mut stream = futures::stream::select_all(streams);
    while let Some((kind, namespace, event)) = stream.next().await {
        let woken = match event {
            Err(error) => {
                tracing::warn!(kind = kind.name, error = %error, "watch failed; it is started again");
                continue;
            }
            Ok(Folded::Started) => {
                listed.insert((kind, namespace), HashSet::new());
                continue;
            }
            Ok(Folded::Present { key, observed, is_listed }) => {
                if is_listed {
                    listed.entry((kind, namespace)).or_default().insert(key.clone());
                }
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
            Ok(Folded::Gone(key, uid)) => owned.forget(&key, &uid),
        };
        for subscriber in woken {
            waker.wake(&subscriber);
        }
    }
}

/// A watch event whose object has been folded already, so that no page of whole objects outlives its arrival.
enum Folded {
    Started,
    /// `observed` is `None` for the known version.
    Present {
        key: ObjectKey,
        observed: Option<Observed>,
        is_listed: bool,
    },
    Complete,
    Gone(ObjectKey, String),
}

fn fold(event: Event<Object>, owned: &OwnedObjects, kind: &'static Kind) -> Folded {
    let key = |object: &Object| ObjectKey::new(kind, object.namespace().unwrap_or_default(), object.name_any());
    let present = |object: &Object, is_listed| {
        let (key, metadata) = (key(object), object.meta());
        let observe = || object.observe(kind, !owned.has_remembered(kind, metadata));
        let observed = (!owned.knows(&key, metadata)).then(observe);
        Folded::Present { key, observed, is_listed }
    };
    match event {
        Event::Init => Folded::Started,
        Event::InitApply(object) => present(&object, true),
        Event::InitDone => Folded::Complete,
        Event::Apply(object) => present(&object, false),
        Event::Delete(object) => Folded::Gone(key(&object), object.uid().unwrap_or_default()),
    }
}
