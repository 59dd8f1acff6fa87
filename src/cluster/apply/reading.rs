//! Reads the bodies of a resource's objects: only their digests are cached.

use super::{WriteError, Writer};
use crate::objects::key::ObjectKey;
use crate::objects::observed::{Observed, RecoveredObject};
use crate::objects::owner::OwnerRef;
use kube::ResourceExt;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

impl Writer {
    /// Reads the bodies of objects; a missing one is left out.
    ///
    /// # Errors
    /// [`WriteError::Changed`] if one is not, or no longer, the known version: a decision would rest on something else.
    pub async fn bodies(&self, keys: &[ObjectKey]) -> Result<BTreeMap<ObjectKey, Box<RawValue>>, WriteError> {
        let mut found = BTreeMap::new();
        for key in keys {
            let object = self.call(key, self.api(key).get_opt(&key.name)).await?;
            match (object, self.owned.get(key)) {
                (None, None) => {}
                (Some(object), Some(known))
                    if object.resource_version().as_deref() == Some(&*known.resource_version) =>
                {
                    found.insert(key.clone(), object.into_body(key.kind));
                }
                _ => return Err(WriteError::Changed(key.clone())),
            }
        }
        Ok(found)
    }

    /// Reads again what can be recovered from a resource's objects.
    ///
    /// # Errors
    /// One cannot be read.
    pub async fn memories(&self, owner: &OwnerRef) -> Result<Vec<RecoveredObject>, WriteError> {
        let mut memories = Vec::new();
        for key in self.owned.of(&owner.resource, &owner.uid).keys() {
            let Some(object) = self.call(key, self.api(key).get_opt(&key.name)).await? else { continue };
            let Observed { memory, written_at, .. } = object.observe(key.kind, true);
            memories.extend(memory.map(|memory| RecoveredObject { memory, written_at }));
        }
        Ok(memories)
    }
}
