//! Who wrote which fields of an object, as its managed fields show it. Pure.

use super::digest::Digest;
use crate::crd::FIELD_MANAGER;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta};
use std::collections::HashMap;
use std::sync::Arc;

/// The entries of the operator's own field manager.
fn ours(metadata: &ObjectMeta) -> impl Iterator<Item = &ManagedFieldsEntry> {
    metadata.managed_fields.iter().flatten().filter(|entry| entry.manager.as_deref() == Some(FIELD_MANAGER))
}

/// Who holds our fields of an object now, where it is not the operator: who changes a field takes it from its
/// former holder, so a field still held by the operator is as the operator wrote it.
#[must_use]
pub fn edited_by(metadata: &ObjectMeta, section: &str, owned: impl Fn(&str) -> bool) -> Option<Arc<str>> {
    let mut holders: HashMap<&str, Vec<&str>> = HashMap::new();
    for entry in metadata.managed_fields.iter().flatten() {
        let fields = entry.fields_v1.as_ref().and_then(|fields| fields.0.get(section)?.as_object());
        for field in fields.into_iter().flat_map(|fields| fields.keys()).filter_map(|field| field.strip_prefix("f:")) {
            if owned(field) {
                holders.entry(field).or_default().push(entry.manager.as_deref().unwrap_or("an unnamed manager"));
            }
        }
    }
    let mut strangers: Vec<&str> = holders
        .into_values()
        .filter(|managers| !managers.contains(&FIELD_MANAGER))
        .filter_map(|managers| managers.into_iter().min())
        .collect();
    strangers.sort_unstable();
    strangers.first().map(|manager| Arc::from(*manager))
}

/// Whether managed fields show the operator as a holder of a field. Who may write an object may also clear them:
/// then nobody is known to have written it, which is not to say that the operator did.
#[must_use]
pub fn holds(metadata: &ObjectMeta, section: &str, field: &str) -> bool {
    let path = format!("f:{field}");
    ours(metadata)
        .filter_map(|entry| entry.fields_v1.as_ref()?.0.get(section))
        .any(|fields| fields.get(&path).is_some())
}

/// Whether managed fields show an annotation to be the operator's: that of somebody else would let a policy go.
#[must_use]
pub fn holds_annotation(metadata: &ObjectMeta, key: &str) -> bool {
    let path = format!("f:{key}");
    ours(metadata)
        .filter_map(|entry| entry.fields_v1.as_ref()?.0.get("f:metadata")?.get("f:annotations"))
        .any(|annotations| annotations.get(&path).is_some())
}

/// When something last wrote an object under the operator's own name: the API server moves an entry's time only where its
/// manager writes, and not where another takes a field away.
#[must_use]
pub fn written_at(metadata: &ObjectMeta) -> Option<Timestamp> {
    ours(metadata).filter_map(|entry| Some(entry.time.as_ref()?.0)).max()
}

/// Which fields are held under the operator's own name: who changes or takes one away under another name takes it from there.
#[must_use]
pub fn held(metadata: &ObjectMeta) -> Option<Digest> {
    let mut fields: Vec<_> = ours(metadata).map(|entry| (&entry.operation, &entry.fields_v1)).collect();
    fields.sort_by_key(|(operation, _)| *operation);
    Digest::of(&fields).filter(|_| !fields.is_empty())
}
