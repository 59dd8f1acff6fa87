//! The objects the operator keeps, as the cluster holds them: watched, and folded to what decisions need.

use crate::interner::Interner;
use crate::objects::key::ObjectKey;
use crate::objects::kind::Kind;
use crate::objects::observed::{Observed, RecoveredObject, RecoveredState};
use crate::resource_ref::ResourceRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, watch};

/// Every owned object as the cluster holds it, kept current by watches and by the answers to our own writes.
#[derive(Debug)]
pub struct OwnedObjects {
    inner: Mutex<Inner>,
    /// Resources of one customer remember the same mostly, and all of them do so at once, after a start.
    memories: Interner<RecoveredState>,
    restarted: Notify,
    /// Whether everything has been listed since the last start over.
    listed: watch::Sender<bool>,
}

impl Default for OwnedObjects {
    fn default() -> Self {
        let (inner, memories, restarted) = (Mutex::default(), Interner::default(), Notify::new());
        Self { inner, memories, restarted, listed: watch::channel(false).0 }
    }
}

/// What one watch says of the owned objects. What it still says after a start over counts for nothing: it may have been
/// folded before, without what has to be remembered now.
#[derive(Debug)]
pub struct Watched<'a> {
    objects: &'a OwnedObjects,
    epoch: u64,
}

impl Watched<'_> {
    /// What is known by now.
    #[must_use]
    pub const fn objects(&self) -> &OwnedObjects {
        self.objects
    }

    /// Takes in what the watch shows: see [`OwnedObjects::observe`].
    pub fn observe(&self, key: ObjectKey, mut observed: Observed) -> Vec<ResourceRef> {
        observed.memory = observed.memory.map(|memory| self.objects.memories.intern(memory));
        self.lock().map(|mut inner| inner.observe(key, observed)).unwrap_or_default()
    }

    /// Takes in a deletion of the object with this uid; an object made again since then stays.
    pub fn forget(&self, key: &ObjectKey, uid: &str) -> Vec<ResourceRef> {
        self.lock().map(|mut inner| inner.forget(key, uid)).unwrap_or_default()
    }

    /// Takes in a complete list of one kind in one namespace (`None`: in all): what is known beyond it is gone, even
    /// where no watch ever said so.
    pub fn retain_listed(&self, kind: &Kind, namespace: Option<&str>, listed: &HashSet<ObjectKey>) -> Vec<ResourceRef> {
        self.lock().map(|mut inner| inner.retain_listed(kind, namespace, listed)).unwrap_or_default()
    }

    /// Every list is complete.
    pub fn all_listed(&self) {
        // Under the lock that a start over takes: it is not overwritten by what was listed before it.
        if self.lock().is_some() {
            self.objects.listed.send_if_modified(|listed| !std::mem::replace(listed, true));
        }
    }

    fn lock(&self) -> Option<MutexGuard<'_, Inner>> {
        Some(self.objects.lock()).filter(|inner| inner.epoch == self.epoch)
    }
}

#[derive(Debug, Default)]
struct Inner {
    /// How often everything was forgotten.
    epoch: u64,
    objects: HashMap<ObjectKey, Observed>,
    /// Whose objects are whose: by namespace and name of the owner.
    by_owner: HashMap<ResourceRef, BTreeSet<ObjectKey>>,
    /// Owners whose memory has been taken over: what their objects say from now on is no memory but our own doing.
    remembered: HashSet<ResourceRef>,
}

impl OwnedObjects {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a watch, or the answer to a write, shows. Returns the resources to wake: those whose object now
    /// differs from what was known. An event older than what is known is passed over, and wakes nobody.
    pub fn observe(&self, key: ObjectKey, mut observed: Observed) -> Vec<ResourceRef> {
        observed.memory = observed.memory.map(|memory| self.memories.intern(memory));
        self.lock().observe(key, observed)
    }

    /// What a watch that begins now says.
    #[must_use]
    pub fn current(&self) -> Watched<'_> {
        Watched { objects: self, epoch: self.lock().epoch }
    }

    /// Whether everything has been listed since the last [`Self::start_over`].
    #[must_use]
    pub fn listed(&self) -> watch::Receiver<bool> {
        self.listed.subscribe()
    }

    /// Takes in that our own write deleted the object with this uid; an object made again since then stays.
    pub fn forget(&self, key: &ObjectKey, uid: &str) -> Vec<ResourceRef> {
        self.lock().forget(key, uid)
    }

    /// Whether this very version of an object has been seen already, so that it need not be looked into.
    #[must_use]
    pub fn knows(&self, key: &ObjectKey, metadata: &ObjectMeta) -> bool {
        let inner = self.lock();
        let same = |held: &Observed| {
            metadata.uid.as_deref() == Some(&*held.uid)
                && metadata.resource_version.as_deref() == Some(&*held.resource_version)
                && !held.assumed
        };
        inner.objects.get(key).is_some_and(same)
    }

    /// Whether the memory of an object's owner has been taken over, so that nobody asks what the object remembers.
    #[must_use]
    pub fn has_remembered(&self, kind: &Kind, metadata: &ObjectMeta) -> bool {
        (kind.owner)(metadata).is_some_and(|owner| self.lock().remembered.contains(&owner.resource))
    }

    /// What is known of one object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Observed> {
        self.lock().objects.get(key).cloned()
    }

    /// What is known of the objects that a resource controls, in the order of their keys.
    #[must_use]
    pub fn of(&self, owner: &ResourceRef, uid: &str) -> BTreeMap<ObjectKey, Observed> {
        let inner = self.lock();
        let keys = inner.by_owner.get(owner).into_iter().flatten();
        keys.filter_map(|key| inner.objects.get(key).map(|observed| (key.clone(), observed.clone())))
            .filter(|(_, observed)| observed.owner.as_ref().is_some_and(|owner| &*owner.uid == uid))
            .collect()
    }

    /// What a resource of the same name and another uid controls, in the order of its keys.
    #[must_use]
    pub fn of_previous_owners(&self, owner: &ResourceRef, uid: &str) -> Vec<ObjectKey> {
        let inner = self.lock();
        let keys = inner.by_owner.get(owner).into_iter().flatten();
        let anothers = |key: &&ObjectKey| {
            let controller = inner.objects.get(*key).and_then(|observed| observed.owner.as_ref());
            controller.is_some_and(|controller| &*controller.uid != uid)
        };
        keys.filter(anothers).cloned().collect()
    }

    /// Takes the memory of a resource's objects, once: `None` when it has been taken before.
    pub fn take_memory(&self, owner: &ResourceRef, uid: &str) -> Option<Vec<RecoveredObject>> {
        let mut inner = self.lock();
        if !inner.remembered.insert(owner.clone()) {
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

    /// Forgets that a resource's memory was taken: it is gone, or somebody else has led since.
    pub fn forget_owner(&self, owner: &ResourceRef) {
        self.lock().remembered.remove(owner);
    }

    /// Forgets everything and has the watches list it again: another process has been leading. From now on
    /// [`Self::listed`] says no, until all of it has been listed again.
    pub fn start_over(&self) {
        let mut inner = self.lock();
        *inner = Inner { epoch: inner.epoch + 1, ..Inner::default() };
        self.listed.send_replace(false);
        drop(inner);
        self.restarted.notify_one();
    }

    /// Waits until [`Self::start_over`] is called.
    pub async fn restarted(&self) {
        self.restarted.notified().await;
    }

    /// How many objects are known.
    #[must_use]
    pub fn count(&self) -> usize {
        self.lock().objects.len()
    }
}

impl Inner {
    fn forget(&mut self, key: &ObjectKey, uid: &str) -> Vec<ResourceRef> {
        match self.objects.get(key) {
            Some(held) if uid.is_empty() || &*held.uid == uid => self.remove(key).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    fn retain_listed(&mut self, kind: &Kind, namespace: Option<&str>, listed: &HashSet<ObjectKey>) -> Vec<ResourceRef> {
        let gone: Vec<ObjectKey> = self
            .objects
            .keys()
            .filter(|key| *key.kind == *kind && namespace.is_none_or(|namespace| &*key.namespace == namespace))
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        gone.iter().filter_map(|key| self.remove(key)).collect()
    }

    fn observe(&mut self, key: ObjectKey, mut observed: Observed) -> Vec<ResourceRef> {
        let owner = |observed: &Observed| observed.owner.as_ref().map(|owner| owner.resource.clone());
        let (now, before) = (owner(&observed), self.objects.get(&key).map(|held| (owner(held), held.digest)));
        if let Some(held) = self.objects.get(&key).filter(|held| held.uid == observed.uid) {
            let seen_before = observed.assumed && !held.assumed && observed.resource_version == held.resource_version;
            if seen_before || is_older(&observed.resource_version, &held.resource_version) {
                return Vec::new();
            }
        }
        let changed = before.as_ref() != Some(&(now.clone(), observed.digest));
        if now.as_ref().is_some_and(|owner| self.remembered.contains(owner)) {
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
        self.objects.insert(key, observed);
        wake
    }

    fn remove(&mut self, key: &ObjectKey) -> Option<ResourceRef> {
        let held = self.objects.remove(key)?;
        let owner = held.owner?.resource;
        self.unlink(&owner, key);
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

/// Whether one resourceVersion is older than another. They are numbers that grow (KEP-5504); where one is not, nothing
/// is called older, and the newest to arrive counts.
fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u64>(), than.parse::<u64>()), (Ok(version), Ok(than)) if version < than)
}

#[cfg(test)]
mod tests;
