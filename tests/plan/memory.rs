//! What the cluster holds is the memory: read back, and kept as far as it is still asked for.

use crate::builders::{Case, allows, name, ports};
use citrix_allowlist::engines::network_policy::remembered;
use citrix_allowlist::export;
use citrix_allowlist::facts::{ClusterDns, ClusterFacts};
use citrix_allowlist::plan::{Inherited, Nat64, RememberedRule};
use connectivity_allowlist::net::{Direction, Protocol};
use ipnet::IpNet;
use serde_json::{Value, json};

fn document() -> Value {
    json!({ "services": [
        { "name": "A", "direction": "outbound", "tcpPorts": "80,443", "endpoints": [{ "fqdns": ["a.example.com"], "ips": ["13.107.6.152/31"] }] },
        { "name": "B", "direction": "outbound", "udpPorts": "443", "endpoints": [{ "fqdns": ["b.example.com"] }] },
        { "name": "C", "direction": "inbound", "tcpPorts": "443", "endpoints": [{ "ips": ["20.185.92.32/29"] }] }
    ]})
}

const ANSWERS: &[(&str, &[&str])] =
    &[("a.example.com", &["52.1.1.1", "52.1.1.2", "2603::1"]), ("b.example.com", &["52.1.1.1"])];

fn rules(case: &Case) -> Vec<RememberedRule> {
    remembered(&case.objects().policies)
}

#[test]
fn policies_read_back_as_written_without_dns_rules() {
    let mut case = Case::new(json!({ "direction": "all" }), &document(), ANSWERS);
    // A resolver that is no Service: a rule of addresses only, recognised by its ports alone.
    case.facts = ClusterFacts {
        dns: vec![ClusterDns { address: "169.254.169.254".parse().expect("an address"), service: None }],
        ..ClusterFacts::default()
    };
    let networks = |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|text| text.parse().expect("a CIDR")).collect() };
    let expected = [
        (
            Direction::Outbound,
            ports(Some("80,443"), None),
            networks(&["13.107.6.152/31", "52.1.1.2/32", "2603::1/128"]),
        ),
        (Direction::Outbound, ports(Some("80,443"), Some("443")), networks(&["52.1.1.1/32"])),
        (Direction::Inbound, ports(Some("443"), None), networks(&["20.185.92.32/29"])),
    ];
    let expected = expected.map(|(direction, ports, networks)| (direction, ports.expect("ports"), networks));
    assert_eq!(rules(&case), expected);
}

#[test]
fn what_others_write_is_passed_over() {
    let policy = |spec: Value| serde_json::from_value(json!({ "metadata": {}, "spec": spec })).expect("a policy");
    let block = json!([{ "ipBlock": { "cidr": "52.0.0.0/8" } }]);
    let tcp = json!([{ "port": 443, "protocol": "TCP" }]);
    let policies = [
        policy(json!({ "podSelector": {}, "egress": [
            { "to": block }, { "ports": tcp }, {},
            { "to": block, "ports": [{ "port": "https" }] },
            { "to": block, "ports": [{ "port": 443, "protocol": "SCTP" }] },
            { "to": block, "ports": [{ "port": 443, "endPort": 80 }] },
            { "to": [{ "podSelector": {} }], "ports": tcp },
            { "to": [{ "ipBlock": { "cidr": "52.0.0.0/8", "except": ["52.1.0.0/16"] } }], "ports": tcp }
        ]})),
        policy(json!({ "podSelector": {} })),
    ];
    assert_eq!(remembered(&policies), []);
}

#[test]
fn names_get_their_addresses_back_from_the_config_map() {
    let case = Case::new(json!({}), &document(), ANSWERS);
    let objects = case.objects();
    let by_name = export::remembered(&objects.config_maps[0]);
    let of = |text: &str| by_name[&name(text)].iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(of("a.example.com"), ["52.1.1.1", "52.1.1.2", "2603::1"]);
    assert_eq!(of("b.example.com"), ["52.1.1.1"]);
    let networks: Vec<String> =
        export::remembered_networks(&objects.config_maps[0]).iter().map(ToString::to_string).collect();
    assert_eq!(networks, ["13.107.6.152/31"]);
    for broken in [
        "",
        "[]",
        "{\"endpoints\":3}",
        "{\"endpoints\":[3,{\"name\":\"*\"},{\"name\":\"a.b\",\"addresses\":[7,\"x\"]}]}",
    ] {
        let mut map = objects.config_maps[0].clone();
        map.data.get_or_insert_default().insert(export::ENDPOINTS_KEY.to_owned(), broken.to_owned());
        assert!(export::remembered(&map).is_empty(), "{broken}");
    }
}

#[test]
fn after_a_restart_nothing_shrinks_before_dns_has_answered() {
    let before = Case::new(json!({}), &document(), ANSWERS);
    let mut after = Case::new(json!({}), &document(), &[]);
    let listed: IpNet = "13.107.6.152/31".parse().expect("a CIDR");
    after.inherited = Inherited::unexplained(&rules(&before), [listed], None);
    assert_eq!(after.objects().policies, before.objects().policies, "the same bytes, so no write");
}

#[test]
fn unused_and_refused_names_are_forgotten() {
    let mut held = rules(&Case::new(json!({}), &document(), ANSWERS));
    held.push((
        Direction::Outbound,
        ports(Some("443,8443"), None).expect("ports"),
        vec!["52.7.7.7/32".parse().expect("a CIDR")],
    ));
    held.push((
        Direction::Outbound,
        ports(Some("443"), None).expect("ports"),
        vec!["10.0.0.1/32".parse().expect("a CIDR")],
    ));
    held.push((
        Direction::Inbound,
        ports(Some("443"), None).expect("ports"),
        vec!["52.8.8.8/32".parse().expect("a CIDR")],
    ));
    let mut case = Case::new(json!({ "direction": "all", "services": { "include": ["A", "C"] } }), &document(), &[]);
    case.inherited = Inherited::unexplained(&held, [], None);
    let policies = case.objects().policies;
    let allowed = |direction, text: &str, protocol, port| {
        allows(&policies, direction, text.parse().expect("an address"), protocol, port)
    };
    assert!(allowed(Direction::Outbound, "52.1.1.1", Protocol::Tcp, 443));
    assert!(
        !allowed(Direction::Outbound, "52.1.1.1", Protocol::Udp, 443),
        "service B is left out: its ports go at once"
    );
    assert!(allowed(Direction::Outbound, "52.7.7.7", Protocol::Tcp, 443));
    assert!(!allowed(Direction::Outbound, "52.7.7.7", Protocol::Tcp, 8443), "nobody asks for 8443");
    assert!(!allowed(Direction::Outbound, "10.0.0.1", Protocol::Tcp, 443), "the guard speaks against it");
    assert!(!allowed(Direction::Inbound, "52.8.8.8", Protocol::Tcp, 443), "no name is inbound, so none can explain it");
}

#[test]
fn memory_knows_addresses_behind_a_translator() {
    let facts = ClusterFacts {
        pod_networks: vec!["fd00::/48".parse().expect("a network")],
        nat64_prefix: Some("fd64:ff9b::/96".parse().expect("a prefix")),
        ..ClusterFacts::default()
    };
    let mut before = Case::new(json!({}), &document(), ANSWERS);
    before.facts = facts.clone();
    let held = rules(&before);
    let mut after = Case::new(json!({}), &document(), &[]);
    after.facts = facts.clone();
    after.inherited = Inherited::unexplained(&held, [], None);
    assert_eq!(
        after.objects().policies,
        before.objects().policies,
        "a private prefix is not mistaken for what it hides"
    );
    let known = ANSWERS
        .iter()
        .flat_map(|(_, addresses)| *addresses)
        .map(|text| IpNet::from(text.parse::<std::net::IpAddr>().expect("an address")));
    let listed: IpNet = "13.107.6.152/31".parse().expect("a CIDR");
    let nat64 = facts.nat64_prefix.and_then(Nat64::new);
    assert!(Inherited::unexplained(&held, known.chain([listed]), nat64).is_empty(), "every form is explained");
}

#[test]
fn what_only_the_user_asks_for_stands_on_the_first_policy() {
    let additional = json!([{
        "name": "own", "tcpPorts": 443, "cidrs": ["20.8.0.0/16", "13.107.6.152/31"], "fqdns": ["own.example.com", "a.example.com"],
    }]);
    let answers: Vec<(&str, &[&str])> =
        ANSWERS.iter().copied().chain([("own.example.com", &["52.9.9.9"][..])]).collect();
    let said = |spec: Value| -> Vec<Option<String>> {
        let policies = Case::new(spec, &document(), &answers).objects().policies;
        let annotation = |policy: &k8s_openapi::api::networking::v1::NetworkPolicy| {
            policy.metadata.annotations.as_ref()?.get("citrix-allowlist.io/additional").cloned()
        };
        policies.iter().map(annotation).collect()
    };
    // What the list gives too is not the user's to take out.
    assert_eq!(
        said(json!({ "additional": additional, "direction": "all" })),
        [Some("20.8.0.0/16,52.9.9.9/32".into()), None]
    );
    assert_eq!(said(json!({})), [None]);
}
