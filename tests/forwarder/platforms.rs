//! What `forwarder config` prints for each platform whose DNS is CoreDNS, in the real CoreDNS.

use crate::client::Client;
use crate::free_address;
use citrix_allowlist::platforms::{Fallback, ForwardedZones, Platform};
use connectivity_allowlist::net::DomainName;
use serde_json::Value;
use std::net::IpAddr;
use test_support::coredns::CoreDns;
use test_support::dns::DnsServer;

/// The plugins of NodeLocal DNSCache that a block may use.
const NODE_LOCAL_PLUGINS: [&str; 17] = [
    "bind",
    "bufsize",
    "cache",
    "debug",
    "dns64",
    "errors",
    "forward",
    "health",
    "hosts",
    "loadbalance",
    "log",
    "loop",
    "metrics",
    "pprof",
    "reload",
    "rewrite",
    "template",
];
/// The answer of the forwarder, and of the second server.
const ANSWERS: [&str; 2] = ["20.0.0.1", "20.0.0.2"];
/// A name of each zone.
const NAMES: [&str; 2] = ["a.example.net", "b.c.blob.example.com"];

async fn server(answer: &str) -> DnsServer {
    let server = DnsServer::start().await.expect("a DNS server");
    for name in NAMES {
        server.set_addresses(name, &[answer.parse().expect("an address")], 1);
    }
    // A name that is asked for only after the forwarder has gone, so that no cache has it.
    server.set_addresses(&format!("late.{}", NAMES[0]), &[answer.parse().expect("an address")], 1);
    server
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).expect("YAML")
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().map(|text| text.as_str().expect("a text")).collect()
}

/// What the platform makes of the text: a Corefile, and a file that it imports.
fn corefile(platform: Platform, text: &str) -> (String, String) {
    let around = "import citrix-allowlist.server\n.:53 {\n    errors\n}\n".to_owned();
    let after = |text: &str| (format!(".:53 {{\n    errors\n}}\n{text}"), String::new());
    match platform {
        Platform::Kubeadm | Platform::Eks => after(text),
        Platform::K3s | Platform::Aks => {
            let map = yaml(text);
            (around, map["data"]["citrix-allowlist.server"].as_str().expect("a block").to_owned())
        }
        // The chart writes `extraConfig` above its servers, and `zoneFiles` beside the Corefile.
        Platform::Rke2 => {
            let values = yaml(yaml(text)["spec"]["valuesContent"].as_str().expect("values"));
            assert_eq!(values["extraConfig"]["import"]["parameters"], values["zoneFiles"][0]["filename"]);
            (around, values["zoneFiles"][0]["contents"].as_str().expect("a block").to_owned())
        }
        Platform::Openshift => after(&of_dns_operator(&yaml(text)["spec"]["servers"][0])),
        Platform::NodeLocal => {
            let (_, block) = text.split_once("{\n").expect("a block");
            let plugins = block.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     "));
            let mut plugins = plugins.filter_map(|line| line.split_whitespace().next()).filter(|word| *word != "}");
            assert!(plugins.all(|plugin| NODE_LOCAL_PLUGINS.contains(&plugin)), "{block}");
            after(&text.replace("    bind __PILLAR__LOCAL__DNS__\n", ""))
        }
        Platform::Gke | Platform::ActiveDirectory => unreachable!("its DNS is not CoreDNS"),
    }
}

/// The block that OpenShift's DNS operator writes for a server.
fn of_dns_operator(server: &Value) -> String {
    let name = server["name"].as_str().expect("a name");
    assert!(
        name.len() <= 15 && name.chars().all(|letter| letter.is_ascii_lowercase()),
        "the name of a service: {name}"
    );
    let (plugin, zones) = (&server["forwardPlugin"], texts(&server["zones"]));
    assert_eq!(plugin["policy"], "Sequential");
    let zones: String = zones.iter().map(|zone| format!("{zone}:53 ")).collect();
    let upstreams = texts(&plugin["upstreams"]).join(" ");
    format!(
        "# {name}\n{zones}{{\n    forward . {upstreams} {{\n        policy sequential\n    }}\n    errors\n    log . {{\n        class error\n    }}\n    bufsize 1232\n    cache 900 {{\n        denial 9984 30\n    }}\n}}\n"
    )
}

/// Asks the forwarder first, and the second server while the forwarder is away.
async fn judge(platform: Platform) {
    let (mut forwarder, second) = (server(ANSWERS[0]).await, server(ANSWERS[1]).await);
    let zones = ["example.net", "blob.example.com"].map(|zone| DomainName::parse(zone).expect("a name"));
    let fallback = Fallback::Servers(vec![second.addr()]);
    let forwarded = ForwardedZones { zones: zones.into(), forwarder: forwarder.addr(), fallback };
    let text = forwarded.configuration(platform).expect("a configuration");

    let address = free_address();
    // Zones have port 53, and other blocks bind to every address.
    let here = |text: &str| {
        let bound = format!(" {{\n    bind {}\n    errors\n", address.ip());
        let text = text.replace(" {\n    errors\n", &bound);
        text.replace(":53 ", &format!(":{} ", address.port())).replace(":53,", &format!(":{},", address.port()))
    };
    let (corefile, imported) = corefile(platform, &text);
    // OpenShift's block begins with another plugin.
    let corefile = here(&corefile).replace("{\n    forward", &format!("{{\n    bind {}\n    forward", address.ip()));
    let files = [("citrix-allowlist.server", &*here(&imported))];
    let dns = CoreDns::start_at(address, &corefile, &files).await.expect("CoreDNS");

    let client = Client::of(dns.address());
    let answer = |text: &str| vec![text.parse::<IpAddr>().expect("an address")];
    for name in NAMES {
        assert_eq!(client.resolve(name).await, answer(ANSWERS[0]), "{platform:?}: {name}\n{text}");
    }
    forwarder.stop().await;
    let late = format!("late.{}", NAMES[0]);
    assert_eq!(client.resolve(&late).await, answer(ANSWERS[1]), "{platform:?}: the forwarder is away\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_printed_works_in_the_real_coredns() {
    let all = Platform::ALL.into_iter();
    let of_coredns = all.filter(|platform| !matches!(platform, Platform::Gke | Platform::ActiveDirectory));
    for platform in of_coredns {
        judge(platform).await;
    }
}
