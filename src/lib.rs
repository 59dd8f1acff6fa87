//! citrix-allowlist
