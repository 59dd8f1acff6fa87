//! The Service of the forwarder leads to the replica that leads.

use crate::common::{Stage, eventually};
use crate::{Forwarding, free_address};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use std::time::Duration;
use test_support::operator::Operator;

/// Waits until the Service leads there.
async fn leads_to(stage: &Stage, address: &str, port: u16) {
    let slices: Api<EndpointSlice> = Api::namespaced(stage.client.clone(), stage.namespace.name());
    let found = eventually(Duration::from_secs(40), async || {
        let slice = slices.get("forwarder-leader").await.ok()?;
        let ports: Vec<_> = slice.ports.iter().flatten().filter_map(|of| of.port).collect();
        let labels = slice.metadata.labels.unwrap_or_default();
        let is_there = slice.endpoints.iter().flatten().all(|endpoint| endpoint.addresses == [address.to_owned()]);
        let is_of_service = labels.get("kubernetes.io/service-name").map(String::as_str) == Some("forwarder");
        (is_there && is_of_service && ports == [i32::from(port); 2]).then_some(())
    });
    found.await.unwrap_or_else(|| panic!("the Service leads to {address}:{port}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_handed_over_with_the_lease() {
    let stage = Forwarding::stage().await;
    let start = async |pod: &str| {
        let address = free_address();
        let mut config =
            Forwarding::config(&stage, address).flag("forward-service", "forwarder").variable("POD_IP", pod);
        config.arguments.retain(|argument| argument != "--no-leader-election");
        (Operator::start_unready(&config).expect("an operator"), address.port())
    };
    let (mut first, port) = start("10.128.0.2").await;
    leads_to(&stage, "10.128.0.2", port).await;
    let (_second, other_port) = start("10.128.0.3").await;
    first.process().signal("TERM").expect("it runs");
    leads_to(&stage, "10.128.0.3", other_port).await;
}
