//! Reads the objects of manifests: our resources, checked, and objects of other kinds.

use crate::crd::CitrixAllowlist;
use crate::manifests::document::{Documents, ManifestDocument, ManifestError, Object};
use crate::manifests::inputs;
use crate::manifests::validate::{Invalid, Validator, is_ours};
use crate::text::output;
use anyhow::Context as _;
use kube::ResourceExt as _;
use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;

/// Errors of a document, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Refused(pub Vec<String>);

/// One of our resources in a document.
pub struct Read {
    /// The resource, with the API server's defaults.
    pub resource: CitrixAllowlist,
    /// Where it starts, as `file:line`.
    pub place: String,
}

/// An object of another kind, or one of ours.
pub enum Item {
    /// One of ours.
    Ours(Box<Read>),
    /// Of another kind.
    Other(serde_json::Value),
}

/// The error of inputs without any of our resources.
pub(crate) const NOTHING_OF_OURS: &str = "-f: no CitrixAllowlist of citrix-allowlist.io/v1alpha1 is in there";

/// The documents of every input of `-f`, one at a time.
pub(crate) fn documents(
    paths: &[PathBuf],
) -> anyhow::Result<impl Iterator<Item = anyhow::Result<ManifestDocument>> + use<>> {
    let inputs = inputs::listed(paths)?.into_iter();
    Ok(inputs.flat_map(|path| -> Box<dyn Iterator<Item = anyhow::Result<ManifestDocument>>> {
        match inputs::open(&path) {
            Ok((name, reader)) => Box::new(
                Documents::new(&name, reader)
                    .map(move |document| document.with_context(|| format!("{name} cannot be read"))),
            ),
            Err(error) => Box::new(std::iter::once(Err(error))),
        }
    }))
}

/// Our resources of every input of `-f`, reading ahead by one document at most.
pub(crate) struct Resources {
    documents: Box<dyn Iterator<Item = anyhow::Result<ManifestDocument>>>,
    checks: Checks,
    pending: VecDeque<Read>,
}

impl Resources {
    pub fn of(paths: &[PathBuf]) -> anyhow::Result<Self> {
        Ok(Self { documents: Box::new(documents(paths)?), checks: Checks::default(), pending: VecDeque::new() })
    }
}

impl Iterator for Resources {
    type Item = anyhow::Result<Read>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.pending.is_empty() {
            let items = self.documents.next()?.and_then(|document| self.checks.read(&document));
            match items {
                Ok(items) => self.pending.extend(items.into_iter().filter_map(|item| match item {
                    Item::Ours(read) => Some(*read),
                    Item::Other(_) => None,
                })),
                Err(error) => return Some(Err(error)),
            }
        }
        self.pending.pop_front().map(Ok)
    }
}

/// Checks one document after the other.
#[derive(Default)]
pub struct Checks {
    /// Made for our first resource: that takes longer than all else for a small input.
    validator: Option<Rc<Validator>>,
    /// The place of each resource so far.
    places: HashMap<String, String>,
}

impl Checks {
    /// Checks with an existing validator.
    #[must_use]
    pub fn by(validator: Rc<Validator>) -> Self {
        Self { validator: Some(validator), places: HashMap::new() }
    }

    /// Reads and checks the objects of a document.
    ///
    /// # Errors
    /// The document cannot be read, or the API server would refuse one of our resources.
    pub fn read(&mut self, document: &ManifestDocument) -> anyhow::Result<Vec<Item>> {
        let (objects, notes) = document.objects()?;
        notes.iter().for_each(|note| output::warn(&format!("note: {note}")));
        self.check(document, objects, false)
    }

    /// Checks the objects of a document. With `by_name`, errors name the object too: no one can look up the lines of a document that
    /// a program wrote.
    ///
    /// # Errors
    /// The API server would refuse one of our resources.
    pub fn check(
        &mut self,
        document: &ManifestDocument,
        objects: Vec<Object>,
        by_name: bool,
    ) -> anyhow::Result<Vec<Item>> {
        let mut items = Vec::new();
        let pointers: Vec<&str> = objects.iter().map(|object| object.pointer.as_str()).collect();
        let places = document.places(&pointers);
        for (object, place) in objects.into_iter().zip(places) {
            let refused = |found: Vec<Invalid>| {
                let name = if by_name { format!("{}: ", written_name(&object.value)) } else { String::new() };
                let error = |invalid: Invalid| {
                    (format!("{}{}", object.pointer, invalid.pointer), format!("{name}{}", invalid.sentence()))
                };
                let mut errors: Vec<ManifestError> = document.errors(found.into_iter().map(error).collect());
                errors.sort_by_key(|error| error.line);
                Refused(errors.iter().map(ToString::to_string).collect())
            };
            let Some(fields) = object.value.as_object() else { continue };
            if !is_ours(fields).map_err(|invalid| refused(vec![invalid]))? {
                items.push(Item::Other(object.value));
                continue;
            }
            let validator = match self.validator.take() {
                Some(validator) => validator,
                None => Rc::new(Validator::new()?),
            };
            let checked = self.validator.insert(validator).check(object.value.clone());
            let resource = checked.map_err(refused)?;
            let name = full_name(&resource);
            if let Some(before) = self.places.insert(name.clone(), place.clone()) {
                anyhow::bail!("{place}: {name} is given twice: it stands at {before} already");
            }
            items.push(Item::Ours(Box::new(Read { resource, place })));
        }
        Ok(items)
    }
}

/// `namespace/name`, or the name alone.
pub(crate) fn full_name(resource: &CitrixAllowlist) -> String {
    match resource.namespace() {
        Some(namespace) => format!("{namespace}/{}", resource.name_any()),
        None => resource.name_any(),
    }
}

/// The same for any object.
fn written_name(object: &serde_json::Value) -> String {
    let text = |field: &str| object.pointer(field).and_then(serde_json::Value::as_str);
    let name = text("/metadata/name").unwrap_or("without a name");
    text("/metadata/namespace").map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}
