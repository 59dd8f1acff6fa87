//! A small HTTP proxy: CONNECT tunnels, and plain requests passed on, with optional Basic credentials.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::lock;

/// How the proxy behaves.
#[derive(Clone, Debug, Default)]
pub struct ProxyConfig {
    /// User and password it asks for; anybody may pass without.
    pub credentials: Option<(String, String)>,
    /// Where a `host:port` really is. Anything not named here is reached only if it is loopback: tests never leave the
    /// machine.
    pub routes: HashMap<String, SocketAddr>,
}

/// One request to the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxied {
    /// When it arrived.
    pub at: Timestamp,
    /// `CONNECT`, or the method of a plain request.
    pub method: String,
    /// `host:port`.
    pub target: String,
    /// Whether it carried the right credentials; true where none are asked for.
    pub authorized: bool,
    /// What the proxy answered itself: 200 for a tunnel, 407, 502; none where the target answered.
    pub status: Option<u16>,
}

/// A running proxy; dropped, it stops.
#[derive(Debug)]
pub struct ConnectProxy {
    address: SocketAddr,
    recorded: Arc<Mutex<Vec<Proxied>>>,
    running: JoinHandle<()>,
}

impl ConnectProxy {
    /// Listens on a free loopback port.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start(config: ProxyConfig) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.context("the proxy's port")?;
        let address = listener.local_addr().context("the proxy's port")?;
        let recorded = Arc::new(Mutex::new(Vec::new()));
        let running = tokio::spawn(accept(listener, Arc::new(config), recorded.clone()));
        Ok(Self { address, recorded, running })
    }

    /// The proxy's address without credentials: what `HTTPS_PROXY` takes.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The proxy's address with credentials in it.
    #[must_use]
    pub fn url_with(&self, user: &str, password: &str) -> String {
        format!("http://{user}:{password}@{}", self.address)
    }

    /// Every request so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Proxied> {
        lock(&self.recorded).clone()
    }
}

impl Drop for ConnectProxy {
    fn drop(&mut self) {
        self.running.abort();
    }
}

async fn accept(listener: TcpListener, config: Arc<ProxyConfig>, recorded: Arc<Mutex<Vec<Proxied>>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let (config, recorded) = (config.clone(), recorded.clone());
        connections.spawn(async move {
            // A connection that breaks is its client's to notice.
            let _broken = serve(stream, &config, &recorded).await;
        });
    }
}

/// The longest request head taken.
const HEAD_LIMIT: usize = 64 * 1024;
/// How long a client may take over its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

struct Head {
    method: String,
    target: String,
    lines: Vec<String>,
    /// What came behind the head already.
    rest: Vec<u8>,
}

async fn read_head(stream: &mut TcpStream) -> std::io::Result<Head> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if bytes.len() > HEAD_LIMIT || stream.read_buf(&mut bytes).await? == 0 {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
    };
    let text = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = text.split("\r\n").map(str::to_owned);
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default().to_owned();
    Ok(Head { method, target, lines: lines.collect(), rest: bytes[end + 4..].to_vec() })
}

async fn serve(mut stream: TcpStream, config: &ProxyConfig, recorded: &Mutex<Vec<Proxied>>) -> std::io::Result<()> {
    let head = tokio::time::timeout(HEAD_TIMEOUT, read_head(&mut stream)).await??;
    let tunnel = head.method == "CONNECT";
    let (target, path) = if tunnel { (head.target.clone(), String::new()) } else { split(&head.target) };
    let authorized = authorized(config, &head.lines);
    let record = |status| {
        lock(recorded).push(Proxied {
            at: Timestamp::now(),
            method: head.method.clone(),
            target: target.clone(),
            authorized,
            status,
        });
    };
    if !authorized {
        record(Some(407));
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"test\"\r\n\
                       Content-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(refusal.as_bytes()).await;
    }
    let Some(mut upstream) = connect(config, &target).await else {
        record(Some(502));
        let refusal = "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return stream.write_all(refusal.as_bytes()).await;
    };
    if tunnel {
        record(Some(200));
        stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    } else {
        record(None);
        // One request a connection: the next one's head would pass unread, credentials and all.
        let kept = head.lines.iter().filter(|line| {
            let name = line.split(':').next().unwrap_or_default();
            !["proxy-authorization", "proxy-connection", "connection"]
                .iter()
                .any(|drop| name.eq_ignore_ascii_case(drop))
        });
        let mut request = format!("{} {path} HTTP/1.1\r\n", head.method);
        for line in kept {
            request.push_str(line);
            request.push_str("\r\n");
        }
        request.push_str("Connection: close\r\n\r\n");
        upstream.write_all(request.as_bytes()).await?;
    }
    upstream.write_all(&head.rest).await?;
    copy_bidirectional(&mut stream, &mut upstream).await.map(|_| ())
}

/// An absolute address as `host:port` and the path with its query.
fn split(target: &str) -> (String, String) {
    let rest = target.strip_prefix("http://").unwrap_or(target);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    (host, format!("/{path}"))
}

fn authorized(config: &ProxyConfig, lines: &[String]) -> bool {
    let Some((user, password)) = &config.credentials else { return true };
    let expected = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    lines
        .iter()
        .filter_map(|line| line.split_once(':'))
        .any(|(name, value)| name.eq_ignore_ascii_case("proxy-authorization") && value.trim() == expected)
}

async fn connect(config: &ProxyConfig, target: &str) -> Option<TcpStream> {
    let address = match config.routes.get(target) {
        Some(address) => *address,
        None => {
            let address: SocketAddr = target.replace("localhost:", "127.0.0.1:").parse().ok()?;
            address.ip().is_loopback().then_some(address)?
        }
    };
    TcpStream::connect(address).await.ok()
}
