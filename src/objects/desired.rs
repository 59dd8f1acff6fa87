//! An object as it should be, ready to be compared with the cluster and to be sent. Pure.

use super::digest::{self, Digest};
use super::key::ObjectKey;
use super::kind::Kind;
use kube::core::ObjectMeta;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;

/// What an object says beside its metadata: a policy's `spec`, a ConfigMap's `data`.
#[derive(Debug)]
pub struct Body {
    kind: &'static Kind,
    json: Box<RawValue>,
    digest: Option<Digest>,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.json.get() == other.json.get()
    }
}

impl Body {
    /// A body of this kind, and the digest of the fields in it that the operator owns.
    ///
    /// # Panics
    /// Where `value` does not become JSON: structures, and maps of texts, always do.
    #[must_use]
    pub fn new(kind: &'static Kind, value: &impl Serialize, digest: Option<Digest>) -> Arc<Self> {
        let json = to_raw_value(value).expect("what is built is JSON");
        Arc::new(Self { kind, json, digest })
    }

    /// The body of an object that is there, to be shown: nothing is compared with it by digest.
    #[must_use]
    pub fn stored(kind: &'static Kind, json: Box<RawValue>) -> Arc<Self> {
        Arc::new(Self { kind, json, digest: None })
    }

    /// The kind of object that says it.
    #[must_use]
    pub const fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// It as JSON.
    #[must_use]
    pub fn json(&self) -> &RawValue {
        &self.json
    }
}

/// An object as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Its name, its labels and whose it is.
    pub metadata: ObjectMeta,
    /// What it says.
    pub body: Arc<Body>,
}

/// An object as it should be, under its key.
pub type KeyedObject = (ObjectKey, Desired);

impl Desired {
    /// The digest of the fields that the operator owns in it.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest_with(&self.metadata)
    }

    /// The digest that an object has which says this under such metadata.
    #[must_use]
    pub fn digest_with(&self, metadata: &ObjectMeta) -> Option<Digest> {
        digest::of_object(self.body.kind, metadata, Some(self.body.digest?))
    }

    /// The whole object, to be shown in any format: its body is a tree of values, where [`Manifest::of`] has text.
    #[must_use]
    pub fn shown(&self) -> Manifest<'_, Value> {
        let body = serde_json::from_str(self.body.json.get()).unwrap_or_default();
        Manifest { kind: self.body.kind, metadata: &self.metadata, body }
    }
}

/// A whole object, in the order in which Kubernetes' own types are written.
#[derive(Debug)]
pub struct Manifest<'a, B> {
    kind: &'static Kind,
    metadata: &'a ObjectMeta,
    body: B,
}

impl<'a> Manifest<'a, &'a RawValue> {
    /// The object with this metadata that says this, to be sent as JSON.
    #[must_use]
    pub fn of(metadata: &'a ObjectMeta, body: &'a Body) -> Self {
        Self { kind: body.kind, metadata, body: &body.json }
    }
}

impl<B: Serialize> Serialize for Manifest<'_, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { kind, metadata, body } = self;
        let mut map = serializer.serialize_map(Some(4))?;
        map.serialize_entry("apiVersion", &kind.api_version())?;
        map.serialize_entry("kind", kind.name)?;
        if kind.body < "metadata" {
            map.serialize_entry(kind.body, body)?;
            map.serialize_entry("metadata", metadata)?;
        } else {
            map.serialize_entry("metadata", metadata)?;
            map.serialize_entry(kind.body, body)?;
        }
        map.end()
    }
}
