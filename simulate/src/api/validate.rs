//! Validation as far as it is cheap: types, enumerations, bounds, required fields, keys of lists, and names. Patterns and CEL are
//! not evaluated.

use super::failure::Invalid;
use super::kinds::ApiKind;
use super::schema::{Items, Schema, Shape};
use serde_json::Value;
use std::collections::BTreeSet;

/// What is wrong with an object.
pub(super) fn validate(kind: &ApiKind, object: &Value) -> Vec<Invalid> {
    let mut found = Vec::new();
    check(&kind.schema, object, "", &mut found);
    let metadata = &object["metadata"];
    if let Some(message) = metadata["name"].as_str().and_then(|name| wrong_name(kind, name)) {
        let name = &metadata["name"];
        found.push(invalid("metadata.name", "FieldValueInvalid", format!("Invalid value: {name}: {message}")));
    }
    if kind.custom && found.iter().any(|invalid| BLOCKING.contains(&invalid.reason)) {
        let message = "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation";
        found.push(invalid("<nil>", "FieldValueInvalid", message.to_owned()));
    }
    found
}

/// Refusals after which the API server does not evaluate the rules of a definition.
const BLOCKING: [&str; 5] =
    ["FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"];

fn invalid(field: &str, reason: &'static str, message: String) -> Invalid {
    Invalid { field: field.to_owned(), reason, message }
}

/// The name as a DNS subdomain, or a label for a namespace.
fn wrong_name(kind: &ApiKind, name: &str) -> Option<&'static str> {
    let is_label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        label.bytes().all(|byte| inner(byte) || byte == b'-')
            && label.bytes().next().is_some_and(inner)
            && label.bytes().last().is_some_and(inner)
    };
    if kind.plural == "namespaces" {
        return (name.len() > 63 || !is_label(name)).then_some(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        );
    }
    (name.len() > 253 || !name.split('.').all(is_label)).then_some(
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    )
}

fn check(schema: &Schema, value: &Value, path: &str, found: &mut Vec<Invalid>) {
    if value.is_null() && (schema.nullable || schema.written_null) {
        return;
    }
    if let Some(wanted) = wrong_type(schema, value) {
        let shown = type_of(value);
        let message = format!("Invalid value: {shown:?}: {path} in body must be of type {wanted}: {shown:?}");
        found.push(invalid(path, "FieldValueTypeInvalid", message));
        return;
    }
    let child = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    for name in schema.required.iter().filter(|name| value.get(*name).is_none()) {
        found.push(invalid(&child(name), "FieldValueRequired", "Required value".to_owned()));
    }
    if !schema.allowed.is_empty() && !schema.allowed.contains(value) {
        let allowed: Vec<String> = schema.allowed.iter().map(Value::to_string).collect();
        let message = format!("Unsupported value: {value}: supported values: {}", allowed.join(", "));
        found.push(invalid(path, "FieldValueNotSupported", message));
    }
    bounds(schema, value, path, found);
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                if let Some(field) = schema.field(name) {
                    check(field, value, &child(name), found);
                }
            }
        }
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                check(schema.items(), item, &format!("{path}[{at}]"), found);
            }
            duplicates(schema, list, path, found);
        }
        _ => {}
    }
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The type that the schema wants, if the value has another.
fn wrong_type<'a>(schema: &'a Schema, value: &Value) -> Option<&'a str> {
    let wanted = match &schema.shape {
        Shape::Scalar(None) | Shape::Open { .. } => return None,
        Shape::Scalar(Some(scalar)) => scalar.as_str(),
        Shape::Struct { .. } | Shape::Map { .. } => "object",
        Shape::List { .. } => "array",
    };
    let is = type_of(value);
    (is != wanted && !(wanted == "number" && is == "integer")).then_some(wanted)
}

fn bounds(schema: &Schema, value: &Value, path: &str, found: &mut Vec<Invalid>) {
    let bound = |name: &str| schema.bounds.get(name).copied();
    match value {
        Value::String(text) => {
            let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
            if let Some(most) = bound("maxLength").filter(|most| length > *most) {
                let message = format!("Too long: may not be more than {most} bytes");
                found.push(invalid(path, "FieldValueTooLong", message));
            }
            if let Some(least) = bound("minLength").filter(|least| length < *least) {
                let message = format!("Invalid value: {value}: {path} in body should be at least {least} chars long");
                found.push(invalid(path, "FieldValueInvalid", message));
            }
        }
        Value::Array(list) => {
            let length = u64::try_from(list.len()).unwrap_or(u64::MAX);
            if let Some(most) = bound("maxItems").filter(|most| length > *most) {
                let message = format!("Too many: {length}: must have at most {most} items");
                found.push(invalid(path, "FieldValueTooMany", message));
            }
            if let Some(least) = bound("minItems").filter(|least| length < *least) {
                let message = format!("Invalid value: {length}: {path} in body should have at least {least} items");
                found.push(invalid(path, "FieldValueInvalid", message));
            }
        }
        Value::Number(number) => {
            let is_less =
                |bound: u64| number.as_i64().is_some_and(|is| i64::try_from(bound).is_ok_and(|bound| is < bound));
            if let Some(least) = bound("minimum").filter(|least| is_less(*least)) {
                let message =
                    format!("Invalid value: {value}: {path} in body should be greater than or equal to {least}");
                found.push(invalid(path, "FieldValueInvalid", message));
            }
            if let Some(most) = bound("maximum").filter(|most| number.as_u64().is_some_and(|is| is > *most)) {
                let message = format!("Invalid value: {value}: {path} in body should be less than or equal to {most}");
                found.push(invalid(path, "FieldValueInvalid", message));
            }
        }
        _ => {}
    }
}

/// Items of a list that have to differ.
fn duplicates(schema: &Schema, list: &[Value], path: &str, found: &mut Vec<Invalid>) {
    let Shape::List { by, .. } = &schema.shape else { return };
    let mut seen = BTreeSet::new();
    for (at, item) in list.iter().enumerate() {
        let key = match by {
            Items::Atomic => return,
            Items::Set => item.clone(),
            Items::Keys(keys) => keys.iter().map(|key| (key.clone(), item[key].clone())).collect(),
        };
        if !seen.insert(key.to_string()) {
            let path = format!("{path}[{at}]");
            found.push(invalid(&path, "FieldValueDuplicate", format!("Duplicate value: {key}")));
        }
    }
}
