//! Reads whole objects of the kinds that the operator writes.

use super::client::{CALL_TIMEOUT, CallError, deadline, pages};
use super::object::Object;
use crate::objects::desired::Desired;
use crate::objects::key::ObjectKey;
use crate::objects::kind::Kind;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

/// Objects in one page of a list.
const PAGE: u32 = 200;

/// Every object of a kind in a namespace, by name; with a label selector, only those that it selects.
///
/// # Errors
/// The API server does not answer with all of them.
pub async fn list(
    client: &Client,
    kind: &'static Kind,
    namespace: &str,
    selector: Option<&str>,
) -> Result<Vec<(ObjectKey, Desired)>, CallError> {
    let api: Api<Object> = Api::namespaced_with(client.clone(), namespace, &kind);
    let parameters = ListParams { label_selector: selector.map(str::to_owned), ..ListParams::default() };
    let mut found = Vec::new();
    pages(&api, parameters.limit(PAGE), CALL_TIMEOUT, |object| found.push(whole(kind, object))).await?;
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found)
}

/// An object by name; `None` if it does not exist.
///
/// # Errors
/// The API server does not answer.
pub async fn get(
    client: &Client,
    kind: &'static Kind,
    namespace: &str,
    name: &str,
) -> Result<Option<Desired>, CallError> {
    let api: Api<Object> = Api::namespaced_with(client.clone(), namespace, &kind);
    let found = deadline(CALL_TIMEOUT, api.get_opt(name)).await?;
    Ok(found.map(|object| whole(kind, object).1))
}

fn whole(kind: &'static Kind, object: Object) -> (ObjectKey, Desired) {
    let key = ObjectKey::new(kind, object.namespace().unwrap_or_default(), object.name_any());
    (key, object.into_desired(kind))
}
