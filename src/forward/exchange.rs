//! One question to one server: the only part of the room that reaches other servers. A simulation has its own.

use futures::StreamExt as _;
use futures::future::BoxFuture;
use hickory_proto::op::{DnsRequest, DnsRequestOptions, DnsResponse, Message};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::udp::UdpClientStream;
use hickory_resolver::net::xfer::DnsRequestSender as _;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// For how long a lost datagram is sent again: CoreDNS turns to its next upstream after two seconds. Who asks gives up earlier.
const RETRANSMISSIONS: Duration = Duration::from_secs(3);

/// How a question came, and so how it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuestionTransport {
    /// In a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// Why a server's reply is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// It did not come in time.
    #[error("no reply in time")]
    Timeout,
    /// The library could not send the question, or not read the reply.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is no reply to the question.
    #[error("{0}")]
    Malformed(&'static str),
}

/// Sends a question to a server, and gives its reply.
pub trait Exchange: Send + Sync {
    /// The server's reply to a question. Who asks sets a time limit.
    fn exchange(
        &self,
        server: SocketAddr,
        question: Message,
        transport: QuestionTransport,
    ) -> BoxFuture<'static, Result<DnsResponse, ExchangeError>>;
}

/// Over sockets: each question from a port of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketExchange;

impl Exchange for SocketExchange {
    fn exchange(
        &self,
        server: SocketAddr,
        question: Message,
        transport: QuestionTransport,
    ) -> BoxFuture<'static, Result<DnsResponse, ExchangeError>> {
        Box::pin(async move {
            match transport {
                QuestionTransport::Udp => ask_udp(server, question).await,
                QuestionTransport::Tcp => ask_tcp(server, &question).await,
            }
        })
    }
}

/// The library asks from a port of its own, compares address, port, id and question, and sends again what was lost.
async fn ask_udp(server: SocketAddr, query: Message) -> Result<DnsResponse, ExchangeError> {
    let asking = UdpClientStream::builder(server, TokioRuntimeProvider::default());
    let mut asking = asking.with_timeout(Some(RETRANSMISSIONS)).build();
    let request = DnsRequest::new(query, DnsRequestOptions::default());
    let reply = asking.send_message(request).next().await;
    reply.ok_or(ExchangeError::Malformed("no reply"))?.map_err(ExchangeError::from)
}

async fn ask_tcp(server: SocketAddr, query: &Message) -> Result<DnsResponse, ExchangeError> {
    let bytes = query.to_vec().map_err(NetError::from)?;
    let too_long = ExchangeError::Malformed("a question of more than 64 KiB");
    let length = u16::try_from(bytes.len()).map_err(|_| too_long)?;
    let mut connection = TcpStream::connect(server).await?;
    connection.set_nodelay(true)?;
    connection.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
    let mut reply = vec![0; connection.read_u16().await?.into()];
    connection.read_exact(&mut reply).await?;
    let reply = DnsResponse::from_buffer(reply).map_err(NetError::from)?;
    if reply.metadata.id != query.metadata.id || reply.queries != query.queries {
        return Err(ExchangeError::Malformed("a reply to another question"));
    }
    Ok(reply)
}
