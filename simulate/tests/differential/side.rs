//! One of the two servers: requests go to it, and answers are remembered as far as later requests refer to them.

use super::steps::{Resource, Step};
use anyhow::Context as _;
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a server may take to show all events.
const PATIENCE: Duration = Duration::from_secs(30);

/// The name of the object that ends a watch.
pub const LAST: &str = "zz-last";

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub code: u16,
    pub body: Value,
}

#[derive(Debug, Default)]
struct Seen {
    uids: Vec<String>,
    versions: Vec<String>,
    /// The newest metadata.
    metadata: Value,
}

/// A server with a namespace of the sequence's own.
pub struct Side {
    client: Client,
    pub namespace: String,
    seen: BTreeMap<(String, String), Seen>,
    tokens: BTreeMap<String, String>,
}

impl Side {
    pub fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), seen: BTreeMap::new(), tokens: BTreeMap::new() }
    }

    /// Sends a step.
    pub async fn send(&mut self, step: &Step) -> anyhow::Result<Answer> {
        let mut path = step.resource.path(&self.namespace);
        for part in [step.name, step.subresource].iter().filter(|part| !part.is_empty()) {
            path = format!("{path}/{part}");
        }
        let token = self.tokens.get(step.resource.plural).cloned().unwrap_or_default();
        let query: Vec<String> = step
            .query
            .iter()
            .map(|(key, value)| (key, if value == "@continue" { &token } else { value }))
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| {
                let value: String = value.bytes().map(|byte| format!("%{byte:02x}")).collect();
                format!("{key}={value}")
            })
            .collect();
        let mut body = step.body.clone();
        self.resolve(&mut body, step.resource, step.body["metadata"]["name"].as_str().unwrap_or(step.name));
        let request = http::Request::builder()
            .method(step.method())
            .uri(format!("{path}?{}", query.join("&")))
            .header("accept", step.accept())
            .header("content-type", step.content_type())
            .header("user-agent", "differential/1")
            .body(Body::from(if body.is_null() { Vec::new() } else { body.to_string().into_bytes() }))?;
        let response = self.client.send(request).await?;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await?.to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        if !step.query.iter().any(|(key, _)| *key == "dryRun") {
            self.remember(step.resource, &body);
        }
        Ok(Answer { code, body })
    }

    fn resolve(&self, value: &mut Value, resource: &Resource, name: &str) {
        match value {
            Value::String(text) => {
                let seen = self.seen.get(&(resource.plural.to_owned(), name.to_owned()));
                let of = |list: fn(&Seen) -> &Vec<String>, newest: bool, none: &str| {
                    let list = seen.map_or(&[][..], |seen| list(seen));
                    let one = if newest { list.last() } else { list.first() };
                    one.cloned().unwrap_or_else(|| none.to_owned())
                };
                let no_uid = "00000000-0000-0000-0000-000000000000";
                match text.as_str() {
                    "@uid" => *text = of(|seen| &seen.uids, true, no_uid),
                    "@old-uid" => *text = of(|seen| &seen.uids, false, no_uid),
                    "@rv" => *text = of(|seen| &seen.versions, true, "7"),
                    "@old-rv" => *text = of(|seen| &seen.versions, false, "7"),
                    "@namespace" => text.clone_from(&self.namespace),
                    "@metadata" => {
                        let known = seen.map(|seen| seen.metadata.clone());
                        *value = known.unwrap_or_else(|| json!({ "name": name }));
                    }
                    _ => {}
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.resolve(value, resource, name)),
            Value::Object(object) => object.values_mut().for_each(|value| self.resolve(value, resource, name)),
            _ => {}
        }
    }

    fn remember(&mut self, resource: &Resource, body: &Value) {
        if let Some(token) = body["metadata"]["continue"].as_str() {
            self.tokens.insert(resource.plural.to_owned(), token.to_owned());
        }
        for object in body["items"].as_array().into_iter().flatten().chain([body]) {
            let text = |field: &str| object["metadata"][field].as_str().map(str::to_owned);
            let (Some(name), Some(uid), Some(version)) = (text("name"), text("uid"), text("resourceVersion")) else {
                continue;
            };
            let seen = self.seen.entry((resource.plural.to_owned(), name)).or_default();
            seen.metadata = object["metadata"].clone();
            for (list, value) in [(&mut seen.uids, uid), (&mut seen.versions, version)] {
                if list.last() != Some(&value) {
                    list.push(value);
                }
            }
        }
    }

    /// The newest version of the server.
    pub async fn version(&self) -> anyhow::Result<String> {
        let request =
            http::Request::get(format!("/api/v1/namespaces/{}/configmaps", self.namespace)).body(Vec::new())?;
        let list: Value = self.client.request(request).await?;
        Ok(list["metadata"]["resourceVersion"].as_str().context("a version")?.to_owned())
    }

    /// Creates the object that ends watches.
    pub async fn finish(&self, resource: &Resource) -> anyhow::Result<()> {
        let mut object = json!({
            "apiVersion": resource.api,
            "kind": resource.kind,
            "metadata": { "name": LAST, "labels": { "app": "x" } },
        });
        match resource.kind {
            "CitrixAllowlist" => object["spec"]["customerId"] = "last".into(),
            "Event" => {
                object["regarding"] = json!({ "kind": "ConfigMap", "namespace": self.namespace, "name": "a" });
                for (field, value) in [
                    ("action", "Apply"),
                    ("reason", "Applied"),
                    ("eventTime", "2026-06-01T00:00:00.123456Z"),
                    ("reportingController", "example.com/operator"),
                    ("reportingInstance", "operator-0"),
                    ("type", "Normal"),
                ] {
                    object[field] = value.into();
                }
            }
            _ => {}
        }
        let request = http::Request::post(resource.path(&self.namespace)).header("content-type", "application/json");
        let _: Value = self.client.request(request.body(object.to_string().into_bytes())?).await?;
        Ok(())
    }

    /// The events from a version to the last object.
    pub async fn events(&self, resource: &Resource, version: &str, selector: &str) -> anyhow::Result<Vec<Answer>> {
        let path = resource.path(&self.namespace);
        let uri = format!("{path}?watch=true&resourceVersion={version}&timeoutSeconds=60&labelSelector={selector}");
        let stream = self.client.request_stream(http::Request::get(uri).body(Vec::new())?).await?;
        let mut lines = stream.lines();
        let mut events = Vec::new();
        let read = async {
            while let Some(line) = lines.try_next().await? {
                let event: Value = serde_json::from_str(&line)?;
                let is_last = event["object"]["metadata"]["name"] == LAST || event["type"] == "ERROR";
                events.push(Answer { code: 200, body: event });
                if is_last {
                    return Ok(());
                }
            }
            anyhow::bail!("the watch ended before its last event")
        };
        tokio::time::timeout(PATIENCE, read).await.context("no last event")??;
        Ok(events)
    }
}
