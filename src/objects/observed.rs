//! An object as the cluster holds it, folded to what decisions need of it. Pure.

use super::digest::{self, Digest};
use super::prepared::Desired;
use crate::crd::{ADDITIONAL_ANNOTATION, CitrixAllowlist, FIELD_MANAGER, SELECTION_ANNOTATION};
use crate::direction::PolicyDirection as _;
use crate::plan::keep::SelectionDigest;
use crate::render::{config_map, network_policy};
use connectivity_allowlist::net::{Direction, DomainName, PortSet};
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

/// One object as the cluster holds it, folded.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Its uid: an object that was made again under the name is another one.
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
    /// When something last wrote it under the operator's own field manager, to the second.
    pub written_at: Option<Timestamp>,
    /// Of the fields that managed fields show the operator's field manager to hold; what they say is [`Self::digest`].
    pub held: Option<Digest>,
    /// Of a policy: what the spec selected when it was last written, where that is known to be the operator's word.
    pub selection: Option<SelectionDigest>,
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

/// What an object of a resource tells after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it remembers.
    pub memory: Arc<Memory>,
    /// When the operator last wrote the object, to the second; `None` where that is not known.
    pub written_at: Option<Timestamp>,
}

/// What an object remembers across a restart, before the guard has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Memory {
    /// What a policy allows.
    Rules {
        /// Its rules.
        rules: Vec<(Direction, PortSet, Vec<IpNet>)>,
        /// Networks of its direction's policies that only the user asked for, where managed fields show that to be the
        /// operator's word.
        users: Vec<IpNet>,
        /// What the spec selected when that was written.
        selection: Option<SelectionDigest>,
    },
    /// Which addresses were whose, as a ConfigMap has it.
    Attribution {
        /// By name.
        names: BTreeMap<DomainName, Vec<IpAddr>>,
        /// Networks that the list or the spec gave.
        networks: BTreeSet<IpNet>,
    },
}

/// Who holds our fields of an object now, where it is not the operator: who changes a field takes it from its
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

/// Whether managed fields show the operator as a holder of a field. Who may write an object may also clear them:
/// then nobody is known to have written it, which is not to say that the operator did.
fn holds(metadata: &ObjectMeta, section: &str, field: &str) -> bool {
    let path = format!("f:{field}");
    let ours = metadata.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    ours.filter_map(|entry| entry.fields_v1.as_ref()?.0.get(section)).any(|fields| fields.get(&path).is_some())
}

/// What a policy's annotation says was selected when it was last written.
fn selection_of(metadata: &ObjectMeta) -> Option<SelectionDigest> {
    metadata.annotations.as_ref()?.get(SELECTION_ANNOTATION)?.parse().ok()
}

/// Whether managed fields show an annotation to be the operator's: that of somebody else would let a policy go.
fn holds_annotation(metadata: &ObjectMeta, key: &str) -> bool {
    let path = format!("f:{key}");
    let ours = metadata.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    ours.filter_map(|entry| entry.fields_v1.as_ref()?.0.get("f:metadata")?.get("f:annotations"))
        .any(|annotations| annotations.get(&path).is_some())
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
        let listed = policy.metadata.annotations.as_ref().and_then(|held| held.get(ADDITIONAL_ANNOTATION));
        let listed = listed.filter(|_| holds_annotation(&policy.metadata, ADDITIONAL_ANNOTATION));
        let users = listed.into_iter().flat_map(|text| text.split(',')).filter_map(|text| text.parse().ok()).collect();
        Arc::new(Memory::Rules { rules, users, selection: observed.selection })
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
    let selection = selection_of(&policy.metadata).filter(|_| holds_annotation(&policy.metadata, SELECTION_ANNOTATION));
    Observed { selection, ..fold(&policy.metadata, digest::of_policy(policy), edited_by) }
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
/// until the watch shows it. Who forces a write holds every field of it.
#[must_use]
pub fn fold_answer(metadata: &ObjectMeta, sent: &Desired) -> Observed {
    let selection = selection_of(metadata);
    Observed { assumed: true, selection, ..fold(metadata, sent.digest_with(metadata), None) }
}

/// When something last wrote an object under the operator's own name: the API server moves an entry's time only where its
/// manager writes, and not where another takes a field away.
fn written_at(metadata: &ObjectMeta) -> Option<Timestamp> {
    let entries = metadata.managed_fields.iter().flatten();
    entries
        .filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
        .filter_map(|entry| Some(entry.time.as_ref()?.0))
        .max()
}

/// Which fields are held under the operator's own name: who changes or takes one away under another name takes it from there.
fn held(metadata: &ObjectMeta) -> Option<Digest> {
    let entries = metadata.managed_fields.iter().flatten();
    let ours = entries.filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER));
    let mut fields: Vec<_> = ours.map(|entry| (&entry.operation, &entry.fields_v1)).collect();
    fields.sort_by_key(|(operation, _)| *operation);
    Digest::of(&fields).filter(|_| !fields.is_empty())
}

fn fold(metadata: &ObjectMeta, digest: Option<Digest>, edited_by: Option<Arc<str>>) -> Observed {
    Observed {
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
        owner: owner_of(metadata),
        digest,
        memory: None,
        edited_by,
        written_at: written_at(metadata),
        held: held(metadata),
        selection: None,
        assumed: false,
    }
}
