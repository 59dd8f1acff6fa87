//! What admission sees of a write, and a quota on objects.

use super::failure::ApiFailure;
use super::kinds::ApiKind;
use super::store::{Key, Store};
use serde_json::Value;

/// When admission is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Before validation: the object may be altered.
    Alter,
    /// After validation: alterations are ignored by the API server, so make none.
    Check,
    /// Before a deletion: the object is the one that is deleted.
    Delete,
}

/// A write that admission may alter or refuse.
#[derive(Debug)]
pub struct Admission<'a> {
    /// The object's kind.
    pub kind: &'a ApiKind,
    /// The object; its name is empty if it is still to be generated.
    pub key: &'a Key,
    /// Whether the write is to the status.
    pub status: bool,
    /// When it is asked.
    pub phase: Phase,
    /// The version before; `None` if the object is created.
    pub before: Option<&'a Value>,
    /// The field manager.
    pub manager: &'a str,
    /// The cluster before the write.
    pub store: &'a Store,
}

/// A step of admission: it alters the object, or refuses it. Kubernetes' own words for refusals are in [`ApiFailure`].
pub type Admit = Box<dyn FnMut(&Admission<'_>, &mut Value) -> Result<(), ApiFailure> + Send>;

/// A quota named `quota`: at most `most` objects of a resource in a namespace.
#[must_use]
pub fn quota(quota: &str, namespace: &str, plural: &str, most: usize) -> Admit {
    let (quota, namespace, plural) = (quota.to_owned(), namespace.to_owned(), plural.to_owned());
    Box::new(move |admission, _| {
        let (kind, key) = (admission.kind, admission.key);
        let counts = admission.phase == Phase::Check && admission.before.is_none();
        if !counts || kind.plural != plural || key.namespace != namespace {
            return Ok(());
        }
        let used = admission.store.objects(key.kind, Some(&namespace)).count();
        if used < most {
            return Ok(());
        }
        let counted = match &*kind.group {
            "" => format!("count/{plural}"),
            group => format!("count/{plural}.{group}"),
        };
        let why = format!(
            "exceeded quota: {quota}, requested: {counted}=1, used: {counted}={used}, limited: {counted}={most}"
        );
        Err(ApiFailure::forbidden(kind.subject(&key.name), &why))
    })
}
