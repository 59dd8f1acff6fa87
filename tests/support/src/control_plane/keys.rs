//! The key pair that signs ServiceAccount tokens, made anew for each control plane.

use std::path::Path;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

/// What stands before the point in the SubjectPublicKeyInfo of every P-256 key (RFC 5480): two sequences, the object
/// identifiers of ecPublicKey and prime256v1, and the head of a bit string of 65 bytes.
const P256_PUBLIC_KEY_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Writes a new ECDSA P-256 key pair: the private half to `private`, the public half to `public`, both PEM.
pub(super) fn write_signing_keys(private: &Path, public: &Path) -> anyhow::Result<()> {
    let random = SystemRandom::new();
    let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .map_err(|_| anyhow::anyhow!("no key could be made"))?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
        .map_err(|error| anyhow::anyhow!("the key just made is refused: {error}"))?;
    let public_key = [&P256_PUBLIC_KEY_HEAD, pair.public_key().as_ref()].concat();
    std::fs::write(private, pem("PRIVATE KEY", document.as_ref())).context("write the private key")?;
    std::fs::write(public, pem("PUBLIC KEY", &public_key)).context("write the public key")
}

fn pem(label: &str, content: &[u8]) -> String {
    let text = STANDARD.encode(content);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
