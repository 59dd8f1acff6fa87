//! The DNS side.

mod addresses;

pub use addresses::{Addresses, NameAddresses, NameState, RefusedAddress};
