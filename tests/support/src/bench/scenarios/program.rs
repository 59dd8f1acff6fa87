//! The program itself: its size, and how long a command takes.

use crate::bench::figures::{Report, Sample};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// How often a command is run.
const RUNS: usize = 30;

const RESOURCE: &str = "apiVersion: citrix-allowlist.io/v1alpha1\nkind: CitrixAllowlist\n\
                        metadata: { name: small, namespace: web }\n\
                        spec: { customerId: benchcust, geo: us, dnsEgress: None }\n";
const LIST: &str = r#"{ "meta": { "version": "2026-06-01T00:00:00Z" }, "services": [{ "name": "DaaS",
    "direction": "outbound", "tcpPorts": "443", "endpoints": [{ "geo": "us", "ips": ["13.107.6.152/31"] }] }] }"#;

/// Measures the binary; its size only where it is the one that is `shipped`.
///
/// # Errors
/// Where it cannot be run.
pub fn program(binary: &Path, shipped: bool, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (resource, list) = (folder.path().join("small.yaml"), folder.path().join("list.json"));
    std::fs::write(&resource, RESOURCE)?;
    std::fs::write(&list, LIST)?;
    let mut starts = Sample::default();
    for _ in 0..RUNS {
        let started = Instant::now();
        let mut command = Command::new(binary);
        command.arg("render").arg("-f").arg(&resource).arg("--feed").arg(&list);
        let output = command.stdin(Stdio::null()).output()?;
        anyhow::ensure!(output.status.success(), "render: {}", String::from_utf8_lossy(&output.stderr));
        starts.add_time(started.elapsed());
    }
    report.note(
        "start to end of a small `render`",
        starts.times(),
        "10 ms",
        Some(starts.median() <= 10.0),
        &[("p50_ms", starts.median()), ("p99_ms", starts.percentile(99))],
    );
    if shipped {
        let megabytes = std::fs::metadata(binary)?.len() as f64 / 1e6;
        report.note(
            "binary of a release (the image adds certificate authorities, 0.2 MB)",
            format!("{megabytes:.1} MB"),
            "15 MB; image 20 MB",
            Some(megabytes <= 15.0),
            &[("binary_mb", megabytes)],
        );
    }
    Ok(())
}
