use super::*;
use crate::cluster::fake_api;
use axum::http::Method;
use serde_json::Value;

/// Requests, in their order: method, name in the path, body.
type Requests = Arc<Mutex<Vec<(Method, String, Value)>>>;

/// Events against an API server that accepts everything, but answers 404 to a change that contains `lost`.
fn events(lost: Option<&'static str>) -> (Events, Requests) {
    let requests = Requests::default();
    let notes = Arc::clone(&requests);
    let client = fake_api::client(move |method, uri, sent| {
        let name = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        let gone = method == Method::PATCH && lost.is_some_and(|lost| sent.to_string().contains(lost));
        lock(&notes).push((method.clone(), name, sent.clone()));
        if gone {
            let failure =
                json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404 });
            return (404, failure);
        }
        let mut answer = sent;
        if answer["eventTime"].is_null() {
            answer["eventTime"] = json!("2026-06-01T00:00:00.000000Z");
        }
        (201, answer)
    });
    (Events::new(client, Some("pod-0".to_owned())), requests)
}

/// A resource at some version.
fn kitsune(version: &str) -> ObjectReference {
    ObjectReference {
        name: Some("kitsune".to_owned()),
        namespace: Some("den".to_owned()),
        uid: Some("1".to_owned()),
        resource_version: Some(version.to_owned()),
        ..ObjectReference::default()
    }
}

fn note(reason: Reason, message: &str) -> Note {
    Note { warning: false, reason, message: message.to_owned() }
}

async fn publish(events: &Events, version: &str, note: &Note) -> &'static str {
    let (verb, result) = events.publish(&kitsune(version), note, Duration::from_secs(5)).await;
    result.expect("published");
    verb
}

#[tokio::test]
async fn repeats_raise_the_event_count_and_new_text_makes_an_event() {
    let (events, requests) = events(None);
    let same = note(Reason::Applied, "0 CIDRs added, 0 removed: an object was deleted");
    assert_eq!(publish(&events, "7", &same).await, "create");
    assert_eq!(publish(&events, "8", &same).await, "patch");
    assert_eq!(publish(&events, "9", &same).await, "patch");
    assert_eq!(publish(&events, "9", &note(Reason::Applied, "2 CIDRs added")).await, "create");
    assert_eq!(publish(&events, "9", &note(Reason::Conflict, "2 CIDRs added")).await, "create");
    let requests = lock(&requests);
    let created = &requests[0].2;
    assert_eq!(
        (&created["reason"], &created["action"], &created["type"], &created["reportingInstance"]),
        (&json!("Applied"), &json!("Apply"), &json!("Normal"), &json!("pod-0"))
    );
    assert_eq!(requests[2].1, created["metadata"]["name"], "the existing event");
    assert_eq!(requests[2].2["series"]["count"], 3);
}

#[tokio::test]
async fn a_repeat_of_an_event_that_is_gone_is_a_new_one() {
    let (events, requests) = events(Some("series"));
    let same = note(Reason::Conflict, "another client keeps changing it");
    assert_eq!(publish(&events, "7", &same).await, "create");
    assert_eq!(publish(&events, "7", &same).await, "create");
    let methods: Vec<Method> = lock(&requests).iter().map(|(method, ..)| method.clone()).collect();
    assert_eq!(methods, [Method::POST, Method::PATCH, Method::POST]);
}
