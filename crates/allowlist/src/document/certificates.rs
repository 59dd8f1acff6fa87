//! The hosts for checks of certificates, which need HTTP and HTTPS. Pure.

use super::Reading;
use super::names::{self, Listed};
use crate::net::{PortRange, PortSet, Protocol};
use serde_json::Value;

/// The hosts of CRLs, OCSP and certificates in Citrix Cloud Japan's documentation of Cloud Connectors, "Certificate validation
/// requirements": "HTTP port 80 is open to the following addresses. This port is used during Cloud Connector installation and
/// during the periodic CRL checks."
const HOSTS: [&str; 10] = [
    "cacerts.digicert.com",
    "crl.microsoft.com",
    "crl3.digicert.com",
    "crl4.digicert.com",
    "dl.cacerts.digicert.com",
    "ocsp.digicert.com",
    "ocsp.msocsp.com",
    "oneocsp.microsoft.com",
    "root-c3-ca2-2009.ocsp.d-trust.net",
    "www.d-trust.net",
];
/// The zone that the same documentation opens, over HTTP and HTTPS: `*.digicert.com`.
const ZONE: &str = ".digicert.com";

/// Whether an item of a list of names is one of these hosts, or lies under `*.digicert.com`.
pub(super) fn are_checked_at(item: &Value, reading: &Reading<'_>) -> bool {
    match item.as_str().map(|text| names::read(text, reading)) {
        Some(Ok((Listed::Name(name), _))) => HOSTS.contains(&name.as_str()) || name.as_str().ends_with(ZONE),
        Some(Ok((Listed::Pattern(pattern), _))) => pattern.as_str().ends_with(ZONE),
        _ => false,
    }
}

/// The ports of these hosts: TCP 80 and 443, and what every name has.
pub(super) fn ports(of_every_name: Option<&PortSet>) -> Option<PortSet> {
    let web = [80, 443].into_iter().filter_map(PortRange::single).map(|range| (Protocol::Tcp, range));
    PortSet::new(web.chain(of_every_name.into_iter().flat_map(PortSet::iter)))
}
