//! The installation side: the chart under both Helms, what is generated from it, and what GitOps tools see of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it is surprised")]

mod argocd;
mod helm;
mod image;
mod install;
mod operator;
mod rights;
mod tenants;
mod values;
