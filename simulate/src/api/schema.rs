//! Schemas of objects: which fields there are, their defaults, and how they are merged. Read from an OpenAPI schema with the
//! extensions of Kubernetes, as a CustomResourceDefinition has one.

use jiff::Timestamp;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What Go's `omitempty` leaves out: empty lists and maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Omit {
    /// Nothing, and nulls and unknown fields stay too: an applied object without a Go type.
    NotEvenNulls,
    /// Nothing: no Go type forms the object.
    Nothing,
    /// What is not inside a list. Go compares lists with the empty lists in them.
    OutsideLists,
    /// All, as an object is stored.
    Everything,
}

/// How the items of a list are told apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Items {
    /// Not at all: the list is one value.
    Atomic,
    /// By their value.
    Set,
    /// By the values of these fields, sorted.
    Keys(Vec<String>),
}

/// The sort of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// A scalar of an OpenAPI type; `None` is any.
    Scalar(Option<String>),
    /// An object with named fields.
    Struct { fields: BTreeMap<String, Schema>, atomic: bool },
    /// An object with any keys.
    Map { values: Box<Schema>, atomic: bool },
    /// A list.
    List { items: Box<Schema>, by: Items },
    /// Anything: objects are merged by field, lists are one value.
    Open { atomic: bool },
}

/// The schema of a value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schema {
    pub shape: Shape,
    pub default: Option<Value>,
    pub nullable: bool,
    pub required: Vec<String>,
    pub allowed: Vec<Value>,
    /// The bounds of a validation by their OpenAPI names, such as `maxItems`.
    pub bounds: BTreeMap<String, u64>,
    pub format: Option<String>,
    /// Written as null if it is absent, as Go writes the zero time.
    pub written_null: bool,
}

/// The names of the bounds that are validated.
const BOUNDS: [&str; 6] = ["minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum"];

/// A bound, which YAML may spell `65535.0`.
fn bound(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_f64().filter(|bound| *bound >= 0.0).map(|bound| bound as u64))
}

impl Schema {
    /// Reads an OpenAPI schema. What it does not say is open.
    pub fn read(schema: &Value) -> Self {
        let is = |key: &str| schema.get(key).and_then(Value::as_bool).unwrap_or_default();
        let atomic = schema.get("x-kubernetes-map-type").is_some_and(|kind| kind == "atomic");
        let strings = |key: &str| -> Vec<String> {
            let listed = schema.get(key).and_then(Value::as_array).into_iter().flatten();
            listed.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let kind = schema.get("type").and_then(Value::as_str);
        let shape = if is("x-kubernetes-int-or-string") {
            Shape::Scalar(None)
        } else if is("x-kubernetes-preserve-unknown-fields") || kind.is_none() {
            Shape::Open { atomic }
        } else if let Some(properties) = schema.get("properties").and_then(Value::as_object) {
            let fields = properties.iter().map(|(name, field)| (name.clone(), Self::read(field))).collect();
            Shape::Struct { fields, atomic }
        } else if let Some(values) = schema.get("additionalProperties") {
            Shape::Map { values: Box::new(Self::read(values)), atomic }
        } else if let Some(items) = schema.get("items") {
            let mut keys = strings("x-kubernetes-list-map-keys");
            keys.sort();
            let by = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
                Some("map") => Items::Keys(keys),
                Some("set") => Items::Set,
                _ => Items::Atomic,
            };
            Shape::List { items: Box::new(Self::read(items)), by }
        } else if kind == Some("object") {
            Shape::Struct { fields: BTreeMap::new(), atomic }
        } else {
            Shape::Scalar(kind.map(str::to_owned))
        };
        Self {
            shape,
            default: schema.get("default").cloned(),
            nullable: is("nullable"),
            required: strings("required"),
            allowed: schema.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            bounds: BOUNDS.iter().filter_map(|key| Some(((*key).to_owned(), bound(schema.get(*key)?)?))).collect(),
            format: schema.get("format").and_then(Value::as_str).map(str::to_owned),
            written_null: is("x-written-null"),
        }
    }

    /// The schema of a field, or of a value of a map; `None` if there may be none.
    pub fn field(&self, name: &str) -> Option<&Self> {
        match &self.shape {
            Shape::Struct { fields, .. } => fields.get(name),
            Shape::Map { values, .. } => Some(values),
            Shape::Open { .. } => Some(&OPEN),
            _ => None,
        }
    }

    /// Whether the field is one that the schema names.
    pub fn names(&self, name: &str) -> bool {
        matches!(&self.shape, Shape::Struct { fields, .. } if fields.contains_key(name))
    }

    /// The schema of the items of a list.
    pub fn items(&self) -> &Self {
        match &self.shape {
            Shape::List { items, .. } => items,
            _ => &OPEN,
        }
    }

    /// Drops unknown fields and nulls, and sets defaults.
    pub fn normalise(&self, value: &mut Value, omit: Omit) {
        match (&self.shape, value) {
            (Shape::Struct { fields, .. }, Value::Object(object)) => {
                let is_kept = |field: &Self, value: &Value| !value.is_null() || field.nullable || field.written_null;
                if omit != Omit::NotEvenNulls {
                    object.retain(|name, value| fields.get(name).is_some_and(|field| is_kept(field, value)));
                }
                for (name, field) in fields {
                    let is_set = object.get(name).is_some_and(|value| is_kept(field, value));
                    if let (false, Some(default)) = (is_set, &field.default) {
                        object.insert(name.clone(), default.clone());
                    }
                    if field.written_null && !object.contains_key(name) {
                        object.insert(name.clone(), Value::Null);
                    }
                    if let Some(value) = object.get_mut(name) {
                        field.normalise(value, omit);
                    }
                }
                if matches!(omit, Omit::OutsideLists | Omit::Everything) {
                    object.retain(|name, value| !fields.get(name).is_some_and(|field| field.is_omitted(value)));
                }
            }
            (Shape::Map { values, .. }, Value::Object(object)) => {
                if omit != Omit::NotEvenNulls {
                    object.retain(|_, value| !value.is_null() || values.nullable);
                }
                object.values_mut().for_each(|value| values.normalise(value, omit));
            }
            (Shape::List { items, .. }, Value::Array(list)) => {
                let inside = if omit == Omit::OutsideLists { Omit::Nothing } else { omit };
                list.iter_mut().for_each(|value| items.normalise(value, inside));
            }
            (Shape::Open { .. }, Value::Object(object)) => {
                object.retain(|_, value| !value.is_null());
                object.values_mut().for_each(|value| OPEN.normalise(value, omit));
            }
            (_, Value::String(text)) => self.spell(text),
            _ => {}
        }
    }

    /// The first time that Go cannot read: a time with microseconds has exactly six digits of them.
    pub fn unreadable<'v>(&self, value: &'v Value) -> Option<&'v str> {
        match value {
            Value::String(text) => {
                let is_micro = self.format.as_deref() == Some("micro-time");
                let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
                (is_micro && fraction != "123456Z".len()).then_some(text)
            }
            Value::Object(object) => object.iter().find_map(|(name, value)| self.field(name)?.unreadable(value)),
            Value::Array(list) => list.iter().find_map(|value| self.items().unreadable(value)),
            _ => None,
        }
    }

    /// Whether Go's `omitempty` leaves anything out of the value.
    pub fn omits(&self, value: &Value) -> bool {
        match value {
            Value::Object(object) => {
                let mut fields = object.iter().filter_map(|(name, value)| Some((self.field(name)?, value)));
                fields.any(|(field, value)| field.is_omitted(value) || field.omits(value))
            }
            Value::Array(list) => list.iter().any(|item| self.items().omits(item)),
            _ => false,
        }
    }

    /// Whether Go's `omitempty` leaves the value out.
    fn is_omitted(&self, value: &Value) -> bool {
        match (&self.shape, value) {
            (Shape::List { .. }, Value::Array(list)) => list.is_empty(),
            (Shape::Map { .. }, Value::Object(map)) => map.is_empty(),
            _ => false,
        }
    }

    /// Times have one spelling: whole seconds, or microseconds.
    fn spell(&self, text: &mut String) {
        let pattern = match self.format.as_deref() {
            Some("date-time") => "%Y-%m-%dT%H:%M:%SZ",
            Some("micro-time") => "%Y-%m-%dT%H:%M:%S.%6fZ",
            _ => return,
        };
        if let Ok(time) = text.parse::<Timestamp>() {
            *text = time.strftime(pattern).to_string();
        }
    }
}

/// The schema of what no schema describes.
pub(super) static OPEN: Schema = Schema {
    shape: Shape::Open { atomic: false },
    default: None,
    nullable: false,
    required: Vec::new(),
    allowed: Vec::new(),
    bounds: BTreeMap::new(),
    format: None,
    written_null: false,
};

/// The schema of whole objects: the given one with what every object has.
pub(super) fn of_objects(schema: &Value, metadata: &Value) -> Schema {
    let mut whole = schema.clone();
    let properties = whole.as_object_mut().map(|whole| whole.entry("properties").or_insert_with(|| Map::new().into()));
    if let Some(Value::Object(properties)) = properties {
        let string = serde_json::json!({ "type": "string" });
        properties.insert("apiVersion".to_owned(), string.clone());
        properties.insert("kind".to_owned(), string);
        properties.insert("metadata".to_owned(), metadata.clone());
    }
    Schema::read(&whole)
}
