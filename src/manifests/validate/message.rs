//! Messages for people on invalid fields: the value and what is allowed. Pure.

use super::Invalid;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::Value;

/// The longest value that a message quotes, in characters.
const LONGEST_QUOTE: usize = 80;

/// A message for each field that an error of the schema concerns: its value and what is allowed.
pub(crate) fn invalid(error: &jsonschema::ValidationError<'_>) -> Vec<Invalid> {
    let pointer = error.instance_path().as_str().to_owned();
    let value = quoted(error.instance());
    let message = match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let unknown = |name: &String| Invalid {
                pointer: format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")),
                message: "unknown field; see `kubectl explain citrixallowlist`".to_owned(),
            };
            return unexpected.iter().map(unknown).collect();
        }
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            return vec![Invalid {
                pointer: format!("{pointer}/{name}"),
                message: "is missing, and required".to_owned(),
            }];
        }
        ValidationErrorKind::Enum { options } => {
            let options = options.as_array().into_iter().flatten().filter(|option| !option.is_null()).map(plain);
            format!("invalid value {value}: expected one of {}", options.collect::<Vec<_>>().join(", "))
        }
        ValidationErrorKind::Pattern { pattern } => format!("invalid value {value}: it must match {pattern}"),
        ValidationErrorKind::MaxLength { limit } => {
            format!("{value} is too long: at most {} allowed", counted(limit, "character"))
        }
        ValidationErrorKind::MinLength { limit } => {
            format!("{value} is too short: at least {} needed", counted(limit, "character"))
        }
        ValidationErrorKind::MaxItems { limit } => {
            format!("too many items: at most {} allowed", counted(limit, "item"))
        }
        ValidationErrorKind::MinItems { limit } => format!("too few items: at least {} needed", counted(limit, "item")),
        ValidationErrorKind::MaxProperties { limit } => format!("too many entries: at most {limit} are allowed"),
        ValidationErrorKind::Minimum { limit } => format!("{value} is too small: at least {} is allowed", whole(limit)),
        ValidationErrorKind::Maximum { limit } => format!("{value} is too large: at most {} is allowed", whole(limit)),
        ValidationErrorKind::Type { kind } => {
            let kinds: Vec<String> = match kind {
                TypeKind::Single(kind) => vec![kind.to_string()],
                TypeKind::Multiple(kinds) => kinds.iter().map(|kind| kind.to_string()).collect(),
            };
            let kinds = kinds.iter().map(String::as_str).filter(|kind| *kind != "null" || kinds.len() == 1).map(called);
            format!("invalid value {value}: expected {}", kinds.collect::<Vec<_>>().join(" or "))
        }
        _ => error.to_string(),
    };
    vec![Invalid { pointer, message }]
}

/// `1 character is`, `2 characters are`.
fn counted(limit: &u64, what: &str) -> String {
    if *limit == 1 { format!("1 {what} is") } else { format!("{limit} {what}s are") }
}

/// A type of JSON as people call it.
fn called(kind: &str) -> &str {
    match kind {
        "array" => "a list",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "object" => "an object",
        "string" => "a text",
        other => other,
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
