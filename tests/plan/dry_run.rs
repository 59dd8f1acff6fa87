//! The real API server takes every object that is rendered, and takes it as it is: what it would store differs in nothing
//! that the operator owns, or the operator would write it for ever.

use crate::builders::Objects;
use crate::exactness;
use crate::stillness;
use citrix_allowlist::engines::network_policy;
use citrix_allowlist::export;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::{Api, PostParams};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use test_support::shared_control_plane;

/// How many generated lists are tried; each makes up to some dozens of objects.
const LISTS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_takes_every_object_as_it_is() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cluster = shared_control_plane().await.expect("a control plane");
    let client = cluster.client().await.expect("a client");
    let namespace = cluster.fresh_namespace("dry-run").await.expect("a namespace");
    let policies = Api::<NetworkPolicy>::namespaced(client.clone(), namespace.name());
    let maps = Api::<ConfigMap>::namespaced(client, namespace.name());
    let parameters = PostParams { dry_run: true, ..PostParams::default() };

    let mut runner = TestRunner::deterministic();
    let mut generated: Vec<Objects> = Vec::new();
    for _ in 0..LISTS {
        generated.push(exactness::case().new_tree(&mut runner).expect("a case").current().objects());
    }
    generated.push(stillness::case(20_000).objects());
    let mut taken = 0;
    for objects in generated {
        for mut policy in objects.policies {
            policy.metadata.namespace = Some(namespace.name().to_owned());
            let stored = policies.create(&parameters, &policy).await.expect("a policy that is taken");
            assert_eq!(network_policy::fold(&stored).digest, network_policy::fold(&policy).digest, "{stored:?}");
            taken += 1;
        }
        for mut map in objects.config_maps {
            map.metadata.namespace = Some(namespace.name().to_owned());
            let stored = maps.create(&parameters, &map).await.expect("a ConfigMap that is taken");
            assert_eq!(export::fold(&stored).digest, export::fold(&map).digest, "{:?}", stored.metadata.name);
            taken += 1;
        }
    }
    assert!(taken > 100, "{taken} objects were tried");
}
