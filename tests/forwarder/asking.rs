//! Pods that ask several hundred questions a second, and note each answer with the moment at which it was there.

use crate::client::{Client, PATIENCE, addresses};
use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// An answer that a pod has.
#[derive(Clone, Debug)]
pub struct Answered {
    pub name: String,
    /// The question's, which no other question of a run has.
    pub id: u16,
    /// When it was there.
    pub at: Instant,
    /// How long it took.
    pub took: Duration,
    pub addresses: Vec<IpAddr>,
    /// How long it may be cached.
    pub ttl: Duration,
}

/// A question that is sent.
struct Asked {
    name: String,
    at: Instant,
}

#[derive(Default)]
struct Record {
    next: AtomicU16,
    open: Mutex<HashMap<u16, Asked>>,
    answered: Mutex<Vec<Answered>>,
    ended: AtomicBool,
}

/// Pods that ask one or two replicas.
pub struct Pods {
    record: Arc<Record>,
    sockets: Vec<Arc<UdpSocket>>,
    servers: Vec<SocketAddr>,
    connections: JoinSet<()>,
    receiving: Vec<std::thread::JoinHandle<()>>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Record {
    /// A question of its own, as bytes.
    fn ask(&self, name: &str, kind: RecordType) -> Vec<u8> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        assert!(id < u16::MAX, "a run has fewer questions than ids");
        let mut question = Client::question(name, kind);
        question.metadata.id = id;
        lock(&self.open).insert(id, Asked { name: name.to_owned(), at: Instant::now() });
        question.to_vec().expect("bytes")
    }

    /// An answer is there since `at`.
    fn hear(&self, bytes: &[u8], at: Instant) {
        let reply = Message::from_vec(bytes).expect("a reply");
        let id = reply.metadata.id;
        let Asked { name, at: asked } = lock(&self.open).remove(&id).expect("an answer to a question that was asked");
        let ttl = reply.answers.iter().map(|record| record.ttl).min().unwrap_or_default();
        lock(&self.answered).push(Answered {
            name,
            id,
            at,
            took: at - asked,
            addresses: addresses(&reply),
            ttl: Duration::from_secs(ttl.into()),
        });
    }
}

impl Pods {
    /// Pods that ask these servers.
    pub fn of(servers: &[SocketAddr]) -> Self {
        let record: Arc<Record> = Arc::default();
        let socket = |server: &SocketAddr| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
            socket.connect(server).expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket");
            Arc::new(socket)
        };
        let sockets: Vec<_> = servers.iter().map(socket).collect();
        // Threads of their own: what a runtime has to do besides delays no answer.
        let receiving = sockets.iter().map(|socket| {
            let (socket, record) = (Arc::clone(socket), Arc::clone(&record));
            std::thread::spawn(move || {
                let mut buffer = [0; 4096];
                while !record.ended.load(Ordering::Relaxed) {
                    // An error: nothing came in time, or nobody listens at the moment.
                    if let Ok(length) = socket.recv(&mut buffer) {
                        record.hear(&buffer[..length], Instant::now());
                    }
                }
            })
        });
        let receiving = receiving.collect();
        Self { record, sockets, servers: servers.to_vec(), connections: JoinSet::new(), receiving }
    }

    /// Asks a server over UDP.
    pub fn ask(&self, server: usize, name: &str, kind: RecordType) {
        // Nobody may listen at the moment.
        let _ = self.sockets[server].send(&self.record.ask(name, kind));
    }

    /// Asks a server over one connection, all questions at once.
    pub fn ask_together(&mut self, server: usize, names: &[String], kind: RecordType) {
        while self.connections.try_join_next().is_some() {}
        let record = Arc::clone(&self.record);
        let questions: Vec<Vec<u8>> = names.iter().map(|name| record.ask(name, kind)).collect();
        let (server, count) = (self.servers[server], questions.len());
        self.connections.spawn(async move {
            // The server may be killed at any time.
            let Ok(mut connection) = TcpStream::connect(server).await else { return };
            for question in questions {
                let length = u16::try_from(question.len()).expect("a question").to_be_bytes();
                if connection.write_all(&[&length[..], &question].concat()).await.is_err() {
                    return;
                }
            }
            for _ in 0..count {
                let Ok(length) = connection.read_u16().await else { return };
                let mut bytes = vec![0; length.into()];
                if connection.read_exact(&mut bytes).await.is_err() {
                    return;
                }
                record.hear(&bytes, Instant::now());
            }
        });
    }

    /// How many questions are open that somebody still waits for.
    pub fn open(&self) -> usize {
        lock(&self.record.open).values().filter(|asked| asked.at.elapsed() < PATIENCE).count()
    }

    /// How many questions were asked so far.
    pub fn asked(&self) -> usize {
        self.record.next.load(Ordering::Relaxed).into()
    }

    /// Every answer that comes within the time that CoreDNS waits.
    pub async fn end(mut self) -> Vec<Answered> {
        tokio::time::sleep(PATIENCE).await;
        self.connections.shutdown().await;
        self.record.ended.store(true, Ordering::Relaxed);
        for thread in self.receiving {
            thread.join().expect("a thread ends");
        }
        std::mem::take(&mut *lock(&self.record.answered))
    }
}
