//! The `CitrixAllowlist`s of the cluster, and which of them changed: in what their users ask for, or in a status that the
//! operator did not write.
//!
//! A resource can be read as soon as it arrives, not only after the end of a list. So a reported change is always readable, and
//! a list that still arrives hides nothing.

use super::scope::Scope;
use super::watch::{PAGE, Sourced, events};
use crate::crd::{CitrixAllowlist, CitrixAllowlistStatus, REFRESH_ANNOTATION};
use crate::lock::lock;
use crate::objects::managed;
use crate::resource_ref::ResourceRef;
use futures::{Stream, StreamExt as _};
use kube::core::{DeserializeGuard, ObjectMeta};
use kube::runtime::watcher::{Config, Event};
use kube::{Client, ResourceExt};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Every resource as last seen.
#[derive(Debug, Default)]
pub struct ResourceStore {
    known: Mutex<HashMap<ResourceRef, Known>>,
    listed: watch::Sender<bool>,
}

#[derive(Debug)]
struct Known {
    resource: Arc<CitrixAllowlist>,
    /// The status that this process writes, or wrote, last.
    written: Option<Arc<CitrixAllowlistStatus>>,
}

impl ResourceStore {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.known).len()
    }

    /// The resource of that namespace and name.
    #[must_use]
    pub fn get(&self, resource: &ResourceRef) -> Option<Arc<CitrixAllowlist>> {
        lock(&self.known).get(resource).map(|known| Arc::clone(&known.resource))
    }

    /// All resources, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<ResourceRef> {
        lock(&self.known).keys().cloned().collect()
    }

    /// Whether every namespace has been listed once. Until then the store is incomplete.
    #[must_use]
    pub fn listed(&self) -> watch::Receiver<bool> {
        self.listed.subscribe()
    }

    /// Takes a resource in.
    pub fn insert(&self, resource: CitrixAllowlist) -> Vec<ResourceChange> {
        let key = resource_of(&resource);
        let resource = Arc::new(resource);
        let mut known = lock(&self.known);
        let changed = match known.get_mut(&key) {
            Some(known) => {
                let before = std::mem::replace(&mut known.resource, Arc::clone(&resource));
                // Before this process writes its first status, it is a former leader's.
                let written = known.written.as_deref();
                let is_forged = written.is_some() && written != resource.status.as_ref();
                (before.status != resource.status && is_forged) || requested(&before) != requested(&resource)
            }
            None => {
                known.insert(key.clone(), Known { resource, written: None });
                true
            }
        };
        changed.then_some(ResourceChange::Changed(key)).into_iter().collect()
    }

    /// This status is about to be written. If another appears, it is not ours, and the resource is reconciled again.
    pub fn say(&self, resource: &ResourceRef, status: Arc<CitrixAllowlistStatus>) {
        if let Some(known) = lock(&self.known).get_mut(resource) {
            known.written = Some(status);
        }
    }

    /// Every namespace has been listed once.
    pub fn complete(&self) {
        self.listed.send_if_modified(|listed| !std::mem::replace(listed, true));
    }

    fn remove(&self, resource: ResourceRef) -> Vec<ResourceChange> {
        lock(&self.known).remove(&resource);
        vec![ResourceChange::Gone(resource)]
    }
}

/// A change of a resource, for the tables and the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResourceChange {
    /// It is new, or its spec, a request of its user or its status changed, and we did not do it.
    Changed(ResourceRef),
    /// It is gone.
    Gone(ResourceRef),
}

/// The part of a resource that a reconcile answers to, not a status that we wrote: its uid, its generation, the requested
/// refresh, and whether it is being deleted.
fn requested(resource: &CitrixAllowlist) -> (Option<&str>, Option<i64>, Option<&String>, bool) {
    let ObjectMeta { uid, generation, deletion_timestamp, .. } = &resource.metadata;
    (uid.as_deref(), *generation, resource.annotations().get(REFRESH_ANNOTATION), deletion_timestamp.is_some())
}

fn resource_of(object: &impl ResourceExt) -> ResourceRef {
    ResourceRef::new(object.namespace().unwrap_or_default(), object.name_any())
}

/// Keeps the store current, and reports which resources changed in what a user asks for. Never ends by itself.
pub fn follow(
    client: &Client,
    scope: &Scope,
    store: Arc<ResourceStore>,
) -> impl Stream<Item = Vec<ResourceChange>> + use<> {
    let config = Config::default().page_size(PAGE);
    changes(events(scope.apis(client), &config), scope.namespaces.clone(), store)
}

/// The changes made by events of the watches of these namespaces.
fn changes(
    events: impl Stream<Item = Sourced<DeserializeGuard<CitrixAllowlist>>>,
    namespaces: impl IntoIterator<Item = Option<String>>,
    store: Arc<ResourceStore>,
) -> impl Stream<Item = Vec<ResourceChange>> {
    let mut awaited: HashSet<Option<String>> = namespaces.into_iter().collect();
    let mut lists: HashMap<Option<String>, HashSet<ResourceRef>> = HashMap::new();
    events.map(move |(namespace, event)| match event {
        Err(error) => {
            tracing::warn!(kind = "CitrixAllowlist", error = %error, "watch failed; it is started again");
            Vec::new()
        }
        Ok(Event::Init) => {
            lists.insert(namespace, HashSet::new());
            Vec::new()
        }
        Ok(Event::InitApply(guarded)) => {
            lists.entry(namespace).or_default().insert(resource_of(&guarded));
            take_in(&store, guarded)
        }
        Ok(Event::InitDone) => {
            let list = lists.remove(&namespace).unwrap_or_default();
            let is_gone = |resource: &ResourceRef| {
                namespace.as_deref().is_none_or(|namespace| &*resource.namespace == namespace)
                    && !list.contains(resource)
            };
            let gone = store.all().into_iter().filter(is_gone);
            let changes = gone.flat_map(|resource| store.remove(resource)).collect();
            awaited.remove(&namespace);
            if awaited.is_empty() {
                store.complete();
            }
            changes
        }
        Ok(Event::Apply(guarded)) => take_in(&store, guarded),
        Ok(Event::Delete(guarded)) => store.remove(resource_of(&guarded)),
    })
}

fn take_in(store: &ResourceStore, DeserializeGuard(read): DeserializeGuard<CitrixAllowlist>) -> Vec<ResourceChange> {
    match read {
        Ok(mut resource) => {
            strip(&mut resource);
            store.insert(resource)
        }
        Err(invalid) => {
            let namespace = invalid.metadata.namespace.unwrap_or_default();
            let name = invalid.metadata.name.unwrap_or_default();
            // Only an older or foreign CRD lets one in. It stays listed, so that its policies stay.
            tracing::error!(namespace, name, error = invalid.error, "a CitrixAllowlist cannot be read: left as it is");
            Vec::new()
        }
    }
}

/// Drops what is never read. Of the managed fields, which are as large as the spec, only who wrote the spec last stays; of the
/// annotations, only one. A tenant may write 256 KiB of them on each resource, and `kubectl apply` keeps a copy of the whole resource.
fn strip(resource: &mut CitrixAllowlist) {
    managed::keep_writer_of_spec(&mut resource.metadata);
    if let Some(annotations) = &mut resource.metadata.annotations {
        annotations.retain(|name, _| name == REFRESH_ANNOTATION);
    }
}

#[cfg(test)]
mod tests;
