//! The real CoreDNS, with a Corefile and zones that a test writes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::free_port::free_port;
use crate::process::Process;
use crate::tools::tool;

/// How long CoreDNS may take to listen: it takes about 100 ms.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A running CoreDNS, killed on drop.
#[derive(Debug)]
pub struct CoreDns {
    process: Process,
    address: SocketAddr,
    folder: TempDir,
}

impl CoreDns {
    /// Starts it on a free port of 127.0.0.1; as [`CoreDns::start_at`].
    ///
    /// # Errors
    ///
    /// As [`CoreDns::start_at`].
    pub async fn start(corefile: &str, zones: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::start_at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), free_port()?), corefile, zones).await
    }

    /// Starts it at `address`, UDP and TCP.
    ///
    /// In the Corefile, `{port}`, `{address}` and `{zones}` are replaced: the port, the address to bind to, and the folder
    /// of the zone files; each server block that is to listen there says `.:{port} { bind {address} ... }`. `zones` are
    /// pairs of a file's name and its text. For a change to be seen, the zone's block says `file {zones}/NAME { reload 1s }`,
    /// and the new text has a higher serial number.
    ///
    /// # Errors
    ///
    /// When CoreDNS is missing, ends (with its output), or does not listen within a minute.
    pub async fn start_at(address: SocketAddr, corefile: &str, zones: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("citrix-allowlist-coredns-").tempdir()?;
        let corefile = corefile
            .replace("{port}", &address.port().to_string())
            .replace("{address}", &address.ip().to_string())
            .replace("{zones}", &folder.path().display().to_string());
        let corefile_path = folder.path().join("Corefile");
        std::fs::write(&corefile_path, corefile)?;
        for (name, text) in zones {
            write_zone(folder.path().join(name), text)?;
        }
        let arguments = ["-conf".as_ref(), corefile_path.as_os_str()];
        let log = folder.path().join("coredns.log");
        let process = Process::start("coredns", &tool("coredns")?, arguments, &log)?;
        let mut server = Self { process, address, folder };
        server.wait_until_it_listens().await?;
        Ok(server)
    }

    async fn wait_until_it_listens(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_LIMIT;
        // It opens TCP and UDP together, before either is served.
        while TcpStream::connect(self.address).await.is_err() {
            self.process.expect_running()?;
            if Instant::now() >= deadline {
                bail!("CoreDNS does not listen on {}\n{}", self.address, self.process.log_tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Somebody else may have answered there.
        self.process.expect_running()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address it listens on.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// Replaces a zone file as a whole, or adds one. CoreDNS takes it up at its next look (`reload`), if its serial number
    /// is higher.
    ///
    /// # Errors
    ///
    /// When the name is no plain file name or the file cannot be written.
    pub fn write_zone(&self, name: &str, text: &str) -> anyhow::Result<()> {
        ensure!(!name.is_empty() && !name.contains('/'), "not the name of a zone file: {name:?}");
        write_zone(self.folder.path().join(name), text)
    }

    /// The running program: its log, or signals to it (`STOP` makes it silent, `CONT` lets it go on).
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// Writes beside and renames, so that half a zone is never read.
fn write_zone(path: PathBuf, text: &str) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, &path))
        .with_context(|| format!("write the zone {}", path.display()))
}
