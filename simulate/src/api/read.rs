//! Answers to reads: one object, a list page by page, and the metadata alone.

use super::call::Call;
use super::failure::ApiFailure;
use super::kinds::ApiKind;
use super::select::Selection;
use super::store::{Key, Store, Stored};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use std::sync::Arc;

/// In which form objects are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    MetadataOnly,
}

impl Form {
    /// What an `Accept` header asks for.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("as=PartialObjectMetadata") { Self::MetadataOnly } else { Self::Whole }
    }

    /// An object in this form.
    pub fn of(self, object: &Stored) -> Bytes {
        match self {
            Self::Whole => object.text().clone(),
            Self::MetadataOnly => metadata_only(&object.value).to_string().into(),
        }
    }
}

fn metadata_only(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

/// Where a list goes on.
struct Continue {
    revision: u64,
    /// The last key of the page before.
    after: Key,
}

impl Continue {
    fn read(kind: usize, token: &str) -> Option<Self> {
        let token: Value = serde_json::from_slice(&STANDARD.decode(token).ok()?).ok()?;
        let (namespace, name) = token["start"].as_str()?.split_once('/')?;
        let after = Key { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        Some(Self { revision: token["rv"].as_u64()?, after })
    }

    fn write(&self) -> String {
        let start = format!("{}/{}", self.after.namespace, self.after.name);
        STANDARD.encode(json!({ "v": "meta.k8s.io/v1", "rv": self.revision, "start": start }).to_string())
    }
}

impl Store {
    /// A list, or a page of one.
    pub(super) fn list(&self, number: usize, call: &Call, form: Form) -> Result<Bytes, ApiFailure> {
        let kind = self.kinds.get(number);
        let select = Selection::read(kind, call.parameter("labelSelector"), call.parameter("fieldSelector"))?;
        let limit = call.parameter("limit").parse::<usize>().ok().filter(|limit| *limit > 0);
        let limit = limit.map_or(usize::MAX, |limit| limit.min((self.largest_page)(&kind.plural)));
        let token = call.parameter("continue");
        let wanted: u64 = call.parameter("resourceVersion").parse().unwrap_or_default();
        if wanted > self.revision() {
            return Err(ApiFailure::too_new(wanted, self.revision()));
        }
        let place = if token.is_empty() {
            None
        } else {
            let invalid = || ApiFailure::bad_request("continue key is not valid: unrecognized base64 data");
            Some(Continue::read(number, token).ok_or_else(invalid)?)
        };
        let namespace = call.namespace.as_deref();
        let mut revision = self.revision();
        let mut found: Vec<(Key, Arc<Stored>)> = match &place {
            None => self.objects(number, namespace).map(|(key, object)| (key.clone(), Arc::clone(object))).collect(),
            Some(place) => {
                if place.revision < self.compacted() {
                    let mut failure = ApiFailure::expired(EXPIRED_LIST);
                    failure.continue_token = Some(Continue { revision, after: place.after.clone() }.write());
                    return Err(failure);
                }
                revision = place.revision;
                let past = self.objects_at(number, namespace, revision).into_iter();
                past.filter(|(key, _)| *key > place.after).collect()
            }
        };
        found.retain(|(_, object)| select.selects(&object.value));
        let rest = found.split_off(found.len().min(limit));
        let after = found.last().filter(|_| !rest.is_empty()).map(|(key, _)| key.clone());
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if let Some(after) = after {
            metadata["continue"] = Continue { revision, after }.write().into();
            if select.is_empty() {
                metadata["remainingItemCount"] = rest.len().into();
            }
        } else if kind.custom && form == Form::Whole {
            // Lists without a Go type have an empty token.
            metadata["continue"] = "".into();
        }
        Ok(page(kind, form, &metadata, &found))
    }
}

/// What the API server says of a list whose revision was compacted.
const EXPIRED_LIST: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

fn page(kind: &ApiKind, form: Form, metadata: &Value, found: &[(Key, Arc<Stored>)]) -> Bytes {
    let (name, version) = match form {
        Form::Whole => (format!("{}List", kind.kind), kind.api_version()),
        Form::MetadataOnly => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
    };
    let mut text = format!("{{\"kind\":{name:?},\"apiVersion\":{version:?},\"metadata\":{metadata},\"items\":[");
    for (at, (_, object)) in found.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        match form {
            Form::Whole if kind.custom => text.push_str(&String::from_utf8_lossy(object.text())),
            // Items of Go types do not repeat their kind.
            Form::Whole => {
                let mut item = object.value.clone();
                if let Some(item) = item.as_object_mut() {
                    item.remove("apiVersion");
                    item.remove("kind");
                }
                text.push_str(&item.to_string());
            }
            Form::MetadataOnly => text.push_str(&metadata_only(&object.value).to_string()),
        }
    }
    if form == Form::MetadataOnly && found.is_empty() {
        // Go's empty list without a value.
        text.truncate(text.len() - 1);
        text.push_str("null}");
        return text.into();
    }
    text.push_str("]}");
    text.into()
}
