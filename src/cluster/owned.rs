//! The objects the operator keeps, as the cluster holds them: watched, and folded to what decisions need.

use super::digest::{self, Digest};
use super::key::{Kind, ObjectKey};
use super::prepared::Desired;
use crate::crd::{CitrixAllowlist, FIELD_MANAGER};
use crate::net::{Direction, DomainName, PortSet};
use crate::render::{config_map, network_policy};
use crate::shared::Shared;
use crate::subscriber::Subscriber;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// One object as the cluster holds it, folded.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Its uid: an object of the same name made anew is another one.
    pub uid: Arc<str>,
    /// The version a write must be decided on.
    pub resource_version: Arc<str>,
    /// Name and uid of the `CitrixAllowlist` that controls it, if one does.
    pub owner: Option<Owner>,
    /// Of the fields the operator owns.
    pub digest: Option<Digest>,
    /// What it remembers, until that is taken over into the tables.
    pub memory: Option<Arc<Memory>>,
    /// The field manager that changed our fields last, where it is not the operator.
    pub edited_by: Option<Arc<str>>,
    /// Whether that is what was sent, and not yet what the watch shows: the answer to a write brings metadata only.
    pub assumed: bool,
}

/// The `CitrixAllowlist` that controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: Arc<str>,
    /// Its uid.
    pub uid: Arc<str>,
}

/// What an object remembers across a restart, before the guard has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// What a policy allows.
    Rules(Vec<(Direction, PortSet, Vec<IpNet>)>),
    /// Which addresses were whose, as a ConfigMap has it.
    Attribution {
        /// By name.
        names: BTreeMap<DomainName, Vec<IpAddr>>,
        /// Networks that the list or the spec gave.
        networks: BTreeSet<IpNet>,
    },
}

/// Who holds our fields of an object now, where it is not the operator: whoever changes a field takes it from its
/// former holder, so a field still held by the operator is as the operator wrote it.
fn edited_by(metadata: &ObjectMeta, section: &str, owned: impl Fn(&str) -> bool) -> Option<Arc<str>> {
    let mut holders: HashMap<&str, Vec<&str>> = HashMap::new();
    for entry in metadata.managed_fields.iter().flatten() {
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get(section)?.as_object());
        for field in fields.into_iter().flat_map(|fields| fields.keys()).filter_map(|field| field.strip_prefix("f:")) {
            if owned(field) {
                holders.entry(field).or_default().push(entry.manager.as_deref().unwrap_or("an unnamed manager"));
            }
        }
    }
    let mut strangers: Vec<&str> = holders
        .into_values()
        .filter(|managers| !managers.contains(&FIELD_MANAGER))
        .filter_map(|managers| managers.into_iter().min())
        .collect();
    strangers.sort_unstable();
    strangers.first().map(|manager| Arc::from(*manager))
}

/// Whether managed fields show the operator as a holder of a field. Whoever may write an object may also clear them:
/// then nobody is known to have written it, which is not to say that the operator did.
fn holds(metadata: &ObjectMeta, section: &str, field: &str) -> bool {
    let path = format!("f:{field}");
    let ours = metadata.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    ours.filter_map(|entry| entry.fields_v1.as_ref()?.0.get(section)).any(|fields| fields.get(&path).is_some())
}

/// The `CitrixAllowlist` that controls an object, if one does.
#[must_use]
pub fn owner_of(metadata: &ObjectMeta) -> Option<Owner> {
    digest::controller_of(metadata)
        .filter(|owner| {
            owner.kind == CitrixAllowlist::kind(&())
                && owner.api_version.split('/').next() == Some(CitrixAllowlist::group(&()).as_ref())
        })
        .map(|owner| Owner { name: owner.name.as_str().into(), uid: owner.uid.as_str().into() })
}

/// Folds a policy.
#[must_use]
pub fn fold_policy(policy: &NetworkPolicy) -> Observed {
    let observed = fold_known_policy(policy);
    // The rules of a direction that the policy does not govern have no effect, and may be anybody's.
    let ours = |direction: Direction| {
        governs(policy, direction)
            && holds(&policy.metadata, "f:spec", direction.object_suffix())
            && observed.edited_by.is_none()
    };
    let memory = Direction::ALL.into_iter().any(ours).then(|| {
        let mut rules = network_policy::remembered(std::slice::from_ref(policy));
        rules.retain(|(direction, ..)| ours(*direction));
        Arc::new(Memory::Rules(rules))
    });
    Observed { memory, ..observed }
}

fn governs(policy: &NetworkPolicy, direction: Direction) -> bool {
    let types = policy.spec.as_ref().and_then(|spec| spec.policy_types.as_deref()).unwrap_or_default();
    types.iter().any(|name| name == direction.policy_type())
}

/// Folds a policy whose memory has been taken over: what it says by now is our own doing.
#[must_use]
pub fn fold_known_policy(policy: &NetworkPolicy) -> Observed {
    let edited_by = edited_by(&policy.metadata, "f:spec", |field| match field {
        "egress" => governs(policy, Direction::Outbound),
        "ingress" => governs(policy, Direction::Inbound),
        _ => true,
    });
    fold(&policy.metadata, digest::of_policy(policy), edited_by)
}

/// Folds a ConfigMap.
#[must_use]
pub fn fold_config_map(map: &ConfigMap) -> Observed {
    let observed = fold_known_config_map(map);
    let ours = observed.edited_by.is_none() && holds(&map.metadata, "f:data", config_map::ENDPOINTS_KEY);
    let memory = ours.then(|| {
        let (names, networks) = (config_map::remembered(map), config_map::remembered_networks(map));
        Arc::new(Memory::Attribution { names, networks })
    });
    Observed { memory, ..observed }
}

/// Folds a ConfigMap whose memory has been taken over.
#[must_use]
pub fn fold_known_config_map(map: &ConfigMap) -> Observed {
    let edited_by = edited_by(&map.metadata, "f:data", config_map::is_owned_key);
    fold(&map.metadata, digest::of_config_map(map), edited_by)
}

/// Folds the answer to a write of ours, which brings the object's metadata: what it says is taken to be what was sent,
/// until the watch shows it. Whoever forces a write holds every field of it.
#[must_use]
pub fn fold_answer(metadata: &ObjectMeta, sent: &Desired) -> Observed {
    Observed { assumed: true, ..fold(metadata, sent.digest_with(metadata), None) }
}

fn fold(metadata: &ObjectMeta, digest: Option<Digest>, edited_by: Option<Arc<str>>) -> Observed {
    Observed {
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
        owner: owner_of(metadata),
        digest,
        memory: None,
        edited_by,
        assumed: false,
    }
}

/// Every owned object as the cluster holds it, kept current by watches and by the answers to our own writes.
#[derive(Debug, Default)]
pub struct OwnedObjects {
    inner: Mutex<Inner>,
    /// Resources of one customer remember the same mostly, and all of them do so at once, after a start.
    memories: Shared<Memory>,
    restarted: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    objects: HashMap<ObjectKey, Observed>,
    /// Whose objects are whose: by namespace and name of the owner.
    by_owner: HashMap<Subscriber, BTreeSet<ObjectKey>>,
    /// Owners whose memory has been taken over: what their objects say from now on is no memory but our own doing.
    remembered: HashSet<Subscriber>,
}

impl OwnedObjects {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what a watch, or the answer to a write, shows. Returns the resources to wake: those whose object now
    /// differs from what was known. An event older than what is known is passed over, and wakes nobody.
    pub fn observe(&self, key: ObjectKey, mut observed: Observed) -> Vec<Subscriber> {
        observed.memory = observed.memory.map(|memory| self.memories.share(memory));
        self.lock().observe(key, observed)
    }

    /// Takes in a deletion of the object with this uid; an object made anew since then stays.
    pub fn forget(&self, key: &ObjectKey, uid: &str) -> Vec<Subscriber> {
        let mut inner = self.lock();
        match inner.objects.get(key) {
            Some(held) if uid.is_empty() || &*held.uid == uid => inner.remove(key).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Takes in a complete list of one kind in one namespace (`None`: in all): what is known beyond it is gone, even
    /// where no watch ever said so.
    pub fn retain_listed(&self, kind: Kind, namespace: Option<&str>, listed: &HashSet<ObjectKey>) -> Vec<Subscriber> {
        let mut inner = self.lock();
        let gone: Vec<ObjectKey> = inner
            .objects
            .keys()
            .filter(|key| key.kind == kind && namespace.is_none_or(|namespace| &*key.namespace == namespace))
            .filter(|key| !listed.contains(*key))
            .cloned()
            .collect();
        gone.iter().filter_map(|key| inner.remove(key)).collect()
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
    pub fn has_remembered(&self, metadata: &ObjectMeta) -> bool {
        let (Some(owner), Some(namespace)) = (owner_of(metadata), metadata.namespace.as_deref()) else { return false };
        self.lock().remembered.contains(&Subscriber::new(namespace, owner.name))
    }

    /// What is known of one object.
    #[must_use]
    pub fn get(&self, key: &ObjectKey) -> Option<Observed> {
        self.lock().objects.get(key).cloned()
    }

    /// What is known of the objects that a resource controls, in the order of their keys.
    #[must_use]
    pub fn of(&self, owner: &Subscriber, uid: &str) -> BTreeMap<ObjectKey, Observed> {
        let inner = self.lock();
        let keys = inner.by_owner.get(owner).into_iter().flatten();
        keys.filter_map(|key| inner.objects.get(key).map(|observed| (key.clone(), observed.clone())))
            .filter(|(_, observed)| observed.owner.as_ref().is_some_and(|owner| &*owner.uid == uid))
            .collect()
    }

    /// What a resource of the same name and another uid controls, in the order of its keys.
    #[must_use]
    pub fn of_forerunners(&self, owner: &Subscriber, uid: &str) -> Vec<ObjectKey> {
        let inner = self.lock();
        let keys = inner.by_owner.get(owner).into_iter().flatten();
        let anothers = |key: &&ObjectKey| {
            let controller = inner.objects.get(*key).and_then(|observed| observed.owner.as_ref());
            controller.is_some_and(|controller| &*controller.uid != uid)
        };
        keys.filter(anothers).cloned().collect()
    }

    /// Takes the memory of a resource's objects, once: `None` when it has been taken before.
    pub fn take_memory(&self, owner: &Subscriber, uid: &str) -> Option<Vec<Arc<Memory>>> {
        let mut inner = self.lock();
        if !inner.remembered.insert(owner.clone()) {
            return None;
        }
        let keys: Vec<ObjectKey> = inner.by_owner.get(owner).into_iter().flatten().cloned().collect();
        let mut memories = Vec::new();
        for key in keys {
            if let Some(observed) = inner.objects.get_mut(&key) {
                let memory = observed.memory.take();
                if observed.owner.as_ref().is_some_and(|owner| &*owner.uid == uid) {
                    memories.extend(memory);
                }
            }
        }
        Some(memories)
    }

    /// Forgets that a resource's memory was taken: it is gone, or somebody else has led since.
    pub fn forget_owner(&self, owner: &Subscriber) {
        self.lock().remembered.remove(owner);
    }

    /// Forgets everything and has the watches list it again: another process has been leading.
    pub fn start_over(&self) {
        *self.lock() = Inner::default();
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
    fn observe(&mut self, key: ObjectKey, mut observed: Observed) -> Vec<Subscriber> {
        let owner = |observed: &Observed| {
            observed.owner.as_ref().map(|owner| Subscriber::new(Arc::clone(&key.namespace), Arc::clone(&owner.name)))
        };
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

    fn remove(&mut self, key: &ObjectKey) -> Option<Subscriber> {
        let held = self.objects.remove(key)?;
        let owner = Subscriber::new(Arc::clone(&key.namespace), held.owner?.name);
        self.unlink(&owner, key);
        Some(owner)
    }

    fn unlink(&mut self, owner: &Subscriber, key: &ObjectKey) {
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
