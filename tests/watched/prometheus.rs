//! A real Prometheus that scrapes an operator.

use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};
use test_support::free_port::free_port;
use test_support::process::Process;

/// The labels that the Prometheus operator gives a target, and that the rules group by.
pub const NAMESPACE: &str = "operators";
/// See [`NAMESPACE`].
pub const JOB: &str = "citrix-allowlist";

/// A running Prometheus. Dropping it kills it.
pub struct Prometheus {
    process: Process,
    url: String,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it on the alert rules, and on one target that it scrapes four times a second.
    pub async fn start(target: &str) -> Self {
        Self::start_with(target, &super::files::chart_file("alerts.yaml")).await
    }

    /// The same on other rules.
    pub async fn start_with(target: &str, rules: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port().expect("a free port");
        // JSON is YAML.
        let config = json!({
            "global": { "scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "1s" },
            "rule_files": [rules],
            "scrape_configs": [{
                "job_name": JOB,
                "static_configs": [{ "targets": [target], "labels": { "namespace": NAMESPACE } }],
            }],
        });
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config.to_string()).expect("a configuration");
        let arguments = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
        ];
        let program = test_support::tool("prometheus").expect("Prometheus");
        let log = folder.path().join("prometheus.log");
        let process = Process::start("prometheus", &program, &arguments, &log).expect("a start");
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let mut prometheus = Self { process, url: format!("http://127.0.0.1:{port}"), client, _folder: folder };
        let started = Instant::now();
        while !prometheus
            .client
            .get(format!("{}/-/ready", prometheus.url))
            .send()
            .await
            .is_ok_and(|got| got.status() == 200)
        {
            prometheus.process.expect_running().expect("it runs");
            assert!(started.elapsed() < Duration::from_secs(60), "{}", prometheus.process.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        prometheus
    }

    /// What it answers to a request of its API.
    ///
    /// # Panics
    /// Where it refuses the request: a query that does not parse.
    pub async fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let request = self.client.get(format!("{}/api/v1/{path}", self.url)).query(parameters);
        let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer:#}");
        answer["data"].clone()
    }

    /// The series that a query gives now.
    pub async fn query(&self, expr: &str) -> Vec<Value> {
        let data = self.ask("query", &[("query", expr)]).await;
        match data["resultType"].as_str() {
            Some("vector") => data["result"].as_array().expect("series").clone(),
            other => panic!("{expr} gives a {other:?}"),
        }
    }
}
