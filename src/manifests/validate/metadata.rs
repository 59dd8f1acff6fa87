//! Checks the metadata of any object like the API server (k8s.io/apimachinery, `ValidateObjectMeta`). Pure.

use super::Invalid;
use super::message::quoted;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The most bytes of all annotations, keys and values (`TotalAnnotationSizeLimitB`).
const MOST_ANNOTATIONS: usize = 256 << 10;
/// The longest name of a label, and value of one, in characters.
const LONGEST_LABEL: usize = 63;
/// The longest DNS name before a label's slash, in characters.
const LONGEST_PREFIX: usize = 253;
/// The allowed keys.
const KEYS: &str = "an optional DNS name with a slash after it, and 1 to 63 letters, digits, '-', '_' and '.', the first and the last a letter or digit, are";
/// The allowed values of labels.
const VALUES: &str = "up to 63 letters, digits, '-', '_' and '.', the first and the last a letter or digit, are";

/// The schema of metadata, which no CRD contains. It includes the server's own fields: people apply the output of `kubectl get -o
/// yaml`.
pub(crate) fn schema() -> Value {
    let name = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    let texts = json!({ "type": ["object", "null"], "additionalProperties": { "type": ["string", "null"] } });
    let (text, number) = (json!({ "type": ["string", "null"] }), json!({ "type": ["integer", "null"] }));
    let one_or_more = json!({ "type": "string", "minLength": 1 });
    let list = |items: Value| json!({ "type": ["array", "null"], "items": items });
    json!({
        "type": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": {
            "name": { "type": "string", "maxLength": 253, "pattern": name },
            "namespace": { "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" },
            "labels": texts,
            "annotations": texts,
            "finalizers": list(json!({ "type": "string" })),
            "ownerReferences": list(json!({
                "type": "object",
                "required": ["apiVersion", "kind", "name", "uid"],
                "additionalProperties": false,
                "properties": {
                    "apiVersion": one_or_more, "kind": one_or_more, "name": one_or_more, "uid": one_or_more,
                    "controller": { "type": ["boolean", "null"] }, "blockOwnerDeletion": { "type": ["boolean", "null"] },
                },
            })),
            "generateName": text, "selfLink": text, "uid": text, "resourceVersion": text, "creationTimestamp": text,
            "deletionTimestamp": text, "generation": number, "deletionGracePeriodSeconds": number,
            "managedFields": list(json!({ "type": "object" })),
        }
    })
}

/// Makes empty texts of labels and annotations that are null, as the API server does.
pub(crate) fn fill_in(object: &mut Value) {
    for field in ["/metadata/labels", "/metadata/annotations"] {
        let entries = object.pointer_mut(field).and_then(Value::as_object_mut);
        for value in entries.into_iter().flat_map(serde_json::Map::values_mut).filter(|value| value.is_null()) {
            *value = Value::String(String::new());
        }
    }
}

/// Finds errors of metadata that fits the schema.
pub(crate) fn check(metadata: &Value, found: &mut BTreeSet<Invalid>) {
    let entries = |field: &str| metadata.get(field).and_then(Value::as_object).into_iter().flatten();
    let mut add = |pointer: String, message: String| {
        found.insert(Invalid { pointer, message });
    };
    let place = |field: &str, key: &str| match key {
        "" => format!("/metadata/{field}"),
        key => format!("/metadata/{field}/{}", key.replace('~', "~0").replace('/', "~1")),
    };
    for (key, value) in entries("labels") {
        if !is_label_key(key) {
            add(place("labels", key), format!("invalid key {}: {KEYS}", quoted(&json!(key))));
        }
        if !value.as_str().is_none_or(is_label_value) {
            add(place("labels", key), format!("invalid value {}: {VALUES}", quoted(value)));
        }
    }
    let mut length = 0;
    for (key, value) in entries("annotations") {
        length += key.len() + value.as_str().map_or(0, str::len);
        // Capitals are allowed in front of the slash here.
        if !is_label_key(&key.to_lowercase()) {
            add(place("annotations", key), format!("invalid key {}: {KEYS}", quoted(&json!(key))));
        }
    }
    if length > MOST_ANNOTATIONS {
        let most = MOST_ANNOTATIONS >> 10;
        add("/metadata/annotations".to_owned(), format!("{length} bytes are too long: at most {most} KiB are allowed"));
    }
    for (index, name) in metadata.get("finalizers").and_then(Value::as_array).into_iter().flatten().enumerate() {
        if !name.as_str().is_some_and(is_label_key) {
            add(format!("/metadata/finalizers/{index}"), format!("invalid value {}: {KEYS}", quoted(name)));
        }
    }
}

/// Whether a text is a qualified name (`IsQualifiedName`): a label's key.
fn is_label_key(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_label_name(name),
        None => is_label_name(key),
    }
}

/// Whether a text is a label's value (`IsValidLabelValue`).
fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_label_name(value)
}

fn is_label_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let at_ends = [bytes.first(), bytes.last()];
    bytes.len() <= LONGEST_LABEL
        && at_ends.into_iter().all(|byte| byte.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

/// Whether a text is a DNS name as objects have it (`IsDNS1123Subdomain`), such as a pod's.
pub(crate) fn is_subdomain(name: &str) -> bool {
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        let is_end = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        [bytes.first(), bytes.last()].into_iter().all(|byte| byte.is_some_and(is_end))
            && bytes.iter().all(|byte| is_end(byte) || *byte == b'-')
    };
    name.len() <= LONGEST_PREFIX && name.split('.').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_are_the_servers() {
        let name = "a".repeat(63);
        let prefix = format!("{}.{}", vec!["a".repeat(50); 4].join("."), "b".repeat(49));
        for key in ["a", "A-b_c.9", "example.com/a", "a-b.c/D", &name, &format!("{prefix}/{name}")] {
            assert!(is_label_key(key), "{key}");
        }
        let long = format!("{}.{prefix}/a", prefix);
        for key in ["", "/a", "a/", "a/b/c", "-a", "a.", "a b", "A.com/b", "a..b/c", "ä", &"a".repeat(64), &long] {
            assert!(!is_label_key(key), "{key}");
        }
        assert!(is_label_value("") && is_label_value("1234e567") && !is_label_value("b c") && !is_label_value("a/b"));
    }

    #[test]
    fn an_error_names_field_value_and_what_is_allowed() {
        let metadata = json!({
            "labels": { "team": "b c", "a/b/c": "" },
            "annotations": { "Example.com/x": "any thing", "": "x" },
            "finalizers": ["ok.example.com/hold", "not one"],
        });
        let mut found = BTreeSet::new();
        check(&metadata, &mut found);
        let found: Vec<String> = found.iter().map(Invalid::sentence).collect();
        assert_eq!(found.len(), 4, "{found:?}");
        assert_eq!(found[0], format!("metadata.annotations: invalid key \"\": {KEYS}"));
        assert_eq!(found[1], format!("metadata.finalizers[1]: invalid value \"not one\": {KEYS}"));
        assert_eq!(found[2], format!("metadata.labels.a/b/c: invalid key \"a/b/c\": {KEYS}"));
        assert_eq!(found[3], format!("metadata.labels.team: invalid value \"b c\": {VALUES}"));

        let mut found = BTreeSet::new();
        check(&json!({ "annotations": { "a": "x".repeat(MOST_ANNOTATIONS) } }), &mut found);
        let found: Vec<String> = found.iter().map(Invalid::sentence).collect();
        assert_eq!(found, ["metadata.annotations: 262145 bytes are too long: at most 256 KiB are allowed"]);
    }
}
