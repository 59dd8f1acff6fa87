//! The real CoreDNS, asked over UDP with hickory's messages.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};
use test_support::coredns::CoreDns;
use tokio::net::UdpSocket;

const COREFILE: &str = "
.:{port} {
    bind {address}
    file {zones}/cloud.db citrix.example {
        reload 200ms
    }
}
";

fn zone(serial: u32, address: &str) -> String {
    format!(
        "$ORIGIN citrix.example.\n@ 60 IN SOA ns.citrix.example. host.citrix.example. {serial} 60 60 600 5\n\
         @ 60 IN NS ns\nagenthub 7 IN A {address}\n"
    )
}

/// The addresses and TTLs that a server answers with; `None` when it does not answer within half a second.
async fn ask(server: SocketAddr, name: &str) -> Option<Vec<(Ipv4Addr, u32)>> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
    let mut question = Message::query();
    question.add_query(Query::query(Name::from_ascii(name).expect("a name"), RecordType::A));
    socket.send_to(&question.to_vec().expect("bytes"), server).await.expect("it is sent");
    let mut buffer = [0; 1500];
    let length = tokio::time::timeout(Duration::from_millis(500), socket.recv(&mut buffer)).await.ok()?.ok()?;
    let answer = Message::from_vec(&buffer[..length]).expect("an answer");
    let records = answer.answers.iter().filter_map(|record| match record.data {
        RData::A(address) => Some((address.0, record.ttl)),
        _ => None,
    });
    Some(records.collect())
}

#[tokio::test]
async fn it_serves_a_zone_takes_up_a_new_one_and_ends_on_drop() {
    let mut server = CoreDns::start(COREFILE, &[("cloud.db", &zone(1, "20.41.6.9"))]).await.expect("CoreDNS");
    let address = server.address();
    let name = "agenthub.citrix.example.";
    assert_eq!(ask(address, name).await, Some(vec![(Ipv4Addr::new(20, 41, 6, 9), 7)]));
    assert_eq!(ask(address, "other.citrix.example.").await, Some(vec![]));

    server.write_zone("cloud.db", &zone(2, "20.41.6.10")).expect("a new zone");
    let expected = Some(vec![(Ipv4Addr::new(20, 41, 6, 10), 7)]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while ask(address, name).await != expected {
        assert!(Instant::now() < deadline, "the new zone is not served: {}", server.process().log_tail());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    server.process().signal("STOP").expect("it is frozen");
    assert_eq!(ask(address, name).await, None);
    server.process().signal("CONT").expect("it goes on");
    drop(server);
    assert_eq!(ask(address, name).await, None);
}

#[tokio::test]
async fn a_broken_corefile_is_an_error_that_shows_what_it_says() {
    let error = CoreDns::start(".:{port} {\n no-such-plugin\n}\n", &[]).await.expect_err("it cannot start");
    assert!(format!("{error:#}").contains("no-such-plugin"), "{error:#}");
}
