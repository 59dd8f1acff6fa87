//! A description of each kind of object that the operator keeps, for reading, comparing and writing. Pure.

use super::desired::Body;
use super::observed::Observed;
use super::owner::OwnerRef;
use crate::plan::RememberedRule;
use k8s_openapi::api::networking::v1::NetworkPolicySpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use serde_json::value::RawValue;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// A kind of object that the operator keeps. Each is a `static` in the module that makes its objects.
#[derive(Clone, Copy)]
pub struct Kind {
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The API version.
    pub version: &'static str,
    /// The kind as Kubernetes writes it.
    pub name: &'static str,
    /// The resource's name in URLs and rules.
    pub plural: &'static str,
    /// The field that is not metadata: `spec` or `data`.
    pub body: &'static str,
    /// Kinds of a lower number are written first.
    pub order: u8,
    /// Annotations that are the operator's own.
    pub annotations: &'static [&'static str],
    /// Which `CitrixAllowlist` controls an object, if one does.
    pub owner: fn(&ObjectMeta) -> Option<OwnerRef>,
    /// Folds an object to what decisions need. The state to recover is read only with `reads_memory`.
    pub observe: fn(&ObjectMeta, Option<&RawValue>, reads_memory: bool) -> Observed,
    /// The fields of a body that the operator owns.
    pub owned: fn(&RawValue) -> Value,
    /// The parts of these by which people compare two objects, each with its name.
    pub parts: fn(&RawValue) -> Vec<(&'static str, Value)>,
    /// Set where its objects are policies.
    pub policy: Option<PolicyKind>,
}

/// The description of a kind whose objects allow connections.
#[derive(Clone, Copy)]
pub struct PolicyKind {
    /// What a body allows, as far as this operator writes such rules; rules for DNS are skipped.
    pub rules: fn(&RawValue) -> Vec<RememberedRule>,
    /// A body that allows these rules too; `None` where it cannot be read.
    pub widened: fn(&RawValue, &[RememberedRule]) -> Option<Arc<Body>>,
    /// The body as that of a NetworkPolicy, to evaluate connections; `None` where it cannot be read.
    pub as_network_policy: fn(&RawValue) -> Option<NetworkPolicySpec>,
}

impl Kind {
    /// The group and version as objects write them: `networking.k8s.io/v1`, `v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.to_owned() } else { format!("{}/{}", self.group, self.version) }
    }

    const fn identity(&self) -> (u8, &'static str, &'static str) {
        (self.order, self.group, self.name)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

impl Eq for Kind {}

impl PartialOrd for Kind {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Kind {
    fn cmp(&self, other: &Self) -> Ordering {
        self.identity().cmp(&other.identity())
    }
}

impl Hash for Kind {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.identity().hash(state);
    }
}
