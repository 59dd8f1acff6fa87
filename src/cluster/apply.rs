//! Carries out writes, each under the one field manager and each only while this process leads.

mod adopt;
mod reading;

use super::client::{CallError, deadline};
use super::lease::Leadership;
use super::object::Object;
use super::owned::OwnedObjects;
use crate::crd::{ADOPT_ANNOTATION, FIELD_MANAGER};
use crate::objects::changes::{Change, Precondition};
use crate::objects::desired::{Desired, Manifest};
use crate::objects::digest;
use crate::objects::key::ObjectKey;
use crate::objects::managed;
use crate::objects::observed;
use crate::objects::owner::OwnerRef;
use crate::trail::WriteCause;
use http::header::{ACCEPT, HeaderValue};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ObjectMeta, PartialObjectMeta, Request};
use kube::{Client, Resource, ResourceExt};
use std::sync::Arc;
use std::time::Duration;

/// The longest that one write may take. A policy of a thousand peers takes some ten milliseconds.
const CALL_DEADLINE: Duration = Duration::from_secs(8);

/// Requests only an object's metadata in answer to a write.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// Why a write was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An object of that name exists and does not belong to the operator.
    #[error("{kind} {name} exists and is not ours: delete it, or hand it over with the annotation {ADOPT_ANNOTATION}: \"true\"", kind = .0.kind.name, name = .0.name)]
    NotOurs(ObjectKey),
    /// The object changed between decision and write: decide again.
    #[error("{kind} {name} changed since the write was decided on", kind = .0.kind.name, name = .0.name)]
    Changed(ObjectKey),
    /// The API server refused, and will again until a user fixes the cause.
    #[error("the API server refused {kind} {name}: {message}", kind = .key.kind.name, name = .key.name)]
    Refused {
        /// The object.
        key: ObjectKey,
        /// The HTTP status.
        code: u16,
        /// What the API server said.
        message: String,
    },
    /// The API server could not be reached, was too slow, or failed.
    #[error("the API server could not take {kind} {name}: {message}", kind = .key.kind.name, name = .key.name)]
    Unavailable {
        /// The object.
        key: ObjectKey,
        /// What went wrong.
        message: String,
    },
    /// This process does not lead any more.
    #[error("this process no longer leads")]
    NotLeading,
}

/// Is notified of every write that succeeded or failed, for logs and metrics.
pub trait WriteObserver: Send + Sync {
    /// One write of `kind` by `verb` ended; `result` is `ok` or the sort of failure.
    fn wrote(&self, kind: &'static str, verb: &'static str, result: &'static str);
}

/// The effect of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// A new object exists.
    Created,
    /// An existing object was updated or deleted.
    Changed,
    /// The write succeeded and changed nothing, though the object differs from what was sent: something between, such as
    /// admission, alters it.
    Ineffective,
}

/// Writes objects of resources.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    leadership: Leadership,
    owned: Arc<OwnedObjects>,
    observer: Arc<dyn WriteObserver>,
}

impl Writer {
    /// A writer that checks `leadership` before each write and keeps `owned` current with the answers.
    pub fn new(
        client: Client,
        leadership: Leadership,
        owned: Arc<OwnedObjects>,
        observer: Arc<dyn WriteObserver>,
    ) -> Self {
        Self { client, leadership, owned, observer }
    }

    /// Carries out one change.
    ///
    /// # Errors
    /// Nothing was written; the error says who can fix it.
    pub async fn carry_out(
        &self,
        owner: &OwnerRef,
        change: &Change,
        cause: &Arc<WriteCause>,
    ) -> Result<Done, WriteError> {
        let allows = match change {
            Change::Create(_, desired) | Change::Update(_, desired, _) => desired.allows(),
            Change::Delete(..) => None,
        };
        self.owned.writes(change.key(), allows, cause);
        let result = match change {
            Change::Create(key, desired) => self.create(owner, key, desired).await,
            Change::Update(key, desired, was) => self.update(key, desired, was).await,
            Change::Delete(key, was) => self.delete(key, was).await.map(|()| Done::Changed),
        };
        let outcome = match &result {
            Ok(_) => "ok",
            Err(WriteError::NotOurs(_)) => "not_ours",
            Err(WriteError::Changed(_)) => "changed",
            Err(WriteError::Refused { .. }) => "refused",
            Err(WriteError::Unavailable { .. }) => "unavailable",
            Err(WriteError::NotLeading) => "not_leading",
        };
        if !matches!(result, Err(WriteError::Unavailable { .. })) {
            self.owned.wrote(change.key());
        }
        self.observer.wrote(change.key().kind.name, change.verb(), outcome);
        result
    }

    /// Sends an object to the API server without writing it. Before the first policies of a resource, this shows that none is
    /// applied whose sibling would be refused.
    ///
    /// # Errors
    /// The API server's refusal. An existing object is no refusal here: creating it reports that.
    pub async fn dry_run(&self, key: &ObjectKey, desired: &Desired) -> Result<(), WriteError> {
        match self.post(key, desired, true).await {
            Err(WriteError::Changed(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    fn api(&self, key: &ObjectKey) -> Api<Object> {
        Api::namespaced_with(self.client.clone(), &key.namespace, &key.kind)
    }

    async fn call<T>(&self, key: &ObjectKey, request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        let limit = self.leadership.limit(CALL_DEADLINE).ok_or(WriteError::NotLeading)?;
        deadline(limit, request).await.map_err(|error| classify(key, &error))
    }

    /// Creates an object; returns its new metadata. Its body need not come back: it was sent, and the watch shows it.
    async fn post(&self, key: &ObjectKey, desired: &Desired, dry_run: bool) -> Result<ObjectMeta, WriteError> {
        let parameters = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let create = async {
            let json =
                serde_json::to_vec(&Manifest::of(&desired.metadata, &desired.body)).map_err(kube::Error::SerdeError)?;
            let request = Request::new(self.api(key).resource_url()).create(&parameters, json);
            let mut request = request.map_err(kube::Error::BuildRequest)?;
            request.headers_mut().insert(ACCEPT, METADATA_ONLY);
            self.client.request::<PartialObjectMeta<Object>>(request).await
        };
        Ok(self.call(key, create).await?.metadata)
    }

    /// A plain create, not an apply: an apply would merge into an object that has appeared under the name meanwhile.
    async fn create(&self, owner: &OwnerRef, key: &ObjectKey, desired: &Desired) -> Result<Done, WriteError> {
        match self.post(key, desired, false).await {
            Ok(created) => {
                self.owned.observe(key.clone(), observed::fold_answer(&created, desired));
                Ok(Done::Created)
            }
            Err(WriteError::Changed(_)) => self.take_over(owner, key, desired).await.map(|()| Done::Changed),
            Err(error) => Err(error),
        }
    }

    /// An object has the name already. It is applied over if it is ours by its owner's uid (its labels were removed), or handed
    /// over by its annotation; else it stays as it is.
    async fn take_over(&self, owner: &OwnerRef, key: &ObjectKey, desired: &Desired) -> Result<(), WriteError> {
        let found = self.call(key, self.api(key).get_metadata_opt(&key.name)).await?;
        let found = found.filter(|found| found.meta().deletion_timestamp.is_none());
        let found = found.ok_or_else(|| WriteError::Changed(key.clone()))?;
        let ours = (key.kind.owner)(found.meta()).is_some_and(|controller| controller.uid == owner.uid);
        let handed_over = found.annotations().get(ADOPT_ANNOTATION).is_some_and(|value| value == "true");
        let free = digest::controller_of(found.meta()).is_none();
        if !(ours || handed_over && free) {
            return Err(WriteError::NotOurs(key.clone()));
        }
        // Its body was not compared: an apply that changes nothing is right here.
        self.update(key, desired, &Precondition::from(found.meta())).await.map(drop)
    }

    /// A forced apply with uid and resourceVersion: refused if the object is another, or newer.
    async fn update(&self, key: &ObjectKey, desired: &Desired, was: &Precondition) -> Result<Done, WriteError> {
        let metadata = ObjectMeta {
            uid: Some(was.uid.to_string()),
            resource_version: Some(was.resource_version.to_string()),
            ..desired.metadata.clone()
        };
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(Manifest::of(&metadata, &desired.body));
        let applied = self.call(key, self.api(key).patch_metadata(&key.name, &parameters, &patch)).await?;
        let metadata = match managed::left_behind(&applied.metadata) {
            Some(fields) => self.remove(key, &applied.metadata, fields).await?,
            None => applied.metadata,
        };
        let answer = observed::fold_answer(&metadata, desired);
        // The decision was that the object differs, but an apply that changes nothing keeps the version.
        let done = if answer.resource_version == was.resource_version { Done::Ineffective } else { Done::Changed };
        self.owned.observe(key.clone(), answer);
        Ok(done)
    }

    /// Removes fields of an object, given as nulls of a merge patch; returns its new metadata.
    async fn remove(
        &self,
        key: &ObjectKey,
        found: &ObjectMeta,
        mut fields: serde_json::Value,
    ) -> Result<ObjectMeta, WriteError> {
        fields["metadata"]["uid"] = serde_json::json!(found.uid);
        fields["metadata"]["resourceVersion"] = serde_json::json!(found.resource_version);
        let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let (api, patch) = (self.api(key), Patch::Merge(fields));
        let removed = self.call(key, api.patch_metadata(&key.name, &parameters, &patch)).await?;
        Ok(removed.metadata)
    }

    async fn delete(&self, key: &ObjectKey, was: &Precondition) -> Result<(), WriteError> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(was.uid.to_string()),
                resource_version: Some(was.resource_version.to_string()),
            }),
            ..DeleteParams::default()
        };
        match self.call(key, self.api(key).delete(&key.name, &parameters)).await {
            Ok(_) | Err(WriteError::Refused { code: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        self.owned.forget(key, &was.uid);
        Ok(())
    }
}

fn classify(key: &ObjectKey, error: &CallError) -> WriteError {
    let (key, message) = (key.clone(), error.to_string());
    match error.code() {
        Some(409) => WriteError::Changed(key),
        Some(code @ (400 | 403 | 404 | 405 | 413 | 422)) => WriteError::Refused { key, code, message },
        _ => WriteError::Unavailable { key, message },
    }
}

#[cfg(test)]
mod tests;
