//! What people and the cluster itself do to objects: without rights, admission or faults.

use super::ApiServer;
use super::admission::Admission;
use super::failure::ApiFailure;
use super::store::{Key, Store, Stored, text};
use super::write::Write;
use serde_json::{Value, json};
use std::sync::Arc;

impl ApiServer {
    /// Reads or changes the objects.
    pub fn with<T>(&self, act: impl FnOnce(&mut Store) -> T) -> T {
        let mut state = self.lock();
        state.store.author = Arc::from("");
        let result = act(&mut state.store);
        self.changed(state);
        result
    }

    /// Creates an object.
    ///
    /// # Errors
    /// The object is not valid, or there is one already.
    pub fn add(&self, object: &Value) -> Result<Arc<Stored>, ApiFailure> {
        self.with(|store| {
            let kind = store.kinds.meant(object).ok_or_else(ApiFailure::no_resource)?;
            let namespace = text(object, "namespace").to_owned();
            let key = Key { kind, namespace, name: text(object, "name").to_owned() };
            let mut admit = |_: &Admission<'_>, _: &mut Value| Ok(());
            let write = Write { key: &key, status: false, manager: "world", dry_run: false, admit: &mut admit };
            Ok(store.create(write, object.clone())?.object)
        })
    }

    /// Creates a namespace.
    ///
    /// # Errors
    /// There is one already, or its name is none.
    pub fn add_namespace(&self, name: &str) -> Result<Arc<Stored>, ApiFailure> {
        self.add(&json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
            "spec": { "finalizers": ["kubernetes"] },
            "status": { "phase": "Active" },
        }))
    }

    /// Changes every object of a resource in a namespace that `which` selects, as `manager`. What is refused stays as it is.
    pub fn edit(
        &self,
        resource: (&str, &str),
        namespace: &str,
        manager: &str,
        which: impl Fn(&Stored) -> bool,
        change: impl Fn(&mut Value),
    ) {
        self.with(|store| {
            for key in selected(store, resource, namespace, which) {
                let mut admit = |_: &Admission<'_>, _: &mut Value| Ok(());
                let write = Write { key: &key, status: false, manager, dry_run: false, admit: &mut admit };
                let _ = store.patch(write, |object| {
                    change(object);
                    Ok(())
                });
            }
        });
    }

    /// Deletes every object of a resource in a namespace that `which` selects.
    pub fn delete_all(&self, resource: (&str, &str), namespace: &str, which: impl Fn(&Stored) -> bool) {
        self.with(|store| {
            for key in selected(store, resource, namespace, which) {
                let mut admit = |_: &Admission<'_>, _: &mut Value| Ok(());
                // One that is gone already is no error.
                let _ = store.delete(&key, &json!({}), false, "world", &mut admit);
            }
        });
    }
}

/// The objects of a resource (its group and plural name) in a namespace (empty for those without).
fn selected(store: &Store, resource: (&str, &str), namespace: &str, which: impl Fn(&Stored) -> bool) -> Vec<Key> {
    let Some(kind) = store.kinds().find(resource.0, resource.1) else { return Vec::new() };
    let objects = store.objects(kind, Some(namespace));
    objects.filter(|(_, object)| which(object)).map(|(key, _)| key.clone()).collect()
}
