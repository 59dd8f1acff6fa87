//! Sets of fields, as `managedFields` holds them: a member is a path of elements such as `f:spec`, `k:{"type":"Ready"}` and
//! `v:"a"`, in the spelling of FieldsV1.

use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

use super::schema::Schema;

/// One step of a path, in the spelling of FieldsV1.
pub(super) type Element = String;

/// A set of paths. A path may be a member itself, have members below it, or both.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct FieldSet {
    members: BTreeSet<Element>,
    below: BTreeMap<Element, Self>,
}

/// The element of a named field.
pub(super) fn field(name: &str) -> Element {
    format!("f:{name}")
}

impl FieldSet {
    /// Reads FieldsV1; `None` if it is none.
    pub fn read(fields: &Value) -> Option<Self> {
        let mut set = Self::default();
        for (element, below) in fields.as_object()? {
            let below = below.as_object()?;
            let deeper: Map<String, Value> =
                below.iter().filter(|(key, _)| *key != ".").map(|(key, value)| (key.clone(), value.clone())).collect();
            if below.contains_key(".") || below.is_empty() {
                set.members.insert(element.clone());
            }
            if !deeper.is_empty() {
                set.below.insert(element.clone(), Self::read(&deeper.into())?);
            }
        }
        Some(set)
    }

    /// FieldsV1.
    pub fn write(&self) -> Value {
        let mut fields: Map<String, Value> =
            self.members.iter().map(|element| (element.clone(), Map::new().into())).collect();
        for (element, below) in &self.below {
            let mut below = below.write();
            if let (true, Value::Object(below)) = (self.members.contains(element), &mut below) {
                below.insert(".".to_owned(), Map::new().into());
            }
            fields.insert(element.clone(), below);
        }
        fields.into()
    }

    pub fn insert(&mut self, path: &[Element]) {
        match path {
            [] => {}
            [last] => drop(self.members.insert(last.clone())),
            [first, rest @ ..] => self.below.entry(first.clone()).or_default().insert(rest),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.members.is_empty() && self.below.values().all(Self::is_empty)
    }

    /// Whether the element itself is a member.
    pub fn has(&self, element: &str) -> bool {
        self.members.contains(element)
    }

    /// What is below an element, if there is anything.
    pub fn below(&self, element: &str) -> Option<&Self> {
        self.below.get(element).filter(|below| !below.is_empty())
    }

    pub fn union(&self, other: &Self) -> Self {
        let mut union = self.clone();
        union.members.extend(other.members.iter().cloned());
        for (element, below) in &other.below {
            let own = union.below.entry(element.clone()).or_default();
            *own = own.union(below);
        }
        union
    }

    pub fn intersection(&self, other: &Self) -> Self {
        let members = self.members.intersection(&other.members).cloned().collect();
        let both = self.below.iter().filter_map(|(element, below)| Some((element, below, other.below.get(element)?)));
        let below = both.map(|(element, below, other)| (element.clone(), below.intersection(other)));
        Self { members, below: below.filter(|(_, below)| !below.is_empty()).collect() }
    }

    /// Without the members of `other`. What is below them stays.
    pub fn difference(&self, other: &Self) -> Self {
        let members = self.members.difference(&other.members).cloned().collect();
        let below = self.below.iter().map(|(element, below)| {
            let below = other.below.get(element).map_or_else(|| below.clone(), |other| below.difference(other));
            (element.clone(), below)
        });
        Self { members, below: below.filter(|(_, below)| !below.is_empty()).collect() }
    }

    /// Without an element and everything below it.
    pub fn without(&self, element: &str) -> Self {
        let mut rest = self.clone();
        rest.members.remove(element);
        rest.below.remove(element);
        rest
    }

    /// With every named field a member that has members below it.
    pub fn with_named(&self, schema: &Schema) -> Self {
        let mut named = self.clone();
        for (element, below) in &self.below {
            let name = element.strip_prefix("f:");
            if name.is_some_and(|name| schema.names(name)) {
                named.members.insert(element.clone());
            }
            let inner = match name {
                Some(name) => schema.field(name),
                None => Some(schema.items()),
            };
            let inner = inner.unwrap_or(&super::schema::OPEN);
            named.below.insert(element.clone(), below.with_named(inner));
        }
        named
    }

    /// Every member, as error messages spell it: `.spec.list[key="a"].field`.
    pub fn spelled(&self) -> Vec<String> {
        let mut paths: Vec<String> = self.members.iter().map(|element| spelled(element)).collect();
        for (element, below) in &self.below {
            let prefix = spelled(element);
            paths.extend(below.spelled().into_iter().map(|path| format!("{prefix}{path}")));
        }
        paths
    }
}

fn spelled(element: &str) -> String {
    match element.split_at_checked(2) {
        Some(("f:", name)) => format!(".{name}"),
        Some(("v:", value)) => format!("[={value}]"),
        Some(("k:", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!("[{}]", keys.join(","))
        }
        _ => element.to_owned(),
    }
}
