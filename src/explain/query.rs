//! What is asked: a host or an address, and a port. Pure.

use connectivity_allowlist::net::{DomainName, PortSet, Protocol};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The other end that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionQuery {
    /// The other end.
    pub peer: Peer,
    /// The port: the peer's for `--to`, the pod's for `--from`; `None` asks which.
    pub port: Option<u16>,
    /// The transport protocol, where the question says one.
    pub protocol: Option<Protocol>,
}

impl ConnectionQuery {
    /// The question with the protocol that holds where it says none: where there is a port and nothing says more, TCP.
    #[must_use]
    pub fn by_default(mut self, protocol: Option<Protocol>) -> Self {
        self.protocol = self.protocol.or(protocol).or(self.port.map(|_| Protocol::Tcp));
        self
    }

    /// Whether a connection over `protocol` is one that is asked about.
    #[must_use]
    pub fn is_about(&self, protocol: Protocol) -> bool {
        self.protocol.is_none_or(|asked| asked == protocol)
    }

    /// Whether some ports have what is asked about.
    #[must_use]
    pub fn is_met_by(&self, ports: &PortSet) -> bool {
        ports
            .iter()
            .any(|(protocol, range)| self.is_about(protocol) && self.port.is_none_or(|port| range.contains(port)))
    }

    /// `, not on TCP 443`: what is asked about, where that is less than everything.
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

    /// Reads `HOST`, `HOST:PORT`, `IP`, `IP:PORT`, `[IPv6]:PORT`, each with `/tcp` or `/udp` behind it or `tcp://` or
    /// `udp://` before it, and URLs of the web as people paste them.
    fn from_str(text: &str) -> Result<Self, String> {
        let refused = |why: &str| refused(text, why);
        let (rest, by_scheme, protocol) = match text.split_once("://") {
            None => without_scheme(text, None).map_err(|why| refused(&why))?,
            Some((scheme, rest)) => match scheme.to_ascii_lowercase().as_str() {
                "https" | "wss" => (before_path(rest), Some(443), None),
                "http" | "ws" => (before_path(rest), Some(80), None),
                "tcp" => without_scheme(rest, Some(Protocol::Tcp)).map_err(|why| refused(&why))?,
                "udp" => without_scheme(rest, Some(Protocol::Udp)).map_err(|why| refused(&why))?,
                _ => {
                    let known = "http, https, ws, wss, tcp and udp are known";
                    return Err(refused(&format!("{scheme}:// says neither port nor protocol: {known}")));
                }
            },
        };
        let (host, port) = end(rest).map_err(|why| refused(&why))?;
        let peer = match host {
            Host::Address(address) => Peer::Address(address),
            Host::Name(name) => Peer::Name(DomainName::parse(name).map_err(|error| refused(&error.to_string()))?),
        };
        Ok(Self { peer, port: port.or(by_scheme), protocol })
    }
}

/// A URL's part before its path.
fn before_path(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// What stands before `/tcp` or `/udp`, and which it is: nothing else may stand behind a port.
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

/// A name or an address, as it is written.
enum Host<'a> {
    Name(&'a str),
    Address(IpAddr),
}

/// A host, and its port where it has one.
fn end(text: &str) -> Result<(Host<'_>, Option<u16>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("`[` has no `]`")?;
        let address: Ipv6Addr = address.parse().map_err(|_| format!("`{address}` is no IPv6 address"))?;
        return Ok((Host::Address(address.into()), port(rest)?));
    }
    if let Ok(address) = text.parse() {
        return Ok((Host::Address(address), None));
    }
    let (host, rest) = text.split_at(text.rfind(':').unwrap_or(text.len()));
    Ok((host.parse().map_or(Host::Name(host), |address: Ipv4Addr| Host::Address(address.into())), port(rest)?))
}

/// A port behind its colon; nothing where there is neither.
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

fn refused(text: &str, why: &str) -> String {
    format!(
        "`{text}`: {why}; HOST, HOST:PORT, IP, IP:PORT and [IPv6]:PORT are allowed, each with /tcp or /udp behind it, and URLs of http, https, ws and wss"
    )
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

    fn read(text: &str) -> String {
        let question: ConnectionQuery = text.parse().expect(text);
        let protocol = question.protocol.map(|protocol| format!(" {protocol}")).unwrap_or_default();
        format!("{} {:?}{protocol}", question.peer, question.port)
    }

    #[test]
    fn hosts_addresses_and_urls_are_read() {
        assert_eq!(read("Agenthub-us.citrixworkspacesapi.net"), "agenthub-us.citrixworkspacesapi.net None");
        assert_eq!(read("a.example.com:8080"), "a.example.com Some(8080)");
        assert_eq!(read("https://a.example.com/x?y"), "a.example.com Some(443)");
        assert_eq!(read("HTTP://a.example.com:8080?y"), "a.example.com Some(8080)");
        assert_eq!(read("wss://[2603::1]/x/udp"), "2603::1 Some(443)");
        assert_eq!(read("13.64.0.1"), "13.64.0.1 None");
        assert_eq!(read("13.64.0.1:443"), "13.64.0.1 Some(443)");
        assert_eq!(read("2603::1"), "2603::1 None");
        assert_eq!(read("[2603::1]:443"), "2603::1 Some(443)");
        assert_eq!(read("[2603::1]"), "2603::1 None");
    }

    #[test]
    fn a_question_about_udp_is_one() {
        assert_eq!(read("accounts.citrixcloud.jp:443/udp"), "accounts.citrixcloud.jp Some(443) UDP");
        assert_eq!(read("udp://accounts.citrixcloud.jp:443"), "accounts.citrixcloud.jp Some(443) UDP");
        assert_eq!(read("UDP://13.64.0.1:443/udp"), "13.64.0.1 Some(443) UDP");
        assert_eq!(read("[2603::1]:443/UDP"), "2603::1 Some(443) UDP");
        assert_eq!(read("a.example.com/tcp"), "a.example.com None TCP");
        assert_eq!(read("tcp://a.example.com"), "a.example.com None TCP");
    }

    #[test]
    fn anything_else_says_what_is_allowed() {
        let bad = [
            "localhost",
            "a.example.com:0",
            "a.example.com:x",
            "a.example.com:",
            "a.example.com:+443",
            "*.example.com",
            "",
            "13.64.0.1:0",
            "13.64.0.0/24",
            "2603::/64",
            "a.example.com:443/sctp",
            "a.example.com:443/udp/x",
            "a.example.com:443/",
            "a.example.com/index.html",
            "a.example.com:443?x",
            "udp://a.example.com:443/tcp",
            "udp://a.example.com/x",
            "ftp://a.example.com",
            "https:/a.example.com",
            "[2603::1",
            "[2603::1]443",
            "[13.64.0.1]:443",
            "https://",
            "udp://https://a.example.com",
        ];
        for bad in bad {
            let error = bad.parse::<ConnectionQuery>().expect_err(bad);
            assert!(error.starts_with(&format!("`{bad}`: ")), "{error}");
            assert!(error.contains("HOST, HOST:PORT, IP, IP:PORT and [IPv6]:PORT are allowed"), "{error}");
        }
        let error = "udp://a.example.com:443/tcp".parse::<ConnectionQuery>().expect_err("both");
        assert!(error.contains("it is UDP by its scheme, and TCP by its end"), "{error}");
    }
}
