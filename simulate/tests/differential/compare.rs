//! Makes answers comparable: uids and versions are renamed in order, times are taken out.

use super::side::Answer;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Whole answers with renamed values.
pub fn comparable(answers: &[Answer], namespace: &str) -> Vec<Answer> {
    let mut names = Names { namespace: namespace.to_owned(), uids: BTreeMap::new(), versions: BTreeMap::new() };
    let mut versions = BTreeSet::new();
    for answer in answers {
        names.collect(&answer.body, &mut versions);
    }
    names.versions =
        versions.iter().enumerate().map(|(at, version)| (version.to_string(), format!("version {at}"))).collect();
    let rename = |answer: &Answer| {
        let mut answer = answer.clone();
        names.rename(&mut answer.body, "");
        deliberate(&mut answer);
        answer
    };
    answers.iter().map(rename).collect()
}

/// Where the model differs on purpose, and why. Each takes its part out of an answer.
fn deliberate(answer: &mut Answer) {
    for (_reason, applies, take_out) in DELIBERATE {
        if applies(answer) {
            take_out(answer);
        }
    }
}

/// The reason, which answers it is about, and what is taken out of them.
type Difference = (&'static str, fn(&Answer) -> bool, fn(&mut Answer));

fn says(answer: &Answer, words: &str) -> bool {
    answer.body["message"].as_str().is_some_and(|message| message.contains(words))
}

const DELIBERATE: &[Difference] = &[
    (
        "sentences of validations are Go's: code, reason and refused fields are compared",
        |answer| answer.code == 422,
        |answer| {
            answer.body["message"] = "".into();
            for cause in answer.body["details"]["causes"].as_array_mut().into_iter().flatten() {
                cause["message"] = "".into();
            }
        },
    ),
    (
        "times that Go cannot read: its sentence shows its layout, and more",
        |answer| says(answer, "parsing time"),
        |answer| answer.body["message"] = "parsing time".into(),
    ),
    (
        "tokens that are none: Go says which byte it cannot read",
        |answer| says(answer, "continue key is not valid"),
        |answer| answer.body["message"] = "continue key is not valid".into(),
    ),
    (
        "patches of an unknown type: the model has no strategic merge patch, and answers alike for all kinds",
        |answer| answer.code == 415,
        |answer| answer.body = "415".into(),
    ),
];

struct Names {
    namespace: String,
    uids: BTreeMap<String, String>,
    versions: BTreeMap<String, String>,
}

impl Names {
    fn collect(&mut self, value: &Value, versions: &mut BTreeSet<u64>) {
        match value {
            Value::Object(object) => {
                let metadata = &value["metadata"];
                let is_list = object.contains_key("items");
                if let (Some(uid), false) = (metadata["uid"].as_str(), is_list) {
                    let number = self.uids.len();
                    self.uids.entry(uid.to_owned()).or_insert_with(|| format!("uid {number}"));
                    versions
                        .extend(metadata["resourceVersion"].as_str().and_then(|version| version.parse::<u64>().ok()));
                }
                object.values().for_each(|value| self.collect(value, versions));
            }
            Value::Array(list) => list.iter().for_each(|value| self.collect(value, versions)),
            _ => {}
        }
    }

    fn rename(&self, value: &mut Value, key: &str) {
        match value {
            Value::Object(object) => {
                object.iter_mut().for_each(|(key, value)| self.rename(value, key));
                // A list's version moves with every write to the server, also those of others.
                if object.contains_key("items") {
                    object["metadata"]["resourceVersion"] = "the list's version".into();
                }
            }
            Value::Array(list) => {
                list.iter_mut().for_each(|value| self.rename(value, key));
                if matches!(key, "managedFields" | "causes") {
                    list.sort_by_key(Value::to_string);
                }
            }
            Value::String(text) => *text = self.renamed(text, key),
            _ => {}
        }
    }

    fn renamed(&self, text: &str, key: &str) -> String {
        match key {
            "creationTimestamp" | "deletionTimestamp" | "time" => return "time".to_owned(),
            "continue" => return "token".to_owned(),
            "resourceVersion" => return self.versions.get(text).cloned().unwrap_or_else(|| "a version".to_owned()),
            "namespace" if *text == self.namespace => return "namespace".to_owned(),
            "message" => {}
            _ => return self.uids.get(text).cloned().unwrap_or_else(|| text.to_owned()),
        }
        let mut text = text.replace(&self.namespace, "namespace");
        for (uid, name) in &self.uids {
            text = text.replace(uid, name);
        }
        let words = text.split_inclusive(|character: char| {
            !character.is_ascii_alphanumeric() && character != '-' && character != ':'
        });
        words.map(|word| self.renamed_word(word)).collect()
    }

    /// A word of a message with the character after it.
    fn renamed_word(&self, word: &str) -> String {
        let bare = word.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
        let is_time = bare.len() == 20 && bare.as_bytes()[10] == b'T' && bare.ends_with('Z');
        let name = self.versions.get(bare).map(String::as_str).or(is_time.then_some("time"));
        name.map_or_else(|| word.to_owned(), |name| word.replace(bare, name))
    }
}

/// The parts that differ, one a line.
pub fn parts(real: &Value, model: &Value, path: &str) -> Vec<String> {
    match (real, model) {
        (Value::Object(one), Value::Object(other)) => {
            let keys: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            let of = |object: &serde_json::Map<String, Value>, key: &str| object.get(key).cloned().unwrap_or_default();
            let part = |key: &String| parts(&of(one, key), &of(other, key), &format!("{path}/{key}"));
            keys.into_iter().flat_map(part).collect()
        }
        (Value::Array(one), Value::Array(other)) if one.len() == other.len() => {
            let pairs = one.iter().zip(other).enumerate();
            pairs.flat_map(|(at, (one, other))| parts(one, other, &format!("{path}/{at}"))).collect()
        }
        _ if real == model => Vec::new(),
        _ => vec![format!("{path}\n    real  {real}\n    model {model}")],
    }
}
