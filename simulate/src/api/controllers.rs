//! The controllers of the cluster that matter to the operator. Each call does one step of their work, so that a world decides
//! how slow they are.

use super::delete::{FOREGROUND, ORPHAN};
use super::store::{Key, Store, Stored};
use serde_json::{Value, json};
use std::sync::Arc;

impl Store {
    /// One step of the garbage collector: the first object that it has work with, by kind, namespace and name. Returns whether
    /// there was one.
    ///
    /// An object goes if none of its owners exists. If some exist, the references to the others go. An owner is an object of the
    /// reference's kind and uid in the same namespace, or in none.
    pub fn collect_garbage(&mut self) -> bool {
        if !self.may_have_garbage {
            return false;
        }
        let work = self
            .all()
            .find_map(|(key, object)| self.duty(key, object).map(|duty| (key.clone(), Arc::clone(object), duty)));
        let Some((key, object, duty)) = work else {
            self.may_have_garbage = false;
            return false;
        };
        match duty {
            Duty::Delete => drop(self.delete(&key, &json!({}), false, "garbage-collector", &mut |_, _| Ok(()))),
            Duty::Keep(references) => {
                let mut changed = object.value.clone();
                set(&mut changed["metadata"], "ownerReferences", references);
                self.put_whole(key, changed);
            }
            Duty::Release(finalizer) => self.release(&key, &object, finalizer),
        }
        true
    }

    fn duty(&self, key: &Key, object: &Stored) -> Option<Duty> {
        if object.is_deleting() {
            let has = |finalizer: &str| listed(&object.value, "finalizers").any(|known| known == finalizer);
            if has(ORPHAN) {
                return Some(match self.dependents(object).first() {
                    None => Duty::Release(ORPHAN),
                    Some(_) => return None,
                });
            }
            let waits = || self.dependents(object).iter().any(|key| self.blocks(key, object));
            return (has(FOREGROUND) && !waits()).then_some(Duty::Release(FOREGROUND));
        }
        let references: Vec<&Value> = listed(&object.value, "ownerReferences").collect();
        if references.is_empty() || self.kinds.get(key.kind).uncollected {
            return None;
        }
        let owners: Vec<(&Value, Owner)> =
            references.into_iter().map(|reference| (reference, self.owner(key, reference))).collect();
        if owners.iter().all(|(_, owner)| matches!(owner, Owner::Gone | Owner::Waits)) {
            return Some(Duty::Delete);
        }
        let kept: Vec<Value> = owners
            .iter()
            .filter(|(_, owner)| *owner == Owner::Lives)
            .map(|(reference, _)| (*reference).clone())
            .collect();
        (kept.len() < owners.len()).then_some(Duty::Keep(kept))
    }

    fn owner(&self, key: &Key, reference: &Value) -> Owner {
        // A kind that was never known cannot be looked up: the collector waits.
        let Some(kind) = self.kinds.meant(reference) else { return Owner::Lives };
        let namespace = if self.kinds.get(kind).namespaced { key.namespace.clone() } else { String::new() };
        let name = reference["name"].as_str().unwrap_or_default().to_owned();
        let found = self.get(&Key { kind, namespace, name }).filter(|owner| owner.metadata("uid") == reference["uid"]);
        let Some(owner) = found else { return Owner::Gone };
        let has = |finalizer: &str| listed(&owner.value, "finalizers").any(|known| known == finalizer);
        match owner.is_deleting() {
            true if has(ORPHAN) => Owner::Orphans,
            true if has(FOREGROUND) => Owner::Waits,
            _ => Owner::Lives,
        }
    }

    /// The objects that refer to an owner.
    fn dependents(&self, owner: &Stored) -> Vec<Key> {
        let uid = owner.metadata("uid");
        let refers =
            |object: &Stored| listed(&object.value, "ownerReferences").any(|reference| reference["uid"] == uid);
        self.all().filter(|(_, object)| refers(object)).map(|(key, _)| key.clone()).collect()
    }

    /// Whether an object keeps an owner from going before it.
    fn blocks(&self, key: &Key, owner: &Stored) -> bool {
        let uid = owner.metadata("uid");
        let blocks = |reference: &Value| reference["uid"] == uid && reference["blockOwnerDeletion"] == true;
        self.get(key).is_some_and(|object| listed(&object.value, "ownerReferences").any(blocks))
    }

    fn release(&mut self, key: &Key, object: &Stored, finalizer: &str) {
        let kept: Vec<Value> =
            listed(&object.value, "finalizers").filter(|known| **known != *finalizer).cloned().collect();
        if kept.is_empty() {
            self.remove(key);
            return;
        }
        let mut changed = object.value.clone();
        set(&mut changed["metadata"], "finalizers", kept);
        self.put_whole(key.clone(), changed);
    }

    /// One step of the namespace controller: deletes the first object of a terminating namespace that is not being deleted yet, or
    /// a terminating namespace that is empty. Returns whether there was work.
    pub fn terminate_namespaces(&mut self) -> bool {
        let Some(namespaces) = self.kinds.find("", "namespaces") else { return false };
        let terminating: Vec<Key> = self
            .objects(namespaces, None)
            .filter(|(_, namespace)| namespace.is_deleting())
            .map(|(key, _)| key.clone())
            .collect();
        for namespace in terminating {
            let inside = || self.all().filter(|(key, _)| key.namespace == namespace.name);
            if inside().next().is_none() {
                self.remove(&namespace);
                return true;
            }
            let next = inside().find(|(_, object)| !object.is_deleting()).map(|(key, _)| key.clone());
            if let Some(key) = next {
                let deleted = self.delete(&key, &json!({}), false, "namespace-controller", &mut |_, _| Ok(()));
                return deleted.is_ok();
            }
        }
        false
    }
}

enum Duty {
    Delete,
    Keep(Vec<Value>),
    Release(&'static str),
}

#[derive(PartialEq, Eq)]
enum Owner {
    Lives,
    Gone,
    /// It waits for its dependents to go.
    Waits,
    /// It waits for its dependents to be released.
    Orphans,
}

fn listed<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = &'a Value> {
    object["metadata"].get(field).and_then(Value::as_array).into_iter().flatten()
}

fn set(metadata: &mut Value, field: &str, values: Vec<Value>) {
    if let (true, Some(metadata)) = (values.is_empty(), metadata.as_object_mut()) {
        metadata.remove(field);
    } else {
        metadata[field] = values.into();
    }
}
