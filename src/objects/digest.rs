//! Digests of the fields the operator owns in an object, so that what is rendered can be compared with what the
//! cluster holds without holding either. Pure.
//!
//! Only owned fields count: a foreign manager may add a label or a `spec.ingress` beside ours, which no apply would
//! take away, and which must not make the operator write for ever.

use super::key::Kind;
use crate::crd::{ADDITIONAL_ANNOTATION, ALLOWLIST_LABEL, MANAGED_BY_LABEL, SELECTION_ANNOTATION};
use crate::direction::PolicyDirection as _;
use crate::render::config_map;
use connectivity_allowlist::net::Direction;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write as _};
use std::sync::LazyLock;

/// A digest that means something within one process only: its key is random, so that nobody outside can make two
/// different objects look the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Digest(u64, u64);

static KEYS: LazyLock<(RandomState, RandomState)> = LazyLock::new(|| (RandomState::new(), RandomState::new()));

/// How many bytes go to the hashers at a time.
const BUFFER: usize = 4096;

struct Sink(DefaultHasher, DefaultHasher);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes);
        self.1.write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Digest {
    /// The digest of anything that serialises; `None` where it does not.
    pub fn of(value: &impl Serialize) -> Option<Self> {
        Self::over(|sink| Ok(serde_json::to_writer(sink, value)?))
    }

    /// The digest of what is written.
    fn over(write: impl FnOnce(&mut io::BufWriter<Sink>) -> io::Result<()>) -> Option<Self> {
        // A serialiser writes a few bytes at a time, which costs a hasher more than the bytes do.
        let sink = Sink(KEYS.0.build_hasher(), KEYS.1.build_hasher());
        let mut buffered = io::BufWriter::with_capacity(BUFFER, sink);
        write(&mut buffered).ok()?;
        let sink = buffered.into_inner().ok()?;
        Some(Self(sink.0.finish(), sink.1.finish()))
    }
}

/// What identifies an object as the operator's, and whose it is.
#[derive(Serialize)]
struct OwnedMetadata<'a> {
    managed_by: Option<&'a str>,
    allowlist: Option<&'a str>,
    owner: Option<&'a OwnerReference>,
    selection: Option<&'a str>,
    additional: Option<&'a str>,
}

impl<'a> OwnedMetadata<'a> {
    fn of(kind: Kind, metadata: &'a ObjectMeta) -> Self {
        let label = |key| metadata.labels.as_ref().and_then(|labels| labels.get(key)).map(String::as_str);
        // On anything but a policy it would be somebody's own.
        let annotations = metadata.annotations.as_ref().filter(|_| kind == Kind::Policy);
        let annotation = |key| annotations.and_then(|annotations| annotations.get(key)).map(String::as_str);
        Self {
            managed_by: label(MANAGED_BY_LABEL),
            allowlist: label(ALLOWLIST_LABEL),
            owner: controller_of(metadata),
            selection: annotation(SELECTION_ANNOTATION),
            additional: annotation(ADDITIONAL_ANNOTATION),
        }
    }
}

/// The owner reference that marks an object's controller.
#[must_use]
pub fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// The digest of what the operator owns in an object: of its metadata, and of its body, whose own digest is given.
#[must_use]
pub fn of_object(kind: Kind, metadata: &ObjectMeta, body: Option<Digest>) -> Option<Digest> {
    let body = body.map(|Digest(first, second)| (first, second));
    Digest::of(&(OwnedMetadata::of(kind, metadata), body))
}

/// The digest of what the operator owns in a policy.
#[must_use]
pub fn of_policy(policy: &NetworkPolicy) -> Option<Digest> {
    let body = match &policy.spec {
        Some(spec) => Some(of_policy_spec(spec)?),
        None => None,
    };
    of_object(Kind::Policy, &policy.metadata, body)
}

/// The digest of what the operator owns in a policy's spec. The rules of a direction that the policy does not govern are
/// without effect, and not ours.
#[must_use]
pub fn of_policy_spec(spec: &NetworkPolicySpec) -> Option<Digest> {
    let types = spec.policy_types.as_deref().unwrap_or_default();
    let governs = |direction: Direction| types.iter().any(|name| name == direction.policy_type());
    let egress = spec.egress.as_ref().filter(|_| governs(Direction::Outbound));
    let ingress = spec.ingress.as_ref().filter(|_| governs(Direction::Inbound));
    Digest::of(&(&spec.pod_selector, types, egress, ingress))
}

/// The digest of what the operator owns in a ConfigMap.
#[must_use]
pub fn of_config_map(map: &ConfigMap) -> Option<Digest> {
    let body = match &map.data {
        Some(data) => Some(of_data(data)?),
        None => None,
    };
    of_object(Kind::ConfigMap, &map.metadata, body)
}

/// The digest of what the operator owns in a ConfigMap's data: its own keys.
#[must_use]
pub fn of_data(data: &BTreeMap<String, String>) -> Option<Digest> {
    let owned = data.iter().filter(|(key, _)| config_map::is_owned_key(key));
    Digest::over(|sink| {
        // Texts as they are, each after its length: the longest is JSON, and its quotes need not be quoted for this.
        for text in owned.flat_map(|(key, value)| [key, value]) {
            sink.write_all(&text.len().to_le_bytes())?;
            sink.write_all(text.as_bytes())?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(data: &[(&str, &str)]) -> ConfigMap {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        ConfigMap { data: Some(data.collect::<BTreeMap<_, _>>()), ..ConfigMap::default() }
    }

    #[test]
    fn what_a_config_map_says_of_ours_counts_and_nothing_else() {
        let held = map(&[("egress.cidrs", "20.1.2.3/32"), ("egress.fqdns", "")]);
        let same = map(&[("egress.cidrs", "20.1.2.3/32"), ("egress.fqdns", ""), ("somebody", "else's")]);
        assert_eq!(of_config_map(&held), of_config_map(&same));
        for other in [
            map(&[("egress.cidrs", "20.1.2.3/32")]),
            map(&[("egress.cidrs", "20.1.2.3/31"), ("egress.fqdns", "")]),
            // The same bytes, divided otherwise.
            map(&[("egress.cidrs", ""), ("egress.fqdns", "20.1.2.3/32")]),
            map(&[("ingress.cidrs", "20.1.2.3/32"), ("ingress.fqdns", "")]),
        ] {
            assert_ne!(of_config_map(&held), of_config_map(&other), "{other:?}");
        }
    }
}
