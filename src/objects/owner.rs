//! Whose an object is, and what says so in its metadata. Pure.

use super::key::Role;
use crate::crd::{
    ADDITIONAL_ANNOTATION, ALLOWLIST_LABEL, CitrixAllowlist, FIELD_MANAGER, MANAGED_BY_LABEL, SELECTION_ANNOTATION,
};
use crate::plan::keep::Selected;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use std::collections::BTreeMap;

/// The `CitrixAllowlist` that objects are kept for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its namespace, which is the objects' too.
    pub namespace: String,
    /// Its name, which the objects' names start with.
    pub name: String,
    /// Its uid; `None` where nothing is applied and there is none: then objects carry no owner reference.
    pub uid: Option<String>,
    /// What its spec selects.
    pub selected: Selected,
}

/// How an object says that the resource of this name and uid controls it.
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

impl Owner {
    /// What the object with this role carries: its name, labels, and the owner that takes it along when it goes. A policy
    /// carries what the spec selected when it was written, too, and `users`: networks that only the user asked for.
    #[must_use]
    pub fn metadata(&self, role: Role, users: Option<&str>) -> ObjectMeta {
        let reference = self.uid.as_ref().map(|uid| owner_reference(&self.name, uid));
        let annotations = match role {
            Role::Policy { direction, .. } => {
                let selected = self.selected.direction(direction).to_string();
                let users = users.map(|users| (ADDITIONAL_ANNOTATION.to_owned(), users.to_owned()));
                Some([(SELECTION_ANNOTATION.to_owned(), selected)].into_iter().chain(users).collect())
            }
            Role::Export { .. } => None,
        };
        ObjectMeta {
            name: Some(role.object_name(&self.name)),
            namespace: Some(self.namespace.clone()),
            labels: Some(BTreeMap::from([
                (MANAGED_BY_LABEL.to_owned(), FIELD_MANAGER.to_owned()),
                (ALLOWLIST_LABEL.to_owned(), self.name.clone()),
            ])),
            annotations,
            owner_references: reference.map(|reference| vec![reference]),
            ..ObjectMeta::default()
        }
    }
}
