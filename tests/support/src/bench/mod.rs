//! The benchmark of the operator as a whole: what a platform team would ask before installing it, measured on the real
//! control plane, CoreDNS and the stand-in. `make bench` runs it.

pub mod candidate;
pub mod counts;
pub mod figures;
pub mod files;
pub mod floor;
pub mod list;
pub mod load;
pub mod plot;
pub mod scenarios;
pub mod stage;
pub mod stations;
pub mod wildcards;
