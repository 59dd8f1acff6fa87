//! The key pair that signs ServiceAccount tokens, new for each control plane.

use std::path::Path;

use anyhow::Context;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};

/// Writes a new ECDSA P-256 key pair: the private half to `private`, the public half to `public`, both PEM.
pub(super) fn write_signing_keys(private: &Path, public: &Path) -> anyhow::Result<()> {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).context("make a key pair")?;
    std::fs::write(private, pair.serialize_pem()).context("write the private key")?;
    std::fs::write(public, pair.public_key_pem()).context("write the public key")
}
