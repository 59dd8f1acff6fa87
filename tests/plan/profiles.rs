//! The profiles, against the tables of Citrix Cloud Japan's documentation, written out here row by row.

use crate::builders::{Case, allows};
use citrix_allowlist::crd::PortProfile;
use citrix_allowlist::plan::profile_ports;
use connectivity_allowlist::net::{Direction, PortRange, Protocol};
use serde_json::json;
use std::collections::BTreeSet;

/// A row of a table: the service, its first and last port, and the protocols as the table writes them.
type Row = (&'static str, u16, u16, &'static str);

/// Secure deployment guide, "Inbound and outbound ports configuration", the columns `Server Port` and `Service`.
const CLOUD_CONNECTOR: [Row; 11] = [
    ("W32Time", 123, 123, "UDP"),
    ("RPC endpoint mapper", 135, 135, "TCP"),
    ("Kerberos password change", 464, 464, "TCP/UDP"),
    ("RPC for LSA, SAM, Netlogon", 49152, 65535, "TCP"),
    ("LDAP", 389, 389, "TCP/UDP"),
    ("LDAP GC", 3268, 3268, "TCP"),
    ("LDAP GC SSL", 3269, 3269, "TCP"),
    ("DNS", 53, 53, "TCP/UDP"),
    ("FRS RPC", 49152, 65535, "TCP"),
    ("Kerberos", 88, 88, "TCP/UDP"),
    ("SMB", 445, 445, "TCP"),
];

/// Active Directory with Connector Appliance, "Network requirements".
const ACTIVE_DIRECTORY: [Row; 10] = [
    ("Kerberos", 88, 88, "TCP/UDP"),
    ("End point mapper", 135, 135, "TCP"),
    ("NetBIOS name service", 137, 137, "UDP"),
    ("NetBIOS datagram", 138, 138, "UDP"),
    ("NetBIOS session", 139, 139, "TCP"),
    ("LDAP", 389, 389, "TCP/UDP"),
    ("SMB over TCP", 445, 445, "TCP"),
    ("Kerberos kpasswd", 464, 464, "TCP/UDP"),
    ("Global catalog", 3268, 3268, "TCP"),
    ("Dynamic RPC ports", 49152, 65535, "TCP"),
];

/// Connector Appliance for Cloud Services, "Connector Appliance communication".
const CONNECTOR_APPLIANCE: [Row; 3] =
    [("DNS", 53, 53, "TCP/UDP"), ("NTP", 123, 123, "UDP"), ("HTTPS", 443, 443, "TCP")];

/// Every port of a profile's table, one by one.
pub fn documented(profile: PortProfile) -> BTreeSet<(Protocol, u16)> {
    let rows: &[Row] = match profile {
        PortProfile::CloudConnectorLan => &CLOUD_CONNECTOR,
        PortProfile::ActiveDirectory => &ACTIVE_DIRECTORY,
        PortProfile::ConnectorAppliance => &CONNECTOR_APPLIANCE,
    };
    let mut ports = BTreeSet::new();
    for (_, first, last, protocols) in rows {
        for protocol in protocols.split('/') {
            let protocol = match protocol {
                "TCP" => Protocol::Tcp,
                "UDP" => Protocol::Udp,
                other => panic!("{other}"),
            };
            ports.extend((*first..=*last).map(|port| (protocol, port)));
        }
    }
    ports
}

const ALL: [(PortProfile, &str); 3] = [
    (PortProfile::CloudConnectorLan, "CloudConnectorLan"),
    (PortProfile::ActiveDirectory, "ActiveDirectory"),
    (PortProfile::ConnectorAppliance, "ConnectorAppliance"),
];

#[test]
fn profiles_are_as_documented() {
    for (profile, name) in ALL {
        let [tcp, udp] = profile_ports(profile).map(|ports| ports.split(','));
        let items = tcp.map(|item| (Protocol::Tcp, item)).chain(udp.map(|item| (Protocol::Udp, item)));
        let ports = |(protocol, item)| {
            let range = PortRange::parse(item).expect("ports");
            (range.first()..=range.last()).map(move |port| (protocol, port))
        };
        let held: BTreeSet<(Protocol, u16)> = items.flat_map(ports).collect();
        let documented = documented(profile);
        let more: Vec<_> = held.difference(&documented).collect();
        let missing: Vec<_> = documented.difference(&held).collect();
        assert!(more.is_empty() && missing.is_empty(), "{name}: more {more:?}, missing {missing:?}");
    }
}

#[test]
fn a_profile_opens_exactly_the_documented_ports() {
    let peer = "10.20.0.9".parse().expect("an address");
    for (profile, name) in ALL {
        let documented = documented(profile);
        for (direction, word) in [(Direction::Outbound, "outbound"), (Direction::Inbound, "inbound")] {
            let fields = json!({ "direction": "all", "dnsEgress": "None", "additional": [
                { "name": "network", "direction": word, "cidrs": ["10.20.0.0/24"], "profile": name }
            ]});
            let policies = Case::new(fields, &json!({ "services": [] }), &[]).objects().policies;
            assert_eq!(policies.len(), 1, "{name} {word}");
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                for port in 1..=u16::MAX {
                    let open = allows(&policies, direction, peer, protocol, port);
                    assert_eq!(open, documented.contains(&(protocol, port)), "{name} {word} {protocol} {port}");
                }
            }
        }
    }
}
