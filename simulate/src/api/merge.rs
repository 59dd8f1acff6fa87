//! Merges objects by their schema: the rules of Kubernetes' structured-merge-diff (v6), written again. Each function walks an
//! object as that library does, so that the field sets are the same.

use super::fields::{Element, FieldSet, field};
use super::schema::{Items, Schema, Shape};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// What differs between two versions of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Comparison {
    pub added: FieldSet,
    pub removed: FieldSet,
    pub modified: FieldSet,
}

/// How a value is walked.
enum Walk<'a> {
    Leaf,
    Object,
    List(&'a Items),
}

fn walk<'a>(schema: &'a Schema, value: &Value) -> Walk<'a> {
    match (&schema.shape, value) {
        (Shape::Struct { atomic: true, .. } | Shape::Map { atomic: true, .. } | Shape::Open { atomic: true }, _) => {
            Walk::Leaf
        }
        (Shape::Struct { .. } | Shape::Map { .. } | Shape::Open { .. }, Value::Object(_)) => Walk::Object,
        (Shape::List { by, .. }, Value::Array(_)) if *by != Items::Atomic => Walk::List(by),
        _ => Walk::Leaf,
    }
}

/// The element of a list's item.
fn element(by: &Items, item: &Value) -> Element {
    match by {
        Items::Keys(keys) => {
            let keys: Map<String, Value> =
                keys.iter().filter_map(|key| Some((key.clone(), item.get(key)?.clone()))).collect();
            format!("k:{}", Value::from(keys))
        }
        Items::Set | Items::Atomic => format!("v:{item}"),
    }
}

/// Null counts as nothing where objects and lists are walked.
fn object(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value?.as_object()
}

fn list(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn inner<'a>(schema: &'a Schema, name: &str) -> &'a Schema {
    schema.field(name).unwrap_or(&super::schema::OPEN)
}

fn get<'a>(object: Option<&'a Map<String, Value>>, name: &str) -> Option<&'a Value> {
    object?.get(name)
}

fn index<'a>(by: &Items, list: &'a [Value]) -> BTreeMap<Element, &'a Value> {
    list.iter().map(|item| (element(by, item), item)).collect()
}

fn names<'a>(left: Option<&'a Map<String, Value>>, right: Option<&'a Map<String, Value>>) -> BTreeSet<&'a String> {
    left.into_iter().chain(right).flat_map(Map::keys).collect()
}

/// How two versions are walked: as one leaf if both are empty.
fn walk_both<'a>(schema: &'a Schema, left: Option<&Value>, right: Option<&Value>) -> Walk<'a> {
    let Some(shown) = right.filter(|value| !value.is_null()).or(left) else { return Walk::Leaf };
    let is_empty = |value: Option<&Value>| match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    match walk(schema, shown) {
        Walk::Object | Walk::List(_) if is_empty(left) && is_empty(right) => Walk::Leaf,
        other => other,
    }
}

/// The left object with everything that the right one says.
pub(super) fn merge(schema: &Schema, left: Option<&Value>, right: Option<&Value>) -> Option<Value> {
    match walk_both(schema, left, right) {
        Walk::Leaf => right.or(left).cloned(),
        Walk::Object => {
            let (left, right) = (object(left), object(right));
            let field =
                |name: &String| Some((name.clone(), merge(inner(schema, name), get(left, name), get(right, name))?));
            let merged: Map<String, Value> = names(left, right).into_iter().filter_map(field).collect();
            (!merged.is_empty()).then(|| merged.into())
        }
        Walk::List(by) => {
            let merged = merge_lists(schema.items(), by, list(left), list(right));
            (!merged.is_empty()).then(|| merged.into())
        }
    }
}

/// Items of the right list in its order, items of the left list alone near where they were.
fn merge_lists(schema: &Schema, by: &Items, left: &[Value], right: &[Value]) -> Vec<Value> {
    let elements = |list: &[Value]| -> Vec<Element> { list.iter().map(|item| element(by, item)).collect() };
    let (of_left, of_right) = (elements(left), elements(right));
    let mut shared = of_right.iter().filter(|element| of_left.contains(element));
    let mut next = shared.next();
    let mut done = BTreeSet::new();
    let mut out = Vec::new();
    let (mut l, mut r) = (0, 0);
    let in_left = |element: &Element| of_left.iter().position(|other| other == element).map(|at| &left[at]);
    while l < left.len() || r < right.len() {
        if l < left.len() && r < right.len() {
            if of_left[l] == of_right[r] {
                done.insert(&of_left[l]);
                out.extend(merge(schema, Some(&left[l]), Some(&right[r])));
                (l, r) = (l + 1, r + 1);
                next = shared.next();
                continue;
            }
            if of_right.contains(&of_left[l]) && next.is_some_and(|next| *next != of_left[l]) {
                l += 1;
                continue;
            }
        }
        if l < left.len() {
            if !of_right.contains(&of_left[l]) {
                out.push(left[l].clone());
                l += 1;
                continue;
            } else if done.contains(&of_left[l]) {
                l += 1;
            }
        }
        if r < right.len() {
            done.insert(&of_right[r]);
            out.extend(merge(schema, in_left(&of_right[r]), Some(&right[r])));
            if next == Some(&of_right[r]) {
                next = shared.next();
            }
            r += 1;
        }
    }
    out
}

/// What differs.
pub(super) fn compare(schema: &Schema, left: &Value, right: &Value) -> Comparison {
    let mut comparison = Comparison::default();
    compare_at(schema, Some(left), Some(right), &mut Vec::new(), &mut comparison);
    comparison
}

fn compare_at(
    schema: &Schema,
    left: Option<&Value>,
    right: Option<&Value>,
    path: &mut Vec<Element>,
    out: &mut Comparison,
) {
    match walk_both(schema, left, right) {
        Walk::Leaf => match (left, right) {
            (None, _) => out.added.insert(path),
            (_, None) => out.removed.insert(path),
            (Some(left), Some(right)) if left != right => out.modified.insert(path),
            _ => {}
        },
        Walk::Object => {
            let (of_left, of_right) = (object(left), object(right));
            for name in names(of_left, of_right) {
                path.push(field(name));
                compare_at(inner(schema, name), get(of_left, name), get(of_right, name), path, out);
                path.pop();
            }
            itself(left, right, path, out);
        }
        Walk::List(by) => {
            let (of_left, of_right) = (index(by, list(left)), index(by, list(right)));
            let all: BTreeSet<&Element> = of_left.keys().chain(of_right.keys()).collect();
            for item in all {
                path.push(item.clone());
                compare_at(schema.items(), of_left.get(item).copied(), of_right.get(item).copied(), path, out);
                path.pop();
            }
            itself(left, right, path, out);
        }
    }
}

/// An object or a list that is new or gone is so itself too, besides what is in it.
fn itself(left: Option<&Value>, right: Option<&Value>, path: &[Element], out: &mut Comparison) {
    match (left, right) {
        (None, _) => out.added.insert(path),
        (_, None) => out.removed.insert(path),
        _ => {}
    }
}

/// The fields that an object has.
pub(super) fn fields_of(schema: &Schema, value: &Value) -> FieldSet {
    let mut set = FieldSet::default();
    collect(schema, value, &mut Vec::new(), &mut set);
    set
}

fn collect(schema: &Schema, value: &Value, path: &mut Vec<Element>, set: &mut FieldSet) {
    match walk(schema, value) {
        Walk::Leaf => {
            let is_walked = !matches!(schema.shape, Shape::Scalar(_)) && value.is_null();
            if !is_walked {
                set.insert(path);
            }
        }
        Walk::Object => {
            for (name, value) in value.as_object().into_iter().flatten() {
                path.push(field(name));
                collect(inner(schema, name), value, path, set);
                let is_empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if is_empty || !schema.names(name) {
                    set.insert(path);
                }
                path.pop();
            }
        }
        Walk::List(by) => {
            for item in list(Some(value)) {
                path.push(element(by, item));
                collect(schema.items(), item, path, set);
                set.insert(path);
                path.pop();
            }
        }
    }
}

/// The object without these fields. What is left empty by that becomes null, and an atomic value goes whole.
pub(super) fn remove(schema: &Schema, value: &Value, fields: &FieldSet) -> Value {
    let below = |schema: &Schema, value: &Value, element: &str| match fields.below(element) {
        Some(below) => remove(schema, value, below),
        None => value.clone(),
    };
    match (walk(schema, value), value) {
        (Walk::Object, Value::Object(object)) => {
            let kept = object.iter().filter(|(name, _)| !fields.has(&field(name)));
            let kept: Map<String, Value> =
                kept.map(|(name, value)| (name.clone(), below(inner(schema, name), value, &field(name)))).collect();
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        (Walk::List(by), Value::Array(list)) => {
            let kept = list.iter().map(|item| (element(by, item), item)).filter(|(element, _)| !fields.has(element));
            let kept: Vec<Value> = kept.map(|(element, item)| below(schema.items(), item, &element)).collect();
            if kept.is_empty() { Value::Null } else { kept.into() }
        }
        (Walk::Leaf, Value::Object(_) | Value::Array(_)) => Value::Null,
        _ => value.clone(),
    }
}
