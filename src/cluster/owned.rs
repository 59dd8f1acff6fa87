//! The objects that the operator owns in the cluster: watched, and reduced to what decisions need.

pub mod trail;

use super::freshness::ListedVersions;
use crate::crd::{FIELD_MANAGER, HISTORY_LABEL, MANAGED_BY_LABEL};
use crate::interner::Interner;
use crate::lock::lock;
use crate::objects::key::ObjectKey;
use crate::objects::kind::Kind;
use crate::objects::observed::{Observed, RecoveredObject, RecoveredState};
use crate::resource_ref::ResourceRef;
use crate::trail::record::{ChangedBy, PolicyStep};
use crate::trail::{PolicyAllows, WriteCause};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Notify, watch};
use trail::{Allowed, Trail, TrailEvent};

/// The label selector of a kind's owned objects. Histories are ConfigMaps of the operator too, but no decision reads them.
pub(super) fn owned_selector(kind: &Kind) -> String {
    match kind.policy {
        Some(_) => format!("{MANAGED_BY_LABEL}={FIELD_MANAGER}"),
        None => format!("{MANAGED_BY_LABEL}={FIELD_MANAGER},!{HISTORY_LABEL}"),
    }
}

/// Every owned object in the cluster, kept current by watches and by the answers to our own writes.
#[derive(Debug, Default)]
pub struct OwnedObjects {
    inner: Mutex<Inner>,
    /// Resources of one customer mostly recover the same, and all at once after a start.
    memories: Interner<RecoveredState>,
    /// And they mostly allow the same.
    allowed: Interner<PolicyAllows>,
    restarted: Notify,
    /// Whether everything has been listed since the last [`Self::start_over`].
    listed: watch::Sender<bool>,
}

/// News of one watch. Those after a start over are ignored: they may have been folded before, without the state to recover.
#[derive(Debug)]
pub struct Watched<'a> {
    /// What is known now.
    pub objects: &'a OwnedObjects,
    epoch: u64,
}

impl Watched<'_> {
    /// Takes in an object: see [`OwnedObjects::observe`].
    pub fn observe(&self, key: ObjectKey, mut observed: Observed) -> Vec<ResourceRef> {
        self.objects.share(&mut observed);
        self.lock().map(|mut inner| inner.observe(key, observed)).unwrap_or_default()
    }

    /// Takes in a deletion of the object with this uid; an object created again since then stays.
    pub fn forget(&self, key: &ObjectKey, uid: &str) -> Vec<ResourceRef> {
        self.lock().map(|mut inner| inner.forget(key, uid)).unwrap_or_default()
    }

    /// Takes in a complete list of one kind in one namespace (`None`: in all): every other known object is gone, even if no
    /// watch reported that.
    pub fn retain_listed(&self, kind: &Kind, namespace: Option<&str>, listed: &HashSet<ObjectKey>) -> Vec<ResourceRef> {
        self.lock().map(|mut inner| inner.retain_listed(kind, namespace, listed)).unwrap_or_default()
    }

    /// Every list is complete.
    pub fn all_listed(&self) {
        // Under the lock of a start over, which an earlier list must not overwrite.
        if self.lock().is_some() {
            self.objects.listed.send_if_modified(|listed| !std::mem::replace(listed, true));
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Inner>> {
        Some(lock(&self.objects.inner)).filter(|inner| inner.epoch == self.epoch)
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// How often everything was forgotten.
    epoch: u64,
    objects: HashMap<ObjectKey, Observed>,
    /// By namespace and name of the owner.
    by_owner: HashMap<ResourceRef, BTreeSet<ObjectKey>>,
    /// Owners whose state has been recovered: from then on their objects only show our own writes.
    recovered: HashSet<ResourceRef>,
    trail: Trail,
}

impl OwnedObjects {
    /// Stores equal contents once.
    fn share(&self, observed: &mut Observed) {
        observed.memory = observed.memory.take().map(|memory| self.memories.intern(memory));
        // Nobody may fill the memory with policies that belong to no resource.
        let allows = observed.allows.take().filter(|_| observed.owner.is_some());
        observed.allows = allows.map(|allows| self.allowed.intern(allows));
    }

    /// Takes in an object from a watch or from the answer to a write. Returns the resources to wake: those whose object now
    /// differs from what was known. An event older than what is known is ignored.
    pub fn observe(&self, key: ObjectKey, mut observed: Observed) -> Vec<ResourceRef> {
        self.share(&mut observed);
        lock(&self.inner).observe(key, observed)
    }

    /// The news of a watch that begins now.
    #[must_use]
    pub fn current(&self) -> Watched<'_> {
        Watched { objects: self, epoch: lock(&self.inner).epoch }
    }

    /// Whether everything has been listed since the last [`Self::start_over`].
    #[must_use]
    pub fn listed(&self) -> watch::Receiver<bool> {
        self.listed.subscribe()
    }

    /// Takes in that our own write deleted the object with this uid; an object created again since then stays.
    pub fn forget(&self, key: &ObjectKey, uid: &str) -> Vec<ResourceRef> {
        lock(&self.inner).forget(key, uid)
    }

    /// Whether this very version of an object is known already, so that its body need not be read.
    #[must_use]
    pub fn knows(&self, key: &ObjectKey, metadata: &ObjectMeta) -> bool {
        lock(&self.inner).objects.get(key).is_some_and(|known| {
            metadata.uid.as_deref() == Some(&*known.uid)
                && metadata.resource_version.as_deref() == Some(&*known.resource_version)
                && !known.assumed
        })
    }

    /// Whether the state of an object's owner has been recovered, so that the object's is no longer needed.
    #[must_use]
    pub fn has_remembered(&self, kind: &Kind, metadata: &ObjectMeta) -> bool {
        (kind.owner)(metadata).is_some_and(|owner| lock(&self.inner).recovered.contains(&owner.resource))
    }

    /// One object as it is known.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Observed> {
        lock(&self.inner).objects.get(key).cloned()
    }

    /// Whether every listed object of a kind is known in that version or a later one, and every known one is listed or newer.
    #[must_use]
    pub fn has_all(&self, kind: &Kind, namespace: Option<&str>, listed: &ListedVersions) -> bool {
        let inner = lock(&self.inner);
        let is_known = |(key, version): (&ObjectKey, &String)| {
            inner.objects.get(key).is_some_and(|known| !is_older(&known.resource_version, version))
        };
        let in_scope =
            |key: &ObjectKey| *key.kind == *kind && namespace.is_none_or(|namespace| &*key.namespace == namespace);
        let mut known = inner.objects.iter().filter(|(key, _)| in_scope(key));
        listed.objects.iter().all(is_known)
            && known
                .all(|(key, known)| listed.objects.contains_key(key) || is_older(&listed.at, &known.resource_version))
    }

    /// The objects that a resource controls, as they are known, in the order of their keys.
    #[must_use]
    pub fn of(&self, owner: &ResourceRef, uid: &str) -> BTreeMap<ObjectKey, Observed> {
        let inner = lock(&self.inner);
        let keys = inner.by_owner.get(owner).into_iter().flatten();
        keys.filter_map(|key| inner.objects.get(key).map(|observed| (key.clone(), observed.clone())))
            .filter(|(_, observed)| observed.owner.as_ref().is_some_and(|owner| &*owner.uid == uid))
            .collect()
    }

    /// The objects that a previous owner (same name, another uid) controls, in the order of their keys.
    #[must_use]
    pub fn of_previous_owners(&self, owner: &ResourceRef, uid: &str) -> Vec<ObjectKey> {
        let inner = lock(&self.inner);
        let keys = inner.by_owner.get(owner).into_iter().flatten();
        let anothers = |key: &&ObjectKey| {
            let controller = inner.objects.get(*key).and_then(|observed| observed.owner.as_ref());
            controller.is_some_and(|controller| &*controller.uid != uid)
        };
        keys.filter(anothers).cloned().collect()
    }

    /// Takes the recovered state of a resource's objects, once: `None` if it has been taken before.
    pub fn take_memory(&self, owner: &ResourceRef, uid: &str) -> Option<Vec<RecoveredObject>> {
        let mut inner = lock(&self.inner);
        if !inner.recovered.insert(owner.clone()) {
            return None;
        }
        let keys: Vec<ObjectKey> = inner.by_owner.get(owner).into_iter().flatten().cloned().collect();
        let mut memories = Vec::new();
        for key in keys {
            if let Some(observed) = inner.objects.get_mut(&key) {
                let (memory, written_at) = (observed.memory.take(), observed.written_at);
                if observed.owner.as_ref().is_some_and(|owner| &*owner.uid == uid) {
                    memories.extend(memory.map(|memory| RecoveredObject { memory, written_at }));
                }
            }
        }
        Some(memories)
    }

    /// Forgets that a resource's state was recovered: it is gone, or another process has led since.
    pub fn forget_owner(&self, owner: &ResourceRef) {
        lock(&self.inner).recovered.remove(owner);
    }

    /// Sends every change of what policies allow to `to`, while [`Self::begin_trail`] is in effect.
    pub fn record_to(&self, to: UnboundedSender<TrailEvent>) {
        lock(&self.inner).trail.record_to(to);
    }

    /// From now on changes are sent, until [`Self::close_trail`] or [`Self::start_over`]. First, what is in force now is sent.
    pub fn begin_trail(&self) {
        let mut inner = lock(&self.inner);
        let allowed = |owner: &ResourceRef| (owner.clone(), inner.allowed(owner));
        let allowed: Allowed = inner.by_owner.keys().map(allowed).collect();
        inner.trail.begin(allowed);
    }

    /// No change is sent any more, and the recorder ends.
    pub fn close_trail(&self) {
        lock(&self.inner).trail = Trail::default();
    }

    /// What the policies of a resource allow now.
    #[must_use]
    pub fn allowed(&self, owner: &ResourceRef) -> Vec<Arc<PolicyAllows>> {
        lock(&self.inner).allowed(owner)
    }

    /// Notes why an object is about to be written, or deleted (`None`), until [`Self::wrote`].
    pub fn writes(&self, key: &ObjectKey, allows: Option<Arc<PolicyAllows>>, cause: &Arc<WriteCause>) {
        lock(&self.inner).trail.writes(key, allows, cause);
    }

    /// The objects of a previous owner were taken over.
    pub fn adopted(&self, owner: &ResourceRef) {
        let inner = lock(&self.inner);
        inner.trail.adopted(owner, inner.allowed(owner));
    }

    /// A write has ended for certain.
    pub fn wrote(&self, key: &ObjectKey) {
        lock(&self.inner).trail.wrote(key);
    }

    /// Forgets everything and has the watches list it again, since another process has led. [`Self::listed`] is false until
    /// everything has been listed again.
    pub fn start_over(&self) {
        let mut inner = lock(&self.inner);
        let trail = inner.trail.start_over();
        *inner = Inner { epoch: inner.epoch + 1, trail, ..Inner::default() };
        self.listed.send_replace(false);
        drop(inner);
        self.restarted.notify_one();
    }

    /// Waits until [`Self::start_over`] is called.
    pub async fn restarted(&self) {
        self.restarted.notified().await;
    }
}

impl Inner {
    fn forget(&mut self, key: &ObjectKey, uid: &str) -> Vec<ResourceRef> {
        match self.objects.get(key) {
            Some(known) if uid.is_empty() || &*known.uid == uid => self.remove(key).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn retain_listed(&mut self, kind: &Kind, namespace: Option<&str>, listed: &HashSet<ObjectKey>) -> Vec<ResourceRef> {
        let in_scope =
            |key: &&ObjectKey| *key.kind == *kind && namespace.is_none_or(|namespace| &*key.namespace == namespace);
        let gone = self.objects.keys().filter(in_scope).filter(|key| !listed.contains(*key));
        let gone: Vec<ObjectKey> = gone.cloned().collect();
        gone.iter().filter_map(|key| self.remove(key)).collect()
    }

    fn observe(&mut self, key: ObjectKey, mut observed: Observed) -> Vec<ResourceRef> {
        let owner = |observed: &Observed| observed.owner.as_ref().map(|owner| owner.resource.clone());
        let (now, before) = (owner(&observed), self.objects.get(&key).map(|known| (owner(known), known.digest)));
        if let Some(known) = self.objects.get(&key).filter(|known| known.uid == observed.uid) {
            let seen_before = observed.assumed && !known.assumed && observed.resource_version == known.resource_version;
            if seen_before || is_older(&observed.resource_version, &known.resource_version) {
                return Vec::new();
            }
        }
        let changed = before.as_ref() != Some(&(now.clone(), observed.digest));
        let follows = self.trail.follows(&key).then(|| {
            let former =
                before.iter().find_map(|(former, _)| former.clone()).filter(|former| Some(former) != now.as_ref());
            let origin = self.trail.origin(&key, Some(&observed));
            let of = |owner: ResourceRef| (self.allowed(&owner), owner);
            (now.clone().map(of), former.map(of), origin, Arc::clone(&observed.resource_version))
        });
        if now.as_ref().is_some_and(|owner| self.recovered.contains(owner)) {
            observed.memory = None;
        }
        let mut wake = Vec::new();
        if let Some((Some(former), _)) = before
            && Some(&former) != now.as_ref()
        {
            self.unlink(&former, &key);
            wake.push(former);
        }
        if let Some(owner) = now {
            self.by_owner.entry(owner.clone()).or_default().insert(key.clone());
            if changed {
                wake.push(owner);
            }
        }
        self.objects.insert(key.clone(), observed);
        if let Some((owners, former, origin, version)) = follows {
            if let Some((before, former)) = former {
                self.step(&key, former, before, None, ChangedBy::Released);
            }
            if let Some((before, owner)) = owners {
                self.step(&key, owner, before, Some(version), origin);
            }
        }
        wake
    }

    /// What the policies of a resource allow, in the order of their keys.
    fn allowed(&self, owner: &ResourceRef) -> Vec<Arc<PolicyAllows>> {
        let keys = self.by_owner.get(owner).into_iter().flatten();
        keys.filter_map(|key| self.objects.get(key)?.allows.clone()).collect()
    }

    fn step(
        &self,
        key: &ObjectKey,
        owner: ResourceRef,
        before: Vec<Arc<PolicyAllows>>,
        resource_version: Option<Arc<str>>,
        origin: ChangedBy,
    ) {
        let after = self.allowed(&owner);
        self.trail.step(owner, PolicyStep { policy: Arc::clone(&key.name), resource_version, before, after, origin });
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<ResourceRef> {
        let owner = self.objects.get(key)?.owner.as_ref().map(|owner| owner.resource.clone());
        let before = owner.as_ref().filter(|_| self.trail.follows(key)).map(|owner| self.allowed(owner));
        let origin = self.trail.origin(key, None);
        self.objects.remove(key);
        let owner = owner?;
        self.unlink(&owner, key);
        if let Some(before) = before {
            self.step(key, owner.clone(), before, None, origin);
        }
        Some(owner)
    }

    fn unlink(&mut self, owner: &ResourceRef, key: &ObjectKey) {
        if let Some(keys) = self.by_owner.get_mut(owner) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_owner.remove(owner);
            }
        }
    }
}

/// Whether one resourceVersion is older than another. They are numbers that grow (KEP-5504). If one is no number, neither is
/// older, and the newest to arrive counts.
fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}

#[cfg(test)]
mod tests;
