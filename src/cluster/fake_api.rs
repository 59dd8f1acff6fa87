//! An API server for tests: a function.

use axum::http::{Method, Request, Response, Uri};
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use std::convert::Infallible;
use std::sync::Arc;

/// A client whose requests `answer` answers with a status and an object. It gets the method, the address and the sent object,
/// `null` for none.
pub(super) fn client(answer: impl Fn(&Method, &Uri, Value) -> (u16, Value) + Send + Sync + 'static) -> Client {
    let answer = Arc::new(answer);
    let service = tower::service_fn(move |request: Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let (parts, body) = request.into_parts();
            let sent = serde_json::from_slice(&body.collect_bytes().await.expect("a body")).unwrap_or_default();
            let (status, object) = answer(&parts.method, &parts.uri, sent);
            let answer = Response::builder().status(status).body(Body::from(object.to_string().into_bytes()));
            Ok::<_, Infallible>(answer.expect("an answer"))
        }
    });
    Client::new(service, "default")
}
