//! Which addresses are held of a name: what an answer adds, and what a bound takes away. Pure.

use super::{Bounds, CachedAddress, CachedName, Judge, MOST_REFUSED};
use crate::names::addresses::RefusedAddress;
use crate::names::answer::{Answer, Family};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl CachedName {
    /// A server answered when its round was over: its addresses are added, and nothing else is learned from it.
    pub fn answered_late(
        &mut self,
        family: Family,
        server: SocketAddr,
        answer: &Answer,
        judge: Judge<'_>,
        bounds: &Bounds,
        now: Instant,
    ) -> Vec<RefusedAddress> {
        let Answer::Addresses { addresses, ttl } = answer else { return Vec::new() };
        let refusals = self.see_all(family, server, addresses, *ttl, judge, bounds, now);
        self.evict(bounds.addresses);
        refusals
    }

    #[expect(clippy::too_many_arguments, reason = "what an answer says, and what it is judged by")]
    pub(super) fn see_all(
        &mut self,
        family: Family,
        server: SocketAddr,
        addresses: &BTreeSet<IpAddr>,
        ttl: Duration,
        judge: Judge<'_>,
        bounds: &Bounds,
        now: Instant,
    ) -> Vec<RefusedAddress> {
        let round = self.family(family).rounds;
        let mut refusals = Vec::new();
        let (mut room, level) = bounds.room;
        for address in addresses {
            if !self.cached.contains_key(address) {
                if room == 0 {
                    self.family(family).round.left_out = Some(bounds.addresses_in_all.full(level));
                    continue;
                }
                room -= 1;
            }
            let refused = judge(*address);
            if let Some(reason) = &refused {
                refusals.push(RefusedAddress { address: *address, server, reason: reason.clone() });
            }
            // A TTL is the word of who gave the answer: one lie with a long one must not be held for longer than
            // questions are apart.
            self.see(*address, server, ttl.min(bounds.max_ttl), refused, round, now);
        }
        refusals
    }

    fn see(
        &mut self,
        address: IpAddr,
        server: SocketAddr,
        ttl: Duration,
        refused: Option<Arc<str>>,
        round: u64,
        now: Instant,
    ) {
        let seen = self.cached.entry(address).or_insert(CachedAddress {
            server,
            first_seen: now,
            last_seen: now,
            ttl,
            refused: None,
            round,
            missing_since: None,
            allowed: false,
        });
        // Of several servers that answer in one round the first stays the one that said it, and the longest TTL counts.
        if seen.round != round {
            seen.server = server;
            seen.ttl = ttl;
        }
        seen.ttl = seen.ttl.max(ttl);
        seen.round = round;
        seen.last_seen = now;
        seen.missing_since = None;
        seen.refused = refused;
    }

    /// Keeps to the bounds: the least recently answered go first, counted in rounds of their family, and of those
    /// answered together the newest, so that a name with too many addresses keeps the same ones from question to
    /// question. Of refused addresses the newest go:
    /// a server that tells another lie with each answer must not have each reported.
    pub(super) fn evict(&mut self, most: usize) {
        for (refused, most) in [(false, most), (true, MOST_REFUSED)] {
            if self.cached.len() <= most {
                continue;
            }
            let mut candidates: Vec<_> = self
                .cached
                .iter()
                .filter(|(_, cached)| cached.refused.is_some() == refused)
                .map(|(address, cached)| {
                    let rounds = self.families[Family::of(*address) as usize].rounds;
                    let ago = if refused { 0 } else { rounds.saturating_sub(cached.round) };
                    (Reverse(ago), Reverse(cached.first_seen), Reverse(*address))
                })
                .collect();
            let excess = candidates.len().saturating_sub(most);
            candidates.sort_unstable();
            for (_, _, Reverse(address)) in candidates.into_iter().take(excess) {
                self.cached.remove(&address);
                if !refused {
                    self.family(Family::of(address)).round.evicted.insert(address);
                }
            }
        }
    }
}
