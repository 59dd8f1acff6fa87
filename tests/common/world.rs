//! The outside as fault tests and the soak see it: a small list that moves on step by step, and its names in DNS. What
//! each step opens is told to the recorder before anybody can know it.

use super::recorder::{Opening, Recorder};
use ipnet::Ipv4Net;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use test_support::dns::{Behaviour, DnsServer};
use test_support::standin::{Document, Endpoint, Service, Standin, StandinCloud, StandinConfig};

/// The port of everything in the list.
const PORT: u16 = 443;
/// A network that the list gives by address, in every step.
const NETWORK: ([Ipv4Addr; 2], &str) =
    ([Ipv4Addr::new(13, 107, 6, 152), Ipv4Addr::new(13, 107, 6, 153)], "13.107.6.152/31");

/// Of a stretch of addresses, every second is in each step; the others come and go, so that networks merge and split, and
/// addresses that stay stand now in one policy, now in another.
const STRETCH: Ipv4Addr = Ipv4Addr::new(20, 80, 0, 0);
const STRETCH_LENGTH: u32 = 128;
/// With so many peers at most in a policy, the steps spread over one to four policies.
pub const MOST_PEERS: usize = 30;

/// The name that every step has.
pub const STEADY: &str = "steady.example.com";
/// A wildcard of the list, in the worlds that have one.
pub const PATTERN: &str = "*.blob.example.net";

/// The vendor and DNS.
pub struct World {
    pub standin: Standin,
    pub dns: DnsServer,
    step: u8,
    /// Whether the list has [`PATTERN`].
    has_wildcard: bool,
    /// When the first list was published.
    published: Timestamp,
}

impl World {
    /// The first step's list and names.
    pub async fn start() -> Self {
        let published = Timestamp::now() - SignedDuration::from_hours(24);
        let config = StandinConfig { global: document(0, published, false), ..StandinConfig::unlimited() };
        let standin = Standin::start(config).await.expect("the stand-in");
        let dns = DnsServer::start().await.expect("a DNS server");
        let world = Self { standin, dns, step: 0, has_wildcard: false, published };
        world.answer(0);
        world
    }

    /// From here on the list has a wildcard, and names under it have the addresses of [`unseen_addresses`].
    pub fn add_wildcard(&mut self) {
        self.has_wildcard = true;
        self.published += SignedDuration::from_secs(1);
        self.publish();
        self.dns.default_behaviour(|name, _| {
            let number = name.strip_suffix(".blob.example.net").and_then(|account| account.strip_prefix("account"));
            match number.and_then(|number| number.parse().ok()) {
                Some(number) => Behaviour::addresses(&unseen_addresses(number).map(IpAddr::V4), 1),
                None => Behaviour::nxdomain(),
            }
        });
    }

    /// What the newest step opens.
    pub fn openings(&self) -> BTreeSet<Opening> {
        let step = self.step;
        let stretch = networks(step).into_iter().flat_map(|network| {
            let network: Ipv4Net = network.parse().expect("a network");
            (u32::from(network.network())..=u32::from(network.broadcast())).map(Ipv4Addr::from)
        });
        let addresses = NETWORK.0.into_iter().chain(steady(step)).chain([passing(step)]).chain(stretch);
        addresses.map(|address| (address, PORT)).collect()
    }

    /// The next step: the list loses a name and gets another, and the name that stays gets one more address.
    pub fn advance(&mut self, recorder: &Recorder) {
        self.step += 1;
        recorder.publish(self.openings());
        self.answer(self.step);
        self.publish();
    }

    fn publish(&self) {
        self.standin.publish(StandinCloud::Global, document(self.step, self.published, self.has_wildcard));
    }

    /// Which step it is.
    pub fn step(&self) -> u8 {
        self.step
    }

    fn answer(&self, step: u8) {
        let steady: Vec<IpAddr> = steady(step).map(IpAddr::V4).collect();
        self.dns.set_addresses(STEADY, &steady, 1);
        self.dns.set_addresses(&name(step), &[IpAddr::V4(passing(step))], 1);
    }
}

/// A name under the wildcard.
pub fn unseen(number: u16) -> String {
    format!("account{number}.blob.example.net")
}

/// The addresses of [`unseen`]: two apart, so that none is merged with its neighbour.
pub fn unseen_addresses(number: u16) -> [Ipv4Addr; 2] {
    let [high, low] = number.to_be_bytes();
    [Ipv4Addr::new(20, 96 + high, low, 31), Ipv4Addr::new(20, 96 + high, low, 33)]
}

/// What the addresses of [`unseen`] open.
pub fn unseen_openings(number: u16) -> [Opening; 2] {
    unseen_addresses(number).map(|address| (address, PORT))
}

fn name(step: u8) -> String {
    format!("step{step}.example.com")
}

fn steady(step: u8) -> impl Iterator<Item = Ipv4Addr> {
    // Two apart, so that none is merged with its neighbour.
    (0..=step).map(|index| Ipv4Addr::new(20, 64, index, 11))
}

/// What the step has of the stretch: all of it, every second address, or half of it and every second of the rest.
fn networks(step: u8) -> Vec<String> {
    let start = u32::from(STRETCH);
    let every_second = |from: u32| {
        (from..STRETCH_LENGTH).step_by(2).map(move |offset| format!("{}/32", Ipv4Addr::from(start + offset)))
    };
    match step % 3 {
        0 => vec![format!("{STRETCH}/25")],
        1 => every_second(0).collect(),
        _ => std::iter::once(format!("{STRETCH}/26")).chain(every_second(STRETCH_LENGTH / 2)).collect(),
    }
}

fn passing(step: u8) -> Ipv4Addr {
    Ipv4Addr::new(52, 160, step, 21)
}

/// A list a minute: the steps are published long before anybody can hear of them.
fn document(step: u8, published: Timestamp, has_wildcard: bool) -> Document {
    let wildcard = has_wildcard.then(|| PATTERN.to_owned());
    let mut document = Document::default();
    document.meta.version = (published + SignedDuration::from_mins(i64::from(step))).to_string();
    document.meta.valid_until = Some("2099-01-01T00:00:00Z".to_owned());
    document.services = vec![Service {
        name: "DaaS".to_owned(),
        direction: Some("outbound".to_owned()),
        endpoints: vec![
            Endpoint {
                geo: Some("us".to_owned()),
                fqdns: [STEADY.to_owned(), name(step)].into_iter().chain(wildcard).collect(),
                ..Endpoint::default()
            },
            Endpoint { geo: Some("us".to_owned()), ips: vec![NETWORK.1.to_owned()], ..Endpoint::default() },
            Endpoint { geo: Some("us".to_owned()), ips: networks(step), ..Endpoint::default() },
        ],
        tcp_ports: Some(PORT.to_string()),
        required: Some(true),
        ..Service::default()
    }];
    document
}
