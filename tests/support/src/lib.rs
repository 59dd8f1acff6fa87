//! What the tests and the demo stand on.

pub mod bench;
pub mod control_plane;
pub mod coredns;
pub mod cyclonus;
pub mod demo;
pub mod dns;
pub mod fault_proxy;
pub mod fixture;
pub mod free_port;
pub mod left_out;
pub mod node;
pub mod operator;
pub mod picture;
pub mod process;
pub mod rights;
pub mod standin;
pub mod stepped_clock;
pub mod tools;
pub mod webhook;

pub use control_plane::{ControlPlane, shared_control_plane};
pub use left_out::left_out;
pub use tools::tool;
