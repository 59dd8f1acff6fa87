//! Bounds the open connections, in all and of one peer. Pure.
//!
//! A new connection is never refused, and never waits for another peer. A peer at its bound ends its own oldest connection; if
//! all together are too many, the oldest one of the busiest peer ends. So a peer with many silent connections ends its own, and
//! those of others go on.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use tokio_util::sync::CancellationToken;

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// In all. Each costs a head of 16 KiB at most, and the part of an answer that waits to be sent.
    pub total: usize,
    /// From one address. A scraper and the API server's proxy have one or two at a time.
    pub each_peer: usize,
}

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    bounds: Bounds,
    next: u64,
    /// The connections of each peer, the oldest first; never empty.
    of_peer: HashMap<IpAddr, VecDeque<(u64, CancellationToken)>>,
    count: usize,
}

/// An admitted connection.
#[derive(Debug)]
pub(super) struct Admitted {
    /// Identifies it when it has ended.
    pub ticket: Ticket,
    /// Cancelled when it has to end for another.
    pub ended: CancellationToken,
}

/// Identifies a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    peer: IpAddr,
    number: u64,
}

impl Connections {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, next: 0, of_peer: HashMap::new(), count: 0 }
    }

    /// Admits a connection, and ends another one if the bounds require that.
    pub fn admit(&mut self, peer: IpAddr) -> Admitted {
        // An IPv4 peer of a socket for both families is the same peer.
        let peer = peer.to_canonical();
        if self.of_peer.get(&peer).is_some_and(|own| own.len() >= self.bounds.each_peer) {
            self.end_oldest(peer);
        } else if self.count >= self.bounds.total {
            let busiest = self.of_peer.iter().max_by_key(|(address, own)| (own.len(), **address));
            if let Some(busiest) = busiest.map(|(address, _)| *address) {
                self.end_oldest(busiest);
            }
        }
        let (number, ended) = (self.next, CancellationToken::new());
        self.next += 1;
        self.count += 1;
        self.of_peer.entry(peer).or_default().push_back((number, ended.clone()));
        Admitted { ticket: Ticket { peer, number }, ended }
    }

    /// A connection has ended.
    pub fn leave(&mut self, ticket: Ticket) {
        let Some(own) = self.of_peer.get_mut(&ticket.peer) else { return };
        let before = own.len();
        own.retain(|(number, _)| *number != ticket.number);
        self.count -= before - own.len();
        if own.is_empty() {
            self.of_peer.remove(&ticket.peer);
        }
    }

    fn end_oldest(&mut self, peer: IpAddr) {
        let Some(own) = self.of_peer.get_mut(&peer) else { return };
        if let Some((_, ended)) = own.pop_front() {
            ended.cancel();
            self.count -= 1;
        }
        if own.is_empty() {
            self.of_peer.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    fn ended(admitted: &[Admitted]) -> Vec<usize> {
        let ended = admitted.iter().enumerate().filter(|(_, one)| one.ended.is_cancelled());
        ended.map(|(place, _)| place).collect()
    }

    #[test]
    fn a_peer_with_too_many_connections_ends_its_own_oldest() {
        let mut connections = Connections::new(Bounds { total: 100, each_peer: 2 });
        let other = connections.admit(peer(1));
        let many: Vec<Admitted> = (0..5).map(|_| connections.admit(peer(2))).collect();
        assert_eq!(ended(&many), [0, 1, 2]);
        assert!(!other.ended.is_cancelled());
        assert_eq!(connections.count, 3);
    }

    #[test]
    fn beyond_the_total_the_busiest_peer_loses_its_oldest() {
        let mut connections = Connections::new(Bounds { total: 4, each_peer: 3 });
        let single = connections.admit(peer(1));
        let busy: Vec<Admitted> = (0..3).map(|_| connections.admit(peer(2))).collect();
        let newcomer = connections.admit(peer(3));
        assert_eq!(ended(&busy), [0]);
        assert!(!single.ended.is_cancelled() && !newcomer.ended.is_cancelled());
        assert_eq!(connections.count, 4);
    }

    #[test]
    fn an_ended_connection_is_not_counted() {
        let mut connections = Connections::new(Bounds { total: 2, each_peer: 1 });
        let first = connections.admit(peer(1));
        connections.leave(first.ticket);
        // Twice, like a connection that had to end and then ended.
        connections.leave(first.ticket);
        assert_eq!((connections.count, connections.of_peer.len()), (0, 0));
        let second = connections.admit(peer(1));
        assert!(!first.ended.is_cancelled() && !second.ended.is_cancelled());
    }

    #[test]
    fn an_address_is_one_peer_in_both_of_its_forms() {
        let mut connections = Connections::new(Bounds { total: 10, each_peer: 1 });
        let first = connections.admit(peer(1));
        let mapped = "::ffff:10.0.0.1".parse().expect("an address");
        let second = connections.admit(mapped);
        assert!(first.ended.is_cancelled() && !second.ended.is_cancelled());
    }
}
