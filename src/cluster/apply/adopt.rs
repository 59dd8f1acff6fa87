//! Adopts the objects of a previous owner before the garbage collector finds them: after a definition was removed and installed
//! again, a backup restored, or a resource deleted and created again at once.

use super::{WriteError, Writer};
use crate::crd::{CitrixAllowlist, FIELD_MANAGER};
use crate::objects::key::ObjectKey;
use crate::objects::owner::OwnerRef;
use crate::objects::owner::owner_reference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Resource, ResourceExt};

impl Writer {
    /// Adopts the objects of previous owners of the same name, and changes nothing else. From then on they are kept right or
    /// deleted like any other object of `owner`, and the garbage collector ignores them. Returns how many there were.
    ///
    /// # Errors
    /// [`WriteError::Changed`] if `owner` is not, or no longer, the resource of its name, or an object changed meanwhile.
    pub async fn adopt_previous(&self, owner: &OwnerRef) -> Result<usize, WriteError> {
        let previous = self.owned.of_previous_owners(&owner.resource, &owner.uid);
        let Some(first) = previous.first() else { return Ok(0) };
        self.must_be_alive(owner, first).await?;
        for key in &previous {
            self.adopt(owner, key).await?;
        }
        Ok(previous.len())
    }

    /// Two resources of one name never exist at the same time. But a process with a stale watch may take the deleted one for the
    /// living one: its objects would be collected, and everything opened.
    async fn must_be_alive(&self, owner: &OwnerRef, key: &ObjectKey) -> Result<(), WriteError> {
        let name = &owner.resource.name;
        let api = Api::<CitrixAllowlist>::namespaced(self.client.clone(), &owner.resource.namespace);
        // A list, since the operator has that right anyway, and no other.
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
        // Another owner may have taken it since it was seen.
        let previous = (key.kind.owner)(found.meta()).filter(|controller| {
            controller.resource.name == owner.resource.name && found.meta().deletion_timestamp.is_none()
        });
        let previous = previous.ok_or_else(|| WriteError::Changed(key.clone()))?;
        let adopted = |reference: &OwnerReference| match *reference.uid == *previous.uid {
            true => owner_reference(&owner.resource.name, &owner.uid),
            false => reference.clone(),
        };
        let references: Vec<OwnerReference> = found.owner_references().iter().map(adopted).collect();
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
