//! A desired object, ready to be compared with the cluster and to be sent. Pure.

use super::digest::{self, Digest};
use super::key::ObjectKey;
use super::kind::Kind;
use crate::trail::PolicyAllows;
use kube::core::ObjectMeta;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::Arc;

/// An object without its metadata: a policy's `spec`, a ConfigMap's `data`.
#[derive(Debug)]
pub struct Body {
    /// The kind of its object.
    pub kind: &'static Kind,
    /// It as JSON.
    pub json: Box<RawValue>,
    digest: Option<Digest>,
    /// Of a policy: what it allows.
    allows: Option<Arc<PolicyAllows>>,
}

impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.json.get() == other.json.get()
    }
}

impl Body {
    /// A body of this kind, with the digest of its fields that the operator owns.
    ///
    /// # Panics
    /// Where `value` does not become JSON: structures, and maps of texts, always do.
    #[must_use]
    pub fn new(kind: &'static Kind, value: &impl Serialize, digest: Option<Digest>) -> Arc<Self> {
        let json = to_raw_value(value).expect("what is built is JSON");
        Arc::new(Self { kind, json, digest, allows: None })
    }

    /// The body of a policy, as [`Self::new`], with what it allows.
    ///
    /// # Panics
    /// As [`Self::new`].
    #[must_use]
    pub fn policy(
        kind: &'static Kind,
        value: &impl Serialize,
        digest: Option<Digest>,
        allows: PolicyAllows,
    ) -> Arc<Self> {
        let json = to_raw_value(value).expect("what is built is JSON");
        Arc::new(Self { kind, json, digest, allows: Some(Arc::new(allows)) })
    }

    /// The body of an object in the cluster, to be shown; it is not compared by digest.
    #[must_use]
    pub fn stored(kind: &'static Kind, json: Box<RawValue>) -> Arc<Self> {
        Arc::new(Self { kind, json, digest: None, allows: None })
    }
}

/// A desired object.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Its name, its labels and its owner.
    pub metadata: ObjectMeta,
    /// Its `spec` or `data`.
    pub body: Arc<Body>,
}

/// A desired object under its key.
pub type KeyedObject = (ObjectKey, Desired);

impl Desired {
    /// The digest of its fields that the operator owns.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest_with(&self.metadata)
    }

    /// The digest of an object with this body and the given metadata.
    #[must_use]
    pub fn digest_with(&self, metadata: &ObjectMeta) -> Option<Digest> {
        digest::of_object(self.body.kind, metadata, Some(self.body.digest?))
    }

    /// Of a policy: what it allows.
    #[must_use]
    pub fn allows(&self) -> Option<Arc<PolicyAllows>> {
        self.body.allows.clone()
    }

    /// The whole object, to be shown in any format: its body is a value, where [`Manifest::of`] has JSON text.
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
    /// The object with this metadata and body, to be sent as JSON.
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
        let is_body_first = kind.body < "metadata";
        if is_body_first {
            map.serialize_entry(kind.body, body)?;
        }
        map.serialize_entry("metadata", metadata)?;
        if !is_body_first {
            map.serialize_entry(kind.body, body)?;
        }
        map.end()
    }
}
