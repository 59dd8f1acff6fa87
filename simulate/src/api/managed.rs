//! Who manages which fields: what `metadata.managedFields` says after a write, and the object that a server-side apply makes.

use super::failure::ApiFailure;
use super::fields::{FieldSet, field};
use super::merge::{compare, fields_of, merge, remove};
use super::prepare::untyped;
use super::schema::Schema;
use serde_json::{Value, json};

/// The manager of what was there before the first apply.
const BEFORE_APPLY: &str = "before-first-apply";

/// The most entries of updates; older ones are merged into one (apimachinery's `DefaultMaxUpdateManagers`).
const MOST_UPDATERS: usize = 10;

/// Fields that nobody manages.
const UNMANAGED: [&str; 9] = [
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
];

/// The fields of one manager.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Manager {
    pub name: String,
    pub applies: bool,
    pub api_version: String,
    pub subresource: String,
    pub time: Option<String>,
    pub fields: FieldSet,
}

impl Manager {
    /// Whether both are one entry. The version counts for updates only.
    fn is(&self, other: &Self) -> bool {
        (&self.name, self.applies, &self.subresource) == (&other.name, other.applies, &other.subresource)
            && (self.applies || self.api_version == other.api_version)
    }

    fn read(entry: &Value) -> Option<Self> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (operation, api_version) = (text("operation"), text("apiVersion"));
        let is_valid =
            matches!(&*operation, "Apply" | "Update") && !api_version.is_empty() && text("fieldsType") == "FieldsV1";
        is_valid.then_some(())?;
        Some(Self {
            name: text("manager"),
            applies: operation == "Apply",
            api_version,
            subresource: text("subresource"),
            time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
            fields: entry.get("fieldsV1").map_or_else(|| Some(FieldSet::default()), FieldSet::read)?,
        })
    }

    fn operation(&self) -> &'static str {
        if self.applies { "Apply" } else { "Update" }
    }

    fn write(&self) -> Value {
        let mut entry = json!({
            "manager": self.name,
            "operation": self.operation(),
            "apiVersion": self.api_version,
            "fieldsType": "FieldsV1",
            "fieldsV1": self.fields.write(),
        });
        if let Some(time) = &self.time {
            entry["time"] = time.clone().into();
        }
        if !self.subresource.is_empty() {
            entry["subresource"] = self.subresource.clone().into();
        }
        entry
    }

    /// As conflicts name it.
    fn spelled(&self) -> String {
        let mut spelled = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            spelled += &format!(" with subresource {:?}", self.subresource);
        }
        if !self.applies {
            spelled += &format!(" using {}", self.api_version);
        }
        spelled
    }
}

/// The managers of an object; none if they cannot be read.
pub(super) fn managers(object: &Value) -> Vec<Manager> {
    let entries = object["metadata"]["managedFields"].as_array().map_or(&[][..], Vec::as_slice);
    entries.iter().map(Manager::read).collect::<Option<_>>().unwrap_or_default()
}

/// Who writes, when, and which fields do not count because this request cannot change them.
pub(super) struct Writer<'a> {
    pub schema: &'a Schema,
    pub manager: Manager,
    pub reset: &'a [&'a str],
}

impl Writer<'_> {
    fn counted(&self, fields: &FieldSet) -> FieldSet {
        self.reset.iter().fold(fields.clone(), |fields, name| fields.without(&field(name)))
    }

    /// Sets the managers of `new`, which replaces `live`: an empty object if it is created.
    pub fn update(&self, live: &Value, new: &mut Value) {
        let sent = new["metadata"].get("managedFields").filter(|_| self.manager.subresource.is_empty());
        let is_reset = sent.and_then(Value::as_array).is_some_and(|entries| match entries.as_slice() {
            [] => true,
            [one] => one.as_object().is_some_and(serde_json::Map::is_empty),
            _ => false,
        });
        let mut known = managers(new);
        if known.is_empty() || !self.manager.subresource.is_empty() {
            known = if is_reset { Vec::new() } else { managers(live) };
        }
        take_managers(new);
        let mut untypable = Vec::new();
        untyped(self.schema, new, "", &mut untypable);
        if !untypable.is_empty() {
            // The API server loses the managers of an object that it cannot merge.
            return;
        }
        let created = live["metadata"].get("uid").is_none();
        if !known.is_empty() || created {
            self.take_over(live, new, &mut known);
        }
        put_managers(new, known);
    }

    /// Gives what `new` changes to the manager.
    fn take_over(&self, live: &Value, new: &Value, known: &mut Vec<Manager>) {
        let mut live = live.clone();
        take_managers(&mut live);
        let comparison = compare(self.schema, &live, new);
        let changed = self.counted(&comparison.modified.union(&comparison.added));
        let removed = self.counted(&comparison.removed);
        for other in known.iter_mut() {
            other.fields = other.fields.difference(&changed).difference(&removed);
        }
        known.retain(|manager| !manager.fields.is_empty());
        let fields = strip(&changed);
        if fields.is_empty() {
            return;
        }
        let mut writer = Manager { fields, ..self.manager.clone() };
        if let Some(at) = known.iter().position(|known| known.is(&writer)) {
            writer.fields = writer.fields.union(&known.remove(at).fields);
        }
        known.push(writer);
        cap(known);
    }

    /// The object after an apply, with its managers.
    pub fn apply(&self, live: &Value, sent: &Value, force: bool) -> Result<Value, ApiFailure> {
        let mut known = managers(live);
        let mut bare = live.clone();
        take_managers(&mut bare);
        if known.is_empty() && live["metadata"].get("uid").is_some() {
            let before = Manager { name: BEFORE_APPLY.to_owned(), applies: false, ..self.manager.clone() };
            Writer { manager: before, ..*self }.take_over(&json!({}), &bare, &mut known);
        }
        let merged = merge(self.schema, Some(&bare), Some(sent)).unwrap_or_default();
        let mut writer = Manager { fields: self.counted(&fields_of(self.schema, sent)), ..self.manager.clone() };
        let last = known.iter().position(|known| known.is(&writer)).map(|at| known.remove(at));
        let merged = match &last {
            Some(last) if !last.fields.is_empty() => {
                let all = known.iter().fold(writer.fields.clone(), |all, other| all.union(&other.fields));
                self.prune(&merged, &last.fields, &all)
            }
            _ => merged,
        };
        let comparison = compare(self.schema, &bare, &merged);
        let changed = self.counted(&comparison.modified.union(&comparison.added));
        let conflicts: Vec<(String, Vec<String>)> = known
            .iter()
            .map(|other| (other.spelled(), other.fields.intersection(&changed).spelled()))
            .filter(|(_, paths)| !paths.is_empty())
            .collect();
        if !force && !conflicts.is_empty() {
            return Err(ApiFailure::apply_conflict(&conflicts));
        }
        let removed = self.counted(&comparison.removed);
        for other in &mut known {
            other.fields = other.fields.difference(&changed).difference(&removed);
        }
        known.retain(|manager| !manager.fields.is_empty());
        writer.fields = strip(&writer.fields);
        if merged == bare {
            // An apply that changes nothing has no time, not even its first.
            writer.time = last.and_then(|last| last.time);
        }
        if !writer.fields.is_empty() {
            known.push(writer);
        }
        let mut merged = merged;
        put_managers(&mut merged, known);
        Ok(merged)
    }

    /// Removes what the manager applied last time and not this time, unless it is in `all`, the fields of all managers now.
    fn prune(&self, merged: &Value, last: &FieldSet, all: &FieldSet) -> Value {
        let named = |fields: &FieldSet| fields.with_named(self.schema);
        let of = |value: &Value| named(&fields_of(self.schema, value));
        let pruned = remove(self.schema, merged, &named(last));
        let pruned = remove(self.schema, merged, &of(merged).difference(&of(&pruned).union(&named(all))));
        remove(self.schema, merged, &of(merged).difference(&of(&pruned)).intersection(&named(last)))
    }
}

/// Merges the oldest updaters into one if there are too many.
fn cap(known: &mut Vec<Manager>) {
    let updaters = |known: &[Manager]| known.iter().filter(|manager| !manager.applies).count();
    while updaters(known) > MOST_UPDATERS {
        known.sort_by(|one, other| order(one).cmp(&order(other)));
        let mut oldest = known.iter().enumerate().filter(|(_, manager)| !manager.applies).map(|(at, _)| at);
        let (Some(first), Some(second)) = (oldest.next(), oldest.next()) else { return };
        let merged = known.remove(second);
        let ancient = &mut known[first];
        ancient.name = "ancient-changes".to_owned();
        ancient.fields = ancient.fields.union(&merged.fields);
        ancient.time = merged.time;
    }
}

fn strip(fields: &FieldSet) -> FieldSet {
    let mut unmanaged = FieldSet::default();
    for name in ["apiVersion", "kind", "metadata"] {
        unmanaged.insert(&[field(name)]);
    }
    for name in UNMANAGED {
        unmanaged.insert(&[field("metadata"), field(name)]);
    }
    fields.difference(&unmanaged)
}

/// The order of entries.
fn order(manager: &Manager) -> (&str, Option<&str>, &str, &str, &str) {
    let time = manager.time.as_deref();
    (manager.operation(), time, &manager.name, &manager.api_version, &manager.subresource)
}

fn take_managers(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
}

fn put_managers(object: &mut Value, mut known: Vec<Manager>) {
    known.sort_by(|one, other| order(one).cmp(&order(other)));
    if !known.is_empty() {
        object["metadata"]["managedFields"] = known.iter().map(Manager::write).collect();
    }
}
