//! The bounds, over real sockets and an upstream without any.

use super::super::{
    Exchange, ExchangeError, ForwardObserver, Forwarded, ForwarderParts, LONGEST_HOLD, OwnHosts, QuestionTransport,
    Upstream,
};
use super::*;
use crate::clock::Clock;
use crate::facts::ClusterFacts;
use crate::guard::{Guard, GuardSettings};
use crate::names::{Family, Lookup, LookupOutcome, Names, NamesSettings};
use crate::resource_ref::Waker;
use connectivity_allowlist::net::DomainName;
use futures::future::BoxFuture;
use hickory_proto::op::{DnsResponse, Message, MessageType, Query};
use hickory_proto::rr::{Name, RecordType};
use jiff::Timestamp;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::Instant;

/// An upstream that answers once it may.
struct Gate {
    asked: AtomicUsize,
    may_answer: watch::Receiver<bool>,
}

impl Exchange for Gate {
    fn exchange(
        &self,
        _: SocketAddr,
        mut question: Message,
        _: QuestionTransport,
    ) -> BoxFuture<'static, Result<DnsResponse, ExchangeError>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut may_answer = self.may_answer.clone();
        Box::pin(async move {
            may_answer.wait_for(|may| *may).await.map_err(|_| ExchangeError::Timeout)?;
            question.metadata.message_type = MessageType::Response;
            DnsResponse::from_message(question).map_err(|_| ExchangeError::Malformed("a reply that cannot be written"))
        })
    }
}

/// The table asks nothing here.
struct NoLookup;

impl Lookup for NoLookup {
    fn ask(&self, _: SocketAddr, _: &DomainName, _: Family) -> BoxFuture<'static, LookupOutcome> {
        Box::pin(std::future::pending())
    }
}

#[derive(Default)]
struct Counts {
    dropped: AtomicUsize,
    answered: AtomicUsize,
}

impl ForwardObserver for Counts {
    fn forwarded(&self, _: Option<&DomainName>, how: Forwarded, _: Duration) {
        match how {
            Forwarded::Dropped => self.dropped.fetch_add(1, Ordering::SeqCst),
            Forwarded::Standby => self.answered.fetch_add(1, Ordering::SeqCst),
            _ => panic!("{how:?}: a replica that does not lead answers as the upstream does"),
        };
    }
}

struct Listening {
    address: SocketAddr,
    gate: Arc<Gate>,
    may_answer: watch::Sender<bool>,
    counts: Arc<Counts>,
    /// While it runs, the paused clock stands still, whatever sockets take.
    busy: JoinHandle<()>,
}

impl Listening {
    /// A listener whose upstream answers at once, or not before it is told.
    async fn start(may_answer: bool) -> Self {
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0).into()).await.expect("a port");
        let address = listener.connections.local_addr().expect("bound");
        let (may_answer, may) = watch::channel(may_answer);
        let gate = Arc::new(Gate { asked: AtomicUsize::new(0), may_answer: may });
        let (counts, clock) = (Arc::new(Counts::default()), Clock::simulated(Timestamp::UNIX_EPOCH));
        let guard = Guard::new(GuardSettings::default(), &ClusterFacts::default());
        let waker = Waker::new(mpsc::unbounded_channel().0);
        let names = Names::new(&NamesSettings::new(guard), clock, waker, Arc::new(NoLookup), Arc::new(()));
        let forwarder = Forwarder::new(ForwarderParts {
            names,
            upstream: Upstream::new(vec![SocketAddr::from(([192, 0, 2, 1], 53))], gate.clone()),
            settle: Duration::ZERO,
            leads: Box::new(|| None),
            askers: Box::new(|_, _| Box::pin(async { None })),
            clock,
            own: OwnHosts::default(),
            observer: counts.clone(),
        });
        tokio::spawn(listener.run(forwarder));
        let busy = tokio::spawn(async {
            loop {
                yield_now().await;
            }
        });
        Self { address, gate, may_answer, counts, busy }
    }

    async fn client(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
        socket.connect(self.address).await.expect("a socket");
        socket
    }

    /// Whether a question over UDP is answered.
    async fn is_answering_datagrams(&self) -> bool {
        let (socket, mut buffer) = (self.client().await, [0; 512]);
        socket.send(&question()).await.expect("sent");
        socket.recv(&mut buffer).await.is_ok_and(|length| is_reply(&buffer[..length]))
    }

    async fn connection(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }
}

fn question() -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii("host.example.com.").expect("a name"), RecordType::A));
    message.to_vec().expect("bytes")
}

fn is_reply(bytes: &[u8]) -> bool {
    Message::from_vec(bytes).is_ok_and(|reply| reply.metadata.message_type == MessageType::Response)
}

/// Whether a question over a connection is answered; not where the connection is closed.
async fn is_answering(connection: &mut TcpStream) -> bool {
    let question = question();
    let mut reply = Vec::new();
    let asking = async {
        connection.write_u16(question.len() as u16).await?;
        connection.write_all(&question).await?;
        reply = vec![0; connection.read_u16().await?.into()];
        connection.read_exact(&mut reply).await
    };
    asking.await.is_ok() && is_reply(&reply)
}

/// Lets others run until `reached` holds.
async fn until(reached: impl Fn() -> bool) {
    while !reached() {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_open_questions_a_datagram_is_dropped() {
    let listening = Listening::start(false).await;
    let (client, question) = (listening.client().await, question());
    let asked = || listening.gate.asked.load(Ordering::SeqCst);
    let dropped = || listening.counts.dropped.load(Ordering::SeqCst);
    for number in 1..=MOST_QUESTIONS {
        client.send(&question).await.expect("sent");
        // Not more at once than the socket has room for.
        if number % 64 == 0 {
            until(|| asked() == number).await;
        }
    }
    for _ in 0..10 {
        client.send(&question).await.expect("sent");
    }
    until(|| dropped() == 10).await;
    assert_eq!(asked(), MOST_QUESTIONS, "the upstream is not asked for more");
    // A connection is not read from until there is room, so that nothing is lost on it.
    let mut connection = listening.connection().await;
    let (is_answered, ()) = tokio::join!(is_answering(&mut connection), async {
        listening.may_answer.send_replace(true);
    });
    assert!(is_answered, "once there is room");
    until(|| listening.counts.answered.load(Ordering::SeqCst) == MOST_QUESTIONS + 1).await;
    assert!(listening.is_answering_datagrams().await);
    assert_eq!(dropped(), 10);
}

#[tokio::test(start_paused = true)]
async fn beyond_the_connections_one_is_closed_and_udp_works() {
    let listening = Listening::start(true).await;
    let mut connections = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        let mut connection = listening.connection().await;
        assert!(is_answering(&mut connection).await);
        connections.push(connection);
    }
    assert!(!is_answering(&mut listening.connection().await).await, "there is no room");
    assert!(listening.is_answering_datagrams().await);
    assert!(is_answering(&mut connections[0]).await, "those that are open work on");
    connections.pop();
    // The place is free once the other side has seen the end.
    loop {
        if is_answering(&mut listening.connection().await).await {
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let listening = Listening::start(true).await;
    let mut unused = listening.connection().await;
    let mut used = listening.connection().await;
    assert!(is_answering(&mut used).await);
    let mut incomplete = listening.connection().await;
    incomplete.write_all(&[0, 40, 1, 2, 3]).await.expect("sent");
    listening.busy.abort();
    let began = Instant::now();
    for connection in [&mut unused, &mut used, &mut incomplete] {
        // An end, or a reset where something was sent that nobody has read.
        assert!(matches!(connection.read(&mut [0; 8]).await, Ok(0) | Err(_)));
        let took = began.elapsed();
        assert!(took >= IDLE && took < IDLE + Duration::from_secs(1), "{took:?}");
    }
    assert!(IDLE > LONGEST_HOLD, "who waits for a held answer is not idle");
}
