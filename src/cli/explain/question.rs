//! What is asked: a host or an address, and a port. Pure.

use crate::net::{DomainName, Protocol};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// The other end that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The other end.
    pub peer: Peer,
    /// The port: the peer's for `--to`, the pod's for `--from`; `None` asks which.
    pub port: Option<u16>,
}

/// A name or an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A name.
    Name(DomainName),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl std::str::FromStr for Question {
    type Err = String;

    /// Reads `HOST`, `HOST:PORT`, `IP`, `IP:PORT`, `[IPv6]:PORT`, and URLs as people paste them.
    fn from_str(text: &str) -> Result<Self, String> {
        let (rest, by_scheme) = match text.split_once("://") {
            Some(("https" | "wss", rest)) => (rest, Some(443)),
            Some(("http" | "ws", rest)) => (rest, Some(80)),
            Some((_, rest)) => (rest, None),
            None => (text, None),
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if let Ok(socket) = rest.parse::<SocketAddr>() {
            return Ok(Self { peer: Peer::Address(socket.ip()), port: some_port(text, socket.port())? });
        }
        if let Ok(address) = rest.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(Self { peer: Peer::Address(address), port: by_scheme });
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) => {
                let port = port.parse().map_err(|_| refused(text, "the port is no number from 1 to 65535"))?;
                (host, some_port(text, port)?)
            }
            None => (rest, by_scheme),
        };
        let name = DomainName::parse(host).map_err(|error| refused(text, &error.to_string()))?;
        Ok(Self { peer: Peer::Name(name), port })
    }
}

fn some_port(text: &str, port: u16) -> Result<Option<u16>, String> {
    if port == 0 { Err(refused(text, "the port is no number from 1 to 65535")) } else { Ok(Some(port)) }
}

fn refused(text: &str, why: &str) -> String {
    format!("`{text}`: {why}; HOST, HOST:PORT, IP, IP:PORT and [IPv6]:PORT are allowed")
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// TCP
    #[default]
    Tcp,
    /// UDP
    Udp,
}

impl From<Transport> for Protocol {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_addresses_and_urls_are_read() {
        let read = |text: &str| {
            let question: Question = text.parse().expect(text);
            format!("{} {:?}", question.peer, question.port)
        };
        assert_eq!(read("Agenthub-us.citrixworkspacesapi.net"), "agenthub-us.citrixworkspacesapi.net None");
        assert_eq!(read("a.example.com:8080"), "a.example.com Some(8080)");
        assert_eq!(read("https://a.example.com/x?y"), "a.example.com Some(443)");
        assert_eq!(read("13.64.0.1"), "13.64.0.1 None");
        assert_eq!(read("13.64.0.1:443"), "13.64.0.1 Some(443)");
        assert_eq!(read("2603::1"), "2603::1 None");
        assert_eq!(read("[2603::1]:443"), "2603::1 Some(443)");
    }

    #[test]
    fn anything_else_says_what_is_allowed() {
        for bad in ["localhost", "a.example.com:0", "a.example.com:x", "*.example.com", "", "13.64.0.1:0"] {
            let error = bad.parse::<Question>().expect_err(bad);
            assert!(error.ends_with("HOST, HOST:PORT, IP, IP:PORT and [IPv6]:PORT are allowed"), "{error}");
        }
    }
}
