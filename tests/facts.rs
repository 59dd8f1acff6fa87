//! The cluster's facts from a real API server, with and without permission to ask.

use citrix_allowlist::cluster::facts::{Facts, FactsSettings};
use citrix_allowlist::facts::{ClusterDns, ClusterFacts, DnsService};
use k8s_openapi::api::core::v1::{Node, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use test_support::ControlPlane;
use test_support::control_plane::ServiceNetworks;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn parsed<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object")
}

fn dns_service(address: &str) -> Service {
    parsed(json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "cluster-dns", "namespace": "kube-system"},
        "spec": {
            "clusterIP": address,
            "selector": {"app": "cluster-dns"},
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 5353},
                {"name": "metrics", "port": 9153, "protocol": "TCP", "targetPort": 9153},
            ],
        },
    }))
}

fn slice(addresses: &[&str]) -> EndpointSlice {
    let endpoints: Vec<Value> = addresses.iter().map(|address| json!({"addresses": [address]})).collect();
    parsed(json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "cluster-dns-1",
            "namespace": "kube-system",
            "labels": {"kubernetes.io/service-name": "cluster-dns"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "dns", "port": 5353, "protocol": "UDP"}],
        "endpoints": endpoints,
    }))
}

fn node(name: &str, networks: &[&str]) -> Node {
    parsed(json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": {"podCIDR": networks[0], "podCIDRs": networks},
    }))
}

fn expected(endpoints: &[&str], pod_networks: &[&str]) -> ClusterFacts {
    let service = DnsService {
        namespace: "kube-system".to_owned(),
        name: "cluster-dns".to_owned(),
        selector: BTreeMap::from([("app".to_owned(), "cluster-dns".to_owned())]),
        ports: vec![53, 5353],
        endpoints: endpoints.iter().map(|text| text.parse().expect("a socket address")).collect(),
    };
    ClusterFacts {
        service_networks: ["10.96.0.0/16", "fd00:10:96::/112"].map(|text| text.parse().expect("a CIDR")).to_vec(),
        pod_networks: pod_networks.iter().map(|text| text.parse().expect("a CIDR")).collect(),
        dns: vec![ClusterDns { address: "10.96.0.10".parse().expect("an address"), service: Some(service) }],
        ..ClusterFacts::default()
    }
}

async fn becomes(facts: &Facts, expected: &ClusterFacts) {
    let mut receiver = facts.receiver();
    let outcome = tokio::time::timeout(Duration::from_secs(60), receiver.wait_for(|facts| **facts == *expected)).await;
    if outcome.is_err() {
        assert_eq!(*facts.current(), *expected);
    }
}

fn settings() -> FactsSettings {
    FactsSettings { nameservers: vec!["10.96.0.10".parse().expect("an address")], ..FactsSettings::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn facts_follow_the_cluster_and_stop_at_what_is_forbidden() {
    let control_plane = ControlPlane::builder()
        .service_networks(ServiceNetworks::DualStack)
        .without_controller_manager()
        .start()
        .await
        .expect("a control plane of its own");
    let client = control_plane.client().await.expect("a client");
    let services = Api::<Service>::namespaced(client.clone(), "kube-system");
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), "kube-system");
    let nodes = Api::<Node>::all(client.clone());
    let parameters = PostParams::default();
    services.create(&parameters, &dns_service("10.96.0.10")).await.expect("a Service");
    slices.create(&parameters, &slice(&["20.0.0.2", "20.0.0.1"])).await.expect("an EndpointSlice");
    nodes.create(&parameters, &node("one", &["10.244.0.0/24", "fd00:244::/64"])).await.expect("a node");

    let facts = Facts::start(client.clone(), settings());
    assert!(facts.ready().await, "complete within the limit");
    let both = ["20.0.0.1:5353", "20.0.0.2:5353"];
    assert_eq!(*facts.current(), expected(&both, &["10.244.0.0/24", "fd00:244::/64"]));
    assert_eq!(facts.current().families(), (true, true));

    // A node's public addresses are the cluster's own, and its private ones are refused anyway.
    let status = json!({"status": {"addresses": [
        {"type": "InternalIP", "address": "10.0.0.7"}, {"type": "ExternalIP", "address": "20.7.7.7"},
        {"type": "ExternalIP", "address": "2603:1030::7"}, {"type": "Hostname", "address": "one"},
    ]}});
    nodes.patch_status("one", &PatchParams::default(), &Patch::Merge(&status)).await.expect("its status");
    let machine = ["20.7.7.7", "2603:1030::7"].map(|text| text.parse().expect("an address")).to_vec();
    let listed = expected(&both, &["10.244.0.0/24", "fd00:244::/64"]);
    becomes(&facts, &ClusterFacts { node_addresses: machine, ..listed }).await;
    let none = json!({"status": {"addresses": null}});
    nodes.patch_status("one", &PatchParams::default(), &Patch::Merge(&none)).await.expect("its status");

    nodes.create(&parameters, &node("two", &["10.244.1.0/24"])).await.expect("a node");
    becomes(&facts, &expected(&both, &["10.244.0.0/23", "fd00:244::/64"])).await;

    let apply = PatchParams::apply("test").force();
    slices.patch("cluster-dns-1", &apply, &Patch::Apply(slice(&["20.0.0.1"]))).await.expect("changed");
    becomes(&facts, &expected(&both[..1], &["10.244.0.0/23", "fd00:244::/64"])).await;

    // What does not concern the facts publishes nothing.
    let mut receiver = facts.receiver();
    receiver.mark_unchanged();
    let label = json!({"metadata": {"labels": {"touched": "true"}}});
    nodes.patch("one", &PatchParams::default(), &Patch::Merge(&label)).await.expect("changed");
    services.patch("cluster-dns", &PatchParams::default(), &Patch::Merge(&label)).await.expect("changed");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!receiver.has_changed().expect("open"));

    // Somebody without any permission learns what the flags and resolv.conf say, and is ready at once.
    let account: ServiceAccount = parsed(json!({"metadata": {"name": "nobody"}}));
    Api::namespaced(client.clone(), "default").create(&parameters, &account).await.expect("an account");
    let kubeconfig = control_plane.kubeconfig_for_service_account("default", "nobody").await.expect("a kubeconfig");
    let nobody = control_plane.client_for(&kubeconfig).await.expect("a client");
    let flags = FactsSettings { pod_networks: vec!["10.0.0.0/8".parse().expect("a CIDR")], ..settings() };
    let blind = Facts::start(nobody, flags.clone());
    assert!(blind.ready().await);
    let dns = vec![ClusterDns { address: flags.nameservers[0], service: None }];
    let known = ClusterFacts { pod_networks: flags.pod_networks, dns, ..ClusterFacts::default() };
    assert_eq!(*blind.current(), known);

    services.delete("cluster-dns", &DeleteParams::default()).await.expect("deleted");
    let gone = ClusterFacts { dns: known.dns, ..expected(&[], &["10.244.0.0/23", "fd00:244::/64"]) };
    becomes(&facts, &gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_not_repeated_in_a_loop() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let requests = Arc::new(AtomicUsize::new(0));
    let counter = requests.clone();
    tokio::spawn(async move {
        let body =
            r#"{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no","reason":"Forbidden","code":403}"#;
        let length = body.len();
        let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/json\r\nconnection: close";
        let answer = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut config = Config::new(url.parse().expect("a URL"));
    config.default_retry = false;
    let facts = Facts::start(Client::try_from(config).expect("a client"), settings());
    assert!(facts.ready().await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    // The nameserver's Service, the two well-known ones, ServiceCIDRs, nodes and the API server's endpoints: once each.
    assert_eq!(requests.load(Ordering::Relaxed), 6);
}
