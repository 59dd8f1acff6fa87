//! The recipes: NetworkPolicies that people copy, on a real API server, judged by cyclonus.

use super::root;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::ListParams;
use std::collections::BTreeSet;
use test_support::cyclonus::CaseProtocol::{self, Tcp, Udp};
use test_support::cyclonus::{self, CasePeer, Traffic};
use test_support::shared_control_plane;

/// A connection: from whom and to whom (the value of the label `app`, or an address), the protocol, and ports.
type Row = (&'static str, &'static str, CaseProtocol, &'static [u16]);

/// What a recipe lets through, and what it cuts.
struct Recipe {
    file: &'static str,
    allowed: &'static [Row],
    denied: &'static [Row],
}

const RECIPES: [Recipe; 8] = [
    Recipe {
        file: "connectors.yaml",
        allowed: &[
            ("cloud-connector", "vda", Tcp, &[80, 1494, 2598]),
            ("cloud-connector", "vda", Udp, &[1494, 2598]),
            ("vda", "cloud-connector", Tcp, &[80, 443]),
            ("storefront", "cloud-connector", Tcp, &[80, 443]),
            ("netscaler", "cloud-connector", Tcp, &[80, 443]),
            // Pods of other labels, and replies of none: not isolated.
            ("web", "storefront", Tcp, &[443]),
        ],
        denied: &[
            ("cloud-connector", "vda", Tcp, &[79, 81, 443, 1493, 1495, 2597, 2599, 3389]),
            ("cloud-connector", "vda", Udp, &[80, 443, 1493, 2599]),
            ("vda", "cloud-connector", Tcp, &[135, 8080, 2598]),
            ("vda", "cloud-connector", Udp, &[80, 443]),
            ("cloud-connector", "storefront", Tcp, &[443]),
            ("vda", "storefront", Tcp, &[443]),
            ("web", "vda", Tcp, &[80, 1494, 2598]),
            ("web", "cloud-connector", Tcp, &[80, 443]),
            ("cloud-connector", "cloud-connector", Tcp, &[80]),
            ("52.1.2.3", "vda", Tcp, &[1494, 2598]),
            ("vda", "52.1.2.3", Tcp, &[443]),
        ],
    },
    Recipe {
        file: "local-host-cache.yaml",
        allowed: &[("cloud-connector", "cloud-connector", Tcp, &[80, 443]), ("vda", "storefront", Tcp, &[443])],
        denied: &[
            ("cloud-connector", "cloud-connector", Tcp, &[81, 135, 442, 444]),
            ("cloud-connector", "cloud-connector", Udp, &[80, 443]),
            ("vda", "cloud-connector", Tcp, &[80, 443]),
            ("cloud-connector", "vda", Tcp, &[80]),
            ("cloud-connector", "52.1.2.3", Tcp, &[443]),
        ],
    },
    Recipe {
        file: "fas.yaml",
        allowed: &[
            ("vda", "fas", Tcp, &[80]),
            ("storefront", "fas", Tcp, &[80]),
            ("fas", "certification-authority", Tcp, &[135, 49152, 50000, 65535]),
        ],
        denied: &[
            ("vda", "fas", Tcp, &[79, 81, 135, 443]),
            ("vda", "fas", Udp, &[80]),
            ("cloud-connector", "fas", Tcp, &[80]),
            ("fas", "certification-authority", Tcp, &[80, 134, 136, 445, 49151]),
            ("fas", "certification-authority", Udp, &[135, 50000]),
            ("vda", "certification-authority", Tcp, &[135, 50000]),
            ("fas", "vda", Tcp, &[80]),
            ("fas", "52.1.2.3", Tcp, &[443]),
        ],
    },
    Recipe {
        file: "session-recording.yaml",
        allowed: &[
            ("vda", "session-recording", Tcp, &[80, 443, 1801]),
            ("session-recording-player", "session-recording", Tcp, &[80, 443]),
            // The server's own way out is its CitrixAllowlist's.
            ("session-recording", "52.1.2.3", Tcp, &[443]),
        ],
        denied: &[
            ("vda", "session-recording", Tcp, &[1800, 1802, 8088, 9090]),
            ("vda", "session-recording", Udp, &[1801]),
            ("session-recording-player", "session-recording", Tcp, &[1801]),
            ("web", "session-recording", Tcp, &[80, 443, 1801]),
            ("vda", "session-recording-player", Tcp, &[443]),
        ],
    },
    Recipe {
        file: "hypervisors.yaml",
        allowed: &[
            ("cloud-connector", "10.40.0.7", Tcp, &[443]),
            ("cloud-connector", "10.40.1.7", Tcp, &[8100]),
            ("cloud-connector", "10.40.2.7", Tcp, &[9440]),
            ("vda", "10.40.0.7", Tcp, &[443]),
        ],
        denied: &[
            ("cloud-connector", "10.40.0.7", Tcp, &[80, 8100, 9440]),
            ("cloud-connector", "10.40.0.7", Udp, &[443]),
            ("cloud-connector", "10.40.1.7", Tcp, &[443, 8099, 8101]),
            ("cloud-connector", "10.40.2.7", Tcp, &[443, 9439, 9441]),
            ("cloud-connector", "10.40.3.7", Tcp, &[443, 8100, 9440]),
            ("cloud-connector", "vda", Tcp, &[443]),
        ],
    },
    Recipe {
        file: "windows.yaml",
        allowed: &[
            ("cloud-connector", "wsus", Tcp, &[8530, 8531]),
            ("vda", "10.20.2.10", Tcp, &[8530, 8531]),
            ("license-server", "kms", Tcp, &[1688]),
            ("fas", "10.20.2.11", Tcp, &[1688]),
            ("web", "52.1.2.3", Tcp, &[443]),
        ],
        denied: &[
            ("cloud-connector", "wsus", Tcp, &[80, 443, 1688, 8529, 8532]),
            ("cloud-connector", "wsus", Udp, &[8530]),
            ("vda", "10.20.2.10", Tcp, &[1688]),
            ("vda", "10.20.2.12", Tcp, &[8530, 1688]),
            ("vda", "kms", Tcp, &[1687, 1689, 8530]),
            ("storefront", "kms", Udp, &[1688]),
            ("session-recording", "52.1.2.3", Tcp, &[443]),
        ],
    },
    Recipe {
        file: "license-server.yaml",
        allowed: &[
            ("netscaler", "license-server", Tcp, &[27000, 7279, 8083]),
            ("session-recording", "license-server", Tcp, &[27000, 7279, 8083]),
            ("delivery-controller", "license-server", Tcp, &[27000, 7279, 8083]),
            ("admin-desktop", "license-server", Tcp, &[8083]),
            ("license-server", "52.1.2.3", Tcp, &[443]),
        ],
        denied: &[
            ("netscaler", "license-server", Tcp, &[26999, 27001, 7278, 7280, 8082, 8084]),
            ("netscaler", "license-server", Udp, &[27000]),
            ("admin-desktop", "license-server", Tcp, &[27000, 7279]),
            ("vda", "license-server", Tcp, &[27000, 7279, 8083]),
            ("netscaler", "52.1.2.3", Tcp, &[27000]),
        ],
    },
    Recipe {
        file: "dns.yaml",
        allowed: &[
            ("vda", "kube-dns", Udp, &[53]),
            ("license-server", "kube-dns", Tcp, &[53]),
            ("fas", "169.254.20.10", Udp, &[53]),
            ("storefront", "169.254.20.10", Tcp, &[53]),
        ],
        denied: &[
            ("vda", "kube-dns", Udp, &[52, 54, 5353]),
            ("vda", "kube-dns", Tcp, &[443, 9153]),
            ("vda", "169.254.20.10", Tcp, &[80]),
            ("vda", "169.254.169.254", Udp, &[53]),
            ("vda", "169.254.169.254", Tcp, &[53, 80]),
            ("vda", "web", Udp, &[53]),
        ],
    },
];

fn text(file: &str) -> String {
    std::fs::read_to_string(root().join("examples/recipes").join(file)).expect("a recipe")
}

fn policies(text: &str) -> Vec<NetworkPolicy> {
    let documents = text.split("\n---\n").map(serde_saphyr::from_str);
    documents.collect::<Result<_, _>>().expect("NetworkPolicies")
}

fn peer(namespace: &str, text: &'static str) -> CasePeer {
    match text.parse() {
        Ok(address) => CasePeer::Address(address),
        Err(_) if text == "kube-dns" => CasePeer::pod("kube-system", [("k8s-app", "kube-dns")]),
        Err(_) => CasePeer::pod(namespace, [("app", text)]),
    }
}

#[test]
fn every_recipe_has_its_table() {
    let there: BTreeSet<String> = std::fs::read_dir(root().join("examples/recipes"))
        .expect("the recipes")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(there, RECIPES.iter().map(|recipe| recipe.file.to_owned()).collect());
}

#[test]
fn a_recipe_opens_nothing_by_accident_and_cites_each_rule() {
    for Recipe { file, .. } in RECIPES {
        let text = text(file);
        let mut rules = 0;
        for policy in policies(&text) {
            let name = policy.metadata.name.expect("a name");
            assert!(name.starts_with("citrix-"), "{file}: {name}");
            assert_eq!(policy.metadata.namespace.as_deref(), Some("citrix"), "{file}: {name}");
            let spec = policy.spec.expect("a spec");
            let selector = spec.pod_selector.expect("a selector");
            let selects = selector.match_labels.is_some_and(|labels| !labels.is_empty())
                || selector.match_expressions.is_some_and(|expressions| !expressions.is_empty());
            assert!(selects, "{file}: {name} selects every pod of the namespace");
            let types = spec.policy_types.expect("types");
            let (egress, ingress) = (spec.egress.unwrap_or_default(), spec.ingress.unwrap_or_default());
            // One direction each, named, and with rules.
            match types.as_slice() {
                [one] if one == "Egress" => assert!(!egress.is_empty() && ingress.is_empty(), "{file}: {name}"),
                [one] if one == "Ingress" => assert!(!ingress.is_empty() && egress.is_empty(), "{file}: {name}"),
                other => panic!("{file}: {name}: {other:?}"),
            }
            let of_egress = egress.into_iter().map(|rule| (rule.to, rule.ports));
            for (peers, ports) in of_egress.chain(ingress.into_iter().map(|rule| (rule.from, rule.ports))) {
                rules += 1;
                let (peers, ports) = (peers.unwrap_or_default(), ports.unwrap_or_default());
                assert!(!peers.is_empty() && !ports.is_empty(), "{file}: {name}: no peers or no ports mean everything");
                assert!(ports.iter().all(|port| port.port.is_some() && port.protocol.is_some()), "{file}: {name}");
                for peer in peers {
                    let named =
                        |labels: Option<std::collections::BTreeMap<_, _>>| labels.is_some_and(|l| !l.is_empty());
                    let by_label = peer.pod_selector.is_some_and(|selector| {
                        named(selector.match_labels) || selector.match_expressions.is_some_and(|e| !e.is_empty())
                    });
                    let by_address = peer.ip_block.is_some_and(|block| {
                        block
                            .cidr
                            .split_once('/')
                            .is_some_and(|(_, bits)| bits.parse().is_ok_and(|bits: u8| bits >= 24))
                    });
                    assert!(by_label || by_address, "{file}: {name}: a peer that is everybody");
                }
            }
        }
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut sourced = 0;
        for (index, line) in lines.iter().enumerate().filter(|(_, line)| ["- to:", "- from:"].contains(line)) {
            let comment: Vec<&&str> = lines[..index].iter().rev().take_while(|line| line.starts_with("# ")).collect();
            let first = comment.last().unwrap_or_else(|| panic!("{file}:{}: {line} without a source", index + 1));
            assert!(first.starts_with("# source: "), "{file}:{}: {first}", index + 1);
            sourced += 1;
        }
        assert_eq!(sourced, rules, "{file}: rules and their sources");
        let head: String = text.lines().take_while(|line| line.starts_with('#')).collect();
        assert!(file == "dns.yaml" || head.contains("isolates the pods"), "{file} says what it cuts");
        assert!(head.contains("DNS"), "{file} says what of DNS");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recipe_lets_through_what_it_says_and_nothing_else() {
    let cluster = shared_control_plane().await.expect("a control plane");
    let client = cluster.client().await.expect("a client");
    for recipe in RECIPES {
        let own = cluster.fresh_namespace("recipes").await.expect("a namespace");
        let namespace: &str = &own;
        let text = text(recipe.file).replace("namespace: citrix\n", &format!("namespace: {namespace}\n"));
        for arguments in [
            &["apply", "--dry-run=server", "--validate=strict", "-f", "-"][..],
            &["create", "--validate=strict", "-f", "-"][..],
            &["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"][..],
        ] {
            let output = cluster.kubectl_with(cluster.kubeconfig_path(), arguments, Some(&text)).await;
            let output = output.and_then(test_support::control_plane::KubectlOutput::success);
            output.unwrap_or_else(|error| panic!("{}: {arguments:?}: {error:#}", recipe.file));
        }
        let held: Api<NetworkPolicy> = Api::namespaced(client.clone(), namespace);
        let held = held.list(&ListParams::default()).await.expect("policies").items;
        assert_eq!(held.len(), policies(&text).len(), "{}", recipe.file);

        let rows = [(recipe.allowed, true), (recipe.denied, false)];
        let asked: Vec<(Row, u16, bool)> = rows
            .into_iter()
            .flat_map(|(rows, expected)| rows.iter().map(move |row| (*row, expected)))
            .flat_map(|(row, expected)| row.3.iter().map(move |port| (row, *port, expected)))
            .collect();
        let traffic: Vec<Traffic> = asked
            .iter()
            .map(|((from, to, protocol, _), port, _)| {
                Traffic::new(peer(namespace, from), peer(namespace, to), *port, *protocol)
            })
            .collect();
        let verdicts = cyclonus::judge(&held, &traffic).await.expect("verdicts");
        for (((from, to, protocol, _), port, expected), verdict) in asked.into_iter().zip(verdicts) {
            assert_eq!(verdict.is_allowed(), expected, "{}: {from} to {to} {protocol:?} {port}", recipe.file);
        }
    }
}
