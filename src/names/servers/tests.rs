use super::*;
use crate::facts::{ClusterDns, DnsService};
use std::collections::BTreeMap;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn at(text: &str) -> SocketAddr {
    text.parse().expect("a socket address")
}

fn facts(endpoints: &[&str]) -> ClusterFacts {
    let service = DnsService {
        namespace: "openshift-dns".into(),
        name: "dns-default".into(),
        selector: BTreeMap::new(),
        ports: vec![53, 5353],
        endpoints: endpoints.iter().map(|endpoint| at(endpoint)).collect(),
    };
    let dns = vec![
        ClusterDns { address: ip("10.96.0.10"), service: Some(service) },
        ClusterDns { address: ip("169.254.20.10"), service: None },
    ];
    ClusterFacts { dns, ..ClusterFacts::default() }
}

#[test]
fn nameservers_are_read_as_resolvers_do() {
    let text = "# nameserver 1.1.1.1\nsearch citrix.svc.cluster.local\nnameserver 10.96.0.10\n\tnameserver   fd00::a  # \
                second\r\nnameserver 10.96.0.10\nnameserver\nnameserver fe80::1%eth0\nnameservers 8.8.8.8\n\
                options ndots:5\n";
    assert_eq!(nameservers(text), [ip("10.96.0.10"), ip("fd00::a")]);
    assert_eq!(nameservers(""), Vec::<IpAddr>::new());
}

#[test]
fn a_service_is_queried_at_its_ready_endpoints() {
    let facts = facts(&["10.128.0.7:5353", "10.129.0.7:5353"]);
    let servers = servers_to_ask(&[ip("10.96.0.10"), ip("169.254.20.10")], &facts, &[]);
    assert_eq!(servers, [at("10.128.0.7:5353"), at("10.129.0.7:5353"), at("169.254.20.10:53")]);
    assert_eq!(servers_to_ask(&[ip("10.96.0.10")], &facts, &[]), [at("10.128.0.7:5353"), at("10.129.0.7:5353")]);
}

#[test]
fn without_endpoints_or_resolv_conf_the_next_best_is_queried() {
    assert_eq!(servers_to_ask(&[ip("10.96.0.10")], &facts(&[]), &[]), [at("10.96.0.10:53")]);
    let known = servers_to_ask(&[], &facts(&["10.128.0.7:5353"]), &[]);
    assert_eq!(known, [at("10.128.0.7:5353"), at("169.254.20.10:53")]);
    assert_eq!(servers_to_ask(&[], &ClusterFacts::default(), &[]), []);
}

#[test]
fn flags_replace_all_that() {
    let flags = [at("20.60.0.2:5300"), at("20.60.0.1:53"), at("20.60.0.2:5300")];
    let servers = servers_to_ask(&[ip("10.96.0.10")], &facts(&["10.128.0.7:5353"]), &flags);
    assert_eq!(servers, [at("20.60.0.1:53"), at("20.60.0.2:5300")]);
}

#[test]
fn four_endpoints_are_chosen_and_a_loss_moves_no_other() {
    let all = ["1", "2", "3", "4", "5", "6", "7", "8", "9"].map(|last| format!("10.128.0.{last}:53"));
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let servers = servers_to_ask(&[ip("10.96.0.10")], &facts(&all), &[]);
    assert_eq!(servers.len(), ENDPOINTS_PER_SERVICE);
    let mut reversed = all.clone();
    reversed.reverse();
    assert_eq!(servers_to_ask(&[ip("10.96.0.10")], &facts(&reversed), &[]), servers);
    for gone in &all {
        let left: Vec<&str> = all.iter().copied().filter(|endpoint| endpoint != gone).collect();
        let after = servers_to_ask(&[ip("10.96.0.10")], &facts(&left), &[]);
        let kept = servers.iter().filter(|server| after.contains(server)).count();
        assert_eq!(kept, if servers.contains(&at(gone)) { 3 } else { 4 }, "without {gone}");
    }
}
