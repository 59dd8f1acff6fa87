//! Judges of what the chart renders: a schema, a linter of policies, and OpenShift's rules.

use std::process::Command;

use serde_json::{Value, json};
use test_support::control_plane::Kubernetes;
use test_support::tools::workspace_root;

use crate::helm::{chart, object, objects, run, template};
use crate::values::matrix;

#[tokio::test(flavor = "multi_thread")]
async fn custom_resources_of_chart_and_examples_pass_kubeconform() {
    let folder = tempfile::tempdir().unwrap();
    let definition = std::fs::read_to_string(workspace_root().join("crds/citrixallowlists.yaml")).unwrap();
    let definition: Value = serde_saphyr::from_str(&definition).unwrap();
    let version = &definition["spec"]["versions"][0];
    let mut schema = version["schema"]["openAPIV3Schema"].clone();
    schema["additionalProperties"] = json!(false);
    for known in ["apiVersion", "kind"] {
        schema["properties"][known] = json!({"type": "string"});
    }
    schema["properties"]["metadata"] = json!({"type": "object"});
    close(&mut schema["properties"]["spec"]);
    std::fs::write(folder.path().join("citrixallowlist.json"), schema.to_string()).unwrap();

    let file = chart().join("ci/everything-values.yaml");
    let manifest = template("helm", &json!({}), &["-f", file.to_str().unwrap()]).success();
    let ours: Vec<Value> =
        objects(&manifest).into_iter().filter(|object| object["kind"] == "CitrixAllowlist").collect();
    assert_eq!(ours.len(), 2);
    let example = std::fs::read_to_string(workspace_root().join("examples/gitops/allowlists.yaml")).unwrap();
    let ours = [ours, objects(&example)].concat();
    let conform = |items: &[Value]| {
        let mut command = Command::new(test_support::tool("kubeconform").unwrap());
        let path = folder.path().join("objects.yaml");
        let text: Vec<String> = items.iter().map(Value::to_string).collect();
        std::fs::write(&path, text.join("\n---\n")).unwrap();
        command.args(["-strict", "-schema-location"]).arg(folder.path().join("{{ .ResourceKind }}.json")).arg(path);
        run(&mut command)
    };
    conform(&ours).success();
    let mut wrong = ours;
    wrong[0]["spec"]["customer"] = json!("acme");
    let refused = conform(&wrong);
    assert!(!refused.success && refused.stdout.contains("customer"), "{refused:?}");
}

/// Refuses unknown fields, as the API server's strict validation does.
fn close(schema: &mut Value) {
    if schema["properties"].is_object() && schema["additionalProperties"].is_null() {
        schema["additionalProperties"] = json!(false);
    }
    match schema {
        Value::Object(map) => map.values_mut().for_each(close),
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// What kube-score asks for and the chart does not do: the check, the objects (empty: all), and why.
const NOT_DONE: [(&str, &str, &str); 6] = [
    (
        "container-image-pull-policy",
        "",
        "a tag or a digest names one image for ever: a registry that is away must not stop a restart; image.pullPolicy",
    ),
    (
        "container-security-context-user-group-id",
        "",
        "no user is named: the image has one, OpenShift gives its own, and runAsNonRoot is checked",
    ),
    (
        "container-ephemeral-storage-request-and-limit",
        "",
        "the root is read-only and no volume is writable; resources takes them where a quota asks for them",
    ),
    (
        "pod-networkpolicy",
        "Deployment,Job",
        "by default one bounds who reaches them; networkPolicy.egress has to know the cluster's addresses",
    ),
    ("pod-networkpolicy", "Pod", "what helm test runs lives for seconds, and listens on nothing"),
    ("deployment-replicas", "Deployment", "replicas: 1 is somebody's choice"),
];

/// What kube-score finds in a manifest: object's kind, check, and what it says.
fn findings(manifest: &str) -> Vec<(String, String, String)> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("objects.yaml");
    std::fs::write(&file, manifest).unwrap();
    let oldest = format!("--kubernetes-version=v1.{}", Kubernetes::Oldest.minor().unwrap());
    // It fails where it finds anything at all.
    let output = run(Command::new(test_support::tool("kube-score").unwrap())
        .args(["score", "--output-format=json", &oldest, "--ignore-container-cpu-limit"])
        .args(["--enable-optional-test=container-seccomp-profile", "--enable-optional-test=container-ports-check"])
        .arg(&file));
    let judged: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let judged = judged.as_array().unwrap();
    assert!(judged.iter().any(|object| object["type_meta"]["kind"] == "Deployment"), "{output:?}");
    let mut found = Vec::new();
    for object in judged {
        for check in object["checks"].as_array().unwrap() {
            // 10 is well, 7 nearly so, 5 a warning, 1 critical.
            if check["skipped"] != true && check["grade"].as_u64().unwrap() < 7 {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let said = format!("{}: {}", object["object_name"], check["comments"]);
                found.push((text(&object["type_meta"]["kind"]), text(&check["check"]["id"]), said));
            }
        }
    }
    found
}

fn is_not_done(kind: &str, check: &str) -> Option<usize> {
    NOT_DONE
        .iter()
        .position(|(id, kinds, _)| *id == check && (kinds.is_empty() || kinds.split(',').any(|one| one == kind)))
}

#[test]
fn the_linter_of_policies_finds_nothing_but_what_is_meant() {
    let mut used = [false; NOT_DONE.len()];
    let mut beyond = Vec::new();
    for file in matrix() {
        let manifest = template("helm", &json!({}), &["-f", file.to_str().unwrap()]).success();
        for (kind, check, said) in findings(&manifest) {
            match is_not_done(&kind, &check) {
                Some(place) => used[place] = true,
                None => beyond.push(format!("{}: {check}: {said}", file.display())),
            }
        }
    }
    assert_eq!(beyond, Vec::<String>::new());
    let idle: Vec<&str> = NOT_DONE.iter().zip(used).filter(|(_, used)| !used).map(|((check, ..), _)| *check).collect();
    assert_eq!(idle, Vec::<&str>::new(), "exceptions that nothing needs");
}

#[test]
fn the_linter_of_policies_sees_what_is_wrong() {
    for (values, expected) in [
        (
            json!({"securityContext": {"readOnlyRootFilesystem": false}}),
            "container-security-context-readonlyrootfilesystem",
        ),
        (json!({"securityContext": {"privileged": true}}), "container-security-context-privileged"),
        (json!({"podSecurityContext": {"seccompProfile": null}}), "container-seccomp-profile"),
        (json!({"image": {"tag": "latest"}}), "container-image-tag"),
        (json!({"resources": {"limits": null}}), "container-resources"),
        (json!({"podDisruptionBudget": {"enabled": false}}), "deployment-has-poddisruptionbudget"),
        (json!({"antiAffinity": "none"}), "deployment-has-host-podantiaffinity"),
    ] {
        let manifest = template("helm", &values, &[]).success();
        let found = findings(&manifest);
        let seen = found.iter().any(|(kind, check, _)| check == expected && is_not_done(kind, check).is_none());
        assert!(seen, "{values}: {found:#?}");
    }
}

/// The pods of a manifest: what kind of object makes each, and its template.
fn pods(rendered: &[Value]) -> Vec<(&str, &Value)> {
    let specs = rendered.iter().filter_map(|object| match object["kind"].as_str()? {
        "Pod" => Some(("Pod", &object["spec"])),
        kind @ ("Deployment" | "Job") => Some((kind, &object["spec"]["template"]["spec"])),
        _ => None,
    });
    specs.collect()
}

/// OpenShift's restricted-v2 gives a pod the user, the group and the SELinux labels of its namespace, and refuses one that
/// asks for others.
fn refused_by_restricted_v2(pod: &Value) -> Vec<String> {
    let mut refused = Vec::new();
    let mut claim = |holds: bool, what: &str| {
        if !holds {
            refused.push(what.to_owned());
        }
    };
    for shared in ["hostNetwork", "hostPID", "hostIPC"] {
        claim(pod[shared].is_null() || pod[shared] == false, shared);
    }
    for context in [&pod["securityContext"], &pod["containers"][0]["securityContext"]] {
        for given in ["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups", "seLinuxOptions"] {
            claim(context[given].is_null(), given);
        }
        let seccomp = &context["seccompProfile"]["type"];
        claim(seccomp.is_null() || seccomp == "RuntimeDefault", "seccompProfile");
    }
    for container in pod["containers"].as_array().unwrap() {
        let context = &container["securityContext"];
        claim(context["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
        claim(context["privileged"].is_null() || context["privileged"] == false, "privileged");
        claim(context["capabilities"]["drop"] == json!(["ALL"]), "capabilities");
        let added = &context["capabilities"]["add"];
        claim(added.is_null() || added == &json!(["NET_BIND_SERVICE"]), "capabilities.add");
        for port in container["ports"].as_array().into_iter().flatten() {
            claim(port["hostPort"].is_null(), "hostPort");
        }
    }
    let allowed = [
        "name",
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ];
    for volume in pod["volumes"].as_array().into_iter().flatten() {
        for kind in volume.as_object().unwrap().keys() {
            claim(allowed.contains(&kind.as_str()), kind);
        }
    }
    refused
}

#[test]
fn openshift_restricted_v2_admits_every_pod_of_the_matrix() {
    for file in matrix() {
        let manifest = template("helm", &json!({}), &["-f", file.to_str().unwrap()]).success();
        let rendered = objects(&manifest);
        let pods = pods(&rendered);
        assert!(pods.iter().any(|(kind, _)| *kind == "Deployment"), "{}", file.display());
        for (kind, pod) in pods {
            assert_eq!(refused_by_restricted_v2(pod), Vec::<String>::new(), "{}: {kind}", file.display());
        }
    }
    // And what users may ask for that it refuses, it is known to refuse.
    for (values, expected) in [
        (json!({"podSecurityContext": {"fsGroup": 65532}}), "fsGroup"),
        (json!({"securityContext": {"runAsUser": 65532}}), "runAsUser"),
        (json!({"hostNetwork": true}), "hostNetwork"),
        (json!({"extraVolumes": [{"name": "host", "hostPath": {"path": "/"}}]}), "hostPath"),
    ] {
        let rendered = objects(&template("helm", &values, &[]).success());
        let pod = &object(&rendered, "Deployment", "")["spec"]["template"]["spec"];
        assert_eq!(refused_by_restricted_v2(pod), [expected], "{values}");
    }
}
