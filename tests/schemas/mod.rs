//! Holds what commands print for programs against the schemas that docs/cli.md documents.

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Fields with content that other documents describe: the resource's own status.
const ELSEWHERE: [&str; 2] = ["status", "counts"];

/// Checks that every field of `printed` stands in the documentation of its schema.
///
/// # Panics
/// Where one does not, or the schema is not documented.
pub fn are_documented(printed: &Value) {
    let schema = printed["schema"].as_str().expect("a schema");
    let words = documented(schema);
    let mut fields = BTreeSet::new();
    collect(printed, &mut fields);
    fields.remove("schema");
    assert!(!fields.is_empty(), "{printed}");
    let missing: Vec<&str> = fields.difference(&words).map(String::as_str).collect();
    assert!(missing.is_empty(), "{schema}: docs/cli.md does not name {missing:?}");
}

/// Everything that the section of a schema puts between backticks, word by word.
fn documented(schema: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cli.md")).expect("the guide");
    let heading = format!("`{schema}` (");
    let section = text.lines().skip_while(|line| !line.starts_with(&heading)).skip(1);
    let section = section.take_while(|line| !line.starts_with("`citrix-allowlist.io/"));
    let quoted = section.flat_map(|line| line.split('`').skip(1).step_by(2));
    let words = quoted.flat_map(|text| text.split(|letter: char| !letter.is_ascii_alphanumeric()));
    let words: BTreeSet<String> = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
    assert!(!words.is_empty(), "docs/cli.md does not document {schema}");
    words
}

fn collect(value: &Value, fields: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                fields.insert(name.clone());
                if !ELSEWHERE.contains(&name.as_str()) {
                    collect(value, fields);
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, fields)),
        _ => {}
    }
}
