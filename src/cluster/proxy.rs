//! The proxy in front of the API server. Pure: the environment is an argument.
//!
//! kube compares `NO_PROXY` with the proxy's own address instead of the server's, and reads no proxy at all inside a
//! cluster; kubectl and every other client written in Go follow the rules below (`golang.org/x/net/http/httpproxy`).

use ipnet::IpNet;
use std::net::IpAddr;

/// The proxy variables, as found in the environment: upper case first, then lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyEnvironment {
    /// `HTTPS_PROXY`: the proxy for `https` servers.
    pub https: Option<String>,
    /// `HTTP_PROXY`: the proxy for `http` servers.
    pub http: Option<String>,
    /// `NO_PROXY`: the servers that are reached directly, separated by commas.
    pub bypass: Option<String>,
}

impl ProxyEnvironment {
    /// Reads the variables through `lookup`, which returns a variable's value. An empty value counts as none.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let either = |upper: &str, lower: &str| {
            [upper, lower].iter().find_map(|name| lookup(name).filter(|value| !value.trim().is_empty()))
        };
        Self {
            https: either("HTTPS_PROXY", "https_proxy"),
            http: either("HTTP_PROXY", "http_proxy"),
            bypass: either("NO_PROXY", "no_proxy"),
        }
    }

    /// The proxy's URL for a server, with a scheme; `None` for a server that is reached directly.
    #[must_use]
    pub fn proxy_for(&self, scheme: &str, host: &str, port: u16) -> Option<String> {
        let proxy = match scheme {
            "https" => self.https.as_deref(),
            "http" => self.http.as_deref(),
            _ => None,
        }?;
        if bypasses(self.bypass.as_deref().unwrap_or_default(), host, port) {
            return None;
        }
        let proxy = proxy.trim();
        Some(if proxy.contains("://") { proxy.to_owned() } else { format!("http://{proxy}") })
    }
}

/// Whether the server is in a `NO_PROXY` list, or is this very machine.
fn bypasses(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Ok(network) = entry.parse::<IpNet>() {
            return address.is_some_and(|address| network.contains(&address));
        }
        let (name, wanted_port) = split_port(entry);
        if wanted_port.is_some_and(|wanted| wanted != port) {
            return false;
        }
        if let Ok(listed) = name.parse::<IpAddr>() {
            return address == Some(listed);
        }
        address.is_none() && matches_domain(&host, &name.to_ascii_lowercase())
    })
}

/// `example.com` matches itself and its subdomains, `.example.com` and `*.example.com` only subdomains.
fn matches_domain(host: &str, entry: &str) -> bool {
    let entry = entry.strip_prefix('*').unwrap_or(entry);
    if entry.is_empty() {
        return false;
    }
    match entry.strip_prefix('.') {
        Some(parent) => host.strip_suffix(parent).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        None => host == entry || host.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.')),
    }
}

/// Takes a port off an entry: `example.com:443`, `10.0.0.1:6443`, `[2001:db8::1]:6443`, `[2001:db8::1]`.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some(rest) = entry.strip_prefix('[') {
        return match rest.split_once(']') {
            Some((name, port)) => (name, port.strip_prefix(':').and_then(|port| port.parse().ok())),
            None => (rest, None),
        };
    }
    let split = entry.rsplit_once(':').filter(|(name, _)| !name.contains(':'));
    split.and_then(|(name, port)| Some((name, Some(port.parse().ok()?)))).unwrap_or((entry, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(bypass: &str) -> ProxyEnvironment {
        ProxyEnvironment::read(|name| match name {
            "HTTPS_PROXY" => Some("  ".to_owned()),
            "https_proxy" => Some("proxy.example.com:3128".to_owned()),
            "NO_PROXY" => Some(bypass.to_owned()),
            _ => None,
        })
    }

    #[test]
    fn a_proxy_is_used_unless_the_server_is_excepted() {
        let cases = [
            ("", "kubernetes.example.com", 443, true),
            ("*", "kubernetes.example.com", 443, false),
            ("example.com", "kubernetes.example.com", 443, false),
            ("example.com", "example.com", 443, false),
            ("example.com", "notexample.com", 443, true),
            (".example.com", "example.com", 443, true),
            ("*.example.com", "kubernetes.example.com", 443, false),
            ("*.example.com", "example.com", 443, true),
            ("EXAMPLE.com", "Kubernetes.Example.COM.", 443, false),
            ("example.com:6443", "example.com", 443, true),
            ("example.com:6443", "example.com", 6443, false),
            ("10.96.0.0/12", "10.96.0.1", 443, false),
            ("10.96.0.0/12", "20.96.0.1", 443, true),
            ("10.96.0.1", "10.96.0.1", 443, false),
            ("10.96.0.1:6443", "10.96.0.1", 443, true),
            ("fd00::/8", "[fd00::1]", 443, false),
            ("[fd00::1]:443", "fd00::1", 443, false),
            ("fd00::2", "[fd00::1]", 443, true),
            ("a.example, ,b.example,", "b.example", 443, false),
            ("proxy.example.com", "kubernetes.example.org", 443, true),
            ("", "localhost", 6443, false),
            ("", "127.0.0.1", 6443, false),
            ("", "[::1]", 6443, false),
        ];
        for (bypass, host, port, proxied) in cases {
            let proxy = environment(bypass).proxy_for("https", host, port);
            let expected = proxied.then(|| "http://proxy.example.com:3128".to_owned());
            assert_eq!(proxy, expected, "NO_PROXY={bypass:?} host={host} port={port}");
        }
    }

    #[test]
    fn each_scheme_has_its_own_proxy() {
        let environment = environment("");
        assert_eq!(environment.proxy_for("http", "kubernetes.example.com", 80), None);
        assert_eq!(environment.proxy_for("unix", "kubernetes.example.com", 80), None);
        assert_eq!(ProxyEnvironment::default().proxy_for("https", "kubernetes.example.com", 443), None);
    }
}
