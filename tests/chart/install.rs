//! Install, upgrade and uninstall on a real API server, by both Helms.
//!
//! There is no kubelet: pods are admitted, under Pod Security `restricted`, and never run. Where Helm waits for one (the
//! upgrade hook), the test plays it: it does what the pod would do, as the pod's ServiceAccount, and reports success.

use std::process::Command;

use serde_json::{Value, json};
use test_support::tools::workspace_root;

use crate::cluster::{Cluster, RELEASE, differences, in_background, may, play_the_crd_job, previous_chart, versions};
use crate::helm::{HELMS, chart, object, objects, run, template};

#[tokio::test(flavor = "multi_thread")]
async fn installed_upgraded_and_uninstalled_as_documented() {
    for program in HELMS {
        life_of_a_release(program).await;
    }
}

async fn life_of_a_release(program: &str) {
    let cluster = Cluster::start().await;
    let chart_folder = chart();
    let chart_path = chart_folder.to_str().unwrap();
    let previous = previous_chart(cluster.home.path());
    let values = cluster.home.path().join("values.json");
    let given = json!({"allowlists": [
        {"name": "daas-us", "namespace": "tenant", "spec": {"customerId": "acme", "geo": "us", "mode": "Audit"}},
        {"name": "passing", "namespace": "tenant", "keep": false, "spec": {"customerId": "acme"}},
    ]});
    std::fs::write(&values, given.to_string()).unwrap();
    let values = values.to_str().unwrap();
    cluster.kubectl(&["create", "namespace", "tenant"]).await;

    // A first install brings the CRD and, at once, resources of it.
    let install = ["install", RELEASE, &previous, "-n", RELEASE, "--create-namespace", "-f", values];
    let mut command = cluster.helm(program);
    command.args(install);
    let notes = in_background(command).await.unwrap().success();
    assert!(notes.contains("helm -n citrix-allowlist-operator test"), "{notes}");
    let allowlist = cluster.get(&["-n", "tenant", "cal", "daas-us"]).await;
    assert_eq!(allowlist["spec"]["geo"], "us");

    // A second one beside it would wait for the first one's Lease for ever.
    let mut command = cluster.helm(program);
    command.args(["install", "second", chart_path, "-n", RELEASE]);
    let error = in_background(command).await.unwrap().failure();
    assert!(error.contains("release citrix-allowlist-operator of this chart is in namespace"), "{error}");

    // Its pods pass Pod Security: both exist.
    let pods = ["-n", RELEASE, "pods", "-l", "app.kubernetes.io/component=operator"];
    cluster
        .eventually("two pods", async || {
            (cluster.get(&pods).await["items"].as_array().unwrap().len() == 2).then_some(())
        })
        .await;

    // What the operator would keep for it.
    let owner = json!({"apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist", "name": "daas-us",
        "uid": allowlist["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true});
    let policy = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": "daas-us-egress", "namespace": "tenant", "ownerReferences": [owner]},
        "spec": {"podSelector": {}, "policyTypes": ["Egress"], "egress": []}});
    cluster.control_plane.apply(&policy.to_string()).await.unwrap();
    let seen = r#"{"status":{"observedGeneration":1}}"#;
    let arguments = ["-n", "tenant", "patch", "cal", "daas-us", "--subresource=status", "--type=merge", "-p", seen];
    cluster.kubectl(&arguments).await;
    let kept = ["-n", "tenant", "netpol/daas-us-egress", "cal/daas-us"];
    let before = versions(&cluster.get(&kept).await);

    // An upgrade applies its CRD by the hook, and touches neither resource nor policy.
    let definition = ["crd", "citrixallowlists.citrix-allowlist.io"];
    let old = r#"{"spec":{"names":{"shortNames":["older"]}}}"#;
    cluster.kubectl(&["patch", definition[0], definition[1], "--type=merge", "-p", old]).await;
    let mut command = cluster.helm(program);
    command.args(["upgrade", RELEASE, chart_path, "-n", RELEASE, "-f", values, "--timeout", "60s"]);
    let upgrade = in_background(command);
    play_the_crd_job(&cluster).await;
    upgrade.await.unwrap().success();
    let short_names = &cluster.get(&definition).await["spec"]["names"]["shortNames"];
    assert_eq!(short_names, &json!(["cal"]), "the hook brought the CRD of this version");
    assert_eq!(versions(&cluster.get(&kept).await), before, "{program}: an upgrade changes no resource and no policy");
    let deployment = cluster.get(&["-n", RELEASE, "deployment", RELEASE]).await;
    assert_ne!(deployment["metadata"]["labels"]["app.kubernetes.io/version"], "0.0.1");
    let leftovers = cluster.kubectl(&["get", "clusterroles", "-l", "app.kubernetes.io/component=crd-upgrade"]).await;
    assert_eq!(leftovers, "", "what the hook may do goes with it");

    // What Helm rendered is what the API server holds: nothing that a GitOps tool would correct again and again.
    let mut command = cluster.helm(program);
    command.args(["get", "manifest", RELEASE, "-n", RELEASE]);
    let manifest = run(&mut command).success();
    let mut found = Vec::new();
    for object in objects(&manifest) {
        let kind = object["kind"].as_str().unwrap();
        let name = object["metadata"]["name"].as_str().unwrap();
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        let live = cluster.get(&["-n", namespace, kind, name]).await;
        differences(&object, &live, &format!("{kind} {name}"), &mut found);
    }
    assert_eq!(found, Vec::<String>::new());

    // An uninstall leaves the CRD, the kept resource and its policy; the one that was not to be kept goes.
    let mut command = cluster.helm(program);
    command.args(["uninstall", RELEASE, "-n", RELEASE]);
    in_background(command).await.unwrap().success();
    assert_eq!(versions(&cluster.get(&kept).await), before, "{program}: what outlives the release");
    let left = cluster.kubectl(&["-n", "tenant", "get", "cal", "-o", "name"]).await;
    assert_eq!(left.trim(), "citrixallowlist.citrix-allowlist.io/daas-us");
    let selector = "app.kubernetes.io/instance=citrix-allowlist-operator";
    let kinds = "deployment,service,serviceaccount,role,rolebinding,poddisruptionbudget,networkpolicy,clusterrole,\
                 clusterrolebinding,validatingadmissionpolicy,validatingadmissionpolicybinding";
    let left = cluster.kubectl(&["get", kinds, "-A", "-l", selector, "-o", "name"]).await;
    assert_eq!(left, "");

    // A new install of the same name takes up what was kept.
    let mut command = cluster.helm(program);
    command.args(["install", RELEASE, chart_path, "-n", RELEASE, "-f", values]);
    in_background(command).await.unwrap().success();
    let again = cluster.get(&kept).await;
    assert_eq!(again["items"][0]["metadata"]["resourceVersion"], json!(before[0]), "the policy stays untouched");

    // Deleting the resource with `orphan` leaves its policy behind, without an owner.
    cluster.kubectl(&["-n", "tenant", "delete", "cal", "daas-us", "--cascade=orphan"]).await;
    cluster
        .eventually("the policy has no owner", async || {
            let policy = cluster.get(&["-n", "tenant", "netpol", "daas-us-egress"]).await;
            policy["metadata"]["ownerReferences"].is_null().then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_matrix_is_accepted_by_the_api_server_to_the_last_field() {
    let cluster = Cluster::start().await;
    let crd = workspace_root().join("crds/citrixallowlists.yaml");
    cluster.kubectl(&["apply", "--server-side", "-f", crd.to_str().unwrap()]).await;
    for namespace in ["citrix", "tenant-a", "tenant-b"] {
        cluster.kubectl(&["create", "namespace", namespace]).await;
    }
    let mut files: Vec<_> = std::fs::read_dir(chart().join("ci")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let manifest = template("helm", &json!({}), &["-f", file.to_str().unwrap()]).success();
        // Kinds of the Prometheus operator are not here.
        let known: Vec<Value> = objects(&manifest)
            .into_iter()
            .filter(|object| !object["apiVersion"].as_str().unwrap().starts_with("monitoring.coreos.com/"))
            .collect();
        let list = json!({"apiVersion": "v1", "kind": "List", "items": known}).to_string();
        let arguments = ["create", "--dry-run=server", "--validate=strict", "-f", "-"];
        let output = cluster
            .control_plane
            .kubectl_with(cluster.control_plane.kubeconfig_path(), &arguments, Some(&list))
            .await
            .unwrap();
        // Also the pods of `helm test`, which Pod Security judges; of others it warns.
        assert_eq!((output.code, output.stderr.as_str()), (Some(0), ""), "{}", file.display());
    }
}

/// kustomize writes 1.0 as 1.
fn whole_numbers(value: &mut Value) {
    match value {
        Value::Number(number) if number.as_f64().is_some_and(|number| number.fract() == 0.0) => {
            *value = json!(number.as_f64());
        }
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Array(items) => items.iter_mut().for_each(whole_numbers),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn install_yaml_and_the_kustomize_base_install_the_same() {
    let cluster = Cluster::start().await;
    let file = workspace_root().join("deploy/install.yaml");
    cluster.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]).await;
    let pods = ["-n", RELEASE, "pods"];
    cluster
        .eventually("two pods", async || {
            (cluster.get(&pods).await["items"].as_array().unwrap().len() == 2).then_some(())
        })
        .await;
    // The base, applied over it, is the same to the last field.
    let kinds = "deployment,serviceaccount,service,role,rolebinding,poddisruptionbudget";
    let before = versions(&cluster.get(&["-n", RELEASE, kinds, "-l", "app.kubernetes.io/name"]).await);
    assert_eq!(before.len(), 9);
    let base = workspace_root().join("deploy/kustomize");
    let spec_before = cluster.get(&["-n", RELEASE, "deployment", RELEASE]).await["metadata"]["generation"].clone();
    cluster.kubectl(&["apply", "--server-side", "-k", base.to_str().unwrap()]).await;
    let spec_after = cluster.get(&["-n", RELEASE, "deployment", RELEASE]).await["metadata"]["generation"].clone();
    assert_eq!(spec_before, spec_after);
    let built = objects(&cluster.kubectl(&["kustomize", base.to_str().unwrap()]).await);
    let mut all = objects(&std::fs::read_to_string(&file).unwrap());
    let mut built_sorted = built;
    // The kustomize of older kubectls takes these kinds for namespaced; applied above, the API server took them all the same.
    for object in &mut built_sorted {
        if object["kind"].as_str().unwrap().starts_with("ValidatingAdmissionPolicy") {
            object["metadata"].as_object_mut().unwrap().remove("namespace");
        }
    }
    for list in [&mut all, &mut built_sorted] {
        list.iter_mut().for_each(whole_numbers);
        list.sort_by_key(|object| (object["kind"].to_string(), object["metadata"]["name"].to_string()));
    }
    assert_eq!(built_sorted, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hooks_account_restores_a_deleted_definition() {
    let cluster = Cluster::start().await;
    cluster.kubectl(&["create", "namespace", "citrix"]).await;
    let hook = template("helm", &json!({}), &["--show-only", "templates/crd-upgrade.yaml"]).success();
    let accounts: Vec<Value> = objects(&hook).into_iter().filter(|object| object["kind"] != "Job").collect();
    assert_eq!(accounts.len(), 3);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": accounts}).to_string();
    cluster.control_plane.apply(&list).await.unwrap();
    let account = object(&accounts, "ServiceAccount", "")["metadata"]["name"].as_str().unwrap();
    let kubeconfig = cluster.control_plane.kubeconfig_for_service_account("citrix", account).await.unwrap();
    for _ in 0..2 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_citrix-allowlist"));
        command.args(["crd", "--apply"]).env("KUBECONFIG", &kubeconfig);
        in_background(command).await.unwrap().success();
    }
    cluster.kubectl(&["wait", "--for=condition=Established", "crd/citrixallowlists.citrix-allowlist.io"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_aggregated_roles_add_to_kubernetes_own() {
    let cluster = Cluster::start().await;
    let file = workspace_root().join("deploy/install.yaml");
    cluster.kubectl(&["apply", "--server-side", "-f", file.to_str().unwrap()]).await;
    cluster.kubectl(&["create", "namespace", "tenant"]).await;
    for role in ["view", "edit", "admin"] {
        let arguments = ["-n", "tenant", "create", "rolebinding", role, "--clusterrole", role, "--user", role];
        cluster.kubectl(&arguments).await;
    }
    let can = async |user: &str, verb: &str, resource: &str| {
        let kubeconfig = cluster.control_plane.kubeconfig_path();
        may(&cluster.control_plane, kubeconfig, &["-n", "tenant", "--as", user], verb, resource).await
    };
    // Aggregation is a controller's work: it takes a moment.
    cluster.eventually("edit may create", async || can("edit", "create", "cal").await.then_some(())).await;
    cluster.eventually("view may read", async || can("view", "list", "cal").await.then_some(())).await;
    cluster.eventually("admin may clear", async || can("admin", "deletecollection", "cal").await.then_some(())).await;
    for (user, verb, resource, expected) in [
        ("view", "get", "citrixallowlists:status", true),
        ("view", "create", "cal", false),
        ("edit", "get", "cal", true),
        ("edit", "patch", "cal", true),
        ("edit", "delete", "cal", true),
        ("edit", "patch", "citrixallowlists:status", false),
        ("edit", "deletecollection", "cal", false),
        ("admin", "patch", "cal", true),
        ("admin", "watch", "cal", true),
    ] {
        assert_eq!(can(user, verb, resource).await, expected, "{user} {verb} {resource}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_account_may_do_what_its_roles_say_and_no_more() {
    let cluster = Cluster::start().await;
    cluster.kubectl(&["create", "namespace", "citrix"]).await;
    for namespace in ["tenant-a", "tenant-b", "stranger"] {
        cluster.kubectl(&["create", "namespace", namespace]).await;
    }
    let crd = workspace_root().join("crds/citrixallowlists.yaml");
    cluster.kubectl(&["apply", "--server-side", "-f", crd.to_str().unwrap()]).await;
    let file = chart().join("ci/namespaced-values.yaml");
    let manifest = template("helm", &json!({}), &["-f", file.to_str().unwrap()]).success();
    let rendered = objects(&manifest);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": rendered
        .iter()
        .filter(|object| ["Role", "RoleBinding", "ServiceAccount"].contains(&object["kind"].as_str().unwrap()))
        .collect::<Vec<_>>()});
    cluster.control_plane.apply(&list.to_string()).await.unwrap();
    let account = object(&rendered, "ServiceAccount", RELEASE)["metadata"]["name"].as_str().unwrap().to_owned();
    let kubeconfig = cluster.control_plane.kubeconfig_for_service_account("citrix", &account).await.unwrap();
    for (namespace, verb, resource, expected) in [
        ("tenant-a", "patch", "networkpolicies.networking.k8s.io", true),
        ("tenant-b", "delete", "networkpolicies.networking.k8s.io", true),
        ("tenant-a", "update", "citrixallowlists:finalizers", true),
        ("tenant-a", "patch", "citrixallowlists:status", true),
        ("tenant-a", "patch", "citrixallowlists", false),
        ("tenant-a", "get", "leases.coordination.k8s.io", false),
        ("citrix", "create", "leases.coordination.k8s.io", true),
        ("citrix", "update", "leases.coordination.k8s.io/citrix-allowlist-operator", true),
        ("citrix", "update", "leases.coordination.k8s.io/another", false),
        ("citrix", "create", "configmaps", true),
        ("citrix", "patch", "networkpolicies.networking.k8s.io", false),
        ("stranger", "get", "networkpolicies.networking.k8s.io", false),
        ("stranger", "get", "configmaps", false),
        ("kube-system", "list", "endpointslices.discovery.k8s.io", false),
        ("citrix", "get", "secrets", false),
    ] {
        let may = may(&cluster.control_plane, &kubeconfig, &["-n", namespace], verb, resource).await;
        assert_eq!(may, expected, "{namespace}: {verb} {resource}");
    }
}
