//! What a platform team would ask before installing, measured on a real control plane: figures that are counts or
//! ratios where the machine's speed would enter, medians with their spread otherwise.

pub mod figures;
pub mod floor;
pub mod scenarios;
pub mod stage;
