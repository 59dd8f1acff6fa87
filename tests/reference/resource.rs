//! The reference of the resource as Markdown, from the schema that the API server is given. Pure.

use super::generated;
use citrix_allowlist::crd;
use serde_json::Value;
use std::fmt::Write as _;

/// The most that a list of bounds says of a pattern before it is left to the description.
const LONGEST_PATTERN: usize = 40;

/// The whole reference.
#[must_use]
pub fn markdown() -> String {
    let definition = serde_json::to_value(crd::definition()).unwrap_or_default();
    let version = &definition["spec"]["versions"][0];
    let schema = &version["schema"]["openAPIV3Schema"];
    let mut text = generated().to_owned();
    let names = &definition["spec"]["names"];
    let _ = write!(
        text,
        "# {}\n\n{} `{}/{}`, namespaced, short name `{}`. `kubectl explain {}.spec` says the same.\n\n\
         Whatever the table does not allow is refused by the API server, with a sentence that names the field.\n\
         `[]` marks the entries of a list. Durations are written as `90s`, `5m` or `1h30m`.\n",
        word(&names["kind"]),
        sentence(&schema["description"]),
        word(&definition["spec"]["group"]),
        word(&version["name"]),
        word(&names["shortNames"][0]),
        word(&names["shortNames"][0]),
    );
    let rules = messages(schema);
    if !rules.is_empty() {
        let _ = write!(text, "\n{}.\n", rules.join("; "));
    }
    for (part, heading) in [("spec", "What you say"), ("status", "What is answered")] {
        let _ = write!(
            text,
            "\n## {heading}: `{part}`\n\n| field | type | default | allowed | what it is |\n| --- | --- | --- | --- | --- |\n"
        );
        fields(&mut text, part, &schema["properties"][part]);
    }
    text.push_str("\n## Columns of `kubectl get`\n\n| column | shown | what it is |\n| --- | --- | --- |\n");
    for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
        let shown = if column["priority"].as_i64().unwrap_or(0) > 0 { "with `-o wide`" } else { "always" };
        let name = word(&column["name"]).to_uppercase();
        let about = column["description"].as_str().unwrap_or("How old the resource is");
        let _ = writeln!(text, "| {name} | {shown} | {about} |");
    }
    text.push_str("\nReasons of conditions stand in [reasons.md](../reasons.md), kinds of problems in [problems.md](../problems.md).\n");
    text
}

/// A row for each field of an object, and below it those of the object that it holds.
fn fields(text: &mut String, path: &str, object: &Value) {
    let required: Vec<&str> = strings(&object["required"]).collect();
    for (name, schema) in object["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let holds_list = schema["type"] == "array";
        let default = match schema.get("default") {
            Some(Value::Object(default)) if default.is_empty() => "`{}`".to_owned(),
            // Its fields have the same defaults, and a row each.
            Some(Value::Object(_)) | None if required.contains(&name.as_str()) => "required".to_owned(),
            Some(Value::Object(_)) | None => String::new(),
            Some(Value::String(default)) => format!("`{}`", if default.is_empty() { "\"\"" } else { default }),
            Some(default) => format!("`{default}`"),
        };
        let mut about = sentence(&schema["description"]);
        let inner = if holds_list { &schema["items"] } else { schema };
        for message in messages(schema).into_iter().chain(holds_list.then(|| messages(inner)).into_iter().flatten()) {
            let _ = write!(about, " Checked: {message}.");
        }
        let allowed = allowed(schema);
        let _ = writeln!(
            text,
            "| `{path}` | {} | {} | {} | {} |",
            type_of(schema),
            cell(&default),
            cell(&allowed),
            cell(&about)
        );
        let below = if holds_list { format!("{path}[]") } else { path };
        fields(text, &below, inner);
    }
}

fn type_of(schema: &Value) -> String {
    if schema["x-kubernetes-int-or-string"] == true {
        return "integer or text".to_owned();
    }
    match schema["type"].as_str() {
        Some("array") => {
            let keys: Vec<String> =
                strings(&schema["x-kubernetes-list-map-keys"]).map(|key| format!("`{key}`")).collect();
            let by = if keys.is_empty() { String::new() } else { format!(", by {}", keys.join(", ")) };
            format!("list of {}s{by}", type_of(&schema["items"]))
        }
        Some("object") if schema["additionalProperties"].is_object() => "map of texts".to_owned(),
        Some("string") if schema["format"] == "date-time" => "time".to_owned(),
        Some("string") => "text".to_owned(),
        Some(other) => other.to_owned(),
        None => "any".to_owned(),
    }
}

/// What the schema allows beside the type: words, bounds, a short pattern.
fn allowed(schema: &Value) -> String {
    let mut said = Vec::new();
    let mut values = schema;
    if schema["type"] == "array" {
        said.extend(bounds(schema, "minItems", "maxItems", "entries"));
        values = &schema["items"];
    }
    if schema["additionalProperties"].is_object() {
        said.extend(bounds(schema, "minProperties", "maxProperties", "entries"));
        values = &schema["additionalProperties"];
    }
    let words: Vec<String> = strings(&values["enum"]).map(|word| format!("`{word}`")).collect();
    if !words.is_empty() {
        said.push(words.join(", "));
    }
    said.extend(bounds(values, "minimum", "maximum", ""));
    said.extend(bounds(values, "minLength", "maxLength", "characters"));
    if let Some(pattern) = values["pattern"].as_str().filter(|pattern| pattern.len() <= LONGEST_PATTERN) {
        said.push(format!("`{pattern}`"));
    }
    said.join("; ")
}

fn bounds(schema: &Value, least: &str, most: &str, unit: &str) -> Option<String> {
    let number = |key: &str| schema[key].as_f64().map(|number| number.to_string());
    let said = match (number(least), number(most)) {
        (Some(least), Some(most)) => format!("{least} to {most} {unit}"),
        (None, Some(most)) => format!("at most {most} {unit}"),
        (Some(least), None) => format!("at least {least} {unit}"),
        (None, None) => return None,
    };
    Some(said.trim_end().to_owned())
}

/// What the API server says where a rule is broken.
fn messages(schema: &Value) -> Vec<String> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules.map(|rule| word(&rule["message"])).collect()
}

fn strings(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn sentence(value: &Value) -> String {
    word(value).split_whitespace().collect::<Vec<_>>().join(" ")
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every path of the schema, as it stands in the manifest: `spec.services.include`.
    fn paths(path: &str, schema: &Value, found: &mut Vec<String>) {
        for (name, field) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            found.push(path.clone());
            paths(&path, field, found);
            paths(&format!("{path}[]"), &field["items"], found);
        }
    }

    #[test]
    fn every_field_has_one_row_with_a_type_and_a_sentence() {
        let definition = serde_json::to_value(crd::definition()).expect("JSON");
        let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        let mut found = Vec::new();
        for part in ["spec", "status"] {
            paths(part, &schema[part], &mut found);
        }
        assert!(found.len() > 60, "{found:?}");
        let text = markdown();
        for path in found {
            let rows: Vec<&str> = text.lines().filter(|line| line.starts_with(&format!("| `{path}` |"))).collect();
            let [row] = rows[..] else { panic!("{path} has {} rows", rows.len()) };
            let cells: Vec<&str> = row.split(" | ").collect();
            assert!(cells.len() >= 5 && cells[1] != "any" && cells[4].len() > 8, "{row}");
        }
    }

    #[test]
    fn types_defaults_and_bounds_are_the_schemas() {
        let text = markdown();
        for row in [
            "| `spec.customerId` | text | required | `^[a-zA-Z0-9]{1,12}$` |",
            "| `spec.geo` | text | `all` | `us`, `eu`, `ap-s`, `jp`, `all` |",
            "| `spec.inboundPorts[].pod` | integer | required | 1 to 65535 |",
            "| `spec.wildcards` | list of objects, by `pattern` |  | at most 64 entries |",
            "| `spec.refresh.minInterval` | text | `5m` |",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
        assert!(text.contains("Checked: addressRetention must be from 1m to 168h."), "{text}");
    }
}
