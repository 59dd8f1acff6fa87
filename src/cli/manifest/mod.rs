//! Manifests as people write them: YAML or JSON, many documents in a stream, lists. Pure.

mod lines;

pub use lines::line_of;

use serde_json::Value;
use std::io::{self, BufRead};
use std::sync::Arc;

/// One document of an input, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it is from, as a person calls it: a path, or `<stdin>`.
    pub source: Arc<str>,
    /// The line of the input that its text starts on, counted from 1.
    pub first_line: usize,
    /// Its text, without the line that separates it from its neighbours.
    pub text: String,
}

/// One object of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The object.
    pub value: Value,
    /// Where it stands in its document, as a JSON pointer; empty where it is the whole document.
    pub pointer: String,
}

/// A document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}:{line}: {message}")]
pub struct ManifestError {
    /// Where the document is from.
    pub source_name: Arc<str>,
    /// The line of the input.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// The documents of an input, one at a time, so that an input of any length takes the memory of its longest document.
#[derive(Debug)]
pub struct Documents<R> {
    source: Arc<str>,
    reader: R,
    line: usize,
    ended: bool,
}

impl<R: BufRead> Documents<R> {
    /// The documents of `reader`, which people know as `source`.
    pub fn new(source: &str, reader: R) -> Self {
        Self { source: source.into(), reader, line: 0, ended: false }
    }
}

impl<R: BufRead> Iterator for Documents<R> {
    type Item = io::Result<Document>;

    /// A line that starts with `---` always separates documents: YAML allows it neither in block nor in quoted scalars.
    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let mut document = Document { source: self.source.clone(), first_line: self.line + 1, text: String::new() };
            loop {
                let mut line = String::new();
                match self.reader.read_line(&mut line) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(_) => self.line += 1,
                    Err(error) => {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
                if line
                    .strip_prefix("---")
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
                {
                    let rest = line.split_off(3);
                    // A document may start on the line of its separator: `--- {kind: ...}`.
                    if document.text.trim().is_empty() {
                        document.text = rest;
                        document.first_line = self.line;
                        continue;
                    }
                    if !rest.trim().is_empty() && !rest.trim_start().starts_with('#') {
                        let message = "a document may not start on the line of its `---`";
                        return Some(Err(io::Error::new(
                            io::ErrorKind::InvalidData,
                            format!("line {}: {message}", self.line),
                        )));
                    }
                    break;
                }
                document.text.push_str(&line);
            }
            let blank = |line: &str| line.trim().is_empty() || line.trim_start().starts_with('#');
            if !document.text.lines().all(blank) {
                return Some(Ok(document));
            }
        }
        None
    }
}

impl Document {
    /// The objects of the document: one, or the items of a list, or every value of a stream of JSON.
    ///
    /// # Errors
    /// Where the text is neither YAML nor JSON, or holds something that is no object.
    pub fn objects(&self) -> Result<Vec<Object>, ManifestError> {
        let mut objects = Vec::new();
        for value in self.values()? {
            collect(value, String::new(), &mut objects);
        }
        match objects.iter().find(|object| !object.value.is_object()) {
            Some(object) => {
                Err(self.error(&object.pointer, "this is no Kubernetes object: one with apiVersion and kind is needed"))
            }
            None => Ok(objects),
        }
    }

    /// An error at a place of the document.
    #[must_use]
    pub fn error(&self, pointer: &str, message: impl Into<String>) -> ManifestError {
        let line = line_of(&self.text, pointer).unwrap_or(1);
        ManifestError { source_name: self.source.clone(), line: self.first_line + line - 1, message: message.into() }
    }

    fn values(&self) -> Result<Vec<Value>, ManifestError> {
        if self.text.trim_start().starts_with('{') {
            let read: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&self.text).into_iter().collect();
            if let Ok(values) = read {
                return Ok(values);
            }
        }
        let options = serde_saphyr::options! { with_snippet: false };
        match serde_saphyr::from_str_with_options::<Value>(&self.text, options) {
            Ok(value) => Ok(vec![value]),
            Err(error) => {
                let line = error.location().map_or(1, |location| usize::try_from(location.line()).unwrap_or(1));
                let text = error.to_string();
                // The location stands in front already, by the line of the whole input.
                let what = text.split(" at line ").next().unwrap_or(&text);
                let what =
                    what.split_once(": ").filter(|(head, _)| head.starts_with("line ")).map_or(what, |(_, what)| what);
                Err(ManifestError {
                    source_name: self.source.clone(),
                    line: self.first_line + line.max(1) - 1,
                    message: format!("neither YAML nor JSON: {what}"),
                })
            }
        }
    }
}

/// The items of a `List`, as `kubectl get -o yaml` prints it, stand for themselves.
fn collect(value: Value, pointer: String, objects: &mut Vec<Object>) {
    match value {
        Value::Null => {}
        Value::Object(mut list) if is_list(&list) => {
            let Some(Value::Array(items)) = list.remove("items") else { return };
            for (index, item) in items.into_iter().enumerate() {
                collect(item, format!("{pointer}/items/{index}"), objects);
            }
        }
        value => objects.push(Object { value, pointer }),
    }
}

fn is_list(object: &serde_json::Map<String, Value>) -> bool {
    let is = |field: &str, text: &str| object.get(field).and_then(Value::as_str) == Some(text);
    is("apiVersion", "v1") && is("kind", "List")
        || object.get("kind").and_then(Value::as_str) == Some("CitrixAllowlistList")
}

/// The text at a JSON pointer's places as people write fields: `/spec/services/0` is `spec.services[0]`.
#[must_use]
pub fn field(pointer: &str) -> String {
    let mut field = String::new();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            field.push_str(&format!("[{part}]"));
        } else {
            if !field.is_empty() {
                field.push('.');
            }
            field.push_str(&part);
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    fn documents(text: &str) -> Vec<Document> {
        Documents::new("a.yaml", text.as_bytes()).map(|document| document.expect("memory reads")).collect()
    }

    #[test]
    fn a_stream_is_split_at_its_separators_and_knows_its_lines() {
        let text = "# a remark\n---\na: 1\n---\n# nothing\n---  # next\nb: |\n  --- inside\nc: 2\n";
        let found = documents(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].objects().expect("YAML")[0].value, serde_json::json!({ "a": 1 }));
        assert_eq!(found[1].objects().expect("YAML")[0].value, serde_json::json!({ "b": "--- inside\n", "c": 2 }));
        assert_eq!(found[1].error("/c", "x").to_string(), "a.yaml:9: x");
        assert_eq!(found[0].error("/a", "x").to_string(), "a.yaml:3: x");
        assert!(documents("").is_empty());
        assert_eq!(documents("--- {a: 1}\n")[0].objects().expect("YAML")[0].value, serde_json::json!({ "a": 1 }));
    }

    #[test]
    fn lists_and_streams_of_json_are_their_items() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- kind: A\n-\n  kind: B\n";
        let document = &documents(list)[0];
        let objects = document.objects().expect("YAML");
        assert_eq!(objects.iter().map(|object| &*object.pointer).collect::<Vec<_>>(), ["/items/0", "/items/1"]);
        assert_eq!(document.error("/items/1/kind", "x").line, 6);
        let json = &documents("{\"a\": 1}\n{\"a\":\n 2}\n")[0];
        assert_eq!(json.objects().expect("JSON").len(), 2);
    }

    #[test]
    fn what_cannot_be_read_says_where() {
        let broken = documents("---\nkind: A\n---\nkind: B\nspec: [1, 2\nx: }\n").remove(1);
        let error = broken.objects().expect_err("broken");
        assert!(error.line >= 5, "{error}");
        assert!(error.message.starts_with("neither YAML nor JSON: "), "{error}");
        assert!(documents("- 1\n")[0].objects().expect_err("a list").message.contains("no Kubernetes object"));
        assert_eq!(field("/spec/wildcards/0/names/12"), "spec.wildcards[0].names[12]");
    }
}
