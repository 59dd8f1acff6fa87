//! The scriptable DNS server, asked with bare messages: no resolver stands between.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::A;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use test_support::dns::{Behaviour, DnsServer, DnsTransport, NEGATIVE_TTL, Pace, Reply, Truncation, Zone};
use test_support::fixture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).expect("a name");
    name.set_fqdn(true);
    name
}

fn question(text: &str, record_type: RecordType, payload: Option<u16>) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name(text), record_type));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.set_edns(edns);
    }
    message
}

/// The size of the answer and what it says.
async fn over_udp(server: SocketAddr, message: &Message) -> std::io::Result<(usize, Message)> {
    let socket = UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0)).await?;
    socket.connect(server).await?;
    socket.send(&message.to_vec().expect("a message")).await?;
    let mut buffer = vec![0; 65_535];
    let size = tokio::time::timeout(Duration::from_secs(2), socket.recv(&mut buffer)).await??;
    Ok((size, Message::from_vec(&buffer[..size]).expect("a message")))
}

async fn over_tcp(server: SocketAddr, message: &Message) -> std::io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let bytes = message.to_vec().expect("a message");
    stream.write_u16(bytes.len() as u16).await?;
    stream.write_all(&bytes).await?;
    let answer = async {
        let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut buffer).await?;
        Ok(Message::from_vec(&buffer).expect("a message"))
    };
    tokio::time::timeout(Duration::from_secs(2), answer).await?
}

async fn ask(server: &DnsServer, text: &str, record_type: RecordType) -> Message {
    over_udp(server.addr(), &question(text, record_type, Some(1232))).await.expect("an answer").1
}

async fn is_silent(server: &DnsServer, text: &str) -> bool {
    let message = question(text, RecordType::A, None);
    tokio::time::timeout(Duration::from_millis(200), over_udp(server.addr(), &message)).await.is_err()
}

async fn start() -> DnsServer {
    DnsServer::start().await.expect("a server")
}

fn addresses(message: &Message) -> Vec<IpAddr> {
    message
        .answers
        .iter()
        .filter_map(|record| match record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        })
        .collect()
}

/// Owner, TTL and target of each CNAME record.
fn links(message: &Message) -> Vec<(String, u32, String)> {
    message
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::CNAME(target) => Some((record.name.to_ascii(), record.ttl, target.0.to_ascii())),
            _ => None,
        })
        .collect()
}

fn minimum(message: &Message) -> Option<(u32, u32)> {
    message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some((record.ttl, soa.minimum)),
        _ => None,
    })
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().expect("an address")).collect()
}

#[tokio::test]
async fn addresses_by_family_on_both_transports() {
    let server = start().await;
    let both = ips(&["13.64.1.1", "20.64.2.2", "2603:1030::1"]);
    server.set_addresses("Name.Example.", &both, 60);
    let answer = ask(&server, "name.example", RecordType::A).await;
    assert_eq!(addresses(&answer), both[..2]);
    assert!(answer.answers.iter().all(|record| record.ttl == 60));
    assert!(answer.metadata.recursion_available && answer.metadata.id == 4711);
    let answer = over_tcp(server.addr(), &question("name.example", RecordType::AAAA, None)).await.expect("an answer");
    assert_eq!(addresses(&answer), both[2..]);
    // One family alone: the other one is NODATA, not NXDOMAIN.
    server.set_addresses("name.example", &both[..1], 0);
    let answer = ask(&server, "name.example", RecordType::A).await;
    assert_eq!((addresses(&answer), answer.answers[0].ttl), (both[..1].to_vec(), 0));
    let answer = ask(&server, "name.example", RecordType::AAAA).await;
    assert_eq!((answer.metadata.response_code, answer.answers.len()), (ResponseCode::NoError, 0));
    assert_eq!(minimum(&answer), Some((NEGATIVE_TTL, NEGATIVE_TTL)));
}

#[tokio::test]
async fn the_case_of_the_question_is_kept() {
    let server = start().await;
    server.set_addresses("name.example", &ips(&["13.64.1.1"]), 60);
    let answer = ask(&server, "nAmE.eXaMpLe", RecordType::A).await;
    assert_eq!(answer.queries[0].name().to_ascii(), "nAmE.eXaMpLe.");
    assert_eq!(answer.answers[0].name.to_ascii(), "nAmE.eXaMpLe.");
    assert_eq!(server.count("NAME.example.", RecordType::A), 1);
}

#[tokio::test]
async fn chains_carry_a_ttl_for_each_link() {
    let server = start().await;
    let end = ips(&["13.64.1.1"]);
    server.set("a.example", Behaviour::chain(&[("b.example", 300), ("c.other", 5)], &end, 60));
    let answer = ask(&server, "a.example", RecordType::A).await;
    let expected = [("a.example.", 300, "b.example."), ("b.example.", 5, "c.other.")];
    assert_eq!(links(&answer), expected.map(|(from, ttl, to)| (from.to_owned(), ttl, to.to_owned())));
    let last = answer.answers.last().expect("an address");
    assert_eq!((last.name.to_ascii(), last.ttl, addresses(&answer)), ("c.other.".to_owned(), 60, end));
    let answer = ask(&server, "a.example", RecordType::AAAA).await;
    assert_eq!((links(&answer).len(), addresses(&answer).len()), (2, 0));
    assert_eq!(minimum(&answer), Some((NEGATIVE_TTL, NEGATIVE_TTL)), "a chain that ends in nothing says how long");
}

#[tokio::test]
async fn loops_and_strangers() {
    let server = start().await;
    server.set("a.example", Reply::Loop { links: vec!["b.example".into(), "c.example".into()], ttl: 9 }.into());
    let answer = ask(&server, "a.example", RecordType::A).await;
    let targets: Vec<String> = links(&answer).into_iter().map(|(_, _, target)| target).collect();
    assert_eq!(targets, ["b.example.", "c.example.", "b.example."]);
    server.set("self.example", Reply::Loop { links: Vec::new(), ttl: 9 }.into());
    let answer = ask(&server, "self.example", RecordType::A).await;
    assert_eq!(links(&answer), [("self.example.".to_owned(), 9, "self.example.".to_owned())]);
    let stranger = Record::from_rdata(name("stranger.example"), 60, RData::A(A([13, 64, 9, 9].into())));
    server.set("lied.example", Reply::Records(vec![stranger.clone()]).into());
    assert_eq!(ask(&server, "lied.example", RecordType::A).await.answers, [stranger]);
}

#[tokio::test]
async fn rotations_move_by_questions_or_by_time() {
    let server = start().await;
    let pool = fixture::pool("rotating.example", 16);
    server.set("rotating.example", Behaviour::rotating(&pool, 4, 30));
    let mut seen = BTreeSet::new();
    for step in 0..4 {
        let answer = addresses(&ask(&server, "rotating.example", RecordType::A).await);
        assert_eq!(answer, fixture::rotation(&pool, 4, step));
        seen.extend(answer);
    }
    assert_eq!(seen.len(), 16);
    assert_eq!(addresses(&ask(&server, "rotating.example", RecordType::A).await), pool[..4]);
    let slide = Reply::Rotation { pool: pool.clone(), width: 2, advance: 1, ttl: 30, pace: Pace::ReceivedQuery };
    server.set("rotating.example", slide.into());
    ask(&server, "rotating.example", RecordType::A).await;
    assert_eq!(addresses(&ask(&server, "rotating.example", RecordType::A).await), pool[1..3]);
    server.set("timed.example", Behaviour::rotating_every(Duration::from_secs(1), &pool, 4, 30));
    assert_eq!(addresses(&ask(&server, "timed.example", RecordType::A).await), pool[..4]);
    assert_eq!(addresses(&ask(&server, "timed.example", RecordType::A).await), pool[..4]);
    tokio::time::sleep(Duration::from_millis(1010)).await;
    assert_eq!(addresses(&ask(&server, "timed.example", RecordType::A).await), pool[4..8]);
}

#[tokio::test]
async fn sequences_end_or_begin_again() {
    let server = start().await;
    let reply = |text| Reply::Addresses { addresses: ips(&[text]), ttl: 1 };
    let steps = || vec![reply("13.64.1.1"), Reply::Error(ResponseCode::ServFail), reply("13.64.1.2")];
    for (behaviour, fourth) in [(Behaviour::sequence(steps()), "13.64.1.2"), (Behaviour::cycle(steps()), "13.64.1.1")] {
        server.set("name.example", behaviour);
        assert_eq!(addresses(&ask(&server, "name.example", RecordType::A).await), ips(&["13.64.1.1"]));
        let failed = ask(&server, "name.example", RecordType::A).await;
        assert_eq!(failed.metadata.response_code, ResponseCode::ServFail);
        assert_eq!(addresses(&ask(&server, "name.example", RecordType::A).await), ips(&["13.64.1.2"]));
        assert_eq!(addresses(&ask(&server, "name.example", RecordType::A).await), ips(&[fourth]));
    }
    server.set("name.example", Behaviour::cycle(Vec::new()));
    assert!(ask(&server, "name.example", RecordType::A).await.answers.is_empty());
}

#[tokio::test]
async fn negative_answers_and_errors() {
    let server = start().await;
    let cases = [
        (Behaviour::nxdomain(), ResponseCode::NXDomain, Some(NEGATIVE_TTL)),
        (Behaviour::nodata(), ResponseCode::NoError, Some(NEGATIVE_TTL)),
        (Reply::NxDomain { minimum: Some(7) }.into(), ResponseCode::NXDomain, Some(7)),
        (Reply::NoData { minimum: None }.into(), ResponseCode::NoError, None),
        (Behaviour::servfail(), ResponseCode::ServFail, None),
        (Behaviour::refused(), ResponseCode::Refused, None),
    ];
    for (behaviour, code, soa) in cases {
        server.set("name.example", behaviour.clone());
        let answer = ask(&server, "name.example", RecordType::A).await;
        assert_eq!(answer.metadata.response_code, code, "{behaviour:?}");
        assert_eq!(minimum(&answer), soa.map(|soa| (soa, soa)), "{behaviour:?}");
        assert!(answer.answers.is_empty());
    }
    assert_eq!(ask(&server, "unknown.example", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
    // Scripted for one type, a name has nothing of another.
    server.script("half.example", RecordType::A, Behaviour::addresses(&ips(&["13.64.1.1"]), 60));
    let other = ask(&server, "half.example", RecordType::AAAA).await;
    assert_eq!((other.metadata.response_code, other.answers.len()), (ResponseCode::NoError, 0));
}

#[tokio::test]
async fn silence_and_delay() {
    let server = start().await;
    server.set("quiet.example", Behaviour::silent());
    assert!(is_silent(&server, "quiet.example").await);
    server.set("slow.example", Behaviour::addresses(&ips(&["13.64.1.1"]), 60).delayed(Duration::from_millis(150)));
    let before = Instant::now();
    // A slow name does not hold others up.
    let (slow, fast) = tokio::join!(ask(&server, "slow.example", RecordType::A), async {
        ask(&server, "other.example", RecordType::A).await;
        before.elapsed()
    });
    assert_eq!(addresses(&slow).len(), 1);
    assert!(before.elapsed() >= Duration::from_millis(150) && fast < Duration::from_millis(150), "{fast:?}");
    server.set_silent(true);
    assert!(is_silent(&server, "slow.example").await);
    let message = question("slow.example", RecordType::A, None);
    let tcp = over_tcp(server.addr(), &message);
    assert!(tokio::time::timeout(Duration::from_millis(300), tcp).await.is_err());
    assert_eq!(server.count("slow.example", RecordType::A), 3, "unanswered questions count");
    server.set_silent(false);
    assert_eq!(addresses(&ask(&server, "slow.example", RecordType::A).await).len(), 1);
}

#[tokio::test]
async fn datagrams_keep_to_what_the_client_takes() {
    let server = start().await;
    let many = fixture::pool("many.example", 1000);
    server.set_addresses("many.example", &many, 60);
    for (payload, limit) in [(None, 512), (Some(400), 512), (Some(900), 900), (Some(4096), 1232)] {
        let (size, answer) =
            over_udp(server.addr(), &question("many.example", RecordType::A, payload)).await.expect("an answer");
        assert!(size <= limit && size > limit / 2, "{payload:?}: {size}");
        assert!(answer.metadata.truncation, "{payload:?}");
        assert!(addresses(&answer).len() < 100);
    }
    let whole = over_tcp(server.addr(), &question("many.example", RecordType::A, Some(1232))).await.expect("an answer");
    assert!(!whole.metadata.truncation);
    assert_eq!(addresses(&whole), many);
    // What fits is whole, and EDNS is answered with EDNS.
    server.set_addresses("few.example", &many[..5], 60);
    let few = ask(&server, "few.example", RecordType::A).await;
    assert!(!few.metadata.truncation && few.edns.is_some());
    let (_, plain) = over_udp(server.addr(), &question("few.example", RecordType::A, None)).await.expect("an answer");
    assert!(plain.edns.is_none());
}

#[tokio::test]
async fn truncation_on_purpose_and_tcp_refused() {
    let mut server = start().await;
    let four = fixture::pool("cut.example", 4);
    for (truncation, left) in [(Truncation::Always, 2), (Truncation::AlwaysEmpty, 0)] {
        server.set("cut.example", Behaviour::addresses(&four, 60).truncated(truncation));
        let cut = ask(&server, "cut.example", RecordType::A).await;
        assert_eq!((cut.metadata.truncation, addresses(&cut).len()), (true, left));
        let message = question("cut.example", RecordType::A, None);
        assert_eq!(addresses(&over_tcp(server.addr(), &message).await.expect("an answer")), four);
    }
    let message = question("cut.example", RecordType::A, None);
    server.set_tcp_refused(true).await.expect("TCP closed");
    let error = over_tcp(server.addr(), &message).await.expect_err("refused");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(ask(&server, "cut.example", RecordType::A).await.metadata.truncation, "UDP is served on");
    server.restart().await.expect("the same port");
    assert!(over_tcp(server.addr(), &message).await.is_err(), "a restart does not forget it");
    server.set_tcp_refused(false).await.expect("TCP open");
    assert_eq!(addresses(&over_tcp(server.addr(), &message).await.expect("an answer")), four);
}

#[tokio::test]
async fn questions_are_recorded() {
    let server = start().await;
    let before = Instant::now();
    ask(&server, "Name.example", RecordType::A).await;
    over_tcp(server.addr(), &question("name.example", RecordType::AAAA, None)).await.expect("an answer");
    let questions = server.questions();
    let told: Vec<_> =
        questions.iter().map(|q| (q.name.as_str(), q.record_type, q.transport, q.edns_payload)).collect();
    assert_eq!(
        told,
        [
            ("name.example", RecordType::A, DnsTransport::Udp, Some(1232)),
            ("name.example", RecordType::AAAA, DnsTransport::Tcp, None),
        ]
    );
    assert!(questions[0].instant >= before && questions[0].instant <= questions[1].instant);
    assert_eq!(questions[0].client.ip(), IpAddr::from([127, 0, 0, 1]));
    assert_eq!(server.count("name.example", RecordType::AAAA), 1);
    server.clear_questions();
    assert!(server.questions().is_empty());
}

#[tokio::test]
async fn the_default_is_the_tests_to_say() {
    let server = start().await;
    server.default_to_fixture(15);
    let expected = fixture::address_for("accounts.cloud.com");
    let mut got = addresses(&ask(&server, "Accounts.cloud.com", RecordType::A).await);
    got.extend(addresses(&ask(&server, "accounts.cloud.com", RecordType::AAAA).await));
    assert_eq!(got, expected);
    server.set_addresses("accounts.cloud.com", &ips(&["13.64.1.1"]), 60);
    assert_eq!(addresses(&ask(&server, "accounts.cloud.com", RecordType::A).await), ips(&["13.64.1.1"]));
    server.zone().forget("accounts.cloud.com");
    server.default_behaviour(
        |name, _| {
            if name.ends_with(".cloud.com") { Behaviour::servfail() } else { Behaviour::refused() }
        },
    );
    let code = async |text| ask(&server, text, RecordType::A).await.metadata.response_code;
    assert_eq!((code("accounts.cloud.com").await, code("x.jp").await), (ResponseCode::ServFail, ResponseCode::Refused));
}

#[tokio::test]
async fn replicas_share_a_port_and_a_zone_until_one_lies() {
    let mut replicas = DnsServer::start_replicas(3).await.expect("three replicas");
    let ports: BTreeSet<u16> = replicas.iter().map(|replica| replica.addr().port()).collect();
    let hosts: BTreeSet<IpAddr> = replicas.iter().map(|replica| replica.addr().ip()).collect();
    assert_eq!((ports.len(), hosts.len()), (1, 3));
    replicas[0].set_addresses("name.example", &ips(&["13.64.1.1"]), 60);
    replicas[1].set_silent(true);
    assert!(is_silent(&replicas[1], "name.example").await);
    let address = replicas[2].addr();
    replicas[2].stop().await;
    let lies = replicas[0].zone().copy();
    replicas[2] = DnsServer::start_on(address, lies).await.expect("the same port");
    replicas[2].set_addresses("name.example", &ips(&["127.0.0.1"]), 60);
    assert_eq!(addresses(&ask(&replicas[0], "name.example", RecordType::A).await), ips(&["13.64.1.1"]));
    assert_eq!(addresses(&ask(&replicas[2], "name.example", RecordType::A).await), ips(&["127.0.0.1"]));
    assert_eq!(replicas.iter().map(|replica| replica.questions().len()).collect::<Vec<_>>(), [1, 1, 1]);
}

#[tokio::test]
async fn a_stopped_one_refuses_and_comes_back_at_the_same_port() {
    let mut server = start().await;
    server.set_addresses("name.example", &ips(&["13.64.1.1"]), 60);
    let address = server.addr();
    let message = question("name.example", RecordType::A, None);
    server.stop().await;
    let error = over_udp(address, &message).await.expect_err("nobody listens");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(over_tcp(address, &message).await.is_err());
    server.restart().await.expect("the same port");
    assert_eq!(server.addr(), address);
    assert_eq!(addresses(&ask(&server, "name.example", RecordType::A).await), ips(&["13.64.1.1"]));
    drop(server);
    // Dropped, its sockets are closed as soon as the runtime gets to it.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let successor = DnsServer::start_on(address, Zone::default()).await.expect("the address is free");
    assert_eq!(ask(&successor, "name.example", RecordType::A).await.metadata.response_code, ResponseCode::NXDomain);
}
