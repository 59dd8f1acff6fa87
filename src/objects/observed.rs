//! An object as the cluster holds it, folded to what decisions need of it. Pure.

use super::desired::Desired;
use super::digest::Digest;
use super::kind::Kind;
use super::managed;
use super::owner::OwnerRef;
use crate::crd::{ADDITIONAL_ANNOTATION, SELECTION_ANNOTATION};
use crate::plan::RememberedRule;
use crate::plan::keep::SelectionDigest;
use connectivity_allowlist::net::DomainName;
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// One object as the cluster holds it, folded.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Its uid: an object that was made again under the name is another one.
    pub uid: Arc<str>,
    /// The version a write must be decided on.
    pub resource_version: Arc<str>,
    /// The `CitrixAllowlist` that controls it, if one does.
    pub owner: Option<OwnerRef>,
    /// Of the fields the operator owns.
    pub digest: Option<Digest>,
    /// What it remembers, until that is taken over into the tables.
    pub memory: Option<Arc<RecoveredState>>,
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

/// What an object of a resource tells after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredObject {
    /// What it remembers.
    pub memory: Arc<RecoveredState>,
    /// When the operator last wrote the object, to the second; `None` where that is not known.
    pub written_at: Option<Timestamp>,
}

/// What an object remembers across a restart, before the guard has seen it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecoveredState {
    /// What a policy allows.
    Rules {
        /// Its rules.
        rules: Vec<RememberedRule>,
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

/// What a policy's annotation says was selected when it was last written.
fn selection_of(metadata: &ObjectMeta) -> Option<SelectionDigest> {
    metadata.annotations.as_ref()?.get(SELECTION_ANNOTATION)?.parse().ok()
}

/// Folds the answer to a write of ours, which brings the object's metadata: what it says is taken to be what was sent,
/// until the watch shows it. Who forces a write holds every field of it.
#[must_use]
pub fn fold_answer(metadata: &ObjectMeta, sent: &Desired) -> Observed {
    let selection = selection_of(metadata);
    Observed { assumed: true, selection, ..fold(sent.body.kind(), metadata, sent.digest_with(metadata), None) }
}

/// Folds a policy of any kind. `digest` is that of all its owned fields; `rules` reads what it allows, and is called where
/// the policy's memory is wanted and the operator's own.
pub fn fold_policy(
    kind: &Kind,
    metadata: &ObjectMeta,
    digest: Option<Digest>,
    edited_by: Option<Arc<str>>,
    rules: Option<impl FnOnce() -> Vec<RememberedRule>>,
) -> Observed {
    let selection = selection_of(metadata).filter(|_| managed::holds_annotation(metadata, SELECTION_ANNOTATION));
    let memory = rules.filter(|_| edited_by.is_none()).map(|rules| {
        let listed = metadata.annotations.as_ref().and_then(|held| held.get(ADDITIONAL_ANNOTATION));
        let listed = listed.filter(|_| managed::holds_annotation(metadata, ADDITIONAL_ANNOTATION));
        let users = listed.into_iter().flat_map(|text| text.split(',')).filter_map(|text| text.parse().ok()).collect();
        Arc::new(RecoveredState::Rules { rules: rules(), users, selection })
    });
    Observed { selection, memory, ..fold(kind, metadata, digest, edited_by) }
}

/// Folds an object: its metadata, the digest of its owned fields, and who else changed them last.
#[must_use]
pub fn fold(kind: &Kind, metadata: &ObjectMeta, digest: Option<Digest>, edited_by: Option<Arc<str>>) -> Observed {
    Observed {
        uid: metadata.uid.as_deref().unwrap_or_default().into(),
        resource_version: metadata.resource_version.as_deref().unwrap_or_default().into(),
        owner: (kind.owner)(metadata),
        digest,
        memory: None,
        edited_by,
        written_at: managed::written_at(metadata),
        held: managed::held(metadata),
        selection: None,
        assumed: false,
    }
}
