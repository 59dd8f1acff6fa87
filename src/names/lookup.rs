//! One query to one server, over hickory: UDP with its retransmissions, and TCP for a truncated answer. Names are sent in
//! random case to servers that repeat it.

use super::answer::{self, Failure, Family, LookupOutcome};
use super::light::Light;
use super::spelling::{self, Spelling};
use crate::lock::lock;
use connectivity_allowlist::net::DomainName;
use futures::StreamExt;
use futures::future::BoxFuture;
use hickory_proto::op::{DnsRequestOptions, DnsResponse, Query, ResponseCode};
use hickory_proto::rr::Name;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverOpts};
use hickory_resolver::net::{DnsError, NetError, xfer::DnsHandle};
use hickory_resolver::{NameServerPool, PoolContext, TlsConfig};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Sends one query to one server. `Names` queries every server, bounds queries in flight, and ends each after its timeout.
pub trait Lookup: Send + Sync {
    /// Queries `server` for the records of `family` that `name` has.
    fn ask(&self, server: SocketAddr, name: &DomainName, family: Family) -> BoxFuture<'static, LookupOutcome>;

    /// Only these servers are queried from now on: drop what is kept for others.
    fn retain(&self, _servers: &[SocketAddr]) {}
}

/// A pool of connections to a single server, so that no other answers in its place.
type Pool = NameServerPool<Light>;

/// Real queries.
pub struct HickoryLookup {
    context: Arc<PoolContext>,
    pools: Mutex<HashMap<SocketAddr, Pool>>,
    spellings: Arc<Mutex<HashMap<SocketAddr, Spelling>>>,
}

impl HickoryLookup {
    /// A lookup that gives each query `timeout`, retransmissions and TCP included.
    ///
    /// # Errors
    /// TLS, which is never used here but part of the library's context, could not be set up.
    pub fn new(timeout: Duration) -> Result<Self, NetError> {
        let mut options = ResolverOpts::default();
        options.timeout = timeout;
        options.max_active_requests = super::places::IN_FLIGHT_PER_SERVER;
        let context = Arc::new(PoolContext::new(options, TlsConfig::new()?));
        Ok(Self { context, pools: Mutex::default(), spellings: Arc::default() })
    }

    fn pool(&self, server: SocketAddr) -> Pool {
        let mut pools = lock(&self.pools);
        pools.entry(server).or_insert_with(|| self.connect(server)).clone()
    }

    fn connect(&self, server: SocketAddr) -> Pool {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = server.port();
            connection
        });
        let config = NameServerConfig::new(server.ip(), true, connections.into());
        Pool::from_config([config], self.context.clone(), Light::default())
    }
}

impl Lookup for HickoryLookup {
    fn ask(&self, server: SocketAddr, name: &DomainName, family: Family) -> BoxFuture<'static, LookupOutcome> {
        let pool = self.pool(server);
        let name = answer::absolute(name);
        let spellings = Arc::clone(&self.spellings);
        Box::pin(async move {
            let name = name?;
            let sent = of_server(&spellings, server).spell(&name);
            let query = Query::query(sent.clone(), family.record_type());
            let reply = pool.lookup(query, DnsRequestOptions::default()).next().await;
            if let Some(echo) = reply.as_ref().and_then(|reply| echo(reply, &sent)) {
                let (after, is_accepted) = of_server(&spellings, server).after(echo);
                lock(&spellings).insert(server, after);
                if !is_accepted {
                    return Err(Failure::Malformed(
                        "a reply that spells the question otherwise, as a forged one would",
                    ));
                }
            }
            reply.map_or(Err(Failure::Malformed("no reply")), |reply| read(&reply, &name, family))
        })
    }

    fn retain(&self, servers: &[SocketAddr]) {
        let mut pools = lock(&self.pools);
        pools.retain(|server, _| servers.contains(server));
        let mut spellings = lock(&self.spellings);
        spellings.retain(|server, _| servers.contains(server));
    }
}

fn of_server(spellings: &Mutex<HashMap<SocketAddr, Spelling>>, server: SocketAddr) -> Spelling {
    lock(spellings).get(&server).copied().unwrap_or_default()
}

/// Reads a reply for the records of `family` that `name` has.
///
/// # Errors
/// The reply has no information about them.
pub fn read(reply: &Result<DnsResponse, NetError>, name: &Name, family: Family) -> LookupOutcome {
    match reply {
        Ok(response) => answer::read(response, name, family),
        Err(error) => read_error(error),
    }
}

/// How a reply spells the question; `None` for a reply that cannot show it.
#[must_use]
pub fn echo(reply: &Result<DnsResponse, NetError>, sent: &Name) -> Option<spelling::Echo> {
    match reply {
        Ok(response) => Some(spelling::echo(sent, response.queries.first().map(Query::name))),
        Err(NetError::Dns(DnsError::NoRecordsFound(empty))) => Some(spelling::echo(sent, Some(empty.query.name()))),
        Err(NetError::Dns(DnsError::ResponseCode(_))) => Some(spelling::Echo::Silent),
        Err(_) => None,
    }
}

/// hickory gives empty answers and response codes as errors: some of them are definitive answers.
fn read_error(error: &NetError) -> LookupOutcome {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(empty)) => {
            answer::absent(empty.response_code == ResponseCode::NXDomain, empty.negative_ttl, empty.ns.is_some())
        }
        NetError::Dns(DnsError::ResponseCode(code)) => Err(answer::failure_of(*code)),
        NetError::Timeout => Err(Failure::Timeout),
        NetError::Truncated => Err(Failure::Malformed("a truncated answer, over TCP too")),
        NetError::Proto(_) => Err(Failure::Malformed("a reply that is no DNS message")),
        NetError::Io(error) => Err(Failure::Unreachable(error.to_string().into())),
        other => Err(Failure::Unreachable(other.to_string().into())),
    }
}
