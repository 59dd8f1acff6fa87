//! Reads YAML as kubectl does. The parser library finds scalars, sequences and mappings; their meaning is that of sigs.k8s.io/yaml
//! and go.yaml.in/yaml/v2, in JSON. Pure.
//!
//! Three things are refused that kubectl accepts silently. Text after the end of a document: kubectl ignores it. Keys that are the
//! same in JSON and not in YAML, `1` and `"1"`: kubectl keeps one by chance. Aliases that bring more than [`MOST_BY_ALIAS`].

mod scalar;
mod tree;

use scalar::{Scalar, resolve};
use serde_json::{Map, Number, Value};
use std::collections::{HashMap, HashSet};
use tree::{Content, MOST_LEVELS, Tree, Written};

/// The most memory of all aliases' values, in bytes, as [`weight`] counts: 16 MiB, as for a whole list of the vendor's. kubectl
/// bounds aliases by the number of values, and so does this; but 40 KB of text took 109 MiB within that bound.
const MOST_BY_ALIAS: usize = 16 << 20;

/// A text that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
    /// Whether it is YAML that JSON cannot express: another entry of the same key may replace it.
    is_unsayable: bool,
}

impl Unreadable {
    fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into(), is_unsayable: false }
    }
}

/// A key that a mapping repeats: as for kubectl, the last entry counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated {
    /// The key.
    pub key: String,
    /// The line of its repetition, from 1.
    pub line: usize,
}

/// The value of a YAML document, `null` if it is empty, and its repeated keys.
///
/// # Errors
/// It is not YAML, or has no form in JSON.
pub fn read(text: &str) -> Result<(Value, Vec<Repeated>), Unreadable> {
    let tree = Tree::read(text.strip_prefix('\u{feff}').unwrap_or(text))?;
    let Some(root) = tree.root else { return Ok((Value::Null, Vec::new())) };
    let (expanding, repeated) = (Vec::new(), Vec::new());
    let mut decoder = Decoder { tree: &tree, expanding, decoded: 0, by_alias: 0, weight_by_alias: 0, repeated };
    let value = decoder.value(root, 0)?;
    Ok((value, decoder.repeated))
}

/// A key in YAML: JSON's are texts alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Bool(bool),
    Int(i64),
    /// By its bits; no two NaNs are equal.
    Float(u64),
    Text(String),
}

/// A mapping being read: each key in JSON, with its form in YAML.
#[derive(Default)]
struct Entries {
    values: Map<String, Value>,
    keys: HashMap<String, Key>,
}

struct Decoder<'a> {
    tree: &'a Tree,
    /// The aliases being followed.
    expanding: Vec<usize>,
    /// How many nodes were read, each as often as it occurs.
    decoded: u64,
    /// How many of these come from an alias.
    by_alias: u64,
    /// The memory of these.
    weight_by_alias: usize,
    repeated: Vec<Repeated>,
}

impl Decoder<'_> {
    fn error(&self, node: usize, message: impl Into<String>) -> Unreadable {
        Unreadable::new(self.tree.nodes[node].line, message)
    }

    /// Counts a node.
    fn enter(&mut self, node: usize, level: usize) -> Result<(), Unreadable> {
        if level > MOST_LEVELS {
            let message = format!("its aliases nest deeper than the {MOST_LEVELS} levels that are read");
            return Err(self.error(node, message));
        }
        self.decoded += 1;
        if !self.expanding.is_empty() {
            self.by_alias += 1;
            self.weight_by_alias += weight(&self.tree.nodes[node].content);
        }
        if self.weight_by_alias > MOST_BY_ALIAS
            || self.by_alias > 100 && self.decoded > 1000 && is_mostly_aliases(self.by_alias, self.decoded)
        {
            return Err(self.error(node, "aliases make it much larger than it is written"));
        }
        Ok(())
    }

    fn value(&mut self, node: usize, level: usize) -> Result<Value, Unreadable> {
        self.enter(node, level)?;
        match &self.tree.nodes[node].content {
            Content::Scalar(written) => self.scalar(node, written).and_then(|scalar| self.json(node, scalar)),
            Content::Sequence(items) => {
                items.iter().map(|item| self.value(*item, level + 1)).collect::<Result<_, _>>().map(Value::Array)
            }
            Content::Mapping(entries) => {
                let mut read = Entries::default();
                self.mapping(entries, level, &mut read)?;
                Ok(Value::Object(read.values))
            }
            Content::Alias(of) => {
                self.follow(node)?;
                let value = self.value(*of, level);
                self.expanding.pop();
                value
            }
        }
    }

    /// Begins to follow an alias.
    fn follow(&mut self, alias: usize) -> Result<(), Unreadable> {
        if self.expanding.contains(&alias) {
            return Err(self.error(alias, "an anchor's value contains itself"));
        }
        self.expanding.push(alias);
        Ok(())
    }

    /// Reads entries over existing ones.
    fn mapping(&mut self, entries: &[(usize, usize)], level: usize, read: &mut Entries) -> Result<(), Unreadable> {
        let mut keys = Vec::with_capacity(entries.len());
        let mut last = HashMap::new();
        for (at, (key, _)) in entries.iter().enumerate() {
            let key = if self.is_merge(*key) { None } else { Some(self.key(*key, level + 1)?) };
            last.extend(key.iter().map(|(_, key)| (key.clone(), at)));
            keys.push(key);
        }
        let mut own = HashSet::new();
        for (at, ((key_node, value), key)) in entries.iter().zip(keys).enumerate() {
            let Some((text, key)) = key else {
                self.merge(*value, level, read)?;
                continue;
            };
            let differs =
                |known: &Key| *known != key || matches!(key, Key::Float(bits) if f64::from_bits(bits).is_nan());
            if read.keys.get(&text).is_some_and(differs) {
                let message = format!(
                    "`{text}` is the key of two entries in JSON, and in YAML each has its own: which one kubectl keeps is chance"
                );
                return Err(self.error(*key_node, message));
            }
            if !own.insert(key.clone()) {
                self.repeated.push(Repeated { key: text.clone(), line: self.tree.nodes[*key_node].line });
            }
            let is_replaced = last.get(&key).is_some_and(|last| *last > at);
            match self.value(*value, level + 1) {
                Ok(value) => {
                    read.values.insert(text.clone(), value);
                }
                Err(error) if error.is_unsayable && is_replaced => {}
                Err(error) => return Err(error),
            }
            read.keys.insert(text, key);
        }
        Ok(())
    }

    /// Whether a key is `<<`, which merges a mapping's entries.
    fn is_merge(&self, key: usize) -> bool {
        match &self.tree.nodes[key].content {
            Content::Scalar(written) => {
                written.text == "<<" && (written.is_implicit || written.tag == "tag:yaml.org,2002:merge")
            }
            _ => false,
        }
    }

    /// Merges mappings over existing entries: of several, the first one takes precedence.
    fn merge(&mut self, node: usize, level: usize, read: &mut Entries) -> Result<(), Unreadable> {
        match &self.tree.nodes[node].content {
            Content::Sequence(items) => items.iter().rev().try_for_each(|item| self.merge_one(*item, level + 1, read)),
            _ => self.merge_one(node, level, read),
        }
    }

    fn merge_one(&mut self, node: usize, level: usize, read: &mut Entries) -> Result<(), Unreadable> {
        self.enter(node, level)?;
        let (mapping, is_alias) = match &self.tree.nodes[node].content {
            Content::Alias(of) => (*of, true),
            _ => (node, false),
        };
        let Content::Mapping(entries) = &self.tree.nodes[mapping].content else {
            return Err(self.error(node, "`<<` needs a mapping, or a list of mappings"));
        };
        if !is_alias {
            return self.mapping(entries, level, read);
        }
        self.follow(node)?;
        let merged = self.enter(mapping, level).and_then(|()| self.mapping(entries, level, read));
        self.expanding.pop();
        merged
    }

    fn scalar(&self, node: usize, written: &Written) -> Result<Scalar, Unreadable> {
        if written.tag.is_empty() && !written.is_implicit {
            return Ok(Scalar::Text(written.text.clone()));
        }
        resolve(&written.tag, &written.text).map_err(|message| self.error(node, message))
    }

    /// A key in JSON, and its form in YAML.
    fn key(&mut self, node: usize, level: usize) -> Result<(String, Key), Unreadable> {
        self.enter(node, level)?;
        match &self.tree.nodes[node].content {
            Content::Alias(of) => {
                self.follow(node)?;
                let key = self.key(*of, level);
                self.expanding.pop();
                key
            }
            Content::Scalar(written) => match self.scalar(node, written)? {
                Scalar::Null => Err(self.error(node, "a key needs a text: null is none")),
                Scalar::Bool(value) => Ok((value.to_string(), Key::Bool(value))),
                Scalar::Int(number) => Ok((number.to_string(), Key::Int(number))),
                Scalar::Large(number) => Err(self.error(node, format!("`{number}` is too large for a key"))),
                Scalar::Float(number) => Ok((float_key(number), Key::Float(number.to_bits()))),
                Scalar::Text(text) => Ok((text.clone(), Key::Text(text))),
            },
            _ => Err(self.error(node, "a key needs a text: lists and mappings are none")),
        }
    }

    fn json(&self, node: usize, scalar: Scalar) -> Result<Value, Unreadable> {
        Ok(match scalar {
            Scalar::Null => Value::Null,
            Scalar::Bool(value) => value.into(),
            Scalar::Int(number) => number.into(),
            #[expect(clippy::cast_precision_loss, reason = "kubectl rounds as well")]
            Scalar::Large(number) => (number as f64).into(),
            Scalar::Text(text) => text.into(),
            Scalar::Float(number) if number.is_finite() => plain_number(number),
            Scalar::Float(_) => {
                let error = self.error(node, "it is no number that JSON can say");
                return Err(Unreadable { is_unsayable: true, ..error });
            }
        })
    }
}

/// The rough size of a node as JSON, without its children: a value, its text, and for a mapping the B-tree nodes of `serde_json`.
/// Each of them contains at least five entries and has room for eleven.
fn weight(content: &Content) -> usize {
    const VALUE: usize = 2 * size_of::<Value>();
    const ENTRIES: usize = 11 * (size_of::<String>() + size_of::<Value>());
    match content {
        Content::Scalar(written) => VALUE + written.text.len(),
        Content::Mapping(entries) => VALUE + ENTRIES * entries.len().div_ceil(5),
        Content::Sequence(_) | Content::Alias(_) => VALUE,
    }
}

/// A number after kubectl has written it as JSON and read it again: whole ones have no fraction.
pub fn plain_number(number: f64) -> Value {
    // As text it has its shortest digits, and zeros behind them: those are read again.
    let whole = (number.fract() == 0.0).then(|| number.to_string().parse::<i64>().ok()).flatten();
    if let Some(whole) = whole {
        return whole.into();
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// Whether too much of a document comes from aliases: go.yaml.in/yaml/v2, `allowedAliasRatio`.
fn is_mostly_aliases(by_alias: u64, decoded: u64) -> bool {
    const LOW: f64 = 400_000.0;
    const HIGH: f64 = 4_000_000.0;
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    let (by_alias, decoded) = (by_alias as f64, decoded as f64);
    let allowed = 0.99 - 0.89 * ((decoded.clamp(LOW, HIGH) - LOW) / (HIGH - LOW));
    by_alias / decoded > allowed
}

/// A number as a key: Go's `strconv.FormatFloat(number, 'g', -1, 32)`, and YAML's words for NaN and infinity.
fn float_key(number: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "sigs.k8s.io/yaml has keys of 32 bits")]
    let number = number as f32;
    if number.is_nan() {
        return ".nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return number.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests;
