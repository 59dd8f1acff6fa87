//! The operator that is measured: this one, or another that a file describes.

use crate::free_port::free_port;
use crate::process::Process;
use anyhow::Context as _;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long an operator may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How long another operator is given then, or from its start where it does not tell: most say that they are ready before
/// their watches stand.
const SETTLE: Duration = Duration::from_secs(2);

/// How an operator is started, and how its resource is written. Texts in braces are filled in: see
/// `docs/benchmarks.md`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Candidate {
    /// What the report calls it.
    pub name: String,
    /// What the report says of it: its version, and options that matter.
    pub remark: Option<String>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// The URL that answers with 2xx once it is ready.
    pub ready: Option<String>,
    /// The port that the DNS server has to be on, where the operator cannot be told one; any free one where there is none.
    pub dns_port: Option<u16>,
    /// Files with its CustomResourceDefinitions; those of this workspace where there is none.
    #[serde(default)]
    pub definitions: Vec<PathBuf>,
    /// The plural of its resource.
    pub plural: String,
    /// One name, as its resource writes it.
    #[serde(default)]
    pub fqdn: String,
    /// Its resource, as YAML.
    pub resource: String,
    /// The name of the NetworkPolicy that appears for a resource.
    pub policy: String,
    /// Whether it is this operator: then there is more to be measured.
    #[serde(skip)]
    pub own: bool,
}

/// Where everything is that an operator talks to.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Who it is to the API server.
    pub kubeconfig: PathBuf,
    /// The DNS server.
    pub dns: std::net::SocketAddr,
    /// The bases of the vendor's API: Global, Japan.
    pub feeds: (String, String),
}

impl Candidate {
    /// This operator.
    #[must_use]
    pub fn own(binary: &Path) -> Self {
        let arguments = [
            "run",
            "--listen=127.0.0.1:{port}",
            "--global-url={global_url}",
            "--japan-url={japan_url}",
            "--requests-per-minute=100000",
            "--dns-server={dns}",
            "--no-leader-election",
        ];
        let program = binary.display().to_string();
        let environment =
            [("KUBECONFIG", "{kubeconfig}"), ("POD_NAMESPACE", "default"), ("RUST_LOG", "warn")].map(owned);
        Self {
            name: "citrix-allowlist-operator".to_owned(),
            remark: None,
            command: std::iter::once(program).chain(arguments.map(str::to_owned)).collect(),
            environment: environment.into(),
            ready: Some("http://127.0.0.1:{port}/readyz".to_owned()),
            dns_port: None,
            definitions: Vec::new(),
            plural: "citrixallowlists".to_owned(),
            fqdn: String::new(),
            resource: OWN_RESOURCE.to_owned(),
            policy: "{name}-egress".to_owned(),
            own: true,
        }
    }

    /// The operator that a file describes; files it names are beside it.
    ///
    /// # Errors
    /// Where the file cannot be read, or its name is none that a report can have.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
        let mut read: Self = serde_saphyr::from_str(&text).with_context(|| file.display().to_string())?;
        let of_a_file = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        anyhow::ensure!(
            !read.name.is_empty() && read.name.chars().all(of_a_file),
            "{}: the report is a file named by {:?}: letters, digits and hyphens",
            file.display(),
            read.name
        );
        let folder = file.parent().unwrap_or(Path::new("."));
        for definition in &mut read.definitions {
            *definition = folder.join(&*definition);
        }
        Ok(read)
    }

    /// The kind of its resource.
    ///
    /// # Errors
    /// Where the resource is no YAML, or does not say.
    pub fn kind(&self) -> anyhow::Result<ApiResource> {
        let text = self.resource_of("namespace", "name", "customer", &["name.example".to_owned()]);
        let resource: DynamicObject = serde_saphyr::from_str(&text).context("the candidate's resource")?;
        let types = resource.types.context("apiVersion and kind of the candidate's resource")?;
        Ok(ApiResource::from_gvk_with_plural(&GroupVersionKind::try_from(&types)?, &self.plural))
    }

    /// The name of the policy of a resource.
    #[must_use]
    pub fn policy_of(&self, name: &str) -> String {
        self.policy.replace("{name}", name)
    }

    /// A resource, as YAML.
    #[must_use]
    pub fn resource_of(&self, namespace: &str, name: &str, customer: &str, fqdns: &[String]) -> String {
        let listed: Vec<String> = fqdns.iter().map(|fqdn| self.fqdn.replace("{fqdn}", fqdn)).collect();
        self.resource
            .replace("{name}", name)
            .replace("{namespace}", namespace)
            .replace("{customer}", customer)
            .replace("{fqdns}", &listed.join(", "))
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// With the end of its log, where it ends or is not ready within a minute.
    pub async fn start(&self, surroundings: &Surroundings) -> anyhow::Result<Running> {
        let (folder, port) = (tempfile::tempdir()?, free_port()?);
        let filled = |text: &String| {
            text.replace("{kubeconfig}", &surroundings.kubeconfig.display().to_string())
                .replace("{folder}", &folder.path().display().to_string())
                .replace("{port}", &port.to_string())
                .replace("{dns}", &surroundings.dns.to_string())
                .replace("{dns_ip}", &surroundings.dns.ip().to_string())
                .replace("{dns_port}", &surroundings.dns.port().to_string())
                .replace("{global_url}", &surroundings.feeds.0)
                .replace("{japan_url}", &surroundings.feeds.1)
        };
        let command: Vec<String> = self.command.iter().map(filled).collect();
        let (program, arguments) = command.split_first().context("a candidate needs a command")?;
        let environment: Vec<(&String, String)> =
            self.environment.iter().map(|(name, value)| (name, filled(value))).collect();
        let ready = self.ready.as_ref().map(filled);
        let log = folder.path().join("candidate.log");
        let started = Instant::now();
        let process = Process::start_with_environment(&self.name, Path::new(program), arguments, environment, &log)?;
        let mut running = Running { process, port, ready_after: Duration::ZERO, _folder: folder };
        if let Some(url) = ready {
            running.wait_for(&url, started).await?;
        }
        running.ready_after = started.elapsed();
        if !self.own {
            tokio::time::sleep(SETTLE).await;
            running.process.expect_running()?;
        }
        Ok(running)
    }
}

fn owned((name, value): (&str, &str)) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

const OWN_RESOURCE: &str = r#"
apiVersion: citrix-allowlist.io/v1alpha1
kind: CitrixAllowlist
metadata: { name: "{name}", namespace: "{namespace}" }
spec:
  customerId: "{customer}"
  geo: us
  podSelector: { matchLabels: { app: vda } }
  services: { exclude: [Small] }
"#;

/// An operator that runs; dropped, it is killed.
#[derive(Debug)]
pub struct Running {
    process: Process,
    port: u16,
    /// How long it took to be ready.
    pub ready_after: Duration,
    _folder: tempfile::TempDir,
}

impl Running {
    async fn wait_for(&mut self, url: &str, started: Instant) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        while started.elapsed() < READY_WITHIN {
            self.process.expect_running()?;
            if client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        anyhow::bail!("not ready within {READY_WITHIN:?}:\n{}", self.process.log_tail())
    }

    /// What the kernel says of it.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn usage(&mut self) -> anyhow::Result<Usage> {
        Usage::of(self.process.program_id()?)
    }

    /// Asks this operator's own endpoint.
    ///
    /// # Errors
    /// Where it does not answer.
    pub async fn get(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.port);
        let client = reqwest::Client::builder().no_proxy().build()?;
        Ok(client.get(&url).send().await?.error_for_status()?.text().await?)
    }
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Memory resident now, in bytes.
    pub resident: u64,
    /// Of that, memory of its own: neither its program nor its libraries.
    pub anonymous: u64,
    /// The most that was ever resident, in bytes.
    pub peak: u64,
    /// Processor time used so far, by the threads that live.
    pub processor: Duration,
}

impl Usage {
    /// Reads what a process has used so far from `/proc`.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn of(process: u32) -> anyhow::Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let kibibytes = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
        };
        let mut processor = Duration::ZERO;
        for thread in std::fs::read_dir(format!("/proc/{process}/task"))? {
            // Nanoseconds on a processor come first; a thread may end meanwhile.
            let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            let spent = text.split_whitespace().next().and_then(|spent| spent.parse().ok());
            processor += Duration::from_nanos(spent.unwrap_or_default());
        }
        Ok(Self {
            resident: kibibytes("VmRSS:") * 1024,
            anonymous: kibibytes("RssAnon:") * 1024,
            peak: kibibytes("VmHWM:") * 1024,
            processor,
        })
    }
}

/// Bytes in MiB.
#[must_use]
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_says_how_a_resource_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("other.yaml");
        let text = "name: other\ncommand: [/bin/true]\nplural: others\nfqdn: '{ match: \"{fqdn}\" }'\n\
                    resource: 'spec: { name: {name}, to: [{fqdns}] }'\npolicy: 'np-{name}'\ndefinitions: [crd.yaml]\n";
        std::fs::write(&file, text).expect("written");
        let candidate = Candidate::read(&file).expect("a candidate");
        assert_eq!(candidate.definitions, [folder.path().join("crd.yaml")]);
        assert_eq!(candidate.policy_of("one"), "np-one");
        let fqdns = ["a.example".to_owned(), "b.example".to_owned()];
        let resource = candidate.resource_of("web", "one", "acme", &fqdns);
        assert_eq!(resource, r#"spec: { name: one, to: [{ match: "a.example" }, { match: "b.example" }] }"#);
        assert!(!candidate.own);
        std::fs::write(&file, "name: other\ncommand: []\nplural: a\nresource: ''\npolicy: ''\nready_at: x\n")
            .expect("written");
        assert!(Candidate::read(&file).is_err(), "a word that is not known is a mistake");
        std::fs::write(&file, text.replace("name: other", "name: ../other")).expect("written");
        assert!(Candidate::read(&file).is_err(), "the report would be written elsewhere");
    }

    #[test]
    fn the_candidates_of_this_repository_are_complete() {
        let folder = crate::tools::workspace_root().join("benches/candidates");
        let files = std::fs::read_dir(folder).expect("candidates").map(|entry| entry.expect("a file").path());
        let mut found = 0;
        for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "yaml")) {
            let candidate = Candidate::read(&file).expect("a candidate");
            let kind = candidate.kind().expect("a resource with a kind");
            let defined = candidate.definitions.iter().any(|path| {
                let text = std::fs::read_to_string(path).expect("a definition");
                let read: serde_json::Value = serde_saphyr::from_str(&text).expect("YAML");
                let served = read["spec"]["versions"].as_array().into_iter().flatten();
                read["spec"]["group"] == kind.group
                    && read["spec"]["names"]["kind"] == kind.kind
                    && read["spec"]["names"]["plural"] == kind.plural
                    && served.into_iter().any(|version| version["name"] == kind.version)
            });
            assert!(defined, "{} defines {}", file.display(), kind.kind);
            found += 1;
        }
        assert!(found > 0, "there is one to begin with");
    }

    #[tokio::test]
    async fn a_candidate_that_ends_says_what_it_printed() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("ends.yaml");
        let text = "name: ends\nplural: ends\nresource: ''\npolicy: ''\ncommand: [sh, -c, \
                    'echo nameserver {dns_ip} >{folder}/it; cat {folder}/it; echo $KUBECONFIG; exit 3']\n\
                    environment: { KUBECONFIG: '{kubeconfig}' }\n";
        std::fs::write(&file, text).expect("written");
        let surroundings = Surroundings {
            kubeconfig: PathBuf::from("/some/kubeconfig"),
            dns: "127.70.1.2:53".parse().expect("an address"),
            feeds: (String::new(), String::new()),
        };
        let ended = Candidate::read(&file).expect("a candidate").start(&surroundings).await;
        let said = ended.expect_err("it does not run").to_string();
        assert!(said.contains("nameserver 127.70.1.2\n/some/kubeconfig"), "{said}");
    }
}
