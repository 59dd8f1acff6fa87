//! A relay of DNS messages: the Service of the forwarder, or the way to its upstream, which fails as a test says.

use super::common::client::exchange;
use futures::StreamExt as _;
use hickory_proto::op::Message;
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{RData, Record};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{Config, watcher};
use kube::{Api, Client};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use test_support::free_port::free_port;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a reply is waited for: as long as a pod waits for its own.
const PATIENCE: Duration = Duration::from_secs(5);
/// The label of a Service's EndpointSlices.
const OF_SERVICE: &str = "kubernetes.io/service-name";

/// What becomes of replies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    /// They pass.
    #[default]
    Honest,
    /// There are none.
    Dead,
    /// They come later.
    Slow(Duration),
    /// They name these addresses: in turn one of them alone, and one of them beside the right ones.
    Lying(Vec<Ipv4Addr>),
    /// Over UDP they are truncated: in turn half of the records is left, and none.
    Truncating,
}

/// A relay on UDP and TCP, a message at a time: nothing remembers where an earlier one went.
pub struct Relay {
    address: SocketAddr,
    state: Arc<State>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    target: Mutex<Option<SocketAddr>>,
    mood: Mutex<Mood>,
    replies: AtomicUsize,
}

impl Relay {
    /// To one server.
    pub async fn to(server: SocketAddr) -> Self {
        let relay = Self::to_nobody().await;
        *lock(&relay.state.target) = Some(server);
        relay
    }

    /// As kube-proxy serves a Service: to the endpoint that its EndpointSlice has. `places` are where the endpoints really are, since
    /// no endpoint may be a loopback address. While there is none, or it answers nothing, no reply comes, and no error.
    pub async fn of_service(
        client: Client,
        namespace: &str,
        service: &str,
        places: BTreeMap<String, SocketAddr>,
    ) -> Self {
        let mut relay = Self::to_nobody().await;
        let (api, state) = (Api::<EndpointSlice>::namespaced(client, namespace), Arc::clone(&relay.state));
        let config = Config::default().labels(&format!("{OF_SERVICE}={service}"));
        relay.tasks.push(tokio::spawn(async move {
            let mut slices = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
            while let Some(slice) = slices.next().await {
                let Ok(slice) = slice else { continue };
                let endpoint = slice.endpoints.iter().flatten().find_map(|endpoint| endpoint.addresses.first());
                *lock(&state.target) = endpoint.and_then(|endpoint| places.get(endpoint).copied());
            }
        }));
        relay
    }

    async fn to_nobody() -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().expect("a port")));
        let socket = Arc::new(UdpSocket::bind(address).await.expect("a socket"));
        let listener = TcpListener::bind(address).await.expect("a listener");
        let state = Arc::<State>::default();
        let datagrams = tokio::spawn(relay_datagrams(socket, Arc::clone(&state)));
        let connections = tokio::spawn(relay_connections(listener, Arc::clone(&state)));
        Self { address, state, tasks: vec![datagrams, connections] }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it leads.
    pub fn target(&self) -> Option<SocketAddr> {
        *lock(&self.state.target)
    }

    pub fn set(&self, mood: Mood) {
        *lock(&self.state.mood) = mood;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn relay_datagrams(socket: Arc<UdpSocket>, state: Arc<State>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let (message, socket, state) = (buffer[..length].to_vec(), Arc::clone(&socket), Arc::clone(&state));
        tokio::spawn(async move {
            let target = *lock(&state.target);
            let reply = timeout(PATIENCE, ask(target?, &message)).await.ok()?.ok()?;
            let reply = state.spoil(reply, true).await?;
            socket.send_to(&reply, from).await.ok()
        });
    }
}

async fn relay_connections(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((mut connection, _)) = listener.accept().await else { continue };
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            while let Some(reply) = relay_of_connection(&mut connection, &state).await {
                connection.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat()).await?;
            }
            io::Result::Ok(())
        });
    }
}

async fn relay_of_connection(connection: &mut TcpStream, state: &State) -> Option<Vec<u8>> {
    let mut message = vec![0; connection.read_u16().await.ok()?.into()];
    connection.read_exact(&mut message).await.ok()?;
    let target = *lock(&state.target);
    let reply = timeout(PATIENCE, exchange(target?, &message)).await.ok()?.ok()?;
    state.spoil(reply, false).await
}

async fn ask(target: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(target).await?;
    socket.send(message).await?;
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await?;
    Ok(buffer[..length].to_vec())
}

impl State {
    /// What becomes of a reply.
    async fn spoil(&self, reply: Vec<u8>, is_datagram: bool) -> Option<Vec<u8>> {
        let mood = lock(&self.mood).clone();
        let turn = self.replies.fetch_add(1, Ordering::SeqCst);
        match mood {
            Mood::Honest => Some(reply),
            Mood::Dead => None,
            Mood::Slow(by) => {
                tokio::time::sleep(by).await;
                Some(reply)
            }
            Mood::Truncating if !is_datagram => Some(reply),
            Mood::Truncating => {
                let mut message = Message::from_vec(&reply).expect("a reply");
                message.metadata.truncation = true;
                message.answers.truncate(if turn.is_multiple_of(2) { message.answers.len() / 2 } else { 0 });
                Some(message.to_vec().expect("bytes"))
            }
            Mood::Lying(lies) => {
                let mut message = Message::from_vec(&reply).expect("a reply");
                let is_address = |record: &&Record| matches!(record.data, RData::A(_));
                if let Some(mut lie) = message.answers.iter().find(is_address).cloned() {
                    lie.data = RData::A(A(lies[turn / 2 % lies.len()]));
                    if turn.is_multiple_of(2) {
                        message.answers.clear();
                    }
                    message.answers.push(lie);
                }
                Some(message.to_vec().expect("bytes"))
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
