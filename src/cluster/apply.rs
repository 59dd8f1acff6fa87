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
use crate::objects::observed;
use crate::objects::owner::OwnerRef;
use http::header::{ACCEPT, HeaderValue};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::{ObjectMeta, PartialObjectMeta, Request};
use kube::{Client, Resource, ResourceExt};
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

/// The longest that one write may take. A policy of a thousand peers takes some ten milliseconds.
const CALL_DEADLINE: Duration = Duration::from_secs(8);

/// Asks for an object's metadata alone in answer to a write.
const METADATA_ONLY: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");

/// Why a write was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An object of that name exists and is not the operator's.
    #[error("{kind} {name} exists and is not ours: delete it, or hand it over with the annotation {ADOPT_ANNOTATION}: \"true\"", kind = .0.kind.name, name = .0.name)]
    NotOurs(ObjectKey),
    /// The object changed between decision and write: decide again.
    #[error("{kind} {name} changed since the write was decided on", kind = .0.kind.name, name = .0.name)]
    Changed(ObjectKey),
    /// The API server refused, and will again until somebody mends what it says.
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

/// Hears of every write that was carried out or refused, for logs and metrics.
pub trait WriteObserver: Send + Sync {
    /// One write of `kind` by `verb` ended; `result` is `ok` or the sort of failure.
    fn wrote(&self, kind: &'static str, verb: &'static str, result: &'static str);
}

/// What a change came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// An object is there that was not.
    Created,
    /// An object that was there is as it should be, or gone.
    Changed,
    /// The write was taken and changed nothing, though the object differs from what was sent: something between, such as
    /// admission, makes it what it is.
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

impl Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    /// A writer that asks `leadership` before each write and keeps `owned` current with the answers.
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
    /// Says whose it is to mend; nothing was written then.
    pub async fn carry_out(&self, owner: &OwnerRef, change: &Change) -> Result<Done, WriteError> {
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
        self.observer.wrote(change.key().kind.name, change.verb(), outcome);
        result
    }

    /// Asks the API server whether it would take an object, without writing it: before the first policies of a
    /// resource, so that none is applied whose sibling would be refused.
    ///
    /// # Errors
    /// What the API server says against it. An object that exists already is no refusal here: creating it says so.
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
        // No write begun as a leader is still in flight when another may lead.
        let limit = CALL_DEADLINE.min(self.leadership.time_left());
        if limit.is_zero() {
            return Err(WriteError::NotLeading);
        }
        deadline(limit, request).await.map_err(|error| sort(key, &error))
    }

    /// Creates an object; returns the metadata it got. What it says need not come back: it is what was sent, and the watch
    /// shows it.
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

    /// A plain create, not an apply: an apply would merge into whatever has appeared under the name meanwhile.
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

    /// Something has the name. Ours by uid of its owner (its labels were cut off), or handed over by its annotation:
    /// then it is applied over; else it stays as it is.
    async fn take_over(&self, owner: &OwnerRef, key: &ObjectKey, desired: &Desired) -> Result<(), WriteError> {
        let Some(found) = self.call(key, self.api(key).get_metadata_opt(&key.name)).await? else {
            return Err(WriteError::Changed(key.clone()));
        };
        let ours = (key.kind.owner)(found.meta()).is_some_and(|controller| controller.uid == owner.uid);
        let handed_over = found.annotations().get(ADOPT_ANNOTATION).is_some_and(|value| value == "true");
        let free = digest::controller_of(found.meta()).is_none();
        if found.meta().deletion_timestamp.is_some() {
            return Err(WriteError::Changed(key.clone()));
        }
        if !(ours || handed_over && free) {
            return Err(WriteError::NotOurs(key.clone()));
        }
        // What it says was not looked at: where this changes nothing, it is as it should be.
        self.update(key, desired, &Precondition::from(found.meta())).await.map(drop)
    }

    /// A forced apply that names uid and resourceVersion: refused where the object is another, or newer.
    async fn update(&self, key: &ObjectKey, desired: &Desired, was: &Precondition) -> Result<Done, WriteError> {
        let metadata = ObjectMeta {
            uid: Some(was.uid.to_string()),
            resource_version: Some(was.resource_version.to_string()),
            ..desired.metadata.clone()
        };
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let patch = Patch::Apply(Manifest::of(&metadata, &desired.body));
        let applied = self.call(key, self.api(key).patch_metadata(&key.name, &parameters, &patch)).await?;
        let answer = observed::fold_answer(&applied.metadata, desired);
        // An apply that changes nothing leaves the version as it is; decided on was that the object differs.
        let done = if answer.resource_version == was.resource_version { Done::Ineffective } else { Done::Changed };
        self.owned.observe(key.clone(), answer);
        Ok(done)
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
            Ok(_) => {}
            Err(WriteError::Refused { code: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        self.owned.forget(key, &was.uid);
        Ok(())
    }
}

fn sort(key: &ObjectKey, error: &CallError) -> WriteError {
    let (key, message) = (key.clone(), error.to_string());
    match error.code() {
        Some(409) => WriteError::Changed(key),
        Some(code @ (400 | 403 | 404 | 405 | 413 | 422)) => WriteError::Refused { key, code, message },
        _ => WriteError::Unavailable { key, message },
    }
}

#[cfg(test)]
mod tests;
