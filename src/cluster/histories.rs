//! Histories in the cluster: a ConfigMap `NAME-history` beside each resource, owned by it.

use super::client::{CallError, deadline};
use super::lease::Leadership;
use crate::crd::{ALLOWLIST_LABEL, FIELD_MANAGER, HISTORY_LABEL, MANAGED_BY_LABEL};
use crate::objects::digest::controller_of;
use crate::objects::managed;
use crate::objects::owner::{OwnerRef, owner_reference};
use crate::trail::history::{LARGEST_EXPANDED, ResourceHistory};
use connectivity_allowlist::gzip::{compress, decompress};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, ResourceExt};
use std::collections::BTreeMap;
use std::time::Duration;

/// The key of the compressed history in its ConfigMap.
pub const HISTORY_KEY: &str = "history.jsonl.gz";

/// The longest that one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// The name of a resource's history.
#[must_use]
pub fn history_name(resource: &str) -> String {
    format!("{resource}-history")
}

/// Reads and writes histories.
#[derive(Clone)]
pub struct Histories {
    client: Client,
    leadership: Leadership,
}

/// A history as it is in the cluster, and the version that a write replaces.
#[derive(Debug)]
pub struct StoredHistory {
    /// The history, or why it cannot be used.
    pub history: Result<ResourceHistory, String>,
    /// The uid of the resource that it belongs to.
    pub owner: String,
    uid: String,
    /// The version that was read.
    pub resource_version: String,
    /// Whether nobody else has written to it.
    is_ours_alone: bool,
}

/// Why a history was not read or written.
#[derive(Debug, thiserror::Error)]
pub enum HistoriesError {
    /// This process does not lead.
    #[error("this process does not lead")]
    NotLeading,
    /// An object of that name is not the operator's.
    #[error("ConfigMap {0} exists and is not the operator's; rename or delete it")]
    NotOurs(String),
    /// It does not fit: what is in force alone is too large.
    #[error("what is in force is too large for a history")]
    TooLarge,
    /// The API server refused or could not be reached, or the object changed meanwhile.
    #[error("the API server did not take it: {0}")]
    Failed(#[from] CallError),
}

impl Histories {
    /// Histories that are written only under `leadership`.
    #[must_use]
    pub const fn new(client: Client, leadership: Leadership) -> Self {
        Self { client, leadership }
    }

    /// Whether this process may write.
    #[must_use]
    pub fn may_write(&self) -> bool {
        self.leadership.is_leading()
    }

    fn api(&self, owner: &OwnerRef) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), &owner.resource.namespace)
    }

    /// Reads the history of a resource; `None` where there is none.
    ///
    /// # Errors
    /// It cannot be read now, or its name is another object's.
    pub async fn load(&self, owner: &OwnerRef) -> Result<Option<StoredHistory>, HistoriesError> {
        let name = history_name(&owner.resource.name);
        let Some(found) = deadline(CALL_LIMIT, self.api(owner).get_opt(&name)).await? else { return Ok(None) };
        if !is_ours(&found.metadata) {
            return Err(HistoriesError::NotOurs(name));
        }
        Ok(Some(StoredHistory {
            history: read(&found),
            owner: controller_of(&found.metadata).map(|owner| owner.uid.clone()).unwrap_or_default(),
            is_ours_alone: only_ours(&found).is_ok(),
            uid: found.uid().unwrap_or_default(),
            resource_version: found.resource_version().unwrap_or_default(),
        }))
    }

    /// Writes the history of a resource, in place of what was read before. Its oldest changes are dropped where it is too large.
    /// Returns how many bytes it has, and its new resourceVersion.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn save(
        &self,
        owner: &OwnerRef,
        stored: Option<&StoredHistory>,
        history: &mut ResourceHistory,
    ) -> Result<(usize, String), HistoriesError> {
        let packed = history.packed(|text| Ok::<_, HistoriesError>(compress(text.as_bytes()).to_vec()))?;
        let packed = packed.ok_or(HistoriesError::TooLarge)?;
        let size = packed.len();
        let limit = self.leadership.limit(CALL_LIMIT).ok_or(HistoriesError::NotLeading)?;
        let OwnerRef { resource, uid } = owner;
        let labels = [(MANAGED_BY_LABEL, FIELD_MANAGER), (ALLOWLIST_LABEL, &*resource.name), (HISTORY_LABEL, "true")];
        let name = history_name(&resource.name);
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: Some(resource.namespace.to_string()),
                uid: stored.map(|stored| stored.uid.clone()),
                resource_version: stored.map(|stored| stored.resource_version.clone()),
                labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
                owner_references: Some(vec![owner_reference(&resource.name, uid)]),
                ..ObjectMeta::default()
            },
            binary_data: Some(BTreeMap::from([(HISTORY_KEY.to_owned(), ByteString(packed))])),
            ..ConfigMap::default()
        };
        let api = self.api(owner);
        if let Some(StoredHistory { uid, resource_version, .. }) = stored.filter(|stored| !stored.is_ours_alone) {
            // What another client wrote into it would stay in a patched one, and it could never be used again.
            let preconditions =
                Preconditions { uid: Some(uid.clone()), resource_version: Some(resource_version.clone()) };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            deadline(limit, api.delete(&name, &parameters)).await?;
        }
        if stored.is_some_and(|stored| stored.is_ours_alone) {
            // Not an apply: its list of owners is replaced, so that the history follows a resource that is installed again.
            let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
            let patched = deadline(limit, api.patch_metadata(&name, &parameters, &Patch::Merge(&object))).await?;
            Ok((size, patched.resource_version().unwrap_or_default()))
        } else {
            let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            let metadata = ObjectMeta { uid: None, resource_version: None, ..object.metadata };
            let created = deadline(limit, api.create(&parameters, &ConfigMap { metadata, ..object })).await?;
            Ok((size, created.resource_version().unwrap_or_default()))
        }
    }
}

fn is_ours(metadata: &ObjectMeta) -> bool {
    let label = |key: &str| metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
    label(MANAGED_BY_LABEL) == Some(FIELD_MANAGER) && label(HISTORY_LABEL) == Some("true")
}

fn only_ours(config_map: &ConfigMap) -> Result<(), String> {
    managed::only_ours(&config_map.metadata, &["data", "binaryData"])
}

/// Reads the history in a ConfigMap.
///
/// # Errors
/// Why it cannot be used: somebody else has written to it, or it is broken.
pub fn read(config_map: &ConfigMap) -> Result<ResourceHistory, String> {
    only_ours(config_map)?;
    let packed = config_map.binary_data.as_ref().and_then(|data| data.get(HISTORY_KEY));
    let packed = packed.ok_or_else(|| format!("it has no {HISTORY_KEY}"))?;
    let text = decompress(&packed.0, LARGEST_EXPANDED).map_err(|error| error.to_string())?;
    ResourceHistory::read(&String::from_utf8_lossy(&text)).map_err(|error| error.to_string())
}
