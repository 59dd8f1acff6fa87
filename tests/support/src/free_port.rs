//! Free ports on the loopback addresses, chosen so that test binaries that run side by side do not meet.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::bail;

/// Where ports are taken from: below Linux' ephemeral ports (32768 and up), for while a server is stopped on purpose an
/// outgoing connection of anybody may take an ephemeral port of its own, and above what daemons commonly sit on.
const RANGE: std::ops::Range<u16> = 12_000..32_000;

/// Ports that this process was given already: a server may not listen yet when the next port is asked for.
static GIVEN: LazyLock<Mutex<BTreeSet<u16>>> = LazyLock::new(|| Mutex::new(BTreeSet::new()));

/// A port that is free for TCP and UDP, on 127.0.0.1 and, where the machine has IPv6, on [::1]; never the same one twice
/// in a process.
///
/// # Errors
///
/// When no free port is found in a thousand tries.
pub fn free_port() -> anyhow::Result<u16> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        let port = fastrand::u16(RANGE);
        if !given.contains(&port) && is_free(port) {
            given.insert(port);
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", RANGE.start, RANGE.end)
}

fn is_free(port: u16) -> bool {
    let has_ipv6 = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        && (!has_ipv6
            || (TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok()
                && UdpSocket::bind((Ipv6Addr::LOCALHOST, port)).is_ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_not_free_and_none_is_given_twice() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        assert!(!is_free(taken.local_addr().expect("its address").port()));

        let ports: BTreeSet<u16> = (0..50).map(|_| free_port().expect("a port")).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }
}
