//! Reports to the user: status and events on a resource.

use super::apply::WriteObserver;
use super::client::{CallError, deadline};
use super::events::Events;
use super::lease::Leadership;
use crate::crd::{CitrixAllowlist, CitrixAllowlistStatus, FIELD_MANAGER};
use crate::status::Note;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, Patch, PatchParams};
use kube::{Client, Resource, ResourceExt};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// The longest that a status write or an event may take.
const CALL_DEADLINE: Duration = Duration::from_secs(4);

/// Writes status and events.
#[derive(Clone)]
pub struct StatusWriter {
    client: Client,
    leadership: Leadership,
    events: Events,
    observer: Arc<dyn WriteObserver>,
}

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// The resource changed or was deleted meanwhile: that brings the next reconcile.
    #[error("the resource changed since its status was decided on")]
    Changed,
    /// This process does not lead any more.
    #[error("this process no longer leads")]
    NotLeading,
    /// The API server refused or could not be reached.
    #[error("the API server did not take the status: {0}")]
    Failed(String),
}

impl StatusWriter {
    /// A writer that signs its events as `instance`, and notifies `observer` of every write as one of kind `CitrixAllowlist`
    /// (its status) or `Event`.
    pub fn new(
        client: Client,
        leadership: Leadership,
        instance: Option<String>,
        observer: Arc<dyn WriteObserver>,
    ) -> Self {
        Self { events: Events::new(client.clone(), instance), client, leadership, observer }
    }

    /// Writes the status of a resource at `resource_version`; returns its new version.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn write(
        &self,
        resource: &CitrixAllowlist,
        resource_version: Option<&str>,
        status: &CitrixAllowlistStatus,
    ) -> Result<Option<String>, StatusError> {
        let limit = self.leadership.limit(CALL_DEADLINE).ok_or(StatusError::NotLeading)?;
        let namespace = resource.namespace().unwrap_or_default();
        let api: Api<CitrixAllowlist> = Api::namespaced(self.client.clone(), &namespace);
        let name = resource.name_any();
        let applied = json!({
            "apiVersion": CitrixAllowlist::api_version(&()),
            "kind": CitrixAllowlist::kind(&()),
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": resource.metadata.uid,
                "resourceVersion": resource_version,
            },
            "status": status,
        });
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(&applied);
        let result = deadline(limit, api.patch_status(&name, &parameters, &patch)).await;
        self.observer.wrote("CitrixAllowlist", "apply", outcome(result.as_ref().err()));
        match result {
            Ok(written) => Ok(written.metadata.resource_version),
            Err(error) if matches!(error.code(), Some(404 | 409)) => Err(StatusError::Changed),
            Err(error) => Err(StatusError::Failed(error.to_string())),
        }
    }

    /// Publishes an event on an object; repeats are counted on the existing one. A failure is only logged: the condition
    /// reports the same.
    pub async fn publish(&self, reference: &ObjectReference, note: &Note) {
        let Some(limit) = self.leadership.limit(CALL_DEADLINE) else { return };
        let (verb, result) = self.events.publish(reference, note, limit).await;
        self.observer.wrote("Event", verb, outcome(result.as_ref().err()));
        if let Err(error) = result {
            tracing::warn!(reason = %note.reason, %error, "an event could not be published");
        }
    }
}

/// The result of a write, as the metrics name it.
fn outcome(error: Option<&CallError>) -> &'static str {
    match error.map(CallError::code) {
        None => "ok",
        Some(Some(404 | 409)) => "changed",
        Some(Some(400..=403 | 405..=408 | 410..=428 | 430..=499)) => "refused",
        Some(_) => "unavailable",
    }
}
