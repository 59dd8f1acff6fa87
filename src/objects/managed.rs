//! Who wrote which fields of an object, as its managed fields show it. Pure.

use super::digest::Digest;
use crate::crd::FIELD_MANAGER;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::Arc;

/// The entries of the operator's own field manager.
fn ours(metadata: &ObjectMeta) -> impl Iterator<Item = &ManagedFieldsEntry> {
    metadata.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
}

/// The manager that owns a field of ours now, where it is not the operator. A manager that changes a field takes it from its
/// previous owner, so a field that the operator still owns is as the operator wrote it.
#[must_use]
pub fn edited_by(metadata: &ObjectMeta, section: &str, owned: impl Fn(&str) -> bool) -> Option<Arc<str>> {
    let mut owners: HashMap<&str, Vec<&str>> = HashMap::new();
    for entry in metadata.managed_fields.iter().flatten() {
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get(section)?.as_object());
        for field in fields.into_iter().flat_map(|fields| fields.keys()).filter_map(|field| field.strip_prefix("f:")) {
            if owned(field) {
                owners.entry(field).or_default().push(entry.manager.as_deref().unwrap_or("an unnamed manager"));
            }
        }
    }
    let foreign = owners.into_values().filter(|managers| !managers.contains(&FIELD_MANAGER));
    foreign.flatten().min().map(Arc::from)
}

/// Whether managed fields show the operator as an owner of the field at `path`. A client that may write an object may also
/// clear them: then the writer is unknown, and not assumed to be the operator.
#[must_use]
pub fn owns(metadata: &ObjectMeta, path: &[&str]) -> bool {
    let fields = ours(metadata).filter_map(|entry| entry.fields_v1.as_ref());
    let mut at_path =
        fields.filter_map(|fields| path.iter().try_fold(&fields.0, |outer, field| outer.get(format!("f:{field}"))));
    at_path.any(|field| !field.is_null())
}

/// Whether managed fields show an annotation as the operator's: another client's could get a policy deleted.
#[must_use]
pub fn owns_annotation(metadata: &ObjectMeta, key: &str) -> bool {
    owns(metadata, &["metadata", "annotations", key])
}

/// Whether only the operator has written these sections of an object, such as `data`; if not, who else has, in a sentence.
///
/// # Errors
/// Another client has, or nobody.
pub fn only_ours(metadata: &ObjectMeta, sections: &[&str]) -> Result<(), String> {
    let writes = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_none_or(|fields| sections.iter().any(|section| fields.get(format!("f:{section}")).is_some()))
    };
    let mut ours = false;
    for entry in metadata.managed_fields.iter().flatten().filter(writes) {
        match entry.manager.as_deref() {
            Some(FIELD_MANAGER) => ours = true,
            other => return Err(format!("`{}` has written to it", other.unwrap_or("an unnamed client"))),
        }
    }
    if ours { Ok(()) } else { Err("it is not the operator's own".to_owned()) }
}

/// Leaves of the managed fields only who wrote the spec last, without the names of the fields.
pub fn keep_writer_of_spec(metadata: &mut ObjectMeta) {
    let writes_spec = |entry: &ManagedFieldsEntry| {
        entry.subresource.is_none() && entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:spec").is_some())
    };
    let entries = metadata.managed_fields.take().into_iter().flatten().filter(writes_spec);
    let newest = entries.max_by_key(|entry| entry.time.as_ref().map(|time| time.0));
    metadata.managed_fields = newest.map(|entry| vec![ManagedFieldsEntry { fields_v1: None, ..entry }]);
}

/// Who wrote the spec last, of an object that [`keep_writer_of_spec`] has reduced.
#[must_use]
pub fn writer_of_spec(metadata: &ObjectMeta) -> Option<Arc<str>> {
    metadata.managed_fields.iter().flatten().find_map(|entry| entry.manager.as_deref()).map(Arc::from)
}

/// The fields that the operator's last apply no longer had and that stay all the same, as a merge patch that removes them; `None` if
/// there are none. An object is created by a POST, and fields of a POST count as another manager's, although it has the same name: an
/// apply removes no field that another manager owns.
#[must_use]
pub fn left_behind(metadata: &ObjectMeta) -> Option<Value> {
    let fields = |is_apply: bool| {
        let entries = ours(metadata).filter(move |entry| (entry.operation.as_deref() == Some("Apply")) == is_apply);
        entries.filter_map(|entry| Some(&entry.fields_v1.as_ref()?.0))
    };
    let applied = fields(true).next()?;
    let mut removals = Map::new();
    for created in fields(false) {
        removals.extend(beyond(created, applied));
    }
    (!removals.is_empty()).then_some(Value::Object(removals))
}

/// The fields of a set that another set lacks, each as null in its place. Members of lists are left out: a merge patch cannot name them.
fn beyond(fields: &Value, others: &Value) -> Map<String, Value> {
    let named = fields.as_object().into_iter().flatten();
    let named = named.filter_map(|(path, below)| Some((path, path.strip_prefix("f:")?, below)));
    let lacking = named.filter_map(|(path, name, below)| match others.get(path) {
        None => Some((name.to_owned(), Value::Null)),
        Some(other) => {
            let inner = beyond(below, other);
            (!inner.is_empty()).then(|| (name.to_owned(), Value::Object(inner)))
        }
    });
    lacking.collect()
}

/// When something last wrote an object under the operator's name. The API server moves an entry's time only when its manager
/// writes, not when another takes a field from it.
#[must_use]
pub fn written_at(metadata: &ObjectMeta) -> Option<Timestamp> {
    ours(metadata).filter_map(|entry| Some(entry.time.as_ref()?.0)).max()
}

/// Digest of the fields owned under the operator's name: another manager that changes or removes one takes it from there.
#[must_use]
pub fn owned_fields(metadata: &ObjectMeta) -> Option<Digest> {
    let mut fields: Vec<_> = ours(metadata).map(|entry| (&entry.operation, &entry.fields_v1)).collect();
    fields.sort_by_key(|(operation, _)| *operation);
    Digest::of(&fields).filter(|_| !fields.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn metadata(entries: &[(&str, &str, Value)]) -> ObjectMeta {
        let entry = |(manager, operation, fields): &(&str, &str, Value)| json!({ "manager": manager, "operation": operation, "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": fields });
        let entries: Vec<Value> = entries.iter().map(entry).collect();
        serde_json::from_value(json!({ "managedFields": entries })).expect("metadata")
    }

    #[test]
    fn what_only_the_creation_owns_is_left_behind() {
        let created = json!({
            "f:metadata": { "f:annotations": { ".": {}, "f:a": {}, "f:b": {} }, "f:ownerReferences": { "k:{\"uid\":\"1\"}": {} } },
            "f:data": { ".": {}, "f:egress.cidrs": {}, "f:ingress.cidrs": {} },
        });
        let applied = json!({
            "f:metadata": { "f:annotations": { "f:a": {} }, "f:ownerReferences": { "k:{\"uid\":\"2\"}": {} } },
            "f:data": { "f:egress.cidrs": {} },
        });
        let both = [(FIELD_MANAGER, "Update", created.clone()), (FIELD_MANAGER, "Apply", applied.clone())];
        let expected = json!({ "metadata": { "annotations": { "b": null } }, "data": { "ingress.cidrs": null } });
        assert_eq!(left_behind(&metadata(&both)), Some(expected));
        let others = [("kubectl", "Update", created.clone()), (FIELD_MANAGER, "Apply", applied)];
        assert_eq!(left_behind(&metadata(&others)), None, "another client's fields are its own");
        let equal = [(FIELD_MANAGER, "Update", created.clone()), (FIELD_MANAGER, "Apply", created.clone())];
        assert_eq!(left_behind(&metadata(&equal)), None);
        assert_eq!(left_behind(&metadata(&[(FIELD_MANAGER, "Update", created)])), None, "nothing was applied yet");
    }
}
