//! What to write, decided from what should be and what is. Pure.

use super::desired::Desired;
use super::digest::Digest;
use super::key::ObjectKey;
use super::observed::Observed;
use kube::core::ObjectMeta;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One write. Each carries what it was decided on, so that a process that slept through its lease cannot carry it out.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// An object that is not known to exist: refused by the API server where one does.
    Create(ObjectKey, Desired),
    /// An object that differs: refused where it has changed since, or is another by now.
    Update(ObjectKey, Desired, Precondition),
    /// An object that is ours and no longer wanted.
    Delete(ObjectKey, Precondition),
}

impl Change {
    /// The object it is about.
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

/// What an object has to be still, for a write to be carried out.
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

/// What somebody did to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Interference {
    /// Changed it.
    Edited,
    /// Deleted it.
    Deleted,
}

/// An object of ours that somebody else changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignEdit {
    /// The object.
    pub key: ObjectKey,
    /// The field manager that did.
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
    /// What others did to objects of ours.
    pub foreign_edits: Vec<ForeignEdit>,
    /// Of what is to be written, the digests.
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
        let held = observed.get(key);
        if held.is_some_and(|held| held.digest == digest) {
            continue;
        }
        changes.digests.extend(digest.map(|digest| (key.clone(), digest)));
        match held {
            None => changes.writes.push(Change::Create(key.clone(), object.clone())),
            Some(held) => {
                if let Some(manager) = &held.edited_by {
                    let (manager, what) = (Arc::clone(manager), Interference::Edited);
                    changes.foreign_edits.push(ForeignEdit { key: key.clone(), manager, what });
                }
                changes.writes.push(Change::Update(key.clone(), object.clone(), Precondition::from(held)));
            }
        }
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
