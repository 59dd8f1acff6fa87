//! A pod's question, as the cluster's DNS forwards it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// CoreDNS turns to its next server after so long.
const PATIENCE: Duration = Duration::from_secs(2);

/// The IPv4 addresses that a server answers for a name, and how long that took.
pub(super) async fn ask(server: SocketAddr, name: &str) -> anyhow::Result<(Vec<IpAddr>, Duration)> {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(Query::query(Name::from_ascii(format!("{name}."))?, RecordType::A));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(server).await?;
    let (began, mut buffer) = (Instant::now(), [0; 1232]);
    socket.send(&question.to_vec()?).await?;
    let received = timeout(PATIENCE, socket.recv(&mut buffer)).await;
    let took = began.elapsed();
    let length = received.with_context(|| format!("{server} does not answer within {PATIENCE:?}"))??;
    let reply = Message::from_vec(&buffer[..length])?;
    let addresses: Vec<IpAddr> = reply
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            _ => None,
        })
        .collect();
    ensure!(!addresses.is_empty(), "{server} answers no address for {name}: {reply}");
    Ok((addresses, took))
}
