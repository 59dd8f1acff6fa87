//! Where lists and answers come from: files, or the vendor and DNS.

mod answers;
mod lists;

pub(crate) use answers::Known;

use crate::operator::{base_url, dns_server, tcp_ports};
use answers::Answers;
use anyhow::{Context as _, bail};
use clap::Args;
use connectivity_allowlist::net::PortSet;
use lists::Lists;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Where the list and the addresses of names come from.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Where lists and addresses come from")]
pub(crate) struct SourceArguments {
    /// Saved list of any of the API's formats, instead of asking the API
    #[arg(long, value_name = "FILE")]
    pub feed: Option<PathBuf>,
    /// Saved answers, a line `NAME ADDRESS...` each, instead of asking DNS
    #[arg(long, value_name = "FILE")]
    pub hosts: Option<PathBuf>,
    /// DNS servers to ask instead of this machine's
    #[arg(long, value_name = "IP[:PORT]", value_parser = dns_server, value_delimiter = ',')]
    pub dns_server: Vec<SocketAddr>,
    /// Base URL of the global cloud's API
    #[arg(long, value_name = "URL", value_parser = base_url, default_value = "https://api.cloud.com/connectivity")]
    pub global_url: String,
    /// Base URL of Japan's API
    #[arg(long, value_name = "URL", value_parser = base_url, default_value = "https://api.citrixcloud.jp/connectivity")]
    pub japan_url: String,
    /// TCP ports of every name of a static list, as the operator's flag of the same name
    #[arg(long, env = "CITRIX_ALLOWLIST_STATIC_LIST_PORTS", value_name = "PORTS", value_parser = tcp_ports, default_value = "443")]
    pub static_list_ports: PortSet,
    /// File of PEM certificates trusted for the API beside the built-in roots
    #[arg(long, value_name = "FILE")]
    pub extra_ca_file: Option<PathBuf>,
}

impl SourceArguments {
    /// Refuses standard input for two of `-f`, `--feed` and others: the second would find it empty.
    fn read_standard_input_once(&self, manifests: &[PathBuf]) -> anyhow::Result<()> {
        let files = [("--feed", &self.feed), ("--hosts", &self.hosts), ("--extra-ca-file", &self.extra_ca_file)];
        let files = files.into_iter().filter_map(|(flag, path)| Some((flag, path.as_ref()?)));
        let named = manifests.iter().map(|path| ("-f", path)).chain(files);
        let flags: Vec<&str> = named.filter(|(_, path)| path.as_os_str() == "-").map(|(flag, _)| flag).collect();
        match &flags[..] {
            [first, .., last] => bail!("{first} - and {last} -: standard input can be read once; a file is needed"),
            _ => Ok(()),
        }
    }
}

/// Gets lists and addresses, each once.
pub(crate) struct Sources {
    pub lists: Lists,
    pub answers: Answers,
}

impl Sources {
    /// The sources of these arguments, none of which may read the same standard input as `manifests`.
    pub fn new(arguments: &SourceArguments, manifests: &[PathBuf]) -> anyhow::Result<Self> {
        arguments.read_standard_input_once(manifests)?;
        let answers = Answers::new(arguments.hosts.as_deref(), &arguments.dns_server)?;
        Ok(Self { lists: Lists::new(arguments)?, answers })
    }
}

fn read(path: &Path, flag: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut open = || -> std::io::Result<usize> {
        if path.as_os_str() == "-" {
            return std::io::stdin().read_to_end(&mut bytes);
        }
        File::open(path)?.read_to_end(&mut bytes)
    };
    open().with_context(|| format!("{flag} {} cannot be read", path.display()))?;
    Ok(bytes)
}
