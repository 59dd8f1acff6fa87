//! Whether `explain` is right, by the judgement of cyclonus over the same policies.

use super::{account, applied, cli, kubectl, manifest, text};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use kube::api::ListParams;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use test_support::ControlPlane;
use test_support::cyclonus::{self, CasePeer, CaseProtocol, Traffic};

/// How many questions `explain` and the outside judge are both asked.
const QUESTIONS: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn explain_agrees_with_an_outside_judge() {
    let control_plane = test_support::shared_control_plane().await.expect("a control plane");
    let namespace = control_plane.fresh_namespace("judge").await.expect("a namespace");
    applied(control_plane, &namespace, &manifest()).await;
    account(control_plane, &namespace).await;
    let others = "
apiVersion: v1
kind: Pod
metadata: { name: web, labels: { app: web } }
spec: { automountServiceAccountToken: false, containers: [{ name: web, image: web }] }
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: proxy }
spec:
  podSelector: { matchLabels: { app: web } }
  policyTypes: [Egress, Ingress]
  egress:
  - to: [{ ipBlock: { cidr: 13.64.8.0/21, except: [13.64.10.0/30] } }, { podSelector: { matchLabels: { app: x } } }]
    ports: [{ port: 8000, endPort: 8100 }, { protocol: UDP, port: 443 }]
  - to: [{ ipBlock: { cidr: 40.64.0.0/10 } }]
  ingress:
  - from: [{ ipBlock: { cidr: 20.64.0.0/16 } }]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: elsewhere }
spec: { podSelector: { matchLabels: { app: other } }, policyTypes: [Egress], egress: [{}] }
";
    let made = kubectl(control_plane, &["apply", "-n", &namespace, "-f", "-"], others).await;
    made.success().expect("a pod and policies");
    let client = control_plane.client().await.expect("a client");
    let policies: Api<NetworkPolicy> = Api::namespaced(client, &namespace);
    let policies = policies.list(&ListParams::default()).await.expect("policies").items;

    let mut random = fastrand::Rng::with_seed(8);
    let bases: [u32; 6] = [0x0d6b_0698, 0x0d40_0a00, 0x1440_0707, 0x2840_0303, 0x142a_4100, 0x0d40_0f00];
    let ports = [80, 443, 444, 7999, 8000, 8050, 8100, 8101, 53];
    let mut questions = Vec::new();
    for _ in 0..QUESTIONS {
        let base = bases[random.usize(..bases.len())];
        let address = IpAddr::V4((base.wrapping_add(random.u32(..6))).into());
        questions.push((random.bool(), address, ports[random.usize(..ports.len())], random.u8(..4) == 0));
    }
    let found = answers(control_plane, &namespace, &questions);

    let pod = || CasePeer::pod(&namespace, [("app", "web")]);
    let traffic: Vec<Traffic> = questions
        .iter()
        .map(|(out, address, port, udp)| {
            let protocol = if *udp { CaseProtocol::Udp } else { CaseProtocol::Tcp };
            if *out {
                Traffic::new(pod(), *address, *port, protocol)
            } else {
                Traffic::new(*address, pod(), *port, protocol)
            }
        })
        .collect();
    let verdicts = cyclonus::judge(&policies, &traffic).await.expect("verdicts");
    let mut counts = BTreeMap::new();
    for (question, verdict) in questions.iter().zip(verdicts) {
        assert_eq!(found[question], verdict.is_allowed(), "{question:?}");
        *counts.entry(verdict.is_allowed()).or_insert(0) += 1;
    }
    println!("allowed and not: {counts:?}");
    assert!(counts.values().all(|count| *count > QUESTIONS / 10) && counts.len() == 2, "{counts:?}");
}

type Question = (bool, IpAddr, u16, bool);

/// What `explain` says, in as few runs as there are kinds of question.
fn answers(control_plane: &ControlPlane, namespace: &str, questions: &[Question]) -> BTreeMap<Question, bool> {
    let mut found = BTreeMap::new();
    for (out, udp) in [(true, false), (true, true), (false, false), (false, true)] {
        let asked: Vec<&Question> =
            questions.iter().filter(|question| question.0 == out && question.3 == udp).collect();
        let flag = if out { "--to" } else { "--from" };
        let ends: Vec<String> = asked.iter().map(|(_, address, port, _)| format!("{address}:{port}")).collect();
        let mut arguments = vec!["explain", "daas-us", "-n", namespace, "--pod", "web", "-o", "json"];
        arguments.extend(["--protocol", if udp { "udp" } else { "tcp" }]);
        ends.iter().for_each(|end| arguments.extend([flag, end]));
        let output = cli(control_plane, &arguments);
        let explanation: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let answers = explanation["answers"].as_array().expect("answers");
        let are_allowed = answers.iter().all(|answer| answer["allowed"] == true);
        assert_eq!(output.status.code(), Some(i32::from(!are_allowed)), "{}", text(&output));
        assert_eq!(answers.len(), asked.len());
        for (question, answer) in asked.into_iter().zip(answers) {
            found.insert(*question, answer["allowed"].as_bool().expect("a verdict"));
        }
    }
    found
}
