//! The cluster: what is there, what is written, who may write. The only room with a Kubernetes client.

pub mod apply;
pub mod changes;
pub mod digest;
pub mod owned;
pub mod saved_lists;
