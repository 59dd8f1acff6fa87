//! The installation side: the chart under both Helms, what is generated from it, and what GitOps tools see of it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it is surprised")]

mod argocd;
mod cluster;
mod confined;
mod definition;
mod gitops;
mod helm;
mod helm_test;
mod hooks;
mod image;
mod install;
mod lint;
mod network;
mod notes;
mod operator;
mod release;
mod rights;
mod served;
mod tenants;
mod upgrade;
mod values;
