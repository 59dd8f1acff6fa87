//! What becomes of an object before it is stored: what the API server checks, sets and takes back.

use super::failure::{ApiFailure, Invalid};
use super::kinds::ApiKind;
use super::schema::{Items, Schema, Shape};
use super::store::{Key, Stored, text};
use super::validate::validate;
use serde_json::{Value, json};

/// What the API server says of an object that changed since it was read.
const MODIFIED: &str = "the object has been modified; please apply your changes to the latest version and try again";

/// Reads a sent object as one of its kind in its namespace.
pub(super) fn decode(kind: &ApiKind, object: &mut Value, namespace: &str) -> Result<(), ApiFailure> {
    if !object.is_object() {
        return Err(ApiFailure::bad_request("the body of the request is no object"));
    }
    if kind.custom && object.get("kind").is_none() {
        // Without a Go type, nothing else says what the object is.
        let text = object.to_string();
        let begin: String = text.chars().take(30).collect();
        return Err(ApiFailure::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{text}' ({begin} ...)",
            kind.kind
        )));
    }
    let version = object.get("apiVersion").and_then(Value::as_str).unwrap_or_default();
    if (kind.custom || !version.is_empty()) && version != kind.api_version() {
        return Err(ApiFailure::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            kind.api_version()
        )));
    }
    if !object["metadata"].is_object() {
        object["metadata"] = json!({});
    }
    if let Some(text) = kind.schema.unreadable(object) {
        return Err(ApiFailure::bad_request(format!(
            "{0} in version {1:?} cannot be handled as a {0}: parsing time {text:?}",
            kind.kind, kind.version
        )));
    }
    kind.read_in(object);
    same_namespace(object, namespace)
}

/// What keeps an applied configuration from being merged, as Go words it.
pub(super) fn untyped(schema: &Schema, value: &Value, path: &str, found: &mut Vec<String>) {
    let wanted = match (&schema.shape, value) {
        (_, Value::Null) | (Shape::Open { .. } | Shape::Scalar(None), _) => return,
        (Shape::Struct { .. } | Shape::Map { .. }, Value::Object(object)) => {
            for (name, value) in object {
                let path = format!("{path}.{name}");
                match schema.field(name) {
                    Some(field) => untyped(field, value, &path, found),
                    None => found.push(format!("{path}: field not declared in schema")),
                }
            }
            return;
        }
        (Shape::List { items, by }, Value::Array(list)) => {
            for (at, item) in list.iter().enumerate() {
                if let (Items::Keys(keys), Some(item)) = (by, item.as_object())
                    && !keys.iter().any(|key| item.contains_key(key))
                {
                    let keys: Vec<String> = keys.iter().map(|key| format!("{key:?}")).collect();
                    found.push(format!(
                        "{path}: element {at}: associative list with keys has an element that omits all key fields [{}] (and doesn't have default values for any key fields)",
                        keys.join(" ")
                    ));
                    continue;
                }
                untyped(items, item, &format!("{path}[{at}]"), found);
            }
            return;
        }
        (Shape::Scalar(Some(scalar)), value) => match (&**scalar, value) {
            ("boolean", Value::Bool(_)) | ("string", Value::String(_)) => return,
            ("integer" | "number", Value::Number(_)) => return,
            ("integer" | "number", _) => "numeric (int or float)",
            (other, _) => other,
        },
        (Shape::List { .. }, _) => "list",
        _ => "map",
    };
    let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    found.push(format!("{path}: expected {wanted}, got &{{{shown}}}"));
}

pub(super) fn same_namespace(object: &mut Value, namespace: &str) -> Result<(), ApiFailure> {
    let own = text(object, "namespace");
    if !own.is_empty() && own != namespace {
        return Err(ApiFailure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    if own.is_empty() && !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    Ok(())
}

pub(super) fn same_name(object: &Value, key: &Key) -> Result<(), ApiFailure> {
    match text(object, "name") {
        name if name == key.name => Ok(()),
        "" => Err(ApiFailure::bad_request(format!(
            "the name of the object ({} based on URL) was undeterminable: name must be provided",
            key.name
        ))),
        name => Err(ApiFailure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            key.name
        ))),
    }
}

/// Drops what only the API server sets.
pub(super) fn wipe(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        for field in ["creationTimestamp", "uid", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
            metadata.remove(field);
        }
    }
}

/// Another object has the name.
pub(super) fn wrong_uid(kind: &ApiKind, key: &Key, dry_run: bool, wanted: &str, is: &str) -> ApiFailure {
    broken_precondition(kind, key, dry_run, &format!("UID in precondition: {wanted}, UID in object meta: {is}"))
}

/// The refusal of the storage. A dry run names the object's place otherwise.
pub(super) fn broken_precondition(kind: &ApiKind, key: &Key, dry_run: bool, why: &str) -> ApiFailure {
    let root = if dry_run { "" } else { "/registry" };
    let group = if kind.custom { format!("{}/", kind.group) } else { String::new() };
    let path = format!("{root}/{group}{}/{}/{}", kind.plural, key.namespace, key.name);
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: {path}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: {why}"
    );
    ApiFailure::conflict(kind.subject(&key.name), &why)
}

/// The version that was read has to be the live one.
pub(super) fn same_version(kind: &ApiKind, key: &Key, live: &Stored, object: &mut Value) -> Result<(), ApiFailure> {
    match text(object, "resourceVersion") {
        "" | "0" if kind.unconditional => {
            object["metadata"]["resourceVersion"] = live.metadata("resourceVersion").into();
            Ok(())
        }
        "" | "0" => {
            let wrong = Invalid {
                field: "metadata.resourceVersion".to_owned(),
                reason: "FieldValueInvalid",
                message: "Invalid value: 0: must be specified for an update".to_owned(),
            };
            Err(ApiFailure::invalid(kind.subject(&key.name), &[wrong]))
        }
        version if version == live.metadata("resourceVersion") => Ok(()),
        version if version.parse::<u64>().is_err() => {
            let quoted = format!("{version:?}");
            let wrong = Invalid {
                field: "metadata.resourceVersion".to_owned(),
                reason: "FieldValueInvalid",
                message: format!("Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: invalid syntax"),
            };
            Err(ApiFailure::invalid(kind.subject(&key.name), &[wrong]))
        }
        _ => Err(ApiFailure::conflict(kind.subject(&key.name), MODIFIED)),
    }
}

/// Sets what an update cannot change, and counts the generation.
pub(super) fn prepare(kind: &ApiKind, status: bool, live: &Stored, object: &mut Value, omits: bool) {
    if status {
        let mut whole = live.value.clone();
        match object.get("status") {
            Some(status) => whole["status"] = status.clone(),
            None => drop(whole.as_object_mut().and_then(|whole| whole.remove("status"))),
        }
        match object["metadata"].get("managedFields") {
            Some(entries) => whole["metadata"]["managedFields"] = entries.clone(),
            None => drop(whole["metadata"].as_object_mut().and_then(|metadata| metadata.remove("managedFields"))),
        }
        *object = whole;
        return;
    }
    if let (true, Some(object)) = (kind.status, object.as_object_mut()) {
        match live.value.get("status") {
            Some(status) => drop(object.insert("status".to_owned(), status.clone())),
            None => drop(object.remove("status")),
        }
    }
    let content = |object: &Value| {
        let mut content = object.clone();
        if let Some(content) = content.as_object_mut() {
            content.remove("metadata");
            content.remove("status");
        }
        content
    };
    let changed = kind.generation && (omits || content(object) != content(&live.value));
    let metadata = &live.value["metadata"];
    for field in ["generation", "creationTimestamp"] {
        match metadata.get(field) {
            Some(value) => object["metadata"][field] = value.clone(),
            None => drop(object["metadata"].as_object_mut().and_then(|metadata| metadata.remove(field))),
        }
    }
    // A deletion cannot be taken back.
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds"] {
        if let Some(value) = metadata.get(field) {
            object["metadata"][field] = value.clone();
        }
    }
    if changed {
        let generation = metadata.get("generation").and_then(Value::as_i64).unwrap_or_default();
        object["metadata"]["generation"] = (generation + 1).into();
    }
    if text(object, "uid").is_empty() {
        object["metadata"]["uid"] = metadata["uid"].clone();
    }
}

/// What an update changes though it may not.
pub(super) fn changed_identity(kind: &ApiKind, live: &Stored, object: &Value) -> Vec<Invalid> {
    let changed = kind.frozen.iter().filter(|(field, _)| object.get(field) != live.value.get(field));
    let frozen = |(_, name): &(String, String)| {
        let message = "Invalid value: field is immutable".to_owned();
        Invalid { field: name.clone(), reason: "FieldValueInvalid", message }
    };
    let mut wrong: Vec<Invalid> = changed.map(frozen).collect();
    for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        if object["metadata"].get(field) != live.value["metadata"].get(field) {
            let message = format!("Invalid value: {}: field is immutable", object["metadata"][field]);
            let invalid = Invalid { field: format!("metadata.{field}"), reason: "FieldValueInvalid", message };
            // The rules of all objects and those of the kind both say it.
            wrong.extend([invalid.clone(), invalid]);
        }
    }
    let finalizers = |object: &Value| object["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
    let known = finalizers(&live.value);
    let added: Vec<Value> = finalizers(object).into_iter().filter(|finalizer| !known.contains(finalizer)).collect();
    if live.is_deleting() && !added.is_empty() {
        let message = format!(
            "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            added.iter().map(Value::to_string).collect::<Vec<_>>().join(", ")
        );
        let invalid = Invalid { field: "metadata.finalizers".to_owned(), reason: "FieldValueForbidden", message };
        wrong.extend([invalid.clone(), invalid]);
    }
    wrong
}

/// What is wrong with an object. Without a Go type, what is stored is validated, nulls included.
pub(super) fn violations(kind: &ApiKind, object: &Value, stored: &Value) -> Vec<Invalid> {
    if !kind.custom {
        return validate(kind, object);
    }
    let mut stored = stored.clone();
    stored["metadata"] = object["metadata"].clone();
    validate(kind, &stored)
}

pub(super) fn check(kind: &ApiKind, key: &Key, object: &Value, stored: &Value) -> Result<(), ApiFailure> {
    let mut wrong = Vec::new();
    if key.name.is_empty() {
        wrong.push(Invalid {
            field: "metadata.name".to_owned(),
            reason: "FieldValueRequired",
            message: "Required value: name or generateName is required".to_owned(),
        });
    }
    wrong.extend(violations(kind, object, stored));
    if wrong.is_empty() { Ok(()) } else { Err(invalid(kind, key, &wrong)) }
}

/// A refusal of content names the kind, not the resource.
pub(super) fn invalid(kind: &ApiKind, key: &Key, wrong: &[Invalid]) -> ApiFailure {
    ApiFailure::invalid(kind.content(&key.name), wrong)
}

/// A write that changes nothing but the times of managers changes nothing.
pub(super) fn keep_times(live: &Stored, object: &mut Value, stored: &mut Value) {
    let timeless = |object: &Value| {
        let mut object = object.clone();
        for entry in object["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            entry.as_object_mut().and_then(|entry| entry.remove("time"));
        }
        object
    };
    if *object != live.value && timeless(object) == timeless(&live.value) {
        stored["metadata"]["managedFields"] = live.value["metadata"]["managedFields"].clone();
        *object = live.value.clone();
    }
}
