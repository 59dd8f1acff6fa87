//! What people read and copy holds: links lead somewhere, and resources are accepted by a real API server.

mod examples;
mod links;
mod markdown;

use std::path::PathBuf;

/// The repository.
fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
