//! Reads the values of flags. Each error names the value and what is allowed.

use crate::crd::Period;
use crate::facts::DNS_PORT;
use connectivity_allowlist::Cloud;
use connectivity_allowlist::net::{DomainName, PortRange, PortSet, Protocol};
use ipnet::{IpNet, Ipv6Net};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub(crate) fn period(text: &str) -> Result<Duration, String> {
    Period::try_from(text.to_owned()).map(Period::duration)
}

/// A time of up to a second, to the millisecond: longer, and no answer would come in time.
pub(crate) fn settle(text: &str) -> Result<Duration, String> {
    let milliseconds = text
        .strip_suffix("ms")
        .map(str::parse::<u64>)
        .or_else(|| Some(text.strip_suffix('s')?.parse::<u64>().map(|seconds| seconds.saturating_mul(1000))));
    match milliseconds {
        Some(Ok(milliseconds)) if milliseconds <= 1000 => Ok(Duration::from_millis(milliseconds)),
        _ => Err(format!("`{text}` is no time to settle: 0ms to 1000ms is allowed, such as 250ms")),
    }
}

pub(crate) fn base_url(text: &str) -> Result<String, String> {
    match text.parse::<reqwest::Url>() {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.host().is_some() => Ok(text.to_owned()),
        _ => Err(format!("`{text}` is no base URL: one such as https://api.cloud.com/connectivity is allowed")),
    }
}

pub(crate) fn static_list_url(text: &str) -> Result<(Cloud, String), String> {
    let refused = || format!("`{text}` is no static list: global=URL or japan=URL is allowed");
    let (cloud, url) = text.split_once('=').ok_or_else(refused)?;
    let cloud = match cloud {
        "global" => Cloud::Global,
        "japan" => Cloud::Japan,
        _ => return Err(refused()),
    };
    if url.starts_with("https://") || url.starts_with("http://") { Ok((cloud, url.to_owned())) } else { Err(refused()) }
}

pub(crate) fn tcp_ports(text: &str) -> Result<PortSet, String> {
    let ranges =
        text.split(',').map(PortRange::parse).collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
    PortSet::new(ranges.into_iter().map(|range| (Protocol::Tcp, range)))
        .ok_or_else(|| "ports are needed, such as 80,443".to_owned())
}

pub(crate) fn network(text: &str) -> Result<IpNet, String> {
    text.parse().map_err(|_| format!("`{text}` is no network: one such as 10.96.0.0/12 or fd00::/8 is allowed"))
}

pub(crate) fn suffix(text: &str) -> Result<DomainName, String> {
    DomainName::parse(text.trim_start_matches("*.").trim_start_matches('.'))
        .map_err(|error| format!("`{text}` is no domain such as corp.example.com: {error}"))
}

pub(crate) fn prefix(text: &str) -> Result<Ipv6Net, String> {
    text.parse().map_err(|_| format!("`{text}` is no IPv6 network: one such as 64:ff9b::/96 is allowed"))
}

pub(crate) fn listening(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| format!("`{text}` is nothing to listen on: IP:PORT, such as 0.0.0.0:8080, is allowed"))
}

pub(crate) fn dns_server(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse::<SocketAddr>().or_else(|_| {
        text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().map(|ip| SocketAddr::new(ip, DNS_PORT))
    });
    address.map_err(|_| format!("`{text}` is no DNS server: an IP address or IP:PORT is allowed"))
}
