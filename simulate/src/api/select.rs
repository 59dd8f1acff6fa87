//! Label selectors and field selectors.

use super::failure::ApiFailure;
use super::kinds::ApiKind;
use serde_json::Value;

/// One requirement on a label or field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
    Exists(String),
    Missing(String),
}

/// Which objects a list or a watch shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    labels: Vec<Requirement>,
    fields: Vec<Requirement>,
}

impl Selection {
    /// Reads the selectors of a request.
    pub fn read(kind: &ApiKind, labels: &str, fields: &str) -> Result<Self, ApiFailure> {
        let fields = requirements(fields)?;
        for requirement in &fields {
            let (Requirement::In(key, _) | Requirement::NotIn(key, _)) = requirement else {
                return Err(ApiFailure::bad_request("invalid field selector"));
            };
            if !matches!(&**key, "metadata.name" | "metadata.namespace") && !kind.selectable.contains(key) {
                return Err(ApiFailure::bad_request(match kind.custom {
                    true => format!("field label not supported: {key}"),
                    false => {
                        format!("{key:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
                    }
                }));
            }
        }
        Ok(Self { labels: requirements(labels)?, fields })
    }

    /// Whether it selects everything.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Whether it selects the object.
    pub fn selects(&self, object: &Value) -> bool {
        let label = |key: &str| object.pointer("/metadata/labels").and_then(|labels| labels.get(key)?.as_str());
        let field = |key: &str| {
            let value = object.pointer(&format!("/{}", key.replace('.', "/")));
            Some(value.and_then(Value::as_str).unwrap_or_default())
        };
        self.labels.iter().all(|requirement| requirement.is_met(label))
            && self.fields.iter().all(|requirement| requirement.is_met(field))
    }
}

impl Requirement {
    fn is_met<'a>(&'a self, value: impl Fn(&'a str) -> Option<&'a str>) -> bool {
        let is_one =
            |key: &'a String, values: &[String]| value(key).is_some_and(|is| values.iter().any(|one| one == is));
        match self {
            Self::In(key, values) => is_one(key, values),
            Self::NotIn(key, values) => !is_one(key, values),
            Self::Exists(key) => value(key).is_some(),
            Self::Missing(key) => value(key).is_none(),
        }
    }
}

fn requirements(selector: &str) -> Result<Vec<Requirement>, ApiFailure> {
    let mut parts = vec![String::new()];
    let mut depth = 0_u32;
    for character in selector.chars() {
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(character);
        }
    }
    parts.iter().map(|part| part.trim()).filter(|part| !part.is_empty()).map(requirement).collect()
}

fn requirement(part: &str) -> Result<Requirement, ApiFailure> {
    let set = |key: &str, values: &str| {
        let inner = values.trim().strip_prefix('(').and_then(|values| values.strip_suffix(')'));
        let inner = inner.ok_or_else(|| ApiFailure::bad_request(format!("unable to parse requirement: {part}")))?;
        Ok((key.trim().to_owned(), inner.split(',').map(|value| value.trim().to_owned()).collect()))
    };
    let one = |key: &str, value: &str| (key.trim().to_owned(), vec![value.trim().to_owned()]);
    Ok(if let Some((key, values)) = part.split_once(" notin ") {
        let (key, values) = set(key, values)?;
        Requirement::NotIn(key, values)
    } else if let Some((key, values)) = part.split_once(" in ") {
        let (key, values) = set(key, values)?;
        Requirement::In(key, values)
    } else if let Some((key, value)) = part.split_once("!=") {
        let (key, values) = one(key, value);
        Requirement::NotIn(key, values)
    } else if let Some((key, value)) = part.split_once('=') {
        let (key, values) = one(key, value.trim_start_matches('='));
        Requirement::In(key, values)
    } else if let Some(key) = part.strip_prefix('!') {
        Requirement::Missing(key.trim().to_owned())
    } else {
        Requirement::Exists(part.to_owned())
    })
}
