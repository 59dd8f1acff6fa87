//! The cluster's side: what is read from the API server, and what is written to it.

pub mod client;
pub mod facts;
pub mod lease;
pub mod proxy;
