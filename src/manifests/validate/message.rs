//! What is wrong, as a person reads it: the value and what is allowed. Pure.

use super::Invalid;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

/// The longest value that a message quotes, in characters.
const LONGEST_QUOTE: usize = 80;

/// A message for each field that an error of the schema concerns: its value and what is allowed.
pub(crate) fn invalid(error: &jsonschema::ValidationError<'_>) -> Vec<Invalid> {
    let pointer = error.instance_path().as_str().to_owned();
    let value = quoted(error.instance());
    let one = |message: String| vec![Invalid { pointer: pointer.clone(), message }];
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => unexpected
            .iter()
            .map(|name| Invalid {
                pointer: format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")),
                message: "unknown field; see `kubectl explain citrixallowlist`".to_owned(),
            })
            .collect(),
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![Invalid { pointer: format!("{pointer}/{name}"), message: "is missing, and required".to_owned() }]
        }
        ValidationErrorKind::Enum { options } => {
            let options: Vec<String> =
                options.as_array().into_iter().flatten().filter(|option| !option.is_null()).map(plain).collect();
            one(format!("invalid value {value}: expected one of {}", options.join(", ")))
        }
        ValidationErrorKind::Pattern { pattern } => one(format!("invalid value {value}: it must match {pattern}")),
        ValidationErrorKind::MaxLength { limit } => {
            one(format!("{value} is too long: at most {} allowed", counted(limit, "character")))
        }
        ValidationErrorKind::MinLength { limit } => {
            one(format!("{value} is too short: at least {} needed", counted(limit, "character")))
        }
        ValidationErrorKind::MaxItems { limit } => {
            one(format!("too many items: at most {} allowed", counted(limit, "item")))
        }
        ValidationErrorKind::MinItems { limit } => {
            one(format!("too few items: at least {} needed", counted(limit, "item")))
        }
        ValidationErrorKind::MaxProperties { limit } => one(format!("too many entries: at most {limit} are allowed")),
        ValidationErrorKind::Minimum { limit } => {
            one(format!("{value} is too small: at least {} is allowed", whole(limit)))
        }
        ValidationErrorKind::Maximum { limit } => {
            one(format!("{value} is too large: at most {} is allowed", whole(limit)))
        }
        ValidationErrorKind::Type { kind } => {
            let kinds: Vec<String> = match kind {
                TypeKind::Single(kind) => vec![called(&kind.to_string())],
                TypeKind::Multiple(kinds) => kinds
                    .iter()
                    .map(|kind| kind.to_string())
                    .filter(|kind| kind != "null")
                    .map(|kind| called(&kind))
                    .collect(),
            };
            one(format!("invalid value {value}: expected {}", kinds.join(" or ")))
        }
        _ => one(error.to_string()),
    }
}

/// `1 character is`, `2 characters are`.
fn counted(limit: &u64, what: &str) -> String {
    if *limit == 1 { format!("1 {what} is") } else { format!("{limit} {what}s are") }
}

/// A type of JSON as people call it.
fn called(kind: &str) -> String {
    let name = match kind {
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "object" => "an object",
        "string" => "a text",
        other => other,
    };
    name.to_owned()
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
pub(crate) fn quoted(value: &Value) -> String {
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
pub(crate) fn pointer_of(path: &str) -> String {
    let parts = path.split(['.', '[']).map(|part| part.trim_end_matches(']')).filter(|part| !part.is_empty());
    parts.map(|part| format!("/{part}")).collect()
}
