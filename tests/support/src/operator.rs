//! The operator itself as a process: its real binary, with the arguments and the identity a test gives it.

use crate::free_port::free_port;
use crate::process::Process;
use anyhow::Context as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the operator may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// What an operator is started with.
#[derive(Clone, Debug)]
pub struct OperatorConfig {
    /// Its binary: `env!("CARGO_BIN_EXE_citrix-allowlist")` in tests of the crate.
    pub binary: PathBuf,
    /// Who it is to the API server.
    pub kubeconfig: PathBuf,
    /// Arguments after `run`.
    pub arguments: Vec<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// The address that it listens on: loopback's, unless told.
    pub address: IpAddr,
}

impl OperatorConfig {
    /// The binary under an identity, with no arguments yet.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>, kubeconfig: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            kubeconfig: kubeconfig.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            address: Ipv4Addr::LOCALHOST.into(),
        }
    }

    /// Has it listen on another address of this machine.
    #[must_use]
    pub fn listening_on(mut self, address: IpAddr) -> Self {
        self.address = address;
        self
    }

    /// Adds `--flag value`.
    #[must_use]
    pub fn flag(mut self, flag: &str, value: impl ToString) -> Self {
        self.arguments.push(format!("--{flag}={}", value.to_string()));
        self
    }

    /// Adds a flag that takes no value.
    #[must_use]
    pub fn switch(mut self, flag: &str) -> Self {
        self.arguments.push(format!("--{flag}"));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }
}

/// A running operator. Dropping it kills it.
pub struct Operator {
    process: Process,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Operator {
    /// Starts it and waits until it says it is ready.
    ///
    /// # Errors
    /// With the end of its log, where it ends or is not ready in time.
    pub async fn start(config: &OperatorConfig) -> anyhow::Result<Self> {
        let mut operator = Self::start_unready(config)?;
        let deadline = Instant::now() + READY_WITHIN;
        while Instant::now() < deadline {
            operator.process.expect_running()?;
            if operator.get("/readyz").await.is_ok() {
                return Ok(operator);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::bail!("the operator was not ready in time:\n{}", operator.process.log_tail())
    }

    /// Starts it, and no more.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn start_unready(config: &OperatorConfig) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = SocketAddr::new(config.address, free_port()?);
        let mut arguments = vec!["run".to_owned(), format!("--listen={address}")];
        arguments.extend(config.arguments.iter().cloned());
        let mut environment = vec![("KUBECONFIG".to_owned(), config.kubeconfig.display().to_string())];
        environment.extend(config.environment.iter().cloned());
        let log = folder.path().join("operator.log");
        let process =
            Process::start_with_environment("citrix-allowlist", &config.binary, &arguments, environment, &log)?;
        Ok(Self { process, address, _folder: folder })
    }

    /// Where it serves health and metrics: scheme, host and port.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port that it serves them on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Asks its HTTP endpoint; an error for any status but 2xx.
    ///
    /// # Errors
    /// Where it does not answer, or not with success.
    pub async fn get(&self, path: &str) -> anyhow::Result<String> {
        let url = format!("{}{path}", self.url());
        let answer = reqwest::Client::builder().no_proxy().build()?.get(&url).send().await.context(url)?;
        Ok(answer.error_for_status()?.text().await?)
    }

    /// The value of a metric, labels included as they are printed; `None` where there is no such line.
    ///
    /// # Errors
    /// Where the metrics cannot be read.
    pub async fn metric(&self, series: &str) -> anyhow::Result<Option<f64>> {
        let text = self.get("/metrics").await?;
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(line.and_then(|value| value.trim().parse().ok()))
    }

    /// The flag that it listens by, which no other operator has.
    #[must_use]
    pub fn listen(&self) -> String {
        format!("--listen={}", self.address)
    }

    /// The process, to signal, wait for and read the log of.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// All it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log_text()
    }

    /// Where its log is.
    #[must_use]
    pub fn log_path(&self) -> &Path {
        self.process.log_path()
    }
}

/// A test that fails shows what the operator was doing.
impl Drop for Operator {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the end of the operator's log:\n{}", self.process.log_tail());
        }
    }
}
