//! An admission webhook that denies everything, and can stop answering.

use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::standin::TestAuthority;
use crate::standin::connection::{Connecting, Connections, Peer};

/// A running webhook; dropped, it answers no more.
pub struct Webhook {
    url: String,
    authority: TestAuthority,
    connections: Connections,
    running: JoinHandle<()>,
}

impl Webhook {
    /// One that denies with these words.
    ///
    /// # Errors
    /// Where nothing can be listened on.
    pub async fn denying(message: &str) -> Result<Self> {
        let authority = TestAuthority::new()?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("https://{}/deny", listener.local_addr()?);
        let connections = Connections::default();
        let tls = Arc::new(authority.server_config(&["127.0.0.1"])?);
        let connecting = Connecting::new(listener, Some(tls), connections.clone())?;
        let router = Router::new().route("/deny", post(deny)).with_state(Arc::from(message));
        let service = router.into_make_service_with_connect_info::<Peer>();
        let running = tokio::spawn(async move {
            // It ends only by being dropped.
            let _ = axum::serve(connecting, service).await;
        });
        Ok(Self { url, authority, connections, running })
    }

    /// The configuration that asks it about every creation and change of NetworkPolicies in one namespace, and lets none
    /// through where it does not answer.
    #[must_use]
    pub fn configuration(&self, name: &str, namespace: &str) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": name },
            "webhooks": [{
                "name": "policies.example.com",
                "clientConfig": { "url": self.url, "caBundle": STANDARD.encode(self.authority.pem()) },
                "rules": [{ "apiGroups": ["networking.k8s.io"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                    "resources": ["networkpolicies"] }],
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 2, "admissionReviewVersions": ["v1"],
            }],
        })
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.running.abort();
        self.connections.cut_all();
    }
}

async fn deny(State(message): State<Arc<str>>, review: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&review).unwrap_or_default();
    let answer = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "response": { "uid": review["request"]["uid"], "allowed": false, "status": { "code": 403, "message": *message } },
    });
    ([(CONTENT_TYPE, "application/json")], answer.to_string())
}
