use super::*;
use serde_json::{Value, json};

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

fn sockets(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().expect("a socket address")).collect()
}

fn key(namespace: &str, name: &str) -> ServiceKey {
    (namespace.to_owned(), name.to_owned())
}

fn kube_dns(cluster_ips: &[&str]) -> SeenService {
    service(json!({
        "clusterIP": cluster_ips[0],
        "clusterIPs": cluster_ips,
        "selector": {"k8s-app": "kube-dns"},
        "ports": [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 8053},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": "dns-tcp"},
            {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
        ],
    }))
}

fn service(spec: Value) -> SeenService {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {}, "spec": spec});
    SeenService::of(&serde_json::from_value(service).expect("a Service"))
}

fn slice(fields: Value) -> SeenSlice {
    let mut slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {}});
    let (Value::Object(whole), Value::Object(fields)) = (&mut slice, fields) else { panic!("objects") };
    whole.extend(fields);
    SeenSlice::of(&serde_json::from_value(slice).expect("an EndpointSlice"))
}

/// A picture in which every place answered with what it would find among `services`.
fn picture(nameservers: &[&str], services: &[(ServiceKey, SeenService)]) -> Picture {
    let settings = FactsSettings { nameservers: addresses(nameservers), ..FactsSettings::default() };
    let mut picture = Picture::new(settings);
    for (place, answer) in &mut picture.services {
        let found = services.iter().filter(|(key, service)| match place {
            Place::At(address) => service.addresses.contains(address),
            Place::Named(name) => key == name,
        });
        *answer = Answer::Known(found.cloned().collect());
    }
    picture.service_networks = Answer::Known(Vec::new());
    picture.pod_networks = Answer::Unavailable;
    picture.node_addresses = Answer::Unavailable;
    picture.api_servers = Answer::Unavailable;
    picture
}

fn summary(picture: &Picture) -> Vec<(String, Option<String>)> {
    let servers = picture.facts().dns;
    servers.into_iter().map(|server| (server.address.to_string(), server.service.map(|it| it.name))).collect()
}

#[test]
fn only_ports_of_dns_count() {
    let seen = kube_dns(&["10.96.0.10", "fd00::a"]);
    assert_eq!(seen.addresses, addresses(&["10.96.0.10", "fd00::a"]));
    assert_eq!(seen.ports, BTreeSet::from([53, 8053]));
    assert_eq!(service(json!({"clusterIP": "None", "ports": [{"port": 0}]})), SeenService::default());
}

#[test]
fn ready_endpoints_answer_where_they_listen() {
    let ports = json!([
        {"name": "dns", "port": 8053, "protocol": "UDP"},
        {"name": "dns-tcp", "port": 8054, "protocol": "TCP"},
        {"name": "metrics", "port": 9153, "protocol": "TCP"},
    ]);
    let endpoints = json!([
        {"addresses": ["20.0.0.1"], "conditions": {"ready": true}},
        {"addresses": ["20.0.0.2"], "conditions": {"ready": false}},
        {"addresses": ["20.0.0.3"]},
    ]);
    let seen = slice(json!({"addressType": "IPv4", "ports": ports, "endpoints": endpoints}));
    assert_eq!(Vec::from_iter(seen.endpoints), sockets(&["20.0.0.1:8053", "20.0.0.3:8053"]));
    assert_eq!(seen.ports, BTreeSet::from([8053, 8054]));

    let over_tcp = json!([{"name": "dns-tcp", "port": 5353, "protocol": "TCP"}]);
    let named = json!([{"addresses": ["dns.example.com"]}, {"addresses": ["20.0.0.4"]}]);
    let seen = slice(json!({"addressType": "IPv4", "ports": over_tcp, "endpoints": named}));
    assert_eq!(Vec::from_iter(seen.endpoints), sockets(&["20.0.0.4:5353"]));
}

#[test]
fn a_nameserver_is_recognised_as_a_service() {
    let services = [
        (key("kube-system", "coredns"), kube_dns(&["10.96.0.10"])),
        (key("kube-system", "kube-dns"), kube_dns(&["10.96.0.11"])),
    ];
    let mut picture = picture(&["10.96.0.10", "10.96.0.10"], &services);
    assert_eq!(summary(&picture), [("10.96.0.10".to_owned(), Some("coredns".to_owned()))]);
    assert_eq!(Vec::from_iter(picture.wanted()), [key("kube-system", "coredns")]);
    assert!(!picture.is_complete(), "its endpoints are not known yet");

    let endpoints = ["20.0.0.2:8053", "20.0.0.1:8053"].map(|text| text.parse().expect("a socket address"));
    let slice = SeenSlice { endpoints: BTreeSet::from(endpoints), ports: BTreeSet::from([8053]) };
    let known = Answer::Known(BTreeMap::from([("coredns-abc".to_owned(), slice)]));
    picture.slices.insert(key("kube-system", "coredns"), known);
    assert!(picture.is_complete());
    let expected = DnsService {
        namespace: "kube-system".to_owned(),
        name: "coredns".to_owned(),
        selector: BTreeMap::from([("k8s-app".to_owned(), "kube-dns".to_owned())]),
        ports: vec![53, 8053],
        endpoints: sockets(&["20.0.0.1:8053", "20.0.0.2:8053"]),
    };
    assert_eq!(picture.facts().dns[0].service, Some(expected));
}

#[test]
fn a_node_local_cache_comes_before_the_well_known_service() {
    let services = [
        (key("openshift-dns", "dns-default"), kube_dns(&["172.30.0.10"])),
        (key("kube-system", "kube-dns"), kube_dns(&["10.96.0.10", "fd00::a"])),
    ];
    let expected = [("169.254.20.10", None), ("10.96.0.10", Some("kube-dns")), ("fd00::a", Some("kube-dns"))]
        .map(|(address, name)| (address.to_owned(), name.map(str::to_owned)));
    assert_eq!(summary(&picture(&["169.254.20.10"], &services)), expected);
    // Outside a cluster there is no nameserver of pods; a loopback one is this machine's.
    assert_eq!(summary(&picture(&["127.0.0.53"], &services)), expected[1..]);
    let openshift = [("172.30.0.10".to_owned(), Some("dns-default".to_owned()))];
    assert_eq!(summary(&picture(&[], &services[..1])), openshift);
    assert_eq!(summary(&picture(&[], &[])), []);
}

#[test]
fn a_snapshot_is_complete_once_all_questions_have_an_outcome() {
    let mut picture = Picture::new(FactsSettings::default());
    assert!(!picture.is_complete());
    picture.services.values_mut().for_each(Answer::fail);
    picture.service_networks.fail();
    assert!(!picture.is_complete());
    picture.pod_networks.fail();
    picture.node_addresses.fail();
    assert!(!picture.is_complete());
    picture.api_servers.fail();
    assert!(picture.is_complete());
    assert_eq!(picture.facts(), ClusterFacts::default());
    // A known answer survives a later failure.
    picture.pod_networks = Answer::Known(vec!["10.244.0.0/16".parse().expect("a CIDR")]);
    picture.pod_networks.fail();
    assert_eq!(picture.facts().pod_networks.len(), 1);
}

#[test]
fn given_ranges_need_no_query() {
    let networks = |texts: &[&str]| -> Vec<IpNet> { texts.iter().map(|text| text.parse().expect("a CIDR")).collect() };
    let settings = FactsSettings {
        service_networks: networks(&["10.96.0.1/12"]),
        pod_networks: networks(&["10.244.1.0/24", "10.244.0.0/24"]),
        nat64_prefix: "64:ff9b::/96".parse().ok(),
        ..FactsSettings::default()
    };
    let facts = Picture::new(settings).facts();
    assert_eq!(facts.service_networks, networks(&["10.96.0.0/12"]));
    assert_eq!(facts.pod_networks, networks(&["10.244.0.0/23"]));
    assert_eq!(facts.nat64_prefix, "64:ff9b::/96".parse().ok());
}

/// Nodes' own public addresses passed, and so did the API server's.
#[test]
fn machine_addresses_include_public_ones_and_survive_a_failure() {
    let mut picture = picture(&[], &[]);
    picture.settings.api_server = Some(addresses(&["20.9.9.9"])[0]);
    picture.node_addresses = Answer::Known(public(addresses(&["20.1.1.2", "10.0.0.1", "20.1.1.1", "2603:1030::5"])));
    picture.api_servers = Answer::Known(public(addresses(&["20.8.8.8", "10.0.0.1", "fd00::1"])));
    let seen = |picture: &Picture| (picture.facts().node_addresses, picture.facts().api_servers);
    let expected = (addresses(&["20.1.1.1", "20.1.1.2", "2603:1030::5"]), addresses(&["20.8.8.8", "20.9.9.9"]));
    assert_eq!(seen(&picture), expected);
    picture.node_addresses.fail();
    picture.api_servers.fail();
    assert_eq!(seen(&picture), expected);
}
