//! Checks a resource like the API server: defaults, JSON Schema, list keys and CEL, over the generated CRD. Pure.

mod message;
pub(crate) mod metadata;
mod rules;
mod schema;

use crate::crd::{self, CitrixAllowlist};
use crate::manifests::document::field;
use connectivity_allowlist::net::cidr;
use kube::core::cel;
use message::{invalid, pointer_of};
use rules::Rules;
use schema::{default, duplicates, leave_out_descriptions, leave_out_nulls, translate, without_nulls};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// One error of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Invalid {
    /// Its field, as a JSON pointer.
    pub pointer: String,
    /// The value and what is allowed.
    pub message: String,
}

/// The current [`written_schema`], from `make generate`: deriving it takes longer than a small `render`.
const WRITTEN: &str = include_str!("schema.json");

/// The schema of the CRD without its descriptions, for the file `schema.json` in this folder.
#[must_use]
pub fn written_schema() -> String {
    let versions = crd::definition().spec.versions;
    let schema = versions.into_iter().next().and_then(|version| version.schema?.open_api_v3_schema);
    let mut schema = serde_json::to_value(schema).unwrap_or_default();
    leave_out_descriptions(&mut schema);
    format!("{schema:#}\n")
}

/// Checks resources as the API server does.
pub struct Validator {
    /// The CRD's own schema, with the defaults and the list keys.
    schema: Value,
    json: jsonschema::Validator,
    rules: Rules,
    cel: cel::Validator,
}

impl Validator {
    /// Prepares the checks.
    ///
    /// # Errors
    /// The CRD's schema is invalid, which no release has.
    pub fn new() -> anyhow::Result<Self> {
        let schema: Value = serde_json::from_str(WRITTEN)?;
        let mut strict = schema.clone();
        translate(&mut strict);
        if let Some(Value::Object(properties)) = strict.get_mut("properties") {
            for own in ["apiVersion", "kind"] {
                properties.insert(own.to_owned(), json!({ "type": "string" }));
            }
            properties.insert("metadata".to_owned(), metadata::schema());
        }
        if let Some(Value::Array(required)) = strict.get_mut("required") {
            required.push("metadata".into());
        }
        // The API server reads OpenAPI 3.0, which is based on draft 4. The draft's own schema is compiled too, to check this one: that
        // of a later draft takes as long as all else in a small `render`.
        let json = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft4)
            .should_validate_formats(false)
            .offline()
            .build(&strict)
            .map_err(|error| anyhow::anyhow!("the CRD's schema: {error}"))?;
        Ok(Self { rules: Rules::of(&schema), json, schema, cel: cel::Validator::new() })
    }

    /// The resource in a value, with the API server's defaults.
    ///
    /// # Errors
    /// Everything that the API server would refuse it for, in the order of its fields.
    pub fn check(&self, mut value: Value) -> Result<CitrixAllowlist, Vec<Invalid>> {
        leave_out_nulls(&self.schema, &mut value);
        default(&self.schema, &mut value);
        metadata::fill_in(&mut value);
        let mut found: BTreeSet<Invalid> = self.json.iter_errors(&value).flat_map(|error| invalid(&error)).collect();
        duplicates(&self.schema, &value, "", &mut found);
        if let Some(of_object) = value.get("metadata") {
            metadata::check(of_object, &mut found);
        }
        // Rules are written for values that fit the schema.
        if found.is_empty() {
            // To the API server's `has()`, a field that is null is absent.
            let mut present = value.clone();
            without_nulls(&mut present);
            for rules in self.rules.about(&present) {
                let failed = self.cel.validate_compiled(rules, &present, None).err();
                let failed = failed.into_iter().flat_map(cel::ValidationErrors::into_vec);
                found.extend(failed.map(|it| Invalid { pointer: pointer_of(&it.field_path), message: it.message }));
            }
        }
        if !found.is_empty() {
            return Err(found.into_iter().collect());
        }
        let resource: CitrixAllowlist = serde_json::from_value(value)
            .map_err(|error| vec![Invalid { pointer: String::new(), message: error.to_string() }])?;
        let invalid = unusable(&resource);
        if invalid.is_empty() { Ok(resource) } else { Err(invalid) }
    }
}

/// Errors that the schema's rules accept, though the value is unusable, or the API server's own CEL refuses it: it reads CIDRs
/// strictly.
fn unusable(resource: &CitrixAllowlist) -> Vec<Invalid> {
    let mut found = Vec::new();
    if let Err(error) = kube::core::Selector::try_from(resource.spec.pod_selector.clone()) {
        found.push(Invalid { pointer: "/spec/podSelector".to_owned(), message: format!("cannot be used: {error}") });
    }
    for (index, entry) in resource.spec.additional.iter().enumerate() {
        for (at, text) in entry.cidrs.iter().enumerate() {
            if let Err(error) = cidr::parse(text) {
                let pointer = format!("/spec/additional/{index}/cidrs/{at}");
                found.push(Invalid { pointer, message: error.to_string() });
            }
        }
    }
    found
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
    let message = format!("unknown version {group}/{version}: expected {group}/v1alpha1");
    Err(Invalid { pointer: "/apiVersion".to_owned(), message })
}

#[cfg(test)]
mod tests;
