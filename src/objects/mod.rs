//! What the operator keeps in a cluster: the objects it wants, the objects there are, and the writes between. Pure.

pub mod changes;
pub mod desired;
pub mod digest;
pub mod key;
pub mod kind;
pub mod managed;
pub mod moves;
pub mod observed;
pub mod owner;
