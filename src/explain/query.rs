//! A query: a host or an address, and a port. Pure.

use connectivity_allowlist::net::{DomainName, PortRange, PortSet, Protocol};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A query about a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionQuery {
    /// The other end.
    pub peer: Peer,
    /// The port: the peer's for `--to`, the pod's for `--from`; `None` for any.
    pub port: Option<u16>,
    /// The transport protocol; `None` for any.
    pub protocol: Option<Protocol>,
}

impl ConnectionQuery {
    /// The query with a protocol where it has none: the given one, or TCP where there is a port.
    #[must_use]
    pub fn by_default(mut self, protocol: Option<Protocol>) -> Self {
        self.protocol = self.protocol.or(protocol).or(self.port.map(|_| Protocol::Tcp));
        self
    }

    /// Whether the query is about connections over `protocol`.
    #[must_use]
    pub fn is_about(&self, protocol: Protocol) -> bool {
        self.protocol.is_none_or(|queried| queried == protocol)
    }

    /// Whether ports contain a queried one.
    #[must_use]
    pub fn is_met_by(&self, ports: &PortSet) -> bool {
        let has_port = |range: PortRange| self.port.is_none_or(|port| range.contains(port));
        ports.iter().any(|(protocol, range)| self.is_about(protocol) && has_port(range))
    }

    /// `, not on TCP 443`: the queried protocol and port, where there is one.
    #[must_use]
    pub fn not_on(&self) -> String {
        match (self.protocol, self.port) {
            (Some(protocol), Some(port)) => format!(", not on {protocol} {port}"),
            (Some(protocol), None) => format!(", not on {protocol}"),
            (None, _) => String::new(),
        }
    }
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

impl std::str::FromStr for ConnectionQuery {
    type Err = String;

    /// Reads `HOST`, `HOST:PORT`, `IP`, `IP:PORT`, `[IPv6]:PORT`, each with `/tcp` or `/udp` after it or `tcp://` or `udp://`
    /// before it, and URLs of the web as people paste them.
    fn from_str(text: &str) -> Result<Self, String> {
        read(text).map_err(|why| {
            format!(
                "`{text}`: {why}; HOST, HOST:PORT, IP, IP:PORT and [IPv6]:PORT are allowed, each with /tcp or /udp behind it, and URLs of http, https, ws and wss"
            )
        })
    }
}

fn read(text: &str) -> Result<ConnectionQuery, String> {
    let (rest, by_scheme, protocol) = match text.split_once("://") {
        None => without_scheme(text, None)?,
        Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
            "https" | "wss" => (before_path(rest), Some(443), None),
            "http" | "ws" => (before_path(rest), Some(80), None),
            "tcp" => without_scheme(rest, Some(Protocol::Tcp))?,
            "udp" => without_scheme(rest, Some(Protocol::Udp))?,
            _ => {
                let known = "http, https, ws, wss, tcp and udp are known";
                return Err(format!("{scheme}:// says neither port nor protocol: {known}"));
            }
        },
    };
    let (peer, port) = end(rest)?;
    Ok(ConnectionQuery { peer, port: port.or(by_scheme), protocol })
}

/// A URL's part before its path.
fn before_path(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// The text before `/tcp` or `/udp`, and which it is: a port has nothing else after it.
fn without_scheme(text: &str, protocol: Option<Protocol>) -> Result<(&str, Option<u16>, Option<Protocol>), String> {
    let Some((rest, last)) = text.split_once('/') else { return Ok((text, None, protocol)) };
    let named = match last.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        _ => return Err(format!("`/{last}` is no protocol: /tcp and /udp are")),
    };
    match protocol {
        Some(protocol) if protocol != named => Err(format!("it is {protocol} by its scheme, and {named} by its end")),
        _ => Ok((rest, None, Some(named))),
    }
}

/// A host, and its port where it has one.
fn end(text: &str) -> Result<(Peer, Option<u16>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("`[` has no `]`")?;
        let address: Ipv6Addr = address.parse().map_err(|_| format!("`{address}` is no IPv6 address"))?;
        return Ok((Peer::Address(address.into()), port(rest)?));
    }
    if let Ok(address) = text.parse() {
        return Ok((Peer::Address(address), None));
    }
    let (host, rest) = text.split_at(text.rfind(':').unwrap_or(text.len()));
    let port = port(rest)?;
    let peer = match host.parse::<Ipv4Addr>() {
        Ok(address) => Peer::Address(address.into()),
        Err(_) => Peer::Name(DomainName::parse(host).map_err(|error| error.to_string())?),
    };
    Ok((peer, port))
}

/// A port after its colon; nothing where there is neither.
fn port(text: &str) -> Result<Option<u16>, String> {
    let Some(digits) = text.strip_prefix(':') else {
        return if text.is_empty() { Ok(None) } else { Err(format!("`{text}` is no port: a colon stands before it")) };
    };
    let are_digits = digits.bytes().all(|byte| byte.is_ascii_digit());
    match digits.parse() {
        Ok(port) if port > 0 && are_digits => Ok(Some(port)),
        _ => Err("the port is no number from 1 to 65535".to_owned()),
    }
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Transport {
    /// TCP
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
    fn hosts_addresses_urls_and_protocols_are_read() {
        for (text, expected) in [
            ("Agenthub-us.citrixworkspacesapi.net", "agenthub-us.citrixworkspacesapi.net"),
            ("a.example.com:8080", "a.example.com 8080"),
            ("https://a.example.com/x?y", "a.example.com 443"),
            ("HTTP://a.example.com:8080?y", "a.example.com 8080"),
            ("wss://[2603::1]/x/udp", "2603::1 443"),
            ("13.64.0.1", "13.64.0.1"),
            ("13.64.0.1:443", "13.64.0.1 443"),
            ("2603::1", "2603::1"),
            ("[2603::1]:443", "2603::1 443"),
            ("[2603::1]", "2603::1"),
            ("accounts.citrixcloud.jp:443/udp", "accounts.citrixcloud.jp 443 UDP"),
            ("udp://accounts.citrixcloud.jp:443", "accounts.citrixcloud.jp 443 UDP"),
            ("UDP://13.64.0.1:443/udp", "13.64.0.1 443 UDP"),
            ("[2603::1]:443/UDP", "2603::1 443 UDP"),
            ("a.example.com/tcp", "a.example.com TCP"),
            ("tcp://a.example.com", "a.example.com TCP"),
        ] {
            let query: ConnectionQuery = text.parse().expect(text);
            let port = query.port.map(|port| format!(" {port}")).unwrap_or_default();
            let protocol = query.protocol.map(|protocol| format!(" {protocol}")).unwrap_or_default();
            assert_eq!(format!("{}{port}{protocol}", query.peer), expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_is_allowed() {
        let bad = "localhost a.example.com:0 a.example.com:x a.example.com: a.example.com:+443 *.example.com 13.64.0.1:0 \
            13.64.0.0/24 2603::/64 a.example.com:443/sctp a.example.com:443/udp/x a.example.com:443/ \
            a.example.com/index.html a.example.com:443?x udp://a.example.com:443/tcp udp://a.example.com/x \
            ftp://a.example.com https:/a.example.com [2603::1 [2603::1]443 [13.64.0.1]:443 https:// \
            udp://https://a.example.com";
        for bad in bad.split_whitespace().chain([""]) {
            let error = bad.parse::<ConnectionQuery>().expect_err(bad);
            assert!(error.starts_with(&format!("`{bad}`: ")), "{error}");
            assert!(error.contains("HOST, HOST:PORT, IP, IP:PORT and [IPv6]:PORT are allowed"), "{error}");
        }
        let error = "udp://a.example.com:443/tcp".parse::<ConnectionQuery>().expect_err("both");
        assert!(error.contains("it is UDP by its scheme, and TCP by its end"), "{error}");
    }
}
