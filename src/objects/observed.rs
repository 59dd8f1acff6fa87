//! An object in the cluster, folded to what decisions need of it. Pure.

use super::desired::Desired;
use super::digest::Digest;
use super::kind::Kind;
use super::managed;
use super::owner::OwnerRef;
use crate::crd::{ADDITIONAL_ANNOTATION, SELECTION_ANNOTATION};
use crate::plan::RememberedRule;
use crate::plan::keep::SelectionDigest;
use crate::trail::PolicyAllows;
use connectivity_allowlist::net::DomainName;
use ipnet::IpNet;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

/// One object in the cluster, folded.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Its uid: a new object of the same name has another one.
    pub uid: Arc<str>,
    /// The version that a write is decided on.
    pub resource_version: Arc<str>,
    /// The `CitrixAllowlist` that controls it, if one does.
    pub owner: Option<OwnerRef>,
    /// Digest of the fields that the operator owns.
    pub digest: Option<Digest>,
    /// The state to recover from it, until that is restored into the tables.
    pub memory: Option<Arc<RecoveredState>>,
    /// The field manager that changed our fields last, where it is not the operator.
    pub edited_by: Option<Arc<str>>,
    /// When something last wrote it under the operator's field manager, to the second.
    pub written_at: Option<Timestamp>,
    /// Digest of the names of the fields that the operator's field manager owns; [`Self::digest`] has their values.
    pub fields: Option<Digest>,
    /// Of a policy: what the spec selected when the operator last wrote it, where managed fields prove that.
    pub selection: Option<SelectionDigest>,
    /// Of a policy: what it allows, no matter who wrote it.
    pub allows: Option<Arc<PolicyAllows>>,
    /// Whether this is what was sent, and not yet what the watch shows: the answer to a write has metadata only.
    pub assumed: bool,
}

/// The state to recover from an object after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredObject {
    /// The state.
    pub memory: Arc<RecoveredState>,
    /// When the operator last wrote the object, to the second; `None` where that is not known.
    pub written_at: Option<Timestamp>,
}

/// What an object stores across a restart, before the guard checks it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RecoveredState {
    /// What a policy allows.
    Rules {
        /// Its rules.
        rules: Vec<RememberedRule>,
        /// Networks of its direction that only the user asked for, where managed fields prove that the operator wrote it.
        users: Vec<IpNet>,
        /// What the spec selected when the policy was written.
        selection: Option<SelectionDigest>,
    },
    /// Which addresses a ConfigMap attributes to which names.
    Attribution {
        /// By name.
        names: BTreeMap<DomainName, Vec<IpAddr>>,
        /// Networks that the list or the spec gave.
        networks: BTreeSet<IpNet>,
        /// Which of the names were learned from what pods ask for.
        learned: BTreeSet<DomainName>,
    },
}

/// The annotation of a policy: what was selected when it was last written.
fn selection_of(metadata: &ObjectMeta) -> Option<SelectionDigest> {
    metadata.annotations.as_ref()?.get(SELECTION_ANNOTATION)?.parse().ok()
}

/// Folds the answer to our write, which has only the object's metadata: its body is assumed to be as sent, until the watch
/// shows it. A forced write owns every field.
#[must_use]
pub fn fold_answer(metadata: &ObjectMeta, sent: &Desired) -> Observed {
    let selection = selection_of(metadata);
    let observed = fold(sent.body.kind, metadata, sent.digest_with(metadata), None);
    Observed { assumed: true, selection, allows: sent.allows(), ..observed }
}

/// Folds a policy of any kind. `digest` is that of all its owned fields. `rules` reads what it allows; it is `None` where its
/// state is not needed or not the operator's own.
pub fn fold_policy(
    kind: &Kind,
    metadata: &ObjectMeta,
    digest: Option<Digest>,
    edited_by: Option<Arc<str>>,
    rules: Option<impl FnOnce() -> Vec<RememberedRule>>,
) -> Observed {
    let selection = selection_of(metadata).filter(|_| managed::owns_annotation(metadata, SELECTION_ANNOTATION));
    let memory = rules.filter(|_| edited_by.is_none()).map(|rules| {
        let listed = metadata.annotations.as_ref().and_then(|all| all.get(ADDITIONAL_ANNOTATION));
        let listed = listed.filter(|_| managed::owns_annotation(metadata, ADDITIONAL_ANNOTATION));
        let users = listed.into_iter().flat_map(|text| text.split(',')).filter_map(|text| text.parse().ok()).collect();
        Arc::new(RecoveredState::Rules { rules: rules(), users, selection })
    });
    Observed { selection, memory, ..fold(kind, metadata, digest, edited_by) }
}

/// Folds an object: its metadata, the digest of its owned fields, and the other manager that changed them last.
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
        fields: managed::owned_fields(metadata),
        selection: None,
        allows: None,
        assumed: false,
    }
}
