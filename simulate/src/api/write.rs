//! Creates and updates: what the API server does between a request and its storage.

use super::admission::{Admission, Phase};
use super::failure::{ApiFailure, Invalid, Subject};
use super::fields::FieldSet;
use super::kinds::{ApiKind, empty};
use super::managed::{Manager, Writer};
use super::prepare::{
    changed_identity, check, decode, invalid, keep_times, prepare, same_name, same_namespace, same_version, untyped,
    violations, wipe, wrong_uid,
};
use super::store::{Key, Store, Stored, text};
use serde_json::Value;
use std::sync::Arc;

/// Called with each object before it is stored. It may alter the object, or refuse.
pub(super) type Admit<'a> = dyn FnMut(&Admission<'_>, &mut Value) -> Result<(), ApiFailure> + 'a;

/// A write of one object.
pub(super) struct Write<'a> {
    pub key: &'a Key,
    /// Whether it goes to the status alone.
    pub status: bool,
    /// The field manager.
    pub manager: &'a str,
    /// Whether nothing is stored.
    pub dry_run: bool,
    pub admit: &'a mut Admit<'a>,
}

/// The answer to a write.
#[derive(Debug)]
pub(super) struct Written {
    pub object: Arc<Stored>,
    pub created: bool,
}

impl Store {
    /// The parts of a write that managed fields depend on.
    fn writer<'k>(&self, kind: &'k ApiKind, write: &Write<'_>, applies: bool) -> Writer<'k> {
        let manager = Manager {
            name: write.manager.to_owned(),
            applies,
            api_version: kind.api_version(),
            subresource: if write.status { "status".to_owned() } else { String::new() },
            time: Some(self.now()),
            fields: FieldSet::default(),
        };
        let reset: &[&str] = match (kind.status, write.status) {
            (false, _) => &[],
            (true, true) => &["metadata", "spec"],
            (true, false) => &["status"],
        };
        Writer { schema: &kind.schema, manager, reset }
    }

    /// Creates an object by POST.
    pub(super) fn create(&mut self, mut write: Write<'_>, mut object: Value) -> Result<Written, ApiFailure> {
        let kind = Arc::clone(self.kinds.get(write.key.kind));
        decode(&kind, &mut object, &write.key.namespace)?;
        wipe(&mut object);
        self.writer(&kind, &write, false).update(&empty(&kind), &mut object);
        self.insert(&kind, &mut write, object, true)
    }

    /// Stores a new object that has its managers. Only a POST may not name a version.
    fn insert(
        &mut self,
        kind: &ApiKind,
        write: &mut Write<'_>,
        mut object: Value,
        posted: bool,
    ) -> Result<Written, ApiFailure> {
        let prefix = text(&object, "generateName").to_owned();
        if text(&object, "name").is_empty() && !prefix.is_empty() {
            object["metadata"]["name"] = format!("{prefix}{}", self.suffix()).into();
        }
        let key = Key { name: text(&object, "name").to_owned(), ..write.key.clone() };
        self.may_create_in(kind, &key)?;
        self.admit(kind, write, &key, Phase::Alter, None, &mut object)?;
        object["metadata"]["creationTimestamp"] = self.now().into();
        object["metadata"]["uid"] = self.uid().into();
        if let (true, Some(object)) = (kind.custom && kind.status, object.as_object_mut()) {
            object.remove("status");
        }
        if kind.generation {
            object["metadata"]["generation"] = 1.into();
        }
        let stored = object.clone();
        kind.normalise(&mut object);
        check(kind, &key, &object, &stored)?;
        self.admit(kind, write, &key, Phase::Check, None, &mut object)?;
        if posted && !write.dry_run && object["metadata"].get("resourceVersion").is_some() {
            return Err(ApiFailure::plain("resourceVersion should not be set on objects to be created"));
        }
        if let Some(existing) = self.get(&key) {
            let mut failure = ApiFailure::already_exists(kind.subject(&key.name));
            if existing.is_deleting() {
                failure.message = format!("object is being deleted: {}", failure.message);
            }
            return Err(failure);
        }
        let object = if write.dry_run { Stored::new(object) } else { self.put(kind, key, object, stored) };
        Ok(Written { object, created: true })
    }

    /// A namespace has to exist, and not to terminate, for a new object in it.
    fn may_create_in(&self, kind: &ApiKind, key: &Key) -> Result<(), ApiFailure> {
        let Some(namespaces) = self.kinds.find("", "namespaces").filter(|_| kind.namespaced) else { return Ok(()) };
        let namespace = Key { kind: namespaces, namespace: String::new(), name: key.namespace.clone() };
        match self.get(&namespace) {
            None => Err(ApiFailure::not_found(self.kinds.get(namespaces).subject(&key.namespace))),
            Some(found) if found.is_deleting() => {
                let why = format!(
                    "unable to create new content in namespace {} because it is being terminated",
                    key.namespace
                );
                let cause = format!("namespace {} is being terminated", key.namespace);
                let failure = ApiFailure::forbidden(kind.subject(&key.name), &why);
                Err(failure.because("NamespaceTerminating", &cause, "metadata.namespace"))
            }
            Some(_) => Ok(()),
        }
    }

    fn admit(
        &self,
        kind: &ApiKind,
        write: &mut Write<'_>,
        key: &Key,
        phase: Phase,
        before: Option<&Stored>,
        object: &mut Value,
    ) -> Result<(), ApiFailure> {
        let before = before.map(|before| &before.value);
        let admission =
            Admission { kind, key, status: write.status, phase, before, manager: write.manager, store: self };
        (write.admit)(&admission, object)
    }

    /// Replaces an object by PUT.
    pub(super) fn update(&mut self, mut write: Write<'_>, mut object: Value) -> Result<Written, ApiFailure> {
        let kind = Arc::clone(self.kinds.get(write.key.kind));
        let omits = kind.omits(&object);
        decode(&kind, &mut object, &write.key.namespace)?;
        same_name(&object, write.key)?;
        let uid = text(&object, "uid").to_owned();
        let Some(live) = self.get(write.key).cloned() else {
            if !kind.create_by_put || write.status {
                return Err(ApiFailure::not_found(kind.subject(&write.key.name)));
            }
            if !uid.is_empty() {
                return Err(wrong_uid(&kind, write.key, write.dry_run, &uid, ""));
            }
            self.writer(&kind, &write, false).update(&empty(&kind), &mut object);
            return self.insert(&kind, &mut write, object, false);
        };
        if !uid.is_empty() && uid != live.metadata("uid") {
            return Err(wrong_uid(&kind, write.key, write.dry_run, &uid, live.metadata("uid")));
        }
        self.writer(&kind, &write, false).update(&live.value, &mut object);
        self.replace(&kind, &mut write, &live, object, omits)
    }

    /// Patches an object by a merge patch, or a JSON patch.
    pub(super) fn patch(
        &mut self,
        mut write: Write<'_>,
        patch: impl FnOnce(&mut Value) -> Result<(), ApiFailure>,
    ) -> Result<Written, ApiFailure> {
        let kind = Arc::clone(self.kinds.get(write.key.kind));
        let live = self.get(write.key).cloned().ok_or_else(|| ApiFailure::not_found(kind.subject(&write.key.name)))?;
        let mut object = live.value.clone();
        patch(&mut object)?;
        if let Some(text) = kind.schema.unreadable(&object) {
            let message = format!("Invalid value: parsing time {text:?}");
            let wrong = Invalid { field: "patch".to_owned(), reason: "FieldValueInvalid", message };
            return Err(ApiFailure::invalid(Subject { group: "", kind: "", name: "" }, &[wrong]));
        }
        let omits = kind.omits(&object);
        decode(&kind, &mut object, &write.key.namespace)?;
        same_name(&object, write.key)?;
        self.writer(&kind, &write, false).update(&live.value, &mut object);
        self.replace(&kind, &mut write, &live, object, omits)
    }

    /// Applies a configuration: creates the object, or changes what its manager says of it.
    pub(super) fn apply(&mut self, mut write: Write<'_>, sent: &Value, force: bool) -> Result<Written, ApiFailure> {
        let kind = Arc::clone(self.kinds.get(write.key.kind));
        let live = self.get(write.key).cloned();
        if live.is_none() && write.status {
            return Err(ApiFailure::not_found(kind.subject(&write.key.name)));
        }
        if sent["apiVersion"] != *kind.api_version() || sent["kind"] != *kind.kind {
            let (version, name) = (sent["apiVersion"].as_str(), sent["kind"].as_str());
            let (version, name) = (version.unwrap_or_default(), name.unwrap_or_default());
            return Err(ApiFailure::bad_request(format!("invalid object type: {version}, Kind={name}")));
        }
        if sent["metadata"].get("managedFields").is_some_and(|entries| !entries.is_null()) {
            return Err(ApiFailure::bad_request("metadata.managedFields must be nil"));
        }
        let mut untypable = Vec::new();
        untyped(&kind.schema, sent, "", &mut untypable);
        if !untypable.is_empty() {
            let why = match untypable.as_slice() {
                [one] => one.clone(),
                several => format!("errors:\n  {}", several.join("\n  ")),
            };
            return Err(ApiFailure::plain(format!(
                "failed to create typed patch object ({}/{}; {}, Kind={}): {why}",
                text(sent, "namespace"),
                text(sent, "name"),
                kind.api_version(),
                kind.kind
            )));
        }
        let base = live.as_ref().map_or_else(|| empty(&kind), |live| live.value.clone());
        let mut object = self.writer(&kind, &write, true).apply(&base, sent, force)?;
        if let Some(text) = kind.schema.unreadable(&object) {
            return Err(ApiFailure::plain(format!("failed to convert new object: parsing time {text:?}")));
        }
        let omits = kind.omits(&object);
        kind.read_applied(&mut object);
        let uid = text(&object, "uid").to_owned();
        if live.is_none() && !uid.is_empty() {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            return Err(ApiFailure::conflict(kind.subject(&write.key.name), &why));
        }
        same_namespace(&mut object, &write.key.namespace)?;
        same_name(&object, write.key)?;
        match live {
            Some(live) => self.replace(&kind, &mut write, &live, object, omits),
            None => self.insert(&kind, &mut write, object, false),
        }
    }

    /// Stores a new version of an object that has its managers.
    fn replace(
        &mut self,
        kind: &ApiKind,
        write: &mut Write<'_>,
        live: &Arc<Stored>,
        mut object: Value,
        omits: bool,
    ) -> Result<Written, ApiFailure> {
        self.admit(kind, write, write.key, Phase::Alter, Some(live), &mut object)?;
        same_version(kind, write.key, live, &mut object)?;
        prepare(kind, write.status, live, &mut object, omits);
        let mut stored = object.clone();
        kind.normalise(&mut object);
        let mut wrong = changed_identity(kind, live, &object);
        wrong.extend(violations(kind, &object, &stored));
        if !wrong.is_empty() {
            return Err(invalid(kind, write.key, &wrong));
        }
        keep_times(live, &mut object, &mut stored);
        self.admit(kind, write, write.key, Phase::Check, Some(live), &mut object)?;
        if live.is_deleting() && object["metadata"].get("finalizers").is_none() {
            if !write.dry_run {
                self.remove(write.key);
            }
            return Ok(Written { object: Stored::new(object), created: false });
        }
        let object = if object == live.value && live.is_stored_as(kind, &stored) {
            Arc::clone(live)
        } else if write.dry_run {
            Stored::new(object)
        } else {
            self.put(kind, write.key.clone(), object, stored)
        };
        Ok(Written { object, created: false })
    }
}
