//! What was asked of the API server and of CoreDNS, by their own count: it holds for every operator alike.

use anyhow::Context as _;
use kube::Client;
use std::net::SocketAddr;

/// Requests that the API server answered for the kinds an operator of policies deals with.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ApiCalls {
    /// Creations, patches, updates and deletions.
    pub writes: f64,
    /// Gets and lists; watches are neither.
    pub reads: f64,
}

/// Kinds that count. Leases, and what the control plane does for itself, do not.
const KINDS: [&str; 5] = ["networkpolicies", "configmaps", "events", "pods", "namespaces"];

impl ApiCalls {
    /// What has been asked so far; `resource` is the plural of the operator's own kind.
    ///
    /// # Errors
    /// Where the API server does not tell.
    pub async fn so_far(client: &Client, resource: &str) -> anyhow::Result<Self> {
        let request = http::Request::get("/metrics").body(Vec::new())?;
        let text = client.request_text(request).await.context("metrics of kube-apiserver")?;
        let mut calls = Self::default();
        for line in text.lines().filter(|line| line.starts_with("apiserver_request_total{")) {
            let Some(kind) = label(line, "resource") else { continue };
            if kind != resource && !KINDS.contains(&kind) {
                continue;
            }
            let value: f64 = line.rsplit(' ').next().and_then(|value| value.parse().ok()).unwrap_or_default();
            match label(line, "verb").unwrap_or_default() {
                "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE" | "DELETECOLLECTION" => calls.writes += value,
                "GET" | "LIST" => calls.reads += value,
                _ => {}
            }
        }
        Ok(calls)
    }

    /// What was asked since.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self { writes: self.writes - earlier.writes, reads: self.reads - earlier.reads }
    }
}

/// How many questions CoreDNS has been asked so far.
///
/// # Errors
/// Where it does not tell.
pub async fn questions(metrics: SocketAddr) -> anyhow::Result<f64> {
    let url = format!("http://{metrics}/metrics");
    let client = reqwest::Client::builder().no_proxy().build()?;
    let text = client.get(&url).send().await.context("metrics of CoreDNS")?.text().await?;
    let lines = text.lines().filter(|line| line.starts_with("coredns_dns_requests_total{"));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// The value of a label in a line of metrics; those that matter here hold no quotation marks.
fn label<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(&format!("{name}=\""))?;
    rest.split_once('"').map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_found_by_its_name() {
        let line = r#"apiserver_request_total{code="201",resource="networkpolicies",verb="POST"} 12"#;
        assert_eq!(label(line, "resource"), Some("networkpolicies"));
        assert_eq!(label(line, "verb"), Some("POST"));
        assert_eq!(label(line, "group"), None);
    }
}
