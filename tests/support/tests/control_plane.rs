//! The ground that the other tests stand on, tried for itself.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use test_support::control_plane::{Component, Kubernetes, ServiceNetworks};
use test_support::{ControlPlane, left_out, shared_control_plane};

fn config_map(name: &str, owner: Option<&ConfigMap>) -> ConfigMap {
    let owner_references = owner.map(|owner| {
        vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
            name: owner.metadata.name.clone().expect("a name"),
            uid: owner.metadata.uid.clone().expect("a uid"),
            ..Default::default()
        }]
    });
    let metadata = ObjectMeta { name: Some(name.to_owned()), owner_references, ..Default::default() };
    ConfigMap { metadata, ..Default::default() }
}

async fn create(client: &Client, namespace: &str, wanted: &ConfigMap) -> ConfigMap {
    let api = Api::<ConfigMap>::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), wanted).await.expect("a ConfigMap")
}

/// A ServiceAccount that may do these things to the ConfigMaps of its namespace.
fn account_with_role(namespace: &str, name: &str, verbs: &[&str]) -> String {
    format!(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: {name}, namespace: {namespace} }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: {name}, namespace: {namespace} }}
rules: [{{ apiGroups: [''], resources: [configmaps], verbs: {verbs:?} }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: {name}, namespace: {namespace} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name} }}
subjects: [{{ kind: ServiceAccount, name: {name}, namespace: {namespace} }}]
"
    )
}

/// Asks every 50 ms until it is so, at most `limit`.
async fn within(limit: Duration, mut ask: impl AsyncFnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while Instant::now() < deadline {
        if ask().await {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// Whether this run has an existing cluster instead of a control plane of its own, whose programs cannot be stopped.
fn has_existing_cluster(test: &str) -> bool {
    let existing = ControlPlane::existing_kubeconfig().is_some();
    if existing {
        left_out(test, "an existing cluster is used, and this test stops the control plane's programs");
    }
    existing
}

/// Whichever is asked for, it is that one: a run on the oldest would else show nothing.
#[tokio::test]
async fn a_control_plane_is_of_the_kubernetes_that_is_asked_for() {
    let cluster = shared_control_plane().await.expect("a control plane");
    if !cluster.is_own() || std::env::var_os("KUBEBUILDER_ASSETS").is_some() {
        left_out(
            "a_control_plane_is_of_the_kubernetes_that_is_asked_for",
            "the cluster, or KUBEBUILDER_ASSETS, is what it is",
        );
        return;
    }
    let kubernetes = Kubernetes::chosen().expect("a choice");
    let pinned = kubernetes.version().expect("a pin");
    let served = cluster.client().await.expect("a client").apiserver_version().await.expect("a version");
    assert_eq!(served.git_version, pinned);
    assert_eq!(served.minor, kubernetes.minor().expect("a pin").to_string());
    for component in [Component::ApiServer, Component::ControllerManager] {
        let program = test_support::tool(kubernetes.program(component)).expect("a program");
        let output = std::process::Command::new(program).arg("--version").output().expect("it runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("Kubernetes {pinned}"));
    }
}

#[tokio::test]
async fn what_is_served_is_told_from_what_is_not() {
    let cluster = shared_control_plane().await.expect("a control plane");
    let serves = async |group_version, kind| cluster.serves(group_version, kind).await.expect("an answer");
    assert!(serves("networking.k8s.io/v1", "NetworkPolicy").await);
    assert!(!serves("networking.k8s.io/v1", "Policy").await);
    assert!(!serves("networking.example.com/v1", "NetworkPolicy").await);
}

#[tokio::test]
async fn what_a_deleted_object_owned_is_collected() {
    let cluster = shared_control_plane().await.expect("a control plane");
    if !cluster.collects_garbage() {
        left_out("what_a_deleted_object_owned_is_collected", "KUBEBUILDER_ASSETS has no kube-controller-manager");
        return;
    }
    let client = cluster.client().await.expect("a client");
    let namespace = cluster.fresh_namespace("garbage").await.expect("a namespace");
    let owner = create(&client, &namespace, &config_map("owner", None)).await;
    create(&client, &namespace, &config_map("owned", Some(&owner))).await;
    create(&client, &namespace, &config_map("free", None)).await;

    let api = Api::<ConfigMap>::namespaced(client, &namespace);
    api.delete("owner", &DeleteParams::background()).await.expect("it is deleted");
    let gone = within(Duration::from_secs(60), async || api.get_opt("owned").await.expect("an answer").is_none()).await;
    assert!(gone, "the owned ConfigMap is still there");
    assert!(api.get_opt("free").await.expect("an answer").is_some(), "what nobody owned is gone too");
}

#[tokio::test]
async fn a_service_account_may_do_what_its_role_says_and_no_more() {
    let cluster = shared_control_plane().await.expect("a control plane");
    let namespace = cluster.fresh_namespace("rbac").await.expect("a namespace");
    cluster.apply(&account_with_role(&namespace, "reader", &["get", "list"])).await.expect("an account");
    let kubeconfig = cluster.kubeconfig_for_service_account(&namespace, "reader").await.expect("a kubeconfig");

    let client = cluster.client_for(&kubeconfig).await.expect("a client");
    let api = Api::<ConfigMap>::namespaced(client, &namespace);
    let allowed = within(Duration::from_secs(60), async || api.list(&Default::default()).await.is_ok()).await;
    assert!(allowed, "the role lets it list: {:?}", api.list(&Default::default()).await);
    let refused = api.create(&PostParams::default(), &config_map("new", None)).await.expect_err("it may not create");
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 403), "{refused}");

    let output = cluster.kubectl_with(&kubeconfig, &["get", "secrets"], None).await.expect("kubectl runs");
    assert_eq!(output.code, Some(1));
    let account = format!("system:serviceaccount:{}:reader", namespace.name());
    assert!(output.stderr.contains(&account), "{}", output.stderr);
}

/// What OpenShift has on by default: a user who may not update an owner's finalizers may not block its deletion.
#[tokio::test]
async fn blocking_the_deletion_of_an_owner_takes_permission() {
    let cluster = shared_control_plane().await.expect("a control plane");
    if !cluster.is_own() {
        left_out("blocking_the_deletion_of_an_owner_takes_permission", "an existing cluster admits what it admits");
        return;
    }
    let namespace = cluster.fresh_namespace("finalizers").await.expect("a namespace");
    cluster.apply(&account_with_role(&namespace, "editor", &["create"])).await.expect("an account");
    let kubeconfig = cluster.kubeconfig_for_service_account(&namespace, "editor").await.expect("a kubeconfig");

    let owner = create(&cluster.client().await.expect("a client"), &namespace, &config_map("owner", None)).await;
    let mut owned = config_map("owned", Some(&owner));
    for owner in owned.metadata.owner_references.iter_mut().flatten() {
        owner.block_owner_deletion = Some(true);
    }
    let api = Api::<ConfigMap>::namespaced(cluster.client_for(&kubeconfig).await.expect("a client"), &namespace);
    let free = within(Duration::from_secs(60), async || {
        api.create(&PostParams::default(), &config_map("free", None)).await.is_ok()
    });
    assert!(free.await, "without an owner it may create");
    let refused = api.create(&PostParams::default(), &owned).await.expect_err("it may not block the deletion");
    assert!(refused.to_string().contains("blockOwnerDeletion"), "{refused}");
}

#[tokio::test]
async fn programs_that_stop_die_or_freeze_come_back_with_their_data() {
    if has_existing_cluster("programs_that_stop_die_or_freeze_come_back_with_their_data") {
        return;
    }
    let builder = ControlPlane::builder().without_controller_manager();
    let mut cluster = builder.start().await.expect("a control plane");
    let url = cluster.api_server_url().to_owned();
    let client = cluster.client().await.expect("a client");
    create(&client, "default", &config_map("kept", None)).await;
    let api = Api::<ConfigMap>::namespaced(client, "default");

    let started = Instant::now();
    cluster.stop(Component::ApiServer).await.expect("it stops");
    eprintln!("kube-apiserver stopped in {:?}", started.elapsed());
    assert!(api.get("kept").await.is_err(), "a stopped API server answers");
    assert!(cluster.stop(Component::ApiServer).await.is_err(), "it is stopped twice");
    cluster.start_again(Component::ApiServer).await.expect("it starts again");
    assert_eq!(cluster.api_server_url(), url);
    api.get("kept").await.expect("it is still there after a stop");

    cluster.kill(Component::ApiServer).expect("it is killed");
    cluster.kill(Component::Etcd).expect("it is killed");
    cluster.start_again(Component::Etcd).await.expect("it starts again");
    cluster.start_again(Component::ApiServer).await.expect("it starts again");
    api.get("kept").await.expect("it is still there after a kill");

    cluster.freeze(Component::ApiServer).expect("it is frozen");
    let silent = tokio::time::timeout(Duration::from_millis(500), api.get("kept")).await;
    assert!(silent.is_err(), "a frozen API server answers");
    cluster.thaw(Component::ApiServer).expect("it thaws");
    let answered = within(Duration::from_secs(30), async || api.get("kept").await.is_ok()).await;
    assert!(answered, "a thawed API server is silent");

    let folder = cluster.folder().to_path_buf();
    drop(cluster);
    assert!(!folder.exists(), "its folder is left behind");
    assert!(api.get("kept").await.is_err(), "its API server is left running");
}

#[tokio::test]
async fn services_get_the_networks_that_were_asked_for() {
    if has_existing_cluster("services_get_the_networks_that_were_asked_for") {
        return;
    }
    for (networks, families, first) in
        [(ServiceNetworks::DualStack, r#"["IPv4","IPv6"]"#, "10."), (ServiceNetworks::Ipv6, r#"["IPv6"]"#, "fd00:")]
    {
        let builder = ControlPlane::builder().service_networks(networks).without_controller_manager();
        let cluster = builder.pod_security("restricted").start().await.expect("a control plane");
        let service = "apiVersion: v1\nkind: Service\nmetadata: { name: any, namespace: default }\n\
                       spec: { ipFamilyPolicy: PreferDualStack, ports: [{ port: 80 }] }\n";
        cluster.apply(service).await.expect("a Service");
        let query = ["get", "service", "any", "-o", "jsonpath={.spec.ipFamilies}{.spec.clusterIP}"];
        let answer = cluster.kubectl(&query).await.expect("an answer");
        assert!(answer.starts_with(&format!("{families}{first}")), "{networks:?}: {answer}");

        // No controller makes one here.
        let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: default, namespace: default }\n";
        cluster.apply(account).await.expect("a ServiceAccount");
        let pod = "apiVersion: v1\nkind: Pod\nmetadata: { name: root, namespace: default }\n\
                   spec: { hostNetwork: true, containers: [{ name: root, image: none }] }\n";
        let refused = cluster.apply(pod).await.expect_err("a privileged pod").to_string();
        assert!(refused.contains("violates PodSecurity \"restricted"), "{refused}");
    }
}

#[tokio::test]
async fn tests_that_share_a_control_plane_do_not_share_a_namespace() {
    let cluster = shared_control_plane().await.expect("a control plane");
    assert!(std::ptr::eq(cluster, shared_control_plane().await.expect("the same one")));
    let one = cluster.fresh_namespace("twin").await.expect("a namespace");
    let other = cluster.fresh_namespace("twin").await.expect("a namespace");
    assert_ne!(one.name(), other.name());
    let client = cluster.client().await.expect("a client");
    let found = Api::<Namespace>::all(client.clone()).get(&one).await.expect("it is there");
    assert_eq!(found.metadata.name.as_deref(), Some(one.name()));
    if cluster.collects_garbage() {
        let accounts = Api::<ServiceAccount>::namespaced(client, &other);
        let made = within(Duration::from_secs(30), async || accounts.get("default").await.is_ok()).await;
        assert!(made, "the namespace got no ServiceAccount");
    }
}

/// The tests' own control plane stands in for somebody's cluster here.
#[tokio::test]
async fn an_existing_cluster_is_used_and_left_as_it_was() {
    let somebodys = shared_control_plane().await.expect("a control plane");
    let mut cluster = ControlPlane::from_existing_kubeconfig(somebodys.kubeconfig_path()).await.expect("a cluster");
    assert!(!cluster.is_own() && cluster.collects_garbage());
    assert_eq!(cluster.api_server_url(), somebodys.api_server_url());
    if let Some(ca_file) = cluster.ca_file() {
        let certificates = std::fs::read_to_string(ca_file).expect("a file");
        assert!(certificates.contains("-----BEGIN CERTIFICATE-----"), "{certificates}");
    }
    assert!(cluster.kill(Component::ApiServer).is_err(), "the API server of somebody else is killed");

    let namespace = cluster.fresh_namespace("visitor").await.expect("a namespace");
    let name = namespace.name().to_owned();
    let kubeconfig = cluster.kubeconfig_path().to_path_buf();
    let account = "apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: guest, namespace: NAMESPACE }\n";
    cluster.apply(&account.replace("NAMESPACE", &name)).await.expect("an account");
    let guest = cluster.kubeconfig_for_service_account(&name, "guest").await.expect("a kubeconfig");
    let who = cluster.kubectl_with(&guest, &["auth", "whoami"], None).await.expect("kubectl runs");
    assert!(who.stdout.contains(&format!("system:serviceaccount:{name}:guest")), "{who:?}");

    drop(namespace);
    let api = Api::<Namespace>::all(somebodys.client().await.expect("a client"));
    let ends = within(Duration::from_secs(30), async || {
        api.get_opt(&name).await.expect("an answer").is_none_or(|it| it.metadata.deletion_timestamp.is_some())
    });
    assert!(ends.await, "the namespace is left behind");
    drop(cluster);
    assert!(!kubeconfig.exists(), "the copy of the kubeconfig is left behind");
    assert!(somebodys.kubeconfig_path().exists());
}
