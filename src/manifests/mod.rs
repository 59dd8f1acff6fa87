//! Manifests as people write them: finds them, reads them with the place of each field, and checks them.

pub mod document;
pub mod inputs;
pub mod items;
pub mod validate;
