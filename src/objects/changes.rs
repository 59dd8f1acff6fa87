//! The writes that turn the observed objects into the desired ones. Pure.

use super::desired::Desired;
use super::digest::Digest;
use super::key::ObjectKey;
use super::observed::Observed;
use kube::core::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One write. Each has the version it was decided on: a process that slept beyond its lease cannot execute it.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Creates an object; the API server refuses it where one exists.
    Create(ObjectKey, Desired),
    /// Updates an object; refused where it has changed or was replaced since.
    Update(ObjectKey, Desired, Precondition),
    /// Deletes an object of ours.
    Delete(ObjectKey, Precondition),
}

impl Change {
    /// The object to write.
    #[must_use]
    pub const fn key(&self) -> &ObjectKey {
        match self {
            Self::Create(key, _) | Self::Update(key, _, _) | Self::Delete(key, _) => key,
        }
    }

    /// The verb, for logs and metrics: `create`, `apply` or `delete`.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::Create(..) => "create",
            Self::Update(..) => "apply",
            Self::Delete(..) => "delete",
        }
    }
}

/// The version of an object that a write requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Precondition {
    /// Its uid.
    pub uid: Arc<str>,
    /// Its resourceVersion.
    pub resource_version: Arc<str>,
}

impl From<&ObjectMeta> for Precondition {
    fn from(metadata: &ObjectMeta) -> Self {
        let text = |text: &Option<String>| text.as_deref().unwrap_or_default().into();
        Self { uid: text(&metadata.uid), resource_version: text(&metadata.resource_version) }
    }
}

impl From<&Observed> for Precondition {
    fn from(observed: &Observed) -> Self {
        Self { uid: Arc::clone(&observed.uid), resource_version: Arc::clone(&observed.resource_version) }
    }
}

/// What another client did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interference {
    /// Changed it.
    Edited,
    /// Deleted it.
    Deleted,
}

/// An object of ours that another client changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignEdit {
    /// The object.
    pub key: ObjectKey,
    /// The client's field manager.
    pub manager: Arc<str>,
    /// What it did.
    pub what: Interference,
}

/// The writes of one reconcile in their order, and the foreign edits they undo.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Policies first, then ConfigMaps; among each, creations, then updates, then deletions. Where several policies are
    /// updated, [`super::moves`] puts them in order.
    pub writes: Vec<Change>,
    /// Other clients' changes of our objects.
    pub foreign_edits: Vec<ForeignEdit>,
    /// The digests of the objects to write.
    pub digests: BTreeMap<ObjectKey, Digest>,
}

/// Decides the writes that turn `observed` into `desired`: none where they are equal.
#[must_use]
pub fn decide(desired: &[(ObjectKey, Desired)], observed: &BTreeMap<ObjectKey, Observed>) -> Changes {
    let mut changes = Changes::default();
    let wanted: BTreeMap<&ObjectKey, &Desired> = desired.iter().map(|(key, object)| (key, object)).collect();
    for key in observed.keys().filter(|key| !wanted.contains_key(*key)) {
        changes.writes.push(Change::Delete(key.clone(), Precondition::from(&observed[key])));
    }
    for (key, object) in wanted {
        let digest = object.digest();
        let current = observed.get(key);
        if current.is_some_and(|current| current.digest == digest) {
            continue;
        }
        changes.digests.extend(digest.map(|digest| (key.clone(), digest)));
        changes.foreign_edits.extend(
            current.and_then(|current| current.edited_by.clone()).map(|manager| ForeignEdit {
                key: key.clone(),
                manager,
                what: Interference::Edited,
            }),
        );
        changes.writes.push(match current {
            None => Change::Create(key.clone(), object.clone()),
            Some(current) => Change::Update(key.clone(), object.clone(), Precondition::from(current)),
        });
    }
    changes.writes.sort_by_key(|change| {
        let step = match change {
            Change::Create(..) => 0,
            Change::Update(..) => 1,
            Change::Delete(..) => 2,
        };
        (change.key().kind, step)
    });
    changes
}
