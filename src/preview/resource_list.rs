//! A ResourceList, the input and output of KRM functions (kustomize, kpt). The output has the objects of our resources in
//! place of the resources. Pure.

use crate::crd::{CitrixAllowlist, Problem};
use crate::manifests::document::Object;
use crate::preview::Preview;
use kube::ResourceExt as _;
use serde_json::{Map, Value, json};

/// The most results that an answer carries for one resource: status holds as many.
const MOST_RESULTS: usize = 50;

/// Whether an object is a ResourceList, of whichever version.
#[must_use]
pub fn is_one(value: &Value) -> bool {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    text("kind") == "ResourceList" && text("apiVersion").starts_with("config.kubernetes.io/")
}

/// The objects of a ResourceList, each with its place. Its `functionConfig` is one of them where it is a resource of ours:
/// kustomize gives generators their input there. The same resource may be among the items too; it counts once.
#[must_use]
pub fn objects(list: &Value) -> Vec<Object> {
    let items = list.get("items").and_then(Value::as_array).into_iter().flatten().enumerate();
    let mut objects: Vec<Object> =
        items.map(|(index, item)| Object { value: item.clone(), pointer: format!("/items/{index}") }).collect();
    let config = list
        .get("functionConfig")
        .filter(|config| config.get("kind").and_then(Value::as_str) == Some("CitrixAllowlist"))
        .filter(|config| !objects.iter().any(|object| identity(&object.value) == identity(config)));
    objects.extend(config.map(|config| Object { value: config.clone(), pointer: "/functionConfig".to_owned() }));
    objects
}

/// The fields that identify an object.
fn identity(object: &Value) -> [Option<&str>; 4] {
    ["/apiVersion", "/kind", "/metadata/namespace", "/metadata/name"]
        .map(|field| object.pointer(field).and_then(Value::as_str))
}

/// The items and results of the answer to a ResourceList.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FunctionResult {
    items: Vec<Value>,
    results: Vec<Value>,
}

impl FunctionResult {
    /// Lets an object of another kind through.
    pub fn pass(&mut self, item: Value) {
        self.items.push(item);
    }

    /// Puts the objects of a resource in its place.
    ///
    /// # Errors
    /// Where an object does not serialise, which none fails to.
    pub fn add(&mut self, resource: &CitrixAllowlist, preview: &Preview) -> anyhow::Result<()> {
        let objects = preview.applied(resource.spec.mode);
        for (_, object) in &objects {
            self.items.push(serde_json::to_value(object.shown())?);
        }
        self.results.extend(preview.problems.iter().take(MOST_RESULTS).map(|problem| result(resource, problem)));
        Ok(())
    }

    /// The answer to `given`.
    #[must_use]
    pub fn list(self, given: &Value) -> Value {
        let mut list = Map::new();
        for field in ["apiVersion", "kind", "functionConfig"] {
            list.extend(given.get(field).map(|value| (field.to_owned(), value.clone())));
        }
        list.insert("items".to_owned(), self.items.into());
        if !self.results.is_empty() {
            list.insert("results".to_owned(), self.results.into());
        }
        list.into()
    }
}

fn result(resource: &CitrixAllowlist, problem: &Problem) -> Value {
    json!({
        "message": problem.sentence(),
        "severity": "warning",
        "resourceRef": {
            "apiVersion": "citrix-allowlist.io/v1alpha1",
            "kind": "CitrixAllowlist",
            "name": resource.name_any(),
            "namespace": resource.namespace().unwrap_or_default(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_resource_list_is_one() {
        assert!(is_one(&json!({ "apiVersion": "config.kubernetes.io/v1", "kind": "ResourceList" })));
        assert!(is_one(&json!({ "apiVersion": "config.kubernetes.io/v1alpha1", "kind": "ResourceList" })));
        assert!(!is_one(&json!({ "apiVersion": "v1", "kind": "List" })));
        assert!(!is_one(&json!([])));
    }

    #[test]
    fn items_keep_their_order_and_a_config_of_ours_comes_last() {
        let list =
            json!({ "items": [{ "kind": "A" }, { "kind": "B" }], "functionConfig": { "kind": "CitrixAllowlist" } });
        let found = objects(&list);
        let places: Vec<&str> = found.iter().map(|object| object.pointer.as_str()).collect();
        assert_eq!(places, ["/items/0", "/items/1", "/functionConfig"]);
        assert!(objects(&json!({ "functionConfig": { "kind": "ConfigMap" } })).is_empty());
    }

    #[test]
    fn a_config_that_is_an_item_too_counts_once() {
        let config = |name: &str| json!({ "kind": "CitrixAllowlist", "metadata": { "name": name } });
        let mut item = config("a");
        item["metadata"]["annotations"] = json!({ "config.kubernetes.io/index": "0" });
        let list = |name: &str| json!({ "items": [item], "functionConfig": config(name) });
        assert_eq!(objects(&list("a")).len(), 1);
        assert_eq!(objects(&list("b")).len(), 2);
    }

    #[test]
    fn an_answer_is_a_list_of_the_same_version() {
        let given = json!({ "apiVersion": "config.kubernetes.io/v1", "kind": "ResourceList", "items": [1], "more": 2 });
        let mut answer = FunctionResult::default();
        answer.pass(json!({ "kind": "A" }));
        let expected =
            json!({ "apiVersion": "config.kubernetes.io/v1", "kind": "ResourceList", "items": [{ "kind": "A" }] });
        assert_eq!(answer.list(&given), expected);
    }
}
