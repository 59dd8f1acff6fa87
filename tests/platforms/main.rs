//! What each platform's DNS is given, whole, compared with files that a person has read. `UPDATE_GOLDEN=1` writes the files.

use citrix_allowlist::platforms::{Fallback, ForwardedZones, Platform};
use connectivity_allowlist::net::DomainName;
use std::net::SocketAddr;
use std::path::PathBuf;

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn forwarded(forwarder: &str, fallback: Fallback) -> ForwardedZones {
    let zones = ["servicebus.windows.net", "citrixworkspacesapi.net", "blob.core.windows.net"];
    let zones = zones.map(|zone| DomainName::parse(zone).expect("a name")).into();
    ForwardedZones { zones, forwarder: address(forwarder), fallback }
}

fn compare(file: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/forwarder").join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).expect("the golden file written");
    }
    let golden = std::fs::read_to_string(&path).expect("a golden file; UPDATE_GOLDEN=1 writes it");
    assert_eq!(golden, text, "{file}: UPDATE_GOLDEN=1 writes it");
}

#[test]
fn each_platform_is_given_what_its_file_says() {
    for platform in Platform::ALL {
        let (fallback, ending) = match platform {
            Platform::Kubeadm | Platform::Eks | Platform::NodeLocal => (Fallback::ResolvConf, "Corefile"),
            Platform::K3s | Platform::Rke2 | Platform::Aks => (Fallback::ResolvConf, "yaml"),
            Platform::Openshift => (Fallback::Servers(vec![address("10.0.0.2:53"), address("10.0.0.3:5353")]), "yaml"),
            Platform::Gke => (Fallback::Servers(vec![address("169.254.169.254:53")]), "yaml"),
            Platform::ActiveDirectory => (Fallback::Servers(vec![address("10.0.0.2:53")]), "ps1"),
        };
        let text = forwarded("10.96.0.77:53", fallback).configuration(platform).expect("a configuration");
        compare(&format!("{}.{ending}", platform.as_str()), &text);
    }
}

#[test]
fn addresses_of_ipv6_and_other_ports_are_spelled_out() {
    let others = Fallback::Servers(vec![address("[fd00::2]:53"), address("[fd00::2]:5353")]);
    let text = forwarded("[fd00::77]:53", others.clone()).configuration(Platform::K3s).expect("a configuration");
    compare("k3s-ipv6.yaml", &text);
    let text = forwarded("[fd00::77]:53", others).configuration(Platform::Openshift).expect("a configuration");
    compare("openshift-ipv6.yaml", &text);
}

#[test]
fn gke_may_do_without_another_server() {
    let text = forwarded("10.96.0.77:53", Fallback::Nobody).configuration(Platform::Gke).expect("a configuration");
    compare("gke-alone.yaml", &text);
}
