//! Asks the upstream: each question from a port of its own, under an id of its own, in random case where the server repeats it.

use super::question::ForwardedQuestion;
use crate::lock::lock;
use crate::names::spelling::{self, Spelling};
use futures::StreamExt as _;
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Message, Query, ResponseCode};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::DnsRequestSender as _;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// How long all servers together may take: CoreDNS turns to its next upstream after two seconds.
const UPSTREAM_TIMEOUT: Duration = Duration::from_millis(1900);
/// How long one server may take while others are left.
const ONE_SERVER_TIMEOUT: Duration = Duration::from_millis(600);

/// How a question came, and so how it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionTransport {
    /// In a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// The servers that are asked in place of the cluster's DNS.
#[derive(Debug)]
pub struct Upstream {
    servers: Vec<SocketAddr>,
    /// The server that answered last.
    first: AtomicUsize,
    spellings: Mutex<HashMap<SocketAddr, Spelling>>,
}

/// Why one server's reply is of no use.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no reply in time")]
    Timeout,
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("{0}")]
    Malformed(&'static str),
}

impl Upstream {
    /// Of these servers, in this order.
    #[must_use]
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers, first: AtomicUsize::new(0), spellings: Mutex::default() }
    }

    /// The reply of the first server that has one, with the server. A failure counts only where no server does better.
    pub async fn ask(
        &self,
        question: &ForwardedQuestion,
        transport: QuestionTransport,
    ) -> Option<(SocketAddr, Vec<u8>)> {
        timeout(UPSTREAM_TIMEOUT, self.ask_each(question, transport)).await.ok().flatten()
    }

    async fn ask_each(
        &self,
        question: &ForwardedQuestion,
        transport: QuestionTransport,
    ) -> Option<(SocketAddr, Vec<u8>)> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.servers.len());
        let mut failure = None;
        for turn in 0..count {
            let index = (first + turn) % count;
            let server = *self.servers.get(index)?;
            let patience = if turn + 1 < count { ONE_SERVER_TIMEOUT } else { UPSTREAM_TIMEOUT };
            let reply = match timeout(patience, self.ask_one(server, question, transport)).await {
                Ok(reply) => reply,
                Err(_) => Err(AskError::Timeout),
            };
            match reply {
                Ok((reply, is_failure)) if is_failure => failure = Some((server, reply)),
                Ok((reply, _)) => {
                    self.first.store(index, Ordering::Relaxed);
                    return Some((server, reply));
                }
                Err(error) => {
                    tracing::debug!(%server, name = %question.spelled, %error, "the upstream does not answer")
                }
            }
        }
        failure
    }

    /// One server's reply, and whether it is a failure of the server.
    async fn ask_one(
        &self,
        server: SocketAddr,
        question: &ForwardedQuestion,
        transport: QuestionTransport,
    ) -> Result<(Vec<u8>, bool), AskError> {
        let spelling = lock(&self.spellings).get(&server).copied().unwrap_or_default();
        let mut query = question.message.clone();
        query.metadata.id = Message::query().metadata.id;
        let sent = spelling.spell(&question.spelled);
        for query in &mut query.queries {
            query.name = sent.clone();
        }
        let reply = match transport {
            QuestionTransport::Udp => ask_udp(server, query).await?,
            QuestionTransport::Tcp => ask_tcp(server, &query).await?,
        };
        let echo = spelling::echo(&sent, reply.queries.first().map(Query::name));
        let (after, is_accepted) = spelling.after(echo);
        lock(&self.spellings).insert(server, after);
        if !is_accepted {
            return Err(AskError::Malformed("a reply that spells the question otherwise, as a forged one would"));
        }
        let is_failure = matches!(reply.metadata.response_code, ResponseCode::ServFail | ResponseCode::Refused);
        Ok((reply.into_buffer(), is_failure))
    }
}

/// The library asks from a port of its own, compares address, port, id and question, and sends again what was lost.
async fn ask_udp(server: SocketAddr, query: Message) -> Result<DnsResponse, AskError> {
    let asking = UdpClientStream::builder(server, TokioRuntimeProvider::default());
    let mut asking = asking.with_timeout(Some(UPSTREAM_TIMEOUT)).build();
    let request = DnsRequest::new(query, DnsRequestOptions::default());
    asking.send_message(request).next().await.ok_or(AskError::Malformed("no reply"))?.map_err(AskError::from)
}

async fn ask_tcp(server: SocketAddr, query: &Message) -> Result<DnsResponse, AskError> {
    let bytes = query.to_vec().map_err(NetError::from)?;
    let length = u16::try_from(bytes.len()).map_err(|_| AskError::Malformed("a question of more than 64 KiB"))?;
    let mut connection = TcpStream::connect(server).await?;
    connection.set_nodelay(true)?;
    connection.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let mut reply = vec![0; connection.read_u16().await?.into()];
    connection.read_exact(&mut reply).await?;
    let reply = DnsResponse::from_buffer(reply).map_err(NetError::from)?;
    if reply.metadata.id != query.metadata.id || reply.queries != query.queries {
        return Err(AskError::Malformed("a reply to another question"));
    }
    Ok(reply)
}
