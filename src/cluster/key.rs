//! What objects are known by. Pure.

use std::sync::Arc;

/// The kinds of object the operator keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A NetworkPolicy.
    Policy,
    /// The ConfigMap with CIDRs and names.
    ConfigMap,
}

impl Kind {
    /// The kind as Kubernetes writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Policy => "NetworkPolicy",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

/// An object by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
}
