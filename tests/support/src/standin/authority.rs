//! A certificate authority of the tests' own.

use std::sync::Arc;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A certificate authority that nobody trusts unless told to.
#[derive(Clone, Debug)]
pub struct TestAuthority {
    pem: String,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

impl TestAuthority {
    /// A new authority with a key of its own.
    ///
    /// # Errors
    /// If the key or the certificate cannot be made.
    pub fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new()).context("the authority's certificate")?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "Test authority");
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().context("the authority's key")?;
        let pem = params.self_signed(&key).context("the authority's certificate")?.pem();
        Ok(Self { pem, issuer: Arc::new(Issuer::new(params, key)) })
    }

    /// The authority's certificate in PEM: what `--extra-ca-file` takes.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A server's TLS configuration (ring, TLS 1.2 and 1.3, HTTP/1.1) with a certificate for these names and
    /// addresses, signed by this authority.
    ///
    /// # Errors
    /// If a name is not a DNS name or an address, or the certificate cannot be made.
    pub fn server_config(&self, names: &[&str]) -> Result<ServerConfig> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).context("the server's certificate")?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().context("the server's key")?;
        let certificate = params.signed_by(&key, &self.issuer).context("the server's certificate")?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .context("TLS versions")?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .context("the server's certificate")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}
