//! Deletions: preconditions, propagation and finalizers.

use super::admission::{Admission, Phase};
use super::failure::ApiFailure;
use super::kinds::{ApiKind, empty};
use super::prepare::broken_precondition;
use super::store::{Key, Store, Stored};
use super::write::Admit;
use serde_json::{Value, json};
use std::sync::Arc;

/// The finalizer of an object that goes after its dependents.
pub(super) const FOREGROUND: &str = "foregroundDeletion";
/// The finalizer of an object whose dependents stay.
pub(super) const ORPHAN: &str = "orphan";

/// The answer to a deletion.
#[derive(Debug)]
pub(super) enum Deleted {
    /// It is gone.
    Gone(Value),
    /// The object itself, which waits for its finalizers or was the last version.
    Object(Arc<Stored>),
}

impl Store {
    /// Deletes an object as `options` (DeleteOptions) say.
    pub(super) fn delete(
        &mut self,
        key: &Key,
        options: &Value,
        dry_run: bool,
        manager: &str,
        admit: &mut Admit<'_>,
    ) -> Result<Deleted, ApiFailure> {
        let kind = Arc::clone(self.kinds.get(key.kind));
        let live = self.get(key).cloned().ok_or_else(|| ApiFailure::not_found(kind.subject(&key.name)))?;
        preconditions(&kind, &live, options)?;
        let before = Some(&live.value);
        let admission =
            Admission { kind: &kind, key, status: false, phase: Phase::Delete, before, manager, store: self };
        admit(&admission, &mut live.value.clone())?;
        if kind.plural == "namespaces" {
            return Ok(Deleted::Object(self.terminate(key, &live)));
        }
        let finalizers = finalizers(&kind, &live.value, options);
        if finalizers.is_empty() {
            lost_precondition(&kind, key, &live, options)?;
            if dry_run && live.value["metadata"].get("finalizers").is_some() {
                // A dry run that takes finalizers off answers with an empty object.
                let mut object = empty(&kind);
                object["metadata"] = json!({});
                return Ok(Deleted::Object(Stored::new(object)));
            }
            let uid = live.metadata("uid").to_owned();
            if !dry_run {
                self.remove(key);
            }
            return Ok(if kind.returns_deleted {
                Deleted::Object(live)
            } else {
                Deleted::Gone(gone(&kind, key, &uid))
            });
        }
        let mut object = live.value.clone();
        object["metadata"]["finalizers"] = finalizers.into();
        self.mark(&mut object);
        if object == live.value && live.is_stored_as(&kind, &object) || dry_run {
            return Ok(Deleted::Object(Stored::new(object)));
        }
        Ok(Deleted::Object(self.put_whole(key.clone(), object)))
    }

    /// Marks an object as being deleted.
    fn mark(&self, object: &mut Value) {
        let now = self.now();
        let metadata = &mut object["metadata"];
        if metadata.get("deletionTimestamp").is_none() {
            if let Some(generation) = metadata.get("generation").and_then(Value::as_i64).filter(|is| *is > 0) {
                metadata["generation"] = (generation + 1).into();
            }
            metadata["deletionTimestamp"] = now.into();
        }
        metadata["deletionGracePeriodSeconds"] = 0.into();
    }

    /// A namespace goes when everything in it has gone.
    fn terminate(&mut self, key: &Key, live: &Arc<Stored>) -> Arc<Stored> {
        if live.is_deleting() {
            return Arc::clone(live);
        }
        let mut object = live.value.clone();
        object["metadata"]["deletionTimestamp"] = self.now().into();
        object["status"]["phase"] = "Terminating".into();
        self.put_whole(key.clone(), object)
    }
}

fn preconditions(kind: &ApiKind, live: &Stored, options: &Value) -> Result<(), ApiFailure> {
    let wanted = |field: &str| options.pointer(&format!("/preconditions/{field}")).and_then(Value::as_str);
    let name = live.metadata("name");
    let subject = kind.content(name);
    if let Some(uid) = wanted("uid").filter(|uid| *uid != live.metadata("uid")) {
        let why = format!(
            "the UID in the precondition ({uid}) does not match the UID in record ({}). The object might have been deleted and then recreated",
            live.metadata("uid")
        );
        return Err(ApiFailure::conflict(subject, &why));
    }
    if let Some(version) = wanted("resourceVersion").filter(|version| *version != live.metadata("resourceVersion")) {
        let why = format!(
            "the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record ({}). The object might have been modified",
            live.metadata("resourceVersion")
        );
        return Err(ApiFailure::conflict(subject, &why));
    }
    Ok(())
}

/// The API server forgets the wanted version when it takes finalizers off an object to delete it at once, and then finds
/// another one.
fn lost_precondition(kind: &ApiKind, key: &Key, live: &Stored, options: &Value) -> Result<(), ApiFailure> {
    let had_finalizers = live.value["metadata"].get("finalizers").is_some();
    if !had_finalizers || options.pointer("/preconditions/resourceVersion").is_none() {
        return Ok(());
    }
    let found = live.metadata("resourceVersion");
    let why = format!("ResourceVersion in precondition: , ResourceVersion in object meta: {found}");
    Err(broken_precondition(kind, key, false, &why))
}

/// The finalizers of an object that is deleted: its own, and that of the wanted propagation.
fn finalizers(kind: &ApiKind, object: &Value, options: &Value) -> Vec<Value> {
    let known = object["metadata"]["finalizers"].as_array().map_or(&[][..], Vec::as_slice);
    let policy = match options.get("propagationPolicy").and_then(Value::as_str) {
        Some("Foreground") => Some(FOREGROUND),
        Some("Orphan") => Some(ORPHAN),
        Some(_) => None,
        None => [ORPHAN, FOREGROUND].into_iter().find(|policy| known.iter().any(|finalizer| finalizer == policy)),
    };
    let others = known.iter().filter(|finalizer| **finalizer != *FOREGROUND && **finalizer != *ORPHAN);
    let mut finalizers: Vec<Value> = others.cloned().collect();
    finalizers.extend(policy.filter(|_| !kind.uncollected).map(Value::from));
    finalizers
}

fn gone(kind: &ApiKind, key: &Key, uid: &str) -> Value {
    let mut details = json!({ "name": key.name, "kind": kind.plural, "uid": uid });
    if !kind.group.is_empty() {
        details["group"] = kind.group.clone().into();
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}
