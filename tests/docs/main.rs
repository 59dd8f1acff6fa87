//! What people read and copy holds: links lead somewhere, resources are accepted by a real API server, and commands do what
//! the page says.

mod commands;
mod examples;
mod house;
mod links;
mod markdown;
mod recipes;
mod scene;
mod security;
mod targets;
#[path = "../transcripts/mod.rs"]
mod transcripts;

use std::path::PathBuf;

/// The repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
