//! The owner of an object, as its metadata has it. Pure.

use super::digest;
use super::key::Role;
use crate::crd::{
    ADDITIONAL_ANNOTATION, ALLOWLIST_LABEL, CitrixAllowlist, FIELD_MANAGER, MANAGED_BY_LABEL, SELECTION_ANNOTATION,
};
use crate::plan::keep::Selected;
use crate::resource_ref::ResourceRef;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The `CitrixAllowlist` that controls an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnerRef {
    /// Its namespace, which is the object's too, and its name.
    pub resource: ResourceRef,
    /// Its uid.
    pub uid: Arc<str>,
}

/// What objects carry of their `CitrixAllowlist` in their metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// Its namespace, which is the objects' too, and its name, which the objects' names start with.
    pub resource: ResourceRef,
    /// Its uid; `None` outside a cluster: then objects carry no owner reference.
    pub uid: Option<Arc<str>>,
    /// What its spec selects.
    pub selected: Selected,
}

/// The `CitrixAllowlist` that controls an object, if one does.
#[must_use]
pub fn owner_of(metadata: &ObjectMeta) -> Option<OwnerRef> {
    let owner = digest::controller_of(metadata).filter(|owner| {
        owner.kind == CitrixAllowlist::kind(&())
            && owner.api_version.split('/').next() == Some(CitrixAllowlist::group(&()).as_ref())
    })?;
    let namespace = metadata.namespace.as_deref().unwrap_or_default();
    Some(OwnerRef { resource: ResourceRef::new(namespace, owner.name.as_str()), uid: owner.uid.as_str().into() })
}

/// The reference to a controlling resource of this name and uid.
#[must_use]
pub fn owner_reference(name: &str, uid: &str) -> OwnerReference {
    OwnerReference {
        api_version: CitrixAllowlist::api_version(&()).into_owned(),
        kind: CitrixAllowlist::kind(&()).into_owned(),
        name: name.to_owned(),
        uid: uid.to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

#[cfg(test)]
impl Ownership {
    /// That of the resource `web/daas`.
    pub(crate) fn of_daas() -> Self {
        let spec = serde_json::from_value(serde_json::json!({ "customerId": "kitsune" })).expect("a spec");
        Self { resource: ResourceRef::new("web", "daas"), uid: Some("1".into()), selected: Selected::by(&spec) }
    }
}

impl Ownership {
    /// The metadata of the object with this role: its name, its labels, and the owner with which it is deleted. A policy also
    /// carries what the spec selected when it was written, and `users`: networks that only the user asked for.
    #[must_use]
    pub fn metadata(&self, role: Role, users: Option<&str>) -> ObjectMeta {
        let reference = self.uid.as_ref().map(|uid| owner_reference(&self.resource.name, uid));
        let annotations = match role {
            Role::Policy { direction, .. } => {
                let selected = self.selected.direction(direction).to_string();
                let users = users.map(|users| (ADDITIONAL_ANNOTATION.to_owned(), users.to_owned()));
                Some([(SELECTION_ANNOTATION.to_owned(), selected)].into_iter().chain(users).collect())
            }
            Role::Export { .. } => None,
        };
        ObjectMeta {
            name: Some(role.object_name(&self.resource.name)),
            namespace: Some(self.resource.namespace.to_string()),
            labels: Some(BTreeMap::from([
                (MANAGED_BY_LABEL.to_owned(), FIELD_MANAGER.to_owned()),
                (ALLOWLIST_LABEL.to_owned(), self.resource.name.to_string()),
            ])),
            annotations,
            owner_references: reference.map(|reference| vec![reference]),
            ..ObjectMeta::default()
        }
    }
}
