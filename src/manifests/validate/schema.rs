//! The schema of the CRD as the API server reads it: its own words besides JSON Schema's, defaults, keys of lists. Pure.

use super::Invalid;
use super::message::quoted;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// Changes the schemas of an object's fields, or of an array's items.
fn change_inner(object: &mut Map<String, Value>, change: fn(&mut Value)) {
    for (name, inner) in object {
        match (name.as_str(), inner) {
            ("properties", Value::Object(properties)) => properties.values_mut().for_each(change),
            ("items" | "additionalProperties", inner) => change(inner),
            _ => {}
        }
    }
}

/// Removes descriptions, which check nothing.
pub(crate) fn leave_out_descriptions(schema: &mut Value) {
    if let Value::Object(object) = schema {
        object.remove("description");
        change_inner(object, leave_out_descriptions);
    }
}

/// Turns Kubernetes' own words into JSON Schema's, and refuses unknown fields, as `kubectl apply` does.
pub(crate) fn translate(schema: &mut Value) {
    let Value::Object(object) = schema else { return };
    if object.remove("x-kubernetes-int-or-string") == Some(Value::Bool(true)) {
        object.insert("type".to_owned(), json!(["integer", "string"]));
    }
    if object.remove("nullable") == Some(Value::Bool(true)) {
        if let Some(kind) = object.get("type").cloned() {
            let mut kinds = match kind {
                Value::Array(kinds) => kinds,
                kind => vec![kind],
            };
            kinds.push("null".into());
            object.insert("type".to_owned(), kinds.into());
        }
        if let Some(Value::Array(allowed)) = object.get_mut("enum") {
            allowed.push(Value::Null);
        }
    }
    if object.get("x-kubernetes-preserve-unknown-fields") != Some(&Value::Bool(true))
        && object.contains_key("properties")
    {
        object.entry("additionalProperties").or_insert(Value::Bool(false));
    }
    change_inner(object, translate);
}

/// Removes nulls like the API server: of fields and entries that may not be null and have no default.
pub(crate) fn leave_out_nulls(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(object) => {
            let of_field = |name: &str| {
                let property = schema.get("properties").and_then(|properties| properties.get(name));
                property.or_else(|| schema.get("additionalProperties").filter(|others| others.is_object()))
            };
            object.retain(|name, inner| {
                let Some(of_field) = of_field(name) else { return true };
                let stays = of_field.get("nullable") == Some(&Value::Bool(true)) || of_field.get("default").is_some();
                leave_out_nulls(of_field, inner);
                !inner.is_null() || stays
            });
        }
        Value::Array(items) => {
            if let Some(of_items) = schema.get("items") {
                items.iter_mut().for_each(|item| leave_out_nulls(of_items, item));
            }
        }
        _ => {}
    }
}

/// Removes every field that is null.
pub(crate) fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|_, inner| !inner.is_null());
            object.values_mut().for_each(without_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        _ => {}
    }
}

/// Fills in the schema's defaults like the API server: an explicit null counts as absent if there is a default.
pub(crate) fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(object) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            for (name, of_property) in properties.into_iter().flatten() {
                let nullable = of_property.get("nullable") == Some(&Value::Bool(true));
                if let Some(given) = of_property.get("default") {
                    if !nullable && object.get(name) == Some(&Value::Null) {
                        object.remove(name);
                    }
                    object.entry(name.clone()).or_insert_with(|| given.clone());
                }
                if let Some(inner) = object.get_mut(name) {
                    default(of_property, inner);
                }
            }
            if let Some(of_others @ Value::Object(_)) = schema.get("additionalProperties") {
                object.values_mut().for_each(|inner| default(of_others, inner));
            }
        }
        Value::Array(items) => {
            if let Some(of_items) = schema.get("items") {
                items.iter_mut().for_each(|item| default(of_items, item));
            }
        }
        _ => {}
    }
}

/// Items of a list-map with the same keys, which the API server refuses.
pub(crate) fn duplicates(schema: &Value, value: &Value, pointer: &str, found: &mut BTreeSet<Invalid>) {
    match value {
        Value::Object(object) => {
            for (name, of_property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
                if let Some(inner) = object.get(name) {
                    duplicates(of_property, inner, &format!("{pointer}/{name}"), found);
                }
            }
        }
        Value::Array(items) => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            let mut seen = BTreeSet::new();
            for (index, item) in items.iter().enumerate() {
                let at = format!("{pointer}/{index}");
                if let Some(keys) = keys {
                    let named = |key: &Value| Some(format!("{}: {}", key.as_str()?, quoted(item.get(key.as_str()?)?)));
                    let key = keys.iter().filter_map(named).collect::<Vec<_>>().join(", ");
                    if !seen.insert(key.clone()) {
                        let message = format!("{key} stands here twice: once is allowed");
                        found.insert(Invalid { pointer: at.clone(), message });
                    }
                }
                if let Some(of_items) = schema.get("items") {
                    duplicates(of_items, item, &at, found);
                }
            }
        }
        _ => {}
    }
}
