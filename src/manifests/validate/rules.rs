//! The CRD's rules in CEL, each compiled when a resource first has its field: that takes longer than everything else for a small
//! resource. Pure.

use super::schema::default;
use kube::core::cel::{CompiledSchema, compile_schema};
use serde_json::{Value, json};
use std::cell::OnceCell;

/// The rules of a schema.
pub(crate) struct Rules {
    /// Those outside `spec`, and on `spec` itself.
    around: CompiledSchema,
    of_fields: Vec<FieldRules>,
}

/// The rules of one field of `spec`.
struct FieldRules {
    name: String,
    /// Its default: the API server accepts no definition whose defaults break its rules.
    default: Option<Value>,
    /// A schema of the whole resource with this field alone.
    schema: Value,
    compiled: OnceCell<CompiledSchema>,
}

impl Rules {
    /// The rules of a CRD's schema.
    pub(crate) fn of(schema: &Value) -> Self {
        let mut around = schema.clone();
        let of_fields = match around.pointer_mut("/properties/spec/properties").map(Value::take) {
            Some(Value::Object(fields)) => fields.into_iter().map(FieldRules::of).collect(),
            _ => Vec::new(),
        };
        Self { around: compile_schema(&around), of_fields }
    }

    /// The rules that concern a resource: each reads it whole, and judges its own part.
    pub(crate) fn about<'a>(&'a self, resource: &'a Value) -> impl Iterator<Item = &'a CompiledSchema> {
        let given = move |field: &&FieldRules| {
            let value = resource.get("spec").and_then(|spec| spec.get(&field.name));
            value.is_some() && value != field.default.as_ref()
        };
        let of_fields = self.of_fields.iter().filter(given);
        let compiled = of_fields.map(|field| field.compiled.get_or_init(|| compile_schema(&field.schema)));
        std::iter::once(&self.around).chain(compiled)
    }
}

impl FieldRules {
    fn of((name, field): (String, Value)) -> Self {
        let filled_in = |mut given: Value| {
            default(&field, &mut given);
            given
        };
        let default = field.get("default").cloned().map(filled_in);
        let schema = json!({ "properties": { "spec": { "properties": { name.as_str(): field } } } });
        Self { name, default, schema, compiled: OnceCell::new() }
    }
}
