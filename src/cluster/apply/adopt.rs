//! What a resource of the same name left behind, made the new one's before the garbage collector finds it: a definition
//! removed and installed again, a backup restored, a resource deleted and created again at once.

use super::{WriteError, Writer};
use crate::crd::{CitrixAllowlist, FIELD_MANAGER};
use crate::objects::key::ObjectKey;
use crate::objects::owner::OwnerRef;
use crate::objects::owner::owner_reference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt};

impl Writer {
    /// Adopts the objects of previous owners of the same name, and changes nothing else: from here on they are `owner`'s, to be
    /// kept right or taken away like any other, and no garbage collector waits for them. Returns how many there were.
    ///
    /// # Errors
    /// Where `owner` is not, or no longer, the resource of its name, its word counts for nothing: then, and where an object
    /// changed meanwhile, [`WriteError::Changed`].
    pub async fn adopt_previous(&self, owner: &OwnerRef) -> Result<usize, WriteError> {
        let left = self.owned.of_previous_owners(&owner.resource, &owner.uid);
        let Some(first) = left.first() else { return Ok(0) };
        self.must_be_alive(owner, first).await?;
        for key in &left {
            self.adopt(owner, key).await?;
        }
        Ok(left.len())
    }

    /// Two resources of one name never are at the same time, but a process whose watch has gone stale may take the one that
    /// is gone for the one that is: what it made its own would be collected, and everything opened.
    async fn must_be_alive(&self, owner: &OwnerRef, key: &ObjectKey) -> Result<(), WriteError> {
        let name = &owner.resource.name;
        let api = Api::<CitrixAllowlist>::namespaced(self.client.clone(), &owner.resource.namespace);
        // A list, since the operator needs that right anyway and has no other.
        let parameters = ListParams::default().fields(&format!("metadata.name={name}"));
        let found = self.call(key, api.list_metadata(&parameters)).await?;
        let alive = found.iter().any(|resource| {
            resource.uid().as_deref() == Some(&*owner.uid) && resource.meta().deletion_timestamp.is_none()
        });
        if alive { Ok(()) } else { Err(WriteError::Changed(key.clone())) }
    }

    async fn adopt(&self, owner: &OwnerRef, key: &ObjectKey) -> Result<(), WriteError> {
        let api = self.api(key);
        let gone = || drop(self.owned.forget(key, ""));
        let Some(found) = self.call(key, api.get_metadata_opt(&key.name)).await? else {
            gone();
            return Ok(());
        };
        // Somebody else may have made it its own since it was seen.
        let previous =
            (key.kind.owner)(found.meta()).filter(|controller| controller.resource.name == owner.resource.name);
        let Some(previous) = previous.map(|controller| controller.uid) else {
            return Err(WriteError::Changed(key.clone()));
        };
        if found.meta().deletion_timestamp.is_some() {
            return Err(WriteError::Changed(key.clone()));
        }
        let references: Vec<OwnerReference> = found
            .owner_references()
            .iter()
            .map(|reference| match *reference.uid == *previous {
                true => owner_reference(&owner.resource.name, &owner.uid),
                false => reference.clone(),
            })
            .collect();
        let patch = Patch::Merge(serde_json::json!({ "metadata": {
            "uid": found.uid(),
            "resourceVersion": found.resource_version(),
            "ownerReferences": references,
        } }));
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        match self.call(key, api.patch(&key.name, &parameters, &patch)).await {
            Ok(adopted) => drop(self.owned.observe(key.clone(), adopted.observe(key.kind, true))),
            Err(WriteError::Refused { code: 404, .. }) => gone(),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
