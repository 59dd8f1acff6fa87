//! The operator's objects in a cluster: desired ones, observed ones, and the writes between. Pure.

pub mod changes;
pub mod desired;
pub mod digest;
pub mod key;
pub mod kind;
pub mod managed;
pub mod moves;
pub mod observed;
pub mod owner;
