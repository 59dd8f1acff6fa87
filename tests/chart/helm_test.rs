//! `helm test`: its pods, run here as they stand in the cluster, against the operator.

use std::process::Command;

use serde_json::Value;
use test_support::free_port::free_port;

use crate::cluster::{Cluster, RELEASE, end_pod, in_background, start_the_operator};
use crate::helm::{HELMS, Output, chart, run};

/// What a cluster does about NetworkPolicies.
#[derive(Clone, Copy, PartialEq)]
enum Network {
    Enforces,
    Ignores,
}

/// Runs a test's pod: its image is the operator's, its arguments are those of the operator's command line.
async fn play(cluster: &Cluster, test: &str, port: u16) -> Output {
    let name = format!("{RELEASE}-test-{test}");
    let find = ["-n", RELEASE, "pods", "-l", "app.kubernetes.io/component=test"];
    let pod = cluster
        .eventually("a test's pod passes Pod Security", async || {
            let pods = cluster.get(&find).await;
            pods["items"].as_array().unwrap().iter().find(|pod| pod["metadata"]["name"] == name.as_str()).cloned()
        })
        .await;
    let deployment = cluster.get(&["-n", RELEASE, "deployment", RELEASE]).await;
    let operator = &deployment["spec"]["template"]["spec"]["containers"][0];
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["image"], operator["image"], "no image but the operator's own");
    assert!(container["command"].is_null());
    let mut arguments: Vec<String> =
        container["args"].as_array().unwrap().iter().map(|argument| argument.as_str().unwrap().to_owned()).collect();
    // A kubelet sets a variable for each Service of the namespace, and expands it.
    let service = cluster.get(&["-n", RELEASE, "service", RELEASE]).await;
    let variable = format!("$({}_SERVICE_HOST)", RELEASE.to_uppercase().replace('-', "_"));
    assert_eq!(arguments[2..], [variable, service["spec"]["ports"][0]["port"].to_string()]);
    assert_eq!(pod["spec"]["enableServiceLinks"], true);
    // No proxy of Services is here either.
    arguments[2] = "127.0.0.1".to_owned();
    arguments[3] = port.to_string();
    arguments.push("--within=8s".to_owned());
    let mut command = Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"));
    command.args(arguments);
    let output = in_background(command).await.unwrap();
    if test == "enforcement" {
        nothing_may_leave(cluster, &pod).await;
    }
    end_pod(cluster, &pod, if output.success { "Succeeded" } else { "Failed" }).await;
    output
}

/// A NetworkPolicy stands that selects the pod and allows it nothing.
async fn nothing_may_leave(cluster: &Cluster, pod: &Value) {
    let name = format!("{RELEASE}-test-enforcement");
    let policy = cluster.get(&["-n", RELEASE, "netpol", &name]).await;
    let labels = policy["spec"]["podSelector"]["matchLabels"].as_object().unwrap();
    assert!(
        !labels.is_empty() && labels.iter().all(|(key, value)| &pod["metadata"]["labels"][key] == value),
        "{policy}"
    );
    assert_eq!(policy["spec"]["policyTypes"], serde_json::json!(["Egress"]));
    assert!(policy["spec"]["egress"].as_array().is_none_or(Vec::is_empty), "{policy}");
    // And it selects no pod of the operator's.
    let selector: Vec<String> =
        labels.iter().map(|(key, value)| format!("{key}={}", value.as_str().unwrap())).collect();
    let selected = cluster.kubectl(&["-n", RELEASE, "get", "pods", "-l", &selector.join(","), "-o", "name"]).await;
    assert_eq!(selected.trim(), format!("pod/{name}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn helm_test_shows_whether_the_network_enforces_policies() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = Cluster::start().await;
    let mut install = cluster.helm("helm");
    install.args(["install", RELEASE]).arg(chart()).args(["-n", RELEASE, "--create-namespace"]);
    in_background(install).await.unwrap().success();
    let operator = start_the_operator(&cluster).await;
    let reachable = operator.listen().rsplit(':').next().unwrap().parse().unwrap();
    for program in HELMS {
        for network in [Network::Enforces, Network::Ignores] {
            let mut command = cluster.helm(program);
            command.args(["test", RELEASE, "-n", RELEASE, "--timeout", "2m"]);
            let test = in_background(command);
            let ready = play(&cluster, "readiness", reachable).await.success();
            assert!(ready.starts_with("ready: "), "{ready}");
            let port = if network == Network::Ignores { reachable } else { free_port().unwrap() };
            let told = play(&cluster, "enforcement", port).await;
            let expected = if network == Network::Ignores { "NOT ENFORCED: " } else { "enforced: " };
            assert!(told.stdout.starts_with(expected), "{told:?}");
            let output = test.await.unwrap();
            assert_eq!(output.success, network == Network::Enforces, "{program}: {output:?}");
            let policies = cluster.kubectl(&["-n", RELEASE, "get", "netpol", "-o", "name"]).await;
            let own = format!("networkpolicy.networking.k8s.io/{RELEASE}");
            assert_eq!(policies.trim(), own, "{program}: what cut the test off goes with it");
        }
    }
}

#[test]
fn a_test_says_what_is_wrong_with_its_use() {
    for (arguments, expected) in [
        (["probe", "ready", "$(RELEASE_SERVICE_HOST)", "8080"], "invalid IP address"),
        (["probe", "ready", "127.0.0.1", "0x50"], "0x50"),
        (["probe", "closed", "127.0.0.1", "8080"], "cut-off"),
    ] {
        let error = run(Command::new(env!("CARGO_BIN_EXE_citrix-allowlist")).args(arguments)).failure();
        assert!(error.contains(expected), "{error}");
    }
}
