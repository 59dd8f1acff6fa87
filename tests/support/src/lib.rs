//! What the tests and the demo stand on.
pub mod dns;
pub mod fixture;
pub mod standin;
