//! The cluster: its objects, writes to it, and leadership. The only room with a Kubernetes client.

pub mod access;
pub mod apply;
pub mod askers;
pub mod client;
pub mod events;
pub mod facts;
#[cfg(test)]
mod fake_api;
pub mod freshness;
pub mod histories;
pub mod leader_endpoints;
pub mod lease;
mod object;
pub mod owned;
pub mod pod;
pub mod pods;
pub mod proxy;
pub mod report;
pub mod resources;
pub mod saved_lists;
pub mod scope;
pub mod stored;
pub mod watch;
mod watch_pauses;
