//! Manifests as people write them: YAML or JSON, many documents in a stream, lists. Pure.

mod json;
mod lines;
mod yaml;

use lines::lines_of;

use serde_json::Value;
use serde_json::value::RawValue;
use std::io::{self, BufRead, Read as _};
use std::sync::Arc;

/// The longest document that is read, in bytes: some ten times what an API server accepts of one object, for lists.
pub const LONGEST_DOCUMENT: usize = 32 << 20;

/// One document of an input, not read yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestDocument {
    /// Its source for people: a path, or `<stdin>`.
    pub source: Arc<str>,
    /// The line of the input on which its text starts, from 1.
    pub first_line: usize,
    /// Its text, without its separator.
    pub text: String,
}

/// One object of a document.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// The object.
    pub value: Value,
    /// Its place in the document, as a JSON pointer; empty if it is the whole document.
    pub pointer: String,
}

/// A document that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}:{line}: {message}")]
pub struct ManifestError {
    /// The document's source.
    pub source_name: Arc<str>,
    /// The line of the input.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// The documents of an input, one at a time: the memory is that of the longest document, however long the input is.
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
    type Item = io::Result<ManifestDocument>;

    /// A line that starts with `---` separates documents, as for kubectl: YAML allows it neither in block nor in quoted scalars.
    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let (source, first_line) = (self.source.clone(), self.line + 1);
            let mut document = ManifestDocument { source, first_line, text: String::new() };
            loop {
                let mut line = String::new();
                let left = LONGEST_DOCUMENT.saturating_sub(document.text.len()) as u64 + 1;
                match self.reader.by_ref().take(left).read_line(&mut line) {
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
                if document.text.len() + line.len() > LONGEST_DOCUMENT {
                    let longest = LONGEST_DOCUMENT >> 20;
                    return Some(Err(self.invalid(&format!("a document may have {longest} MiB at most"))));
                }
                // As kubectl does: without its end, the last block scalar of a text would lack its own.
                if !line.ends_with('\n') {
                    line.push('\n');
                }
                if let Some(rest) = line.strip_prefix("---") {
                    let rest = rest.trim();
                    if !rest.is_empty() && !rest.starts_with('#') {
                        let message = "a document may not start on the line of its `---`";
                        return Some(Err(self.invalid(message)));
                    }
                    if document.text.trim().is_empty() {
                        document.text = line.split_off(3);
                        document.first_line = self.line;
                        continue;
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

impl<R> Documents<R> {
    /// An error on the line that was read last; nothing is read after it.
    fn invalid(&mut self, message: &str) -> io::Error {
        self.ended = true;
        io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {message}", self.line))
    }
}

impl ManifestDocument {
    /// The objects of the document: one, or the items of a list, or every value of a stream of JSON. Also notes on the text, each as
    /// `place: sentence`.
    ///
    /// # Errors
    /// The text is neither YAML nor JSON, or contains something other than objects.
    pub fn objects(&self) -> Result<(Vec<Object>, Vec<String>), ManifestError> {
        let (values, notes) = self.values()?;
        let mut objects = Vec::new();
        for value in values {
            collect(value, String::new(), &mut objects);
        }
        match objects.iter().find(|object| !object.value.is_object()) {
            Some(object) => {
                Err(self.error(&object.pointer, "this is no Kubernetes object: one with apiVersion and kind is needed"))
            }
            None => Ok((objects, notes)),
        }
    }

    /// An error at a place of the document.
    #[must_use]
    pub fn error(&self, pointer: &str, message: impl Into<String>) -> ManifestError {
        self.on_line(self.lines(&[pointer]).first().copied().unwrap_or(1), message)
    }

    /// Errors at places of the document, each with its message.
    #[must_use]
    pub fn errors(&self, found: Vec<(String, String)>) -> Vec<ManifestError> {
        let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        let lines = self.lines(&pointers);
        lines.into_iter().zip(found).map(|(line, (_, message))| self.on_line(line, message)).collect()
    }

    /// Places of the document, as `source:line`.
    #[must_use]
    pub fn places(&self, pointers: &[&str]) -> Vec<String> {
        let place = |line: usize| format!("{}:{}", self.source, self.first_line + line - 1);
        self.lines(pointers).into_iter().map(place).collect()
    }

    /// The lines of places, from 1 within the document.
    fn lines(&self, pointers: &[&str]) -> Vec<usize> {
        lines_of(&self.text, pointers).into_iter().map(|line| line.unwrap_or(1)).collect()
    }

    fn values(&self) -> Result<(Vec<Value>, Vec<String>), ManifestError> {
        if self.text.trim_start().starts_with('{')
            && let Ok(found) = serde_json::Deserializer::from_str(&self.text).into_iter().collect::<Result<Vec<_>, _>>()
        {
            let values: Result<Vec<Value>, _> = found.into_iter().map(|raw: &RawValue| of_json(raw)).collect();
            let values = values.map_err(|message| self.on_line(1, format!("not as JSON has it: {message}")))?;
            return Ok((values, Vec::new()));
        }
        let (value, repeated) = yaml::read(&self.text)
            .map_err(|error| self.on_line(error.line, format!("neither YAML nor JSON: {}", error.message)))?;
        let note = |yaml::Repeated { key, line }| {
            self.on_line(line, format!("`{key}` stands there again: what stands last counts")).to_string()
        };
        Ok((vec![value], repeated.into_iter().map(note).collect()))
    }

    /// An error on a line of the document, from 1.
    fn on_line(&self, line: usize, message: impl Into<String>) -> ManifestError {
        let line = self.first_line + line.max(1) - 1;
        ManifestError { source_name: self.source.clone(), line, message: message.into() }
    }
}

/// A value of JSON, with its numbers as kubectl passes them on.
fn of_json(raw: &RawValue) -> Result<Value, String> {
    json::read(raw.get()).map_err(|error| {
        // The place is one within the value.
        error.to_string().split(" at line ").next().unwrap_or_default().to_owned()
    })
}

/// Replaces a `List`, as `kubectl get -o yaml` prints it, by its items.
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

/// A JSON pointer as people write fields: `/spec/services/0` is `spec.services[0]`.
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

    fn documents(text: &str) -> Vec<ManifestDocument> {
        Documents::new("a.yaml", text.as_bytes()).map(|document| document.expect("memory reads")).collect()
    }

    fn objects(document: &ManifestDocument) -> Vec<Object> {
        document.objects().expect("objects").0
    }

    #[test]
    fn a_stream_is_split_at_its_separators_and_knows_its_lines() {
        let text = "# a remark\n---\na: 1\n---\n# nothing\n---  # next\nb: |\n  --- inside\nc: 2\n";
        let found = documents(text);
        assert_eq!(found.len(), 2);
        assert_eq!(objects(&found[0])[0].value, serde_json::json!({ "a": 1 }));
        assert_eq!(objects(&found[1])[0].value, serde_json::json!({ "b": "--- inside\n", "c": 2 }));
        assert_eq!(found[1].error("/c", "x").to_string(), "a.yaml:9: x");
        assert_eq!(found[0].error("/a", "x").to_string(), "a.yaml:3: x");
        assert!(documents("").is_empty());
        let ended = serde_json::json!({ "a": "x\n" });
        assert_eq!(objects(&documents("a: |+\n  x")[0])[0].value, ended, "as kubectl ends it");
    }

    #[test]
    fn a_line_that_is_no_separator_to_kubectl_is_refused() {
        for text in ["--- {a: 1}\n", "a: 1\n---b\n", "a: 1\n--- |\n  b\n"] {
            let found: Result<Vec<ManifestDocument>, _> = Documents::new("a.yaml", text.as_bytes()).collect();
            let error = found.expect_err(text).to_string();
            assert!(error.ends_with("a document may not start on the line of its `---`"), "{error}");
        }
    }

    #[test]
    fn a_document_without_end_is_refused() {
        let endless = io::BufReader::new(io::repeat(b'a'));
        let found: Vec<_> = Documents::new("a.yaml", endless).collect();
        let [Err(error)] = found.as_slice() else { panic!("{} documents", found.len()) };
        assert_eq!(error.to_string(), "line 1: a document may have 32 MiB at most");
    }

    #[test]
    fn numbers_of_json_are_whole_where_they_can_be() {
        let text = "{\"a\": 443.0, \"b\": 1e3, \"c\": 0.5, \"d\": 18446744073709551615}";
        let expected = serde_json::json!({ "a": 443, "b": 1000, "c": 0.5, "d": 18_446_744_073_709_551_615.0 });
        assert_eq!(objects(&documents(text)[0])[0].value, expected);
        let error = documents("{\"a\": 1e999}")[0].objects().expect_err("no number");
        assert_eq!(error.message, "not as JSON has it: number out of range");
    }

    #[test]
    fn lists_and_streams_of_json_are_their_items() {
        let list = "apiVersion: v1\nkind: List\nitems:\n- kind: A\n-\n  kind: B\n";
        let document = &documents(list)[0];
        let objects = objects(document);
        assert_eq!(objects.iter().map(|object| &*object.pointer).collect::<Vec<_>>(), ["/items/0", "/items/1"]);
        assert_eq!(document.error("/items/1/kind", "x").line, 6);
        let json = &documents("{\"a\": 1}\n{\"a\":\n 2}\n")[0];
        assert_eq!(json.objects().expect("JSON").0.len(), 2);
    }

    #[test]
    fn an_unreadable_document_says_where() {
        let broken = documents("---\nkind: A\n---\nkind: B\nspec: [1, 2\nx: }\n").remove(1);
        let error = broken.objects().expect_err("broken");
        assert!(error.line >= 5, "{error}");
        assert!(error.message.starts_with("neither YAML nor JSON: "), "{error}");
        assert!(documents("- 1\n")[0].objects().expect_err("a list").message.contains("no Kubernetes object"));
        assert_eq!(field("/spec/wildcards/0/names/12"), "spec.wildcards[0].names[12]");
    }
}
