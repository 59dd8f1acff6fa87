//! Manifests as people write them: found, read with the place of each field, and checked.

pub mod document;
pub mod inputs;
pub mod items;
pub mod validate;
