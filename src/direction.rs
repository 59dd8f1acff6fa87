//! A direction in the words of Kubernetes. Pure.

use connectivity_allowlist::net::Direction;

/// What the vendor calls `outbound` and `inbound`, seen from the cluster: connections of selected pods, or to them.
pub trait PolicyDirection {
    /// Kubernetes' policy type: `Egress` or `Ingress`.
    fn policy_type(self) -> &'static str;

    /// The suffix of object names and keys: `egress` or `ingress`.
    fn object_suffix(self) -> &'static str;
}

impl PolicyDirection for Direction {
    fn policy_type(self) -> &'static str {
        match self {
            Self::Outbound => "Egress",
            Self::Inbound => "Ingress",
        }
    }

    fn object_suffix(self) -> &'static str {
        match self {
            Self::Outbound => "egress",
            Self::Inbound => "ingress",
        }
    }
}
