//! An object of any kind that the operator writes, as the API server sends and accepts it. Its body stays text until it is
//! needed: a list contains hundreds of large policies whose versions are known already.

use crate::objects::desired::{Body, Desired};
use crate::objects::kind::Kind;
use crate::objects::observed::Observed;
use kube::core::{DynamicResourceScope, ObjectMeta, Resource};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An object that the API server sent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Object {
    metadata: ObjectMeta,
    spec: Option<Box<RawValue>>,
    data: Option<Box<RawValue>>,
}

impl Object {
    /// Its content besides its metadata; `null` if it has none.
    pub fn into_body(self, kind: &Kind) -> Box<RawValue> {
        let body = if kind.body == "data" { self.data } else { self.spec };
        body.unwrap_or_else(|| RawValue::NULL.to_owned())
    }

    /// The object as it would be sent.
    pub fn into_desired(self, kind: &'static Kind) -> Desired {
        let metadata = self.metadata.clone();
        Desired { metadata, body: Body::stored(kind, self.into_body(kind)) }
    }

    /// The object as decisions see it, with its recovered state if that is requested.
    pub fn observe(&self, kind: &Kind, reads_memory: bool) -> Observed {
        let body = if kind.body == "data" { &self.data } else { &self.spec };
        (kind.observe)(&self.metadata, body.as_deref(), reads_memory)
    }
}

impl Resource for Object {
    type DynamicType = &'static Kind;
    type Scope = DynamicResourceScope;

    fn kind(kind: &Self::DynamicType) -> Cow<'_, str> {
        kind.name.into()
    }

    fn group(kind: &Self::DynamicType) -> Cow<'_, str> {
        kind.group.into()
    }

    fn version(kind: &Self::DynamicType) -> Cow<'_, str> {
        kind.version.into()
    }

    fn plural(kind: &Self::DynamicType) -> Cow<'_, str> {
        kind.plural.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
