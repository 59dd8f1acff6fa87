//! The program itself: its size, and how long a command takes.

use crate::bench::figures::{Report, Sample, milliseconds};
use std::io::Write as _;
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

/// Measures the binary at a path, and the one of a release where it has been built.
///
/// # Errors
/// Where it cannot be run.
pub fn program(binary: &Path, release: &Path, report: &mut Report) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (resource, list) = (folder.path().join("small.yaml"), folder.path().join("list.json"));
    std::fs::File::create(&resource)?.write_all(RESOURCE.as_bytes())?;
    std::fs::File::create(&list)?.write_all(LIST.as_bytes())?;
    let run = |program: &Path| -> anyhow::Result<Sample> {
        let mut sample = Sample::default();
        for _ in 0..RUNS {
            let started = Instant::now();
            let output = Command::new(program)
                .arg("render")
                .arg("-f")
                .arg(&resource)
                .arg("--feed")
                .arg(&list)
                .stdin(Stdio::null())
                .output()?;
            anyhow::ensure!(output.status.success(), "render: {}", String::from_utf8_lossy(&output.stderr));
            sample.add(milliseconds(started.elapsed()));
        }
        Ok(sample)
    };
    let released = release.is_file();
    let starts = run(if released { release } else { binary })?;
    report.note(
        "start to end of a small `render`",
        starts.times(),
        "10 ms",
        Some(starts.median() <= 10.0),
        &[("p50_ms", starts.median()), ("p99_ms", starts.percentile(99))],
    );
    if released {
        let megabytes = std::fs::metadata(release)?.len() as f64 / 1e6;
        report.note(
            "binary of a release (the image adds certificate authorities, 0.2 MB)",
            format!("{megabytes:.1} MB"),
            "15 MB; image 20 MB",
            Some(megabytes <= 15.0),
            &[("binary_mb", megabytes)],
        );
    } else {
        eprintln!("  no binary of a release at {}: a full run builds it", release.display());
    }
    Ok(())
}
