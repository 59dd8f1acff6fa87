//! A scriptable DNS server in process: what each name answers is the test's to say, at any time.
//!
//! [`DnsServer::start`] listens on UDP and TCP on one free loopback port and answers from a [`Zone`]. Several servers
//! may share a zone (replicas of one cluster DNS, [`DnsServer::replica`]) or have zones of their own (one that lies).
//! A change of a zone holds for the next question; nothing is cached.

mod behaviour;
mod handler;
mod zone;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
pub use hickory_proto::rr::RecordType;
use hickory_server::Server;
use jiff::Timestamp;
use tokio::net::{TcpListener, UdpSocket};

pub use behaviour::{Behaviour, NEGATIVE_TTL, Pace, Reply, Truncation};
pub use zone::Zone;

use handler::Handler;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DnsTransport {
    /// One datagram.
    Udp,
    /// A connection.
    Tcp,
}

/// One question a server was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedQuery {
    /// When it arrived.
    pub at: Timestamp,
    /// When it arrived, on the monotonic clock.
    pub instant: Instant,
    /// The name, in small letters and without the last dot.
    pub name: String,
    /// The name as it was spelled, without the last dot.
    pub spelled: String,
    /// The number by which its answer is known.
    pub number: u16,
    /// The type.
    pub record_type: RecordType,
    /// How it came.
    pub transport: DnsTransport,
    /// The payload size its EDNS record offers; none without such a record.
    pub edns_payload: Option<u16>,
    /// The codes of its EDNS options.
    pub edns_options: Vec<u16>,
    /// The address it came from.
    pub client: SocketAddr,
}

/// What a server's handler and its owner share.
#[derive(Debug)]
pub(crate) struct Shared {
    zone: Zone,
    silent: AtomicBool,
    questions: Mutex<Vec<ReceivedQuery>>,
}

/// How long an idle TCP connection is kept.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers waiting to be written to one TCP connection.
const TCP_BUFFER: usize = 32;
/// A free UDP port may be taken on TCP: so many are tried.
const PORT_ATTEMPTS: usize = 50;

/// A running server; dropped, it stops.
#[derive(Debug)]
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    udp: Option<Listening>,
    tcp: Option<Listening>,
    tcp_refused: bool,
}

/// One of a server's two sockets, served.
struct Listening(Server<Handler>);

impl std::fmt::Debug for Listening {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Listening")
    }
}

impl Listening {
    fn udp(socket: UdpSocket, shared: &Arc<Shared>) -> Self {
        let mut server = Server::new(Handler::new(shared.clone(), DnsTransport::Udp));
        server.register_socket(socket);
        Self(server)
    }

    fn tcp(listener: TcpListener, shared: &Arc<Shared>) -> Self {
        let mut server = Server::new(Handler::new(shared.clone(), DnsTransport::Tcp));
        server.register_listener(listener, TCP_TIMEOUT, TCP_BUFFER);
        Self(server)
    }

    async fn stop(mut self) {
        // A socket that had failed is stopped as well as one that had not.
        let _failed_before = self.0.shutdown_gracefully().await;
    }
}

impl DnsServer {
    /// A server on a free port of 127.0.0.1, with an empty zone of its own.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start() -> Result<Self> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), Zone::default()).await
    }

    /// A server at an address (port 0 takes a free one) that answers from `zone`.
    ///
    /// # Errors
    /// If the address cannot be had.
    pub async fn start_on(address: SocketAddr, zone: Zone) -> Result<Self> {
        let shared = Arc::new(Shared { zone, silent: AtomicBool::new(false), questions: Mutex::default() });
        let (udp, tcp) = bind(address).await.with_context(|| format!("listening on {address}"))?;
        Ok(Self {
            address: udp.local_addr().context("the address listened on")?,
            udp: Some(Listening::udp(udp, &shared)),
            tcp: Some(Listening::tcp(tcp, &shared)),
            shared,
            tcp_refused: false,
        })
    }

    /// Servers on 127.0.0.1, 127.0.0.2, ... that share a port and a zone, as the replicas of a cluster's DNS do.
    ///
    /// # Errors
    /// If there is no port that is free on all of these addresses.
    pub async fn start_replicas(count: u8) -> Result<Vec<Self>> {
        let mut failure = anyhow::anyhow!("no replicas asked for");
        for _ in 0..PORT_ATTEMPTS {
            let first = Self::start().await?;
            let mut replicas = vec![first];
            let mut complete = true;
            for last in 2..=count {
                match replicas[0].replica(IpAddr::from([127, 0, 0, last])).await {
                    Ok(replica) => replicas.push(replica),
                    Err(error) => {
                        failure = error;
                        complete = false;
                        break;
                    }
                }
            }
            if complete {
                return Ok(replicas);
            }
        }
        Err(failure)
    }

    /// Another server on the same port of another address that answers from the same zone, but is asked, silenced
    /// and stopped by itself.
    ///
    /// # Errors
    /// If the port is taken there.
    pub async fn replica(&self, address: IpAddr) -> Result<Self> {
        Self::start_on(SocketAddr::new(address, self.address.port()), self.shared.zone.clone()).await
    }

    /// Where it listens, on UDP and TCP alike.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// What it answers from: a handle on the zone itself.
    #[must_use]
    pub fn zone(&self) -> Zone {
        self.shared.zone.clone()
    }

    /// See [`Zone::set_addresses`].
    pub fn set_addresses(&self, name: &str, addresses: &[IpAddr], ttl: u32) {
        self.shared.zone.set_addresses(name, addresses, ttl);
    }

    /// See [`Zone::set`].
    pub fn set(&self, name: &str, behaviour: Behaviour) {
        self.shared.zone.set(name, behaviour);
    }

    /// See [`Zone::script`].
    pub fn script(&self, name: &str, record_type: RecordType, behaviour: Behaviour) {
        self.shared.zone.script(name, record_type, behaviour);
    }

    /// See [`Zone::default_behaviour`].
    pub fn default_behaviour(&self, behaviour: impl Fn(&str, RecordType) -> Behaviour + Send + Sync + 'static) {
        self.shared.zone.default_behaviour(behaviour);
    }

    /// See [`Zone::default_to_fixture`].
    pub fn default_to_fixture(&self, ttl: u32) {
        self.shared.zone.default_to_fixture(ttl);
    }

    /// Takes questions and answers none of them, on either transport, until switched back. Questions still count.
    pub fn set_silent(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::SeqCst);
    }

    /// Every question since the start or the last [`DnsServer::clear_questions`], in order of arrival.
    #[must_use]
    pub fn questions(&self) -> Vec<ReceivedQuery> {
        self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many of these questions were for this name and type.
    #[must_use]
    pub fn count(&self, name: &str, record_type: RecordType) -> usize {
        let name = zone::canonical(name);
        let questions = self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner);
        questions.iter().filter(|question| question.name == name && question.record_type == record_type).count()
    }

    /// Forgets the questions so far.
    pub fn clear_questions(&self) {
        self.shared.questions.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Whether TCP connections are refused; UDP is served on.
    ///
    /// # Errors
    /// If the port was taken meanwhile.
    pub async fn set_tcp_refused(&mut self, refused: bool) -> Result<()> {
        self.tcp_refused = refused;
        if refused {
            if let Some(tcp) = self.tcp.take() {
                tcp.stop().await;
            }
        } else if self.tcp.is_none() && self.udp.is_some() {
            let listener = TcpListener::bind(self.address).await.context("listening on TCP again")?;
            self.tcp = Some(Listening::tcp(listener, &self.shared));
        }
        Ok(())
    }

    /// Closes both sockets: clients get ICMP "port unreachable" and refused connections. Answers that were still
    /// delayed are never given. The zone and the questions stay.
    pub async fn stop(&mut self) {
        for listening in [self.udp.take(), self.tcp.take()].into_iter().flatten() {
            listening.stop().await;
        }
    }

    /// Listens again at the same address; a running one is stopped first.
    ///
    /// # Errors
    /// If the port was taken meanwhile.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        let (udp, tcp) = bind(self.address).await.with_context(|| format!("listening on {} again", self.address))?;
        self.udp = Some(Listening::udp(udp, &self.shared));
        if !self.tcp_refused {
            self.tcp = Some(Listening::tcp(tcp, &self.shared));
        }
        Ok(())
    }
}

/// A UDP and a TCP socket on one port.
async fn bind(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let mut attempts = if address.port() == 0 { PORT_ATTEMPTS } else { 1 };
    loop {
        attempts -= 1;
        let udp = UdpSocket::bind(address).await?;
        match TcpListener::bind(udp.local_addr()?).await {
            Ok(tcp) => return Ok((udp, tcp)),
            Err(error) if attempts == 0 => return Err(error),
            Err(_) => {}
        }
    }
}
