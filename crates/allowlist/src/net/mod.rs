//! The parts of lists: ports, CIDRs, names, directions. Pure.

pub mod cidr;
pub mod name;
pub mod ports;

pub use cidr::canonical_set;
pub use name::{DomainName, NameError, NamePattern};
pub use ports::{PortError, PortRange, PortSet, Protocol};

use std::fmt;

/// The direction of a connection, seen from the customer's network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From the customer to the vendor.
    Outbound,
    /// From the vendor to the customer.
    Inbound,
}

impl Direction {
    /// Both directions, in the order of reports.
    pub const ALL: [Self; 2] = [Self::Outbound, Self::Inbound];

    /// The vendor's word: `outbound` or `inbound`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Outbound => "outbound",
            Self::Inbound => "inbound",
        }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
