//! Addresses that clouds give their own services on every machine: metadata, credentials, host agents. Pure.
//!
//! A service there hands out the machine's identity. No list, no name and no user needs it, so nothing opens it: not
//! `additional`, and not `--allow-private-cidr`. Only the rules for the cluster's own DNS may name one, on port 53: some
//! clouds answer DNS at the same address.

use super::embedded_at;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One such address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformAddress {
    /// The address.
    pub address: IpAddr,
    /// Its service, for people.
    pub what: &'static str,
    /// The page that documents it.
    pub source: &'static str,
}

const fn v4(address: [u8; 4], what: &'static str, source: &'static str) -> PlatformAddress {
    let [a, b, c, d] = address;
    PlatformAddress { address: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), what, source }
}

const fn v6(segments: [u16; 8], what: &'static str, source: &'static str) -> PlatformAddress {
    let [a, b, c, d, e, f, g, h] = segments;
    PlatformAddress { address: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), what, source }
}

/// Every known such address. The table in `docs/security.md` is the same.
pub const PLATFORM_ADDRESSES: &[PlatformAddress] = &[
    v4(
        [169, 254, 169, 254],
        "instance metadata of AWS, Azure, Google Cloud, Oracle Cloud, IBM Cloud, DigitalOcean, Hetzner, Huawei Cloud, OpenStack and others",
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html",
    ),
    v4(
        [169, 254, 170, 2],
        "credentials of Amazon ECS tasks",
        "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html",
    ),
    v4(
        [169, 254, 170, 23],
        "the EKS Pod Identity Agent",
        "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html",
    ),
    v4(
        [169, 254, 42, 42],
        "instance metadata of Scaleway",
        "https://docs.cloud-init.io/en/latest/reference/datasources/scaleway.html",
    ),
    v4(
        [169, 254, 0, 23],
        "instance metadata of Tencent Cloud",
        "https://github.com/DataDog/datadog-agent/blob/main/pkg/util/cloudproviders/tencent/tencent.go",
    ),
    v4(
        [168, 63, 129, 16],
        "Azure's wire server and host agent",
        "https://learn.microsoft.com/en-us/azure/virtual-network/what-is-ip-address-168-63-129-16",
    ),
    v4(
        [100, 100, 100, 200],
        "instance metadata of Alibaba Cloud",
        "https://www.alibabacloud.com/help/en/ens/instance-metadata",
    ),
    v4([100, 96, 0, 96], "instance metadata of Volcengine", "https://github.com/volcengine/cello"),
    v4(
        [192, 0, 0, 192],
        "instance metadata of Oracle Cloud Infrastructure Classic",
        "https://docs.oracle.com/en/cloud/iaas/compute-iaas-cloud/stcsg/retrieving-instance-metadata.html",
    ),
    v6(
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254],
        "instance metadata of AWS",
        "https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html",
    ),
    v6(
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23],
        "the EKS Pod Identity Agent",
        "https://docs.aws.amazon.com/eks/latest/userguide/pod-id-agent-setup.html",
    ),
    v6(
        [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254],
        "instance metadata of Google Cloud",
        "https://cloud.google.com/compute/docs/metadata/querying-metadata",
    ),
    v6(
        [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe],
        "instance metadata of Oracle Cloud",
        "https://github.com/oracle/oci-python-sdk/blob/master/src/oci/auth/signers/instance_principals_security_token_signer.py",
    ),
    v6(
        [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42],
        "instance metadata of Scaleway",
        "https://docs.cloud-init.io/en/latest/reference/datasources/scaleway.html",
    ),
    v6(
        [0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1],
        "instance metadata of Akamai (Linode)",
        "https://docs.cloud-init.io/en/latest/reference/datasources/akamai.html",
    ),
    v6(
        [0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200],
        "instance metadata of Alibaba Cloud",
        "https://github.com/canonical/cloud-init/blob/main/tests/unittests/sources/test_aliyun.py",
    ),
    v6(
        [0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe],
        "instance metadata of OpenStack",
        "https://specs.openstack.org/openstack/neutron-specs/specs/ussuri/metadata-add-ipv6-support.html",
    ),
];

/// Where IPv6 addresses contain IPv4 ones besides the cluster's own NAT64: the prefix, and the octets at which the IPv4 address
/// may begin.
const EMBEDDING: &[(Ipv6Net, &[usize])] = &[
    // RFC 8215: a site chooses a prefix of any length of RFC 6052 within it.
    (Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, 0, 0), 48), &[6, 7, 8, 12]),
    // RFC 4291, IPv4-mapped and IPv4-compatible; RFC 2765, IPv4-translated.
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), &[12]),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 0), 96), &[12]),
    (Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, 0, 0), 96), &[12]),
    // RFC 3056, 6to4: without the gap that RFC 6052 leaves at octet 8, which it does not reach.
    (Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), &[2]),
];

/// The first cloud's own address in a network, directly or embedded.
///
/// A network around a whole embedding prefix is not searched: `2000::/3` contains 6to4, and no packet from it reaches the
/// machine's own services.
#[must_use]
pub fn within(network: IpNet) -> Option<&'static PlatformAddress> {
    let direct = PLATFORM_ADDRESSES.iter().find(|platform| network.contains(&platform.address));
    direct.or_else(|| match network {
        IpNet::V4(_) => None,
        IpNet::V6(network) => forms(network)
            .find_map(|form| PLATFORM_ADDRESSES.iter().find(|platform| IpNet::V4(form).contains(&platform.address))),
    })
}

/// Whether an address is a cloud's own.
#[must_use]
pub fn is_platform(address: IpAddr) -> bool {
    PLATFORM_ADDRESSES.iter().any(|platform| platform.address == address)
}

/// The IPv4 networks that an IPv6 network may represent.
fn forms(network: Ipv6Net) -> impl Iterator<Item = Ipv4Net> {
    let embedding = EMBEDDING.iter().filter(move |(prefix, _)| prefix.contains(&network));
    embedding.flat_map(move |(_, starts)| starts.iter().filter_map(move |start| embedded_at(*start, network)))
}

#[cfg(test)]
mod tests;
