//! The vocabulary every room speaks: ports, CIDRs, names, directions. Pure.

pub mod cidr;
pub mod name;
pub mod ports;

pub use cidr::canonical_set;
pub use name::{DomainName, NameError, NamePattern};
pub use ports::{PortError, PortRange, PortSet, Protocol};

use std::fmt;

/// Which way a connection is opened, seen from the cluster.
///
/// The vendor says `outbound`/`inbound` of the customer's network; Kubernetes says `Egress`/`Ingress`. They mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From selected pods to the vendor.
    Outbound,
    /// From the vendor to selected pods.
    Inbound,
}

impl Direction {
    /// Both directions, in the order they are reported.
    pub const ALL: [Self; 2] = [Self::Outbound, Self::Inbound];

    /// The vendor's word: `outbound` or `inbound`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }

    /// Kubernetes' policy type: `Egress` or `Ingress`.
    #[must_use]
    pub const fn policy_type(self) -> &'static str {
        match self {
            Self::Outbound => "Egress",
            Self::Inbound => "Ingress",
        }
    }

    /// The suffix of object names and keys: `egress` or `ingress`.
    #[must_use]
    pub const fn object_suffix(self) -> &'static str {
        match self {
            Self::Outbound => "egress",
            Self::Inbound => "ingress",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// FNV-1a: a hash that no version of anything changes. For what must be the same in every process; nobody is kept from
/// finding two texts with the same one.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.into_iter().fold(0xcbf2_9ce4_8422_2325, step)
}
