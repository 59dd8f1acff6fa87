//! The forwarder's sockets: UDP and TCP on one address.

use super::Forwarder;
use super::exchange::QuestionTransport;
use anyhow::Context as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How many questions may be open: each may be held for a second and a half, and CoreDNS repeats what is lost.
const MOST_QUESTIONS: usize = 4096;
/// How many questions of one connection may be open.
const MOST_QUESTIONS_OF_CONNECTION: usize = 256;
/// How many connections may be open: a cluster has few replicas of its DNS.
const MOST_CONNECTIONS: usize = 256;
/// How long a connection may be idle, as CoreDNS keeps its own (plugin `forward`, `expire`).
const IDLE: Duration = Duration::from_secs(10);
/// The largest message in a datagram that is read: EDNS sizes above are not used (DNS flag day 2020: 1232 bytes).
const DATAGRAM: usize = 4096;

/// The bound sockets.
#[derive(Debug)]
pub struct Listener {
    datagrams: Arc<UdpSocket>,
    connections: TcpListener,
}

impl Listener {
    /// Binds both sockets to `address`.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let context = || format!("--forward-listen {address} cannot be bound");
        let connections = TcpListener::bind(address).await.with_context(context)?;
        // With port 0, both get the same one.
        let bound = connections.local_addr().with_context(context)?;
        let datagrams = UdpSocket::bind(bound).await.with_context(context)?;
        Ok(Self { datagrams: Arc::new(datagrams), connections })
    }

    /// Answers questions, for as long as it is polled.
    pub async fn run(self, forwarder: Forwarder) {
        let slots = Arc::new(Semaphore::new(MOST_QUESTIONS));
        tokio::join!(
            receive(self.datagrams, forwarder.clone(), Arc::clone(&slots)),
            accept(self.connections, forwarder, slots),
        );
    }
}

async fn receive(socket: Arc<UdpSocket>, forwarder: Forwarder, slots: Arc<Semaphore>) {
    let (mut answering, mut buffer) = (JoinSet::new(), vec![0; DATAGRAM]);
    loop {
        while answering.try_join_next().is_some() {}
        let (length, from) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An answer that could not be delivered comes back as an error here.
                tracing::debug!(%error, "a datagram could not be received");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            forwarder.dropped();
            continue;
        };
        let (message, forwarder, socket) = (buffer[..length].to_vec(), forwarder.clone(), Arc::clone(&socket));
        answering.spawn(async move {
            let _slot = slot;
            if let Some(reply) =
                forwarder.answer(&message, from.ip().to_canonical(), QuestionTransport::Udp).await.reply
            {
                let _ = socket.send_to(&reply, from).await;
            }
        });
    }
}

async fn accept(listener: TcpListener, forwarder: Forwarder, slots: Arc<Semaphore>) {
    let (mut serving, connections) = (JoinSet::new(), Arc::new(Semaphore::new(MOST_CONNECTIONS)));
    loop {
        while serving.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, from)) => {
                // Beyond the bound it is closed at once: who is not served asks over UDP, or elsewhere.
                if let Ok(place) = Arc::clone(&connections).try_acquire_owned() {
                    serving.spawn(serve(
                        (stream, from.ip().to_canonical()),
                        forwarder.clone(),
                        Arc::clone(&slots),
                        place,
                    ));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers the questions of one connection, each as soon as its answer is there (RFC 7766, section 7).
async fn serve(
    (stream, from): (TcpStream, IpAddr),
    forwarder: Forwarder,
    slots: Arc<Semaphore>,
    _place: OwnedSemaphorePermit,
) {
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.into_split();
    let (replies, mut answered) = mpsc::channel::<Vec<u8>>(MOST_QUESTIONS_OF_CONNECTION);
    let writing = async move {
        while let Some(reply) = answered.recv().await {
            let Ok(length) = u16::try_from(reply.len()) else { continue };
            let bytes = [&length.to_be_bytes()[..], &reply].concat();
            if !matches!(timeout(IDLE, writer.write_all(&bytes)).await, Ok(Ok(()))) {
                return;
            }
        }
    };
    let reading = async move {
        let (mut answering, open) = (JoinSet::new(), Arc::new(Semaphore::new(MOST_QUESTIONS_OF_CONNECTION)));
        while let Ok(Ok(length)) = timeout(IDLE, reader.read_u16()).await {
            while answering.try_join_next().is_some() {}
            if usize::from(length) > DATAGRAM {
                return;
            }
            let mut message = vec![0; length.into()];
            if !matches!(timeout(IDLE, reader.read_exact(&mut message)).await, Ok(Ok(_))) {
                return;
            }
            let Ok(place) = Arc::clone(&open).acquire_owned().await else { return };
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let (forwarder, replies) = (forwarder.clone(), replies.clone());
            answering.spawn(async move {
                let _held = (place, slot);
                if let Some(reply) = forwarder.answer(&message, from, QuestionTransport::Tcp).await.reply {
                    let _ = replies.send(reply).await;
                }
            });
        }
        // Who has asked and asks nothing more still gets the answers.
        drop(replies);
        answering.join_all().await;
    };
    let (mut reading, mut writing) = (std::pin::pin!(reading), std::pin::pin!(writing));
    tokio::select! {
        // Nobody reads the answers any more.
        () = &mut writing => {}
        () = &mut reading => writing.await,
    }
}

#[cfg(test)]
mod tests;
