use super::*;
use crate::cluster::changes::Desired;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

const UID: &str = "0b6f6d0c-5a5e-4a39-9f0b-1f1d3b1c5a11";

impl WriteObserver for () {
    fn wrote(&self, _: &'static str, _: &'static str, _: &'static str) {}
}

fn policy() -> Value {
    let owner = json!({
        "apiVersion": "citrix-allowlist.io/v1alpha1", "kind": "CitrixAllowlist", "name": "kitsune", "uid": UID,
        "controller": true,
    });
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {
            "name": "kitsune-egress", "namespace": "den", "uid": "1", "resourceVersion": "7", "ownerReferences": [owner],
        },
        "spec": { "podSelector": {}, "policyTypes": ["Egress"] },
    })
}

/// An API server that answers by verb: creations with `create`, everything else with the policy.
async fn writer(create: (u16, Value)) -> Writer {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 16 << 10];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let (status, body) = if request[..read].starts_with(b"POST") { create.clone() } else { (200, policy()) };
            let body = body.to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}");
            let answer = format!("{head}\r\nconnection: close\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let uri = format!("http://{address}").parse().expect("an address");
    let client = Client::try_from(kube::Config::new(uri)).expect("a client");
    Writer::new(client, Leadership::always(), Arc::default(), Arc::new(()))
}

async fn create(writer: &Writer) -> Result<Done, WriteError> {
    create_for(writer, "kitsune", UID).await
}

async fn create_for(writer: &Writer, name: &str, uid: &str) -> Result<Done, WriteError> {
    let owner = OwnerIdentity { subscriber: Subscriber::new("den", name), uid: uid.into() };
    let key = ObjectKey { kind: Kind::Policy, namespace: "den".into(), name: "kitsune-egress".into() };
    let desired = serde_json::from_value(policy()).expect("a policy");
    writer.carry_out(&owner, &Change::Create(key, Desired::Policy(Box::new(desired)))).await
}

#[tokio::test]
async fn a_policy_that_was_there_already_is_not_told_as_created() {
    assert_eq!(create(&writer((201, policy())).await).await.expect("created"), Done::Created);
    let exists =
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "AlreadyExists", "code": 409 });
    let taken_over = create(&writer((409, exists)).await).await.expect("ours by the uid of its owner");
    assert_eq!(taken_over, Done::Changed, "or a failure of its sibling would take it back, and open everything");
}

#[tokio::test]
async fn what_a_forerunner_left_is_taken_over_and_another_resources_object_is_not() {
    let exists =
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "AlreadyExists", "code": 409 });
    let writer = writer((409, exists)).await;
    let successor = create_for(&writer, "kitsune", "c3d1a1de-1111-4a39-9f0b-1f1d3b1c5a11").await;
    assert_eq!(successor.expect("one name, another uid: the other is gone"), Done::Changed);
    let stranger = create_for(&writer, "tanuki", "c3d1a1de-1111-4a39-9f0b-1f1d3b1c5a11").await;
    assert!(matches!(stranger, Err(WriteError::NotOurs(_))), "{stranger:?}");
}
