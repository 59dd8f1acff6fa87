//! Questions as CoreDNS sends them.

use citrix_allowlist::forward::QuestionTransport;
use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

/// CoreDNS turns to its next upstream after so long (plugin `forward`).
pub const PATIENCE: Duration = Duration::from_secs(2);

/// A pod's resolver repeats a question after so long (resolv.conf(5), `timeout`).
const POD_PATIENCE: Duration = Duration::from_secs(5);

/// Asks one server.
#[derive(Clone, Copy)]
pub struct Client {
    server: SocketAddr,
    /// The address that it asks from.
    own: Ipv4Addr,
}

impl Client {
    pub fn of(server: SocketAddr) -> Self {
        Self { server, own: Ipv4Addr::LOCALHOST }
    }

    /// The same, from another address.
    pub fn from(self, own: Ipv4Addr) -> Self {
        Self { own, ..self }
    }

    /// A question.
    pub fn question(name: &str, kind: RecordType) -> Message {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        question.set_edns(edns);
        question
    }

    /// The reply to a question over UDP; nothing where none comes in time.
    pub async fn send(self, question: &Message) -> Option<Message> {
        self.send_within(question, PATIENCE).await
    }

    async fn send_within(self, question: &Message, patience: Duration) -> Option<Message> {
        let socket = UdpSocket::bind((self.own, 0)).await.expect("a socket");
        socket.send_to(&question.to_vec().expect("bytes"), self.server).await.expect("sent");
        let mut buffer = [0; 4096];
        let receiving = async {
            loop {
                let length = socket.recv(&mut buffer).await.ok()?;
                let reply = Message::from_vec(&buffer[..length]).expect("a reply");
                // As a resolver does: the port may have been another question's before, whose reply is late.
                if reply.metadata.id == question.metadata.id {
                    return Some(reply);
                }
            }
        };
        tokio::time::timeout(patience, receiving).await.ok()?
    }

    /// As a pod's resolver asks: over UDP, and over TCP again where the reply is truncated.
    pub async fn ask_as_a_pod(self, name: &str, kind: RecordType) -> Option<(QuestionTransport, Message)> {
        let question = Self::question(name, kind);
        let reply = self.send_within(&question, POD_PATIENCE).await?;
        if !reply.metadata.truncation {
            return Some((QuestionTransport::Udp, reply));
        }
        tokio::time::timeout(POD_PATIENCE, exchange(self.server, &question.to_vec().expect("bytes")))
            .await
            .ok()?
            .ok()
            .map(|reply| (QuestionTransport::Tcp, Message::from_vec(&reply).expect("a reply")))
    }

    pub async fn ask(self, name: &str, kind: RecordType) -> Message {
        self.send(&Self::question(name, kind)).await.expect("a reply in two seconds")
    }

    /// The IPv4 addresses of a name; it has some.
    pub async fn resolve(self, name: &str) -> Vec<IpAddr> {
        let reply = self.ask(name, RecordType::A).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{name}");
        let addresses = addresses(&reply);
        assert!(!addresses.is_empty(), "{name}: {reply}");
        addresses
    }

    /// Questions over one connection, all sent before the first reply is read; the replies in the order in which they come.
    pub async fn pipeline(self, questions: &[Message]) -> Vec<Message> {
        let mut connection = TcpStream::connect(self.server).await.expect("a connection");
        for question in questions {
            let bytes = question.to_vec().expect("bytes");
            connection.write_u16(bytes.len() as u16).await.expect("sent");
            connection.write_all(&bytes).await.expect("sent");
        }
        let mut replies = Vec::new();
        for _ in questions {
            let mut bytes = vec![0; connection.read_u16().await.expect("a reply").into()];
            connection.read_exact(&mut bytes).await.expect("a reply");
            replies.push(Message::from_vec(&bytes).expect("a reply"));
        }
        replies
    }
}

/// One message over a connection of its own, and the reply.
pub async fn exchange(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(server).await?;
    connection.write_u16(message.len() as u16).await?;
    connection.write_all(message).await?;
    let mut reply = vec![0; connection.read_u16().await?.into()];
    connection.read_exact(&mut reply).await?;
    Ok(reply)
}

/// The addresses of a reply.
pub fn addresses(reply: &Message) -> Vec<IpAddr> {
    let address = |data: &RData| match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    };
    reply.answers.iter().filter_map(|record| address(&record.data)).collect()
}
