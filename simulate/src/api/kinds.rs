//! The kinds that the model serves: those of `kinds.yaml`, and those of CustomResourceDefinitions.

use super::failure::Subject;
use super::schema::{Omit, Schema, of_objects};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::Arc;

/// A kind of object, and how the API server treats it.
#[derive(Clone, PartialEq)]
pub struct ApiKind {
    /// Its API group; empty for the core.
    pub group: String,
    /// Its version.
    pub version: String,
    /// Its name, such as `ConfigMap`.
    pub kind: String,
    /// Its name in paths, such as `configmaps`.
    pub plural: String,
    /// Whether its objects are in namespaces.
    pub namespaced: bool,
    /// Whether a CustomResourceDefinition defines it: no Go type forms its objects then.
    pub custom: bool,
    /// Whether it has a status of its own path.
    pub status: bool,
    /// Whether `metadata.generation` counts changes of its content.
    pub generation: bool,
    /// Whether a PUT may leave out the version.
    pub(super) unconditional: bool,
    /// Whether a PUT creates what does not exist.
    pub(super) create_by_put: bool,
    /// Whether the answer to a deletion is the object.
    pub(super) returns_deleted: bool,
    /// What field selectors may name, besides name and namespace.
    pub(super) selectable: Vec<String>,
    /// Whether it is another face of a kind of the core.
    pub(super) stored_in_core: bool,
    /// Whether the garbage collector leaves its objects alone.
    pub(super) uncollected: bool,
    /// Fields that no update may change, with the names that refusals give them.
    pub(super) frozen: Vec<(String, String)>,
    pub(super) schema: Schema,
}

impl fmt::Debug for ApiKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.plural, self.group)
    }
}

impl ApiKind {
    fn read(kind: &Value, metadata: &Value) -> Self {
        let text = |key: &str| kind.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let is = |key: &str| kind.get(key).and_then(Value::as_bool).unwrap_or_default();
        let fields = kind.get("fields").and_then(Value::as_array).into_iter().flatten();
        Self {
            group: text("group"),
            version: text("version"),
            kind: text("kind"),
            plural: text("plural"),
            namespaced: is("namespaced"),
            custom: false,
            status: is("status"),
            generation: is("generation"),
            unconditional: is("unconditional"),
            create_by_put: is("create_by_put"),
            returns_deleted: is("returns_deleted"),
            selectable: fields.filter_map(Value::as_str).map(str::to_owned).collect(),
            stored_in_core: is("stored_in_core"),
            uncollected: is("uncollected"),
            frozen: kind.get("frozen").and_then(Value::as_object).into_iter().flatten().map(frozen).collect(),
            schema: of_objects(&kind["schema"], metadata),
        }
    }

    /// The kind of a CustomResourceDefinition: its first served version.
    fn of_definition(definition: &Value, metadata: &Value) -> Option<Self> {
        let spec = definition.get("spec")?;
        let version = spec.get("versions")?.as_array()?.iter().find(|version| version["served"] == true)?;
        let text = |value: &Value| value.as_str().map(str::to_owned);
        Some(Self {
            group: text(&spec["group"])?,
            version: text(&version["name"])?,
            kind: text(&spec["names"]["kind"])?,
            plural: text(&spec["names"]["plural"])?,
            namespaced: spec["scope"] == "Namespaced",
            custom: true,
            status: version.pointer("/subresources/status").is_some(),
            generation: true,
            unconditional: false,
            create_by_put: false,
            returns_deleted: false,
            selectable: Vec::new(),
            stored_in_core: false,
            uncollected: false,
            frozen: Vec::new(),
            schema: of_objects(version.pointer("/schema/openAPIV3Schema")?, metadata),
        })
    }

    /// Group and version, as objects name them.
    #[must_use]
    pub fn api_version(&self) -> String {
        match &*self.group {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// As refusals name one of its objects.
    pub(super) fn subject<'a>(&'a self, name: &'a str) -> Subject<'a> {
        Subject { group: &self.group, kind: &self.plural, name }
    }

    /// As refusals of its content name it: by its kind, and the group that stores it.
    pub(super) fn content<'a>(&'a self, name: &'a str) -> Subject<'a> {
        let group = if self.stored_in_core { "" } else { &*self.group };
        Subject { group, kind: &self.kind, name }
    }

    /// Whether an owner reference's version and kind mean this kind.
    pub(super) fn is_meant(&self, reference: &Value) -> bool {
        let group =
            reference["apiVersion"].as_str().map_or("", |version| version.rsplit_once('/').map_or("", |it| it.0));
        reference["kind"] == *self.kind && group == self.group
    }

    /// Whether the content has empty lists or maps that are not stored. Go tells them from absent ones, and counts a generation
    /// for them with every update.
    pub(super) fn omits(&self, object: &Value) -> bool {
        let mut content = object.clone();
        if let Some(content) = content.as_object_mut() {
            content.remove("metadata");
        }
        if self.plural == "networkpolicies" {
            drop_empty_policy_types(&mut content["spec"]);
        }
        !self.custom && self.schema.omits(&content)
    }

    /// As the API server reads a sent object: known fields only, with defaults.
    pub(super) fn read_in(&self, object: &mut Value) {
        self.fill(object, if self.custom { Omit::Nothing } else { Omit::OutsideLists });
        clean(object);
    }

    /// As the API server merges an applied object: without a Go type, empty metadata and nulls stay.
    pub(super) fn read_applied(&self, object: &mut Value) {
        if self.custom {
            self.fill(object, Omit::NotEvenNulls);
        } else {
            self.read_in(object);
        }
    }

    /// As the API server shows a stored object.
    pub(super) fn normalise(&self, object: &mut Value) {
        self.fill(object, if self.custom { Omit::Nothing } else { Omit::Everything });
        clean(object);
    }

    fn fill(&self, object: &mut Value, omit: Omit) {
        object["apiVersion"] = self.api_version().into();
        object["kind"] = self.kind.clone().into();
        if self.plural == "networkpolicies" {
            drop_empty_policy_types(&mut object["spec"]);
        }
        self.schema.normalise(object, omit);
        if self.plural == "networkpolicies" {
            default_policy_types(&mut object["spec"]);
        }
    }
}

/// Drops the empty parts of metadata.
fn clean(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|_, value| !is_empty(value));
    }
}

fn frozen((field, name): (&String, &Value)) -> (String, String) {
    (field.clone(), name.as_str().unwrap_or_default().to_owned())
}

/// Whether Go's `omitempty` leaves a field of metadata out.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// No types and an empty list of them are the same.
fn drop_empty_policy_types(spec: &mut Value) {
    let is_empty = spec.get("policyTypes").and_then(Value::as_array).is_some_and(Vec::is_empty);
    if let (true, Some(spec)) = (is_empty, spec.as_object_mut()) {
        spec.remove("policyTypes");
    }
}

/// Kubernetes' own default, which no schema can say: Ingress, and Egress if there are rules for it.
fn default_policy_types(spec: &mut Value) {
    if spec.get("policyTypes").is_none() {
        let egress = spec.get("egress").is_some();
        spec["policyTypes"] = ["Ingress", "Egress"][..if egress { 2 } else { 1 }].iter().copied().collect();
    }
}

/// Every kind, installed or not.
#[derive(Clone, Debug)]
pub struct Kinds {
    /// Each with whether it is installed.
    all: Vec<(Arc<ApiKind>, bool)>,
}

impl Kinds {
    /// The kinds of Kubernetes, and those of CustomResourceDefinitions (as JSON), all installed. A definition that is none is
    /// left out.
    #[must_use]
    pub fn new(definitions: &[Value]) -> Self {
        let table: Value = serde_saphyr::from_str(include_str!("kinds.yaml")).unwrap_or_default();
        let metadata = &table["metadata"];
        let own = table["kinds"].as_array().into_iter().flatten().map(|kind| ApiKind::read(kind, metadata));
        let defined = definitions.iter().filter_map(|definition| ApiKind::of_definition(definition, metadata));
        Self { all: own.chain(defined).map(|kind| (Arc::new(kind), true)).collect() }
    }

    /// The number of an installed resource.
    #[must_use]
    pub fn find(&self, group: &str, plural: &str) -> Option<usize> {
        self.all.iter().position(|(kind, installed)| *installed && kind.group == group && kind.plural == plural)
    }

    /// The number of the kind that an owner reference names, installed or not.
    pub(super) fn meant(&self, reference: &Value) -> Option<usize> {
        self.all.iter().position(|(kind, _)| kind.is_meant(reference))
    }

    /// Whether any kind of the group is installed.
    pub(super) fn has_group(&self, group: &str) -> bool {
        self.all.iter().any(|(kind, installed)| *installed && kind.group == group)
    }

    /// Installs or uninstalls a kind; its objects are the store's matter.
    pub(super) fn set_installed(&mut self, number: usize, installed: bool) {
        if let Some(entry) = self.all.get_mut(number) {
            entry.1 = installed;
        }
    }

    /// The number of a kind by group and plural, installed or not.
    pub fn known(&self, group: &str, plural: &str) -> Option<usize> {
        self.all.iter().position(|(kind, _)| kind.group == group && kind.plural == plural)
    }

    /// Whether a kind is installed.
    pub(super) fn is_installed(&self, number: usize) -> bool {
        self.all.get(number).is_some_and(|(_, installed)| *installed)
    }

    /// A kind by its number.
    pub(super) fn get(&self, number: usize) -> &Arc<ApiKind> {
        &self.all[number].0
    }

    /// Every kind with its number.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &ApiKind)> {
        self.all.iter().map(|(kind, _)| &**kind).enumerate()
    }
}

/// A new object of a kind, before anything is known of it.
pub(super) fn empty(kind: &ApiKind) -> Value {
    let mut object: Value = Map::new().into();
    if !kind.custom {
        // A Go struct: what is always written is there.
        kind.schema.normalise(&mut object, Omit::Everything);
    }
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.clone().into();
    object
}
