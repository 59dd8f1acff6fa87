//! Carries out writes, each under the one field manager and each only while this process leads.

mod heritage;

use super::changes::{Change, Desired, Precondition};
use super::client::{CallError, deadline};
use super::lease::Leadership;
use super::owned::{self, Kind, ObjectKey, Observed, OwnedObjects};
use crate::crd::{ADOPT_ANNOTATION, FIELD_MANAGER};
use crate::subscriber::Subscriber;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::{Metadata, NamespaceResourceScope};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::{self, Debug};
use std::sync::Arc;
use std::time::Duration;

/// The longest that one write may take. A policy of a thousand peers takes some ten milliseconds.
const CALL_DEADLINE: Duration = Duration::from_secs(8);

/// Why a write was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// An object of that name exists and is not the operator's.
    #[error("{kind} {name} exists and is not ours: delete it, or hand it over with the annotation {ADOPT_ANNOTATION}: \"true\"", kind = .0.kind.as_str(), name = .0.name)]
    NotOurs(ObjectKey),
    /// The object changed between decision and write: decide again.
    #[error("{kind} {name} changed since the write was decided on", kind = .0.kind.as_str(), name = .0.name)]
    Changed(ObjectKey),
    /// The API server refused, and will again until somebody mends what it says.
    #[error("the API server refused {kind} {name}: {message}", kind = .key.kind.as_str(), name = .key.name)]
    Refused {
        /// The object.
        key: ObjectKey,
        /// The HTTP status.
        code: u16,
        /// What the API server said.
        message: String,
    },
    /// The API server could not be reached, was too slow, or failed.
    #[error("the API server could not take {kind} {name}: {message}", kind = .key.kind.as_str(), name = .key.name)]
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

/// Told of every write that was carried out or refused, for logs and metrics.
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

/// Whose objects are written.
#[derive(Clone, Debug)]
pub struct OwnerIdentity {
    /// Namespace and name.
    pub subscriber: Subscriber,
    /// The uid.
    pub uid: Arc<str>,
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
    pub async fn carry_out(&self, owner: &OwnerIdentity, change: &Change) -> Result<Done, WriteError> {
        let changed = |()| Done::Changed;
        let result = match change {
            Change::Create(key, Desired::Policy(policy)) => self.create(owner, key, &**policy).await,
            Change::Create(key, Desired::ConfigMap(map)) => self.create(owner, key, &**map).await,
            Change::Update(key, Desired::Policy(policy), was) => self.update(key, &**policy, was).await.map(changed),
            Change::Update(key, Desired::ConfigMap(map), was) => self.update(key, &**map, was).await.map(changed),
            Change::Delete(key, was) => match key.kind {
                Kind::Policy => self.delete::<NetworkPolicy>(key, was).await.map(changed),
                Kind::ConfigMap => self.delete::<ConfigMap>(key, was).await.map(changed),
            },
        };
        let outcome = match &result {
            Ok(_) => "ok",
            Err(WriteError::NotOurs(_)) => "not_ours",
            Err(WriteError::Changed(_)) => "changed",
            Err(WriteError::Refused { .. }) => "refused",
            Err(WriteError::Unavailable { .. }) => "unavailable",
            Err(WriteError::NotLeading) => "not_leading",
        };
        self.observer.wrote(change.key().kind.as_str(), change.verb(), outcome);
        result
    }

    /// Asks the API server whether it would take an object, without writing it: before the first policies of a
    /// resource, so that none is applied whose sibling would be refused.
    ///
    /// # Errors
    /// What the API server says against it. An object that exists already is no refusal here: creating it says so.
    pub async fn dry_run(&self, key: &ObjectKey, desired: &Desired) -> Result<(), WriteError> {
        let parameters = PostParams { dry_run: true, field_manager: Some(FIELD_MANAGER.to_owned()) };
        let result = match desired {
            Desired::Policy(policy) => {
                self.call(key, self.api::<NetworkPolicy>(key).create(&parameters, policy)).await.map(drop)
            }
            Desired::ConfigMap(map) => {
                self.call(key, self.api::<ConfigMap>(key).create(&parameters, map)).await.map(drop)
            }
        };
        match result {
            Err(WriteError::Changed(_)) => Ok(()),
            other => other,
        }
    }

    fn api<K>(&self, key: &ObjectKey) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &key.namespace)
    }

    async fn call<T>(&self, key: &ObjectKey, request: impl Future<Output = kube::Result<T>>) -> Result<T, WriteError> {
        // No write begun as a leader is still under way when another may lead.
        let limit = CALL_DEADLINE.min(self.leadership.time_left());
        if limit.is_zero() {
            return Err(WriteError::NotLeading);
        }
        deadline(limit, request).await.map_err(|error| sort(key, &error))
    }

    /// A plain create, not an apply: an apply would merge into whatever has appeared under the name meanwhile.
    async fn create<K: Owned>(&self, owner: &OwnerIdentity, key: &ObjectKey, object: &K) -> Result<Done, WriteError> {
        let parameters = PostParams { dry_run: false, field_manager: Some(FIELD_MANAGER.to_owned()) };
        match self.call(key, self.api::<K>(key).create(&parameters, object)).await {
            Ok(created) => {
                self.owned.observe(key.clone(), K::fold(&created));
                Ok(Done::Created)
            }
            Err(WriteError::Changed(_)) => self.take_over(owner, key, object).await.map(|()| Done::Changed),
            Err(error) => Err(error),
        }
    }

    /// Something has the name. Ours by uid of its owner (its labels were cut off), or handed over by its annotation:
    /// then it is applied over; else it stays as it is.
    async fn take_over<K: Owned>(&self, owner: &OwnerIdentity, key: &ObjectKey, object: &K) -> Result<(), WriteError> {
        let Some(found) = self.call(key, self.api::<K>(key).get_opt(&key.name)).await? else {
            return Err(WriteError::Changed(key.clone()));
        };
        let observed = K::fold(&found);
        let ours = observed.owner.as_ref().is_some_and(|controller| controller.uid == owner.uid);
        let handed_over = found.annotations().get(ADOPT_ANNOTATION).is_some_and(|value| value == "true");
        let free = super::digest::controller_of(found.meta()).is_none();
        if found.meta().deletion_timestamp.is_some() {
            return Err(WriteError::Changed(key.clone()));
        }
        if !(ours || handed_over && free) {
            return Err(WriteError::NotOurs(key.clone()));
        }
        self.update(key, object, &Precondition::from(&observed)).await
    }

    /// A forced apply that names uid and resourceVersion: refused where the object is another, or newer.
    async fn update<K: Owned>(&self, key: &ObjectKey, object: &K, was: &Precondition) -> Result<(), WriteError> {
        let mut object = object.clone();
        let metadata = object.meta_mut();
        metadata.uid = Some(was.uid.to_string());
        metadata.resource_version = Some(was.resource_version.to_string());
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.call(key, self.api::<K>(key).patch(&key.name, &parameters, &Patch::Apply(&object))).await?;
        self.owned.observe(key.clone(), K::fold(&applied));
        Ok(())
    }

    async fn delete<K: Owned>(&self, key: &ObjectKey, was: &Precondition) -> Result<(), WriteError> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(was.uid.to_string()),
                resource_version: Some(was.resource_version.to_string()),
            }),
            ..DeleteParams::default()
        };
        match self.call(key, self.api::<K>(key).delete(&key.name, &parameters)).await {
            Ok(_) => {}
            Err(WriteError::Refused { code: 404, .. }) => {}
            Err(error) => return Err(error),
        }
        self.owned.forget(key, &was.uid);
        Ok(())
    }
}

/// What the writer needs of a kind it keeps.
trait Owned:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Metadata
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
{
    fn fold(object: &Self) -> Observed;

    /// The same of an object that another resource left, with what it remembers.
    fn fold_inherited(object: &Self) -> Observed;
}

impl Owned for NetworkPolicy {
    fn fold(object: &Self) -> Observed {
        owned::fold_written_policy(object)
    }

    fn fold_inherited(object: &Self) -> Observed {
        owned::fold_policy(object)
    }
}

impl Owned for ConfigMap {
    fn fold(object: &Self) -> Observed {
        owned::fold_written_config_map(object)
    }

    fn fold_inherited(object: &Self) -> Observed {
        owned::fold_config_map(object)
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
