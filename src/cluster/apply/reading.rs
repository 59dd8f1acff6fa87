//! What objects of a resource say, where that is needed: nothing but their digests is held.

use super::{Owned, OwnerIdentity, WriteError, Writer};
use crate::objects::key::{Kind, ObjectKey};
use crate::objects::observed::Told;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use std::collections::BTreeMap;

impl Writer {
    /// Reads policies; one that is not there is left out.
    ///
    /// # Errors
    /// [`WriteError::Changed`] where one is not, or no longer, the version that is known: what is decided on it would be
    /// decided on something else.
    pub async fn policies(&self, keys: &[ObjectKey]) -> Result<BTreeMap<ObjectKey, NetworkPolicySpec>, WriteError> {
        let mut found = BTreeMap::new();
        for key in keys {
            let policy = self.call(key, self.api::<NetworkPolicy>(key).get_opt(&key.name)).await?;
            let known = self.owned.get(key);
            let version = |policy: &NetworkPolicy| policy.metadata.resource_version.clone().unwrap_or_default();
            match (policy, known) {
                (None, None) => {}
                (Some(policy), Some(known)) if *version(&policy) == *known.resource_version => {
                    found.insert(key.clone(), policy.spec.unwrap_or_default());
                }
                _ => return Err(WriteError::Changed(key.clone())),
            }
        }
        Ok(found)
    }

    /// What the objects of a resource remember, read again.
    ///
    /// # Errors
    /// Where one cannot be read.
    pub async fn memories(&self, owner: &OwnerIdentity) -> Result<Vec<Told>, WriteError> {
        let mut memories = Vec::new();
        for key in self.owned.of(&owner.subscriber, &owner.uid).keys() {
            let memory = match key.kind {
                Kind::Policy => self.memory::<NetworkPolicy>(key).await?,
                Kind::ConfigMap => self.memory::<ConfigMap>(key).await?,
            };
            memories.extend(memory);
        }
        Ok(memories)
    }

    async fn memory<K: Owned>(&self, key: &ObjectKey) -> Result<Option<Told>, WriteError> {
        let found = self.call(key, self.api::<K>(key).get_opt(&key.name)).await?;
        Ok(found.and_then(|object| {
            let observed = K::fold_inherited(&object);
            Some(Told { memory: observed.memory?, written_at: observed.written_at })
        }))
    }
}
