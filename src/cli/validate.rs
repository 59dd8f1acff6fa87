//! What the API server would say to a resource: defaults, JSON Schema, list keys and CEL, over the generated CRD. Pure.

use super::manifest::field;
use crate::crd::{self, CitrixAllowlist};
use anyhow::Context as _;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::cel::{self, CompiledSchema};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// The longest value that a message quotes, in characters.
const LONGEST_QUOTE: usize = 80;

/// One thing that is wrong with a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Invalid {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// The value and what is allowed.
    pub message: String,
}

/// Checks resources as the API server does.
pub struct Validator {
    /// The CRD's own schema, which has the defaults and the list keys.
    schema: Value,
    json: jsonschema::Validator,
    rules: CompiledSchema,
    cel: cel::Validator,
}

impl Validator {
    /// Prepares the checks from the CRD of this program.
    ///
    /// # Errors
    /// Where the CRD has no usable schema, which no release has.
    pub fn new() -> anyhow::Result<Self> {
        let versions = crd::definition().spec.versions;
        let schema = versions.into_iter().next().and_then(|version| version.schema?.open_api_v3_schema);
        let schema = serde_json::to_value(schema.context("the CRD has no schema")?)?;
        let mut strict = schema.clone();
        translate(&mut strict);
        if let Some(Value::Object(properties)) = strict.get_mut("properties") {
            for own in ["apiVersion", "kind"] {
                properties.insert(own.to_owned(), json!({ "type": "string" }));
            }
            properties.insert("metadata".to_owned(), metadata_schema());
        }
        if let Some(Value::Array(required)) = strict.get_mut("required") {
            required.push("metadata".into());
        }
        let json = jsonschema::options()
            .offline()
            .build(&strict)
            .map_err(|error| anyhow::anyhow!("the CRD's schema: {error}"))?;
        Ok(Self { rules: cel::compile_schema(&schema), json, schema, cel: cel::Validator::new() })
    }

    /// The resource that a value stands for, with the API server's defaults.
    ///
    /// # Errors
    /// Everything that the API server would refuse it for, in the order of its fields.
    pub fn check(&self, mut value: Value) -> Result<CitrixAllowlist, Vec<Invalid>> {
        default(&self.schema, &mut value);
        let mut found: BTreeSet<Invalid> = self.json.iter_errors(&value).flat_map(|error| invalid(&error)).collect();
        duplicates(&self.schema, &value, "", &mut found);
        // Rules are written for values that fit the schema.
        if found.is_empty()
            && let Err(failed) = self.cel.validate_compiled(&self.rules, &value, None)
        {
            found.extend(
                failed
                    .into_vec()
                    .into_iter()
                    .map(|failed| Invalid { pointer: pointer_of(&failed.field_path), message: failed.message }),
            );
        }
        if !found.is_empty() {
            return Err(found.into_iter().collect());
        }
        let resource: CitrixAllowlist = serde_json::from_value(value)
            .map_err(|error| vec![Invalid { pointer: String::new(), message: error.to_string() }])?;
        match unusable(&resource.spec.pod_selector) {
            Some(invalid) => Err(vec![invalid]),
            None => Ok(resource),
        }
    }
}

/// What makes a label selector one that the schema takes and that nothing can act on.
fn unusable(selector: &LabelSelector) -> Option<Invalid> {
    for (index, requirement) in selector.match_expressions.iter().flatten().enumerate() {
        let values = requirement.values.as_ref().map_or(0, Vec::len);
        let message = match requirement.operator.as_str() {
            "In" | "NotIn" if values == 0 => "In and NotIn need values",
            "Exists" | "DoesNotExist" if values > 0 => "Exists and DoesNotExist take no values",
            _ => continue,
        };
        let pointer = format!("/spec/podSelector/matchExpressions/{index}/values");
        return Some(Invalid { pointer, message: message.to_owned() });
    }
    let error = kube::core::Selector::try_from(selector.clone()).err()?;
    Some(Invalid { pointer: "/spec/podSelector".to_owned(), message: format!("cannot be used: {error}") })
}

/// What the API server asks of any object's metadata.
fn metadata_schema() -> Value {
    let label = r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";
    let texts = json!({ "type": ["object", "null"], "additionalProperties": { "type": "string" } });
    json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": { "type": "string", "maxLength": 253, "pattern": label },
            "namespace": { "type": "string", "maxLength": 63, "pattern": "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" },
            "labels": texts.clone(),
            "annotations": texts,
        }
    })
}

/// Turns Kubernetes' own words into JSON Schema's, and refuses unknown fields, as `kubectl apply` does.
fn translate(schema: &mut Value) {
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
    if let Some(Value::Object(properties)) = object.get_mut("properties") {
        properties.values_mut().for_each(translate);
    }
    for inner in ["items", "additionalProperties"] {
        if let Some(inner) = object.get_mut(inner) {
            translate(inner);
        }
    }
}

/// Fills in the schema's defaults as the API server does: an explicit null counts as absent where there is one.
fn default(schema: &Value, value: &mut Value) {
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
fn duplicates(schema: &Value, value: &Value, pointer: &str, found: &mut BTreeSet<Invalid>) {
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
                        found.insert(Invalid {
                            pointer: at.clone(),
                            message: format!("{key} stands here twice: once is allowed"),
                        });
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

/// A message for each field that an error of the schema concerns: its value and what is allowed.
fn invalid(error: &jsonschema::ValidationError<'_>) -> Vec<Invalid> {
    let pointer = error.instance_path().as_str().to_owned();
    let value = quoted(error.instance());
    let one = |message: String| vec![Invalid { pointer: pointer.clone(), message }];
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| Invalid {
                pointer: format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")),
                message: "there is no such field; `kubectl explain citrixallowlist` and docs list those there are"
                    .to_owned(),
            })
            .collect(),
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![Invalid { pointer: format!("{pointer}/{name}"), message: "is missing, and required".to_owned() }]
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> =
                options.as_array().into_iter().flatten().filter(|option| !option.is_null()).map(plain).collect();
            one(format!("{value} is not allowed: one of {} is", options.join(", ")))
        }
        ValidationErrorKind::Pattern { pattern } => one(format!("{value} is not allowed: it must match {pattern}")),
        ValidationErrorKind::MaxLength { limit } => {
            one(format!("{value} is too long: at most {limit} characters are allowed"))
        }
        ValidationErrorKind::MinLength { limit } => {
            one(format!("{value} is too short: at least {limit} characters are needed"))
        }
        ValidationErrorKind::MaxItems { limit } => one(format!("too many items: at most {limit} are allowed")),
        ValidationErrorKind::MinItems { limit } => one(format!("too few items: at least {limit} are needed")),
        ValidationErrorKind::MaxProperties { limit } => one(format!("too many entries: at most {limit} are allowed")),
        ValidationErrorKind::Minimum { limit } => {
            one(format!("{value} is too small: at least {} is allowed", whole(limit)))
        }
        ValidationErrorKind::Maximum { limit } => {
            one(format!("{value} is too large: at most {} is allowed", whole(limit)))
        }
        ValidationErrorKind::Type { kind } => {
            let kinds: Vec<String> = match kind {
                TypeKind::Single(kind) => vec![kind.to_string()],
                TypeKind::Multiple(kinds) => {
                    kinds.iter().map(|kind| kind.to_string()).filter(|kind| kind != "null").collect()
                }
            };
            one(format!("{value} is not allowed: {} is needed", kinds.join(" or ")))
        }
        _ => one(error.to_string()),
    }
}

/// A bound as people write it: the CRD's are numbers with a fraction.
fn whole(limit: &Value) -> String {
    let text = limit.to_string();
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value as a message quotes it, cut where it is long.
fn quoted(value: &Value) -> String {
    let text = match value {
        Value::Array(_) => return "a list".to_owned(),
        Value::Object(_) => return "an object".to_owned(),
        value => value.to_string(),
    };
    match text.char_indices().nth(LONGEST_QUOTE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// `spec.wildcards[0].names` as a JSON pointer.
fn pointer_of(path: &str) -> String {
    let parts = path.split(['.', '[']).map(|part| part.trim_end_matches(']')).filter(|part| !part.is_empty());
    parts.map(|part| format!("/{part}")).collect()
}

impl Invalid {
    /// The field and the message, in one line.
    #[must_use]
    pub fn sentence(&self) -> String {
        let field = field(&self.pointer);
        if field.is_empty() { self.message.clone() } else { format!("{field}: {}", self.message) }
    }
}

/// Whether an object is one that this program reads, judged by its group and kind.
///
/// # Errors
/// A version that this program does not know.
pub fn is_ours(object: &Map<String, Value>) -> Result<bool, Invalid> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or(("", ""));
    if group != "citrix-allowlist.io" || text("kind") != "CitrixAllowlist" {
        return Ok(false);
    }
    if version == "v1alpha1" {
        return Ok(true);
    }
    let message = format!("{group}/{version} is not known: {group}/v1alpha1 is");
    Err(Invalid { pointer: "/apiVersion".to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::GeoChoice;

    fn resource(spec: Value) -> Value {
        json!({
            "apiVersion": "citrix-allowlist.io/v1alpha1",
            "kind": "CitrixAllowlist",
            "metadata": { "name": "daas-us", "namespace": "citrix" },
            "spec": spec,
        })
    }

    fn refused(spec: Value) -> Vec<String> {
        let validator = Validator::new().expect("a schema");
        validator.check(resource(spec)).expect_err("refused").iter().map(Invalid::sentence).collect()
    }

    #[test]
    fn defaults_are_the_servers() {
        let validator = Validator::new().expect("a schema");
        let read = validator.check(resource(json!({ "customerId": "abc", "geo": null }))).expect("valid");
        assert_eq!(read.spec.geo, GeoChoice::All);
        assert_eq!(read.spec.refresh.max_interval.to_string(), "24h");
    }

    #[test]
    fn what_the_schema_refuses_names_field_value_and_what_is_allowed() {
        assert_eq!(
            refused(json!({ "customerId": "test-customer", "geo": "usa", "wildcard": [] })),
            [
                "spec.customerId: \"test-customer\" is not allowed: it must match ^[a-zA-Z0-9]{1,12}$",
                "spec.geo: \"usa\" is not allowed: one of us, eu, ap-s, jp, all is",
                "spec.wildcard: there is no such field; `kubectl explain citrixallowlist` and docs list those there are",
            ]
        );
        assert_eq!(refused(json!({})), ["spec.customerId: is missing, and required"]);
        assert_eq!(refused(json!({ "customerId": 12 })), ["spec.customerId: 12 is not allowed: string is needed"]);
        let twice = json!([{ "listed": 443, "pod": 8443 }, { "listed": 443, "pod": 9443 }]);
        assert_eq!(
            refused(json!({ "customerId": "abc", "inboundPorts": twice })),
            ["spec.inboundPorts[1]: listed: 443 stands here twice: once is allowed"]
        );
        let ports = json!([{ "name": "a", "cidrs": ["10.0.0.0/8"], "tcpPorts": 70000, "udpPorts": true }]);
        assert_eq!(
            refused(json!({ "customerId": "abc", "additional": ports })),
            [
                "spec.additional[0].tcpPorts: 70000 is too large: at most 65535 is allowed",
                "spec.additional[0].udpPorts: true is not allowed: integer or string is needed",
            ]
        );
    }

    #[test]
    fn what_cel_refuses_says_where() {
        let spec = json!({ "customerId": "abc", "refresh": { "minInterval": "2h", "maxInterval": "1h" } });
        assert_eq!(refused(spec), ["spec.refresh: refresh.minInterval may not be longer than refresh.maxInterval"]);
        let wildcard = json!([{ "pattern": "*.example.com", "names": ["a.example.org"] }]);
        let found = refused(json!({ "customerId": "abc", "wildcards": wildcard }));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("spec.wildcards[0]: each of wildcards.names must match"), "{found:?}");
    }

    #[test]
    fn a_selector_that_cannot_be_used_is_refused() {
        let selector = json!({ "matchExpressions": [{ "key": "app", "operator": "In", "values": [] }] });
        let found = refused(json!({ "customerId": "abc", "podSelector": selector }));
        assert_eq!(found, ["spec.podSelector.matchExpressions[0].values: In and NotIn need values"]);
    }

    #[test]
    fn only_our_kind_is_ours() {
        let ours = |version: &str, kind: &str| {
            is_ours(json!({ "apiVersion": version, "kind": kind }).as_object().expect("an object"))
        };
        assert_eq!(ours("citrix-allowlist.io/v1alpha1", "CitrixAllowlist"), Ok(true));
        assert_eq!(ours("v1", "ConfigMap"), Ok(false));
        assert!(ours("citrix-allowlist.io/v2", "CitrixAllowlist").is_err());
    }
}
