//! Free ports on the loopback addresses, chosen so that test binaries that run side by side do not meet.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::{LazyLock, Mutex, PoisonError};

use anyhow::{Context as _, bail};

/// Where ports are taken from: below Linux' ephemeral ports (32768 and up), for while a server is stopped on purpose an
/// outgoing connection of anybody may take an ephemeral port of its own, and above what daemons commonly sit on.
const RANGE: Range<u16> = 12_000..32_000;
/// How many of them a process takes at a time.
const SLICE: u16 = 100;

/// Ports of this process alone that nobody was given yet.
#[derive(Debug, Default)]
struct Ports {
    left: Vec<u16>,
    /// Locked for as long as the process lives: a port is free until its server listens, so two processes could choose the same one.
    locks: Vec<File>,
}

static PORTS: LazyLock<Mutex<Ports>> = LazyLock::new(Mutex::default);

/// A port that is free for TCP and UDP, on 127.0.0.1 and, where the machine has IPv6, on [::1]; never the same one twice,
/// nor one of another process that asks here.
///
/// # Errors
///
/// When no free port is left.
pub fn free_port() -> anyhow::Result<u16> {
    let mut ports = PORTS.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while let Some(port) = ports.left.pop() {
            if is_free(port) {
                return Ok(port);
            }
        }
        let (slice, lock) = claim()?;
        ports.left = slice.collect();
        ports.locks.push(lock);
    }
}

/// A slice of the range that no other process has, and what holds it.
fn claim() -> anyhow::Result<(Range<u16>, File)> {
    let mut starts: Vec<u16> = RANGE.step_by(SLICE.into()).collect();
    fastrand::shuffle(&mut starts);
    for start in starts {
        let path = std::env::temp_dir().join(format!("citrix-allowlist-ports-{start}.lock"));
        // Another user's file cannot be opened: another slice will do.
        let Ok(lock) = File::options().create(true).append(true).open(&path) else { continue };
        match lock.try_lock() {
            Ok(()) => return Ok((start..start + SLICE, lock)),
            Err(std::fs::TryLockError::WouldBlock) => {}
            Err(std::fs::TryLockError::Error(error)) => return Err(error).with_context(|| path.display().to_string()),
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
    use std::collections::BTreeSet;

    #[test]
    fn a_taken_port_is_not_free_and_none_is_given_twice() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
        assert!(!is_free(taken.local_addr().expect("its address").port()));

        let ports: BTreeSet<u16> = (0..150).map(|_| free_port().expect("a port")).collect();
        assert_eq!(ports.len(), 150);
        assert!(ports.iter().all(|port| RANGE.contains(port)));
    }

    #[test]
    fn a_slice_is_claimed_once() {
        let claimed: Vec<(Range<u16>, File)> = (0..3).map(|_| claim().expect("a slice")).collect();
        let starts: BTreeSet<u16> = claimed.iter().map(|(slice, _)| slice.start).collect();
        assert_eq!(starts.len(), 3, "a lock is of its file, even in the same process");
    }
}
