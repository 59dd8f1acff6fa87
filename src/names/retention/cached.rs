//! Which addresses are cached of a name: an answer adds some, a bound evicts some. Pure.

use super::{Bounds, CachedAddress, CachedName, Judge, MOST_REFUSED};
use crate::names::addresses::RefusedAddress;
use crate::names::answer::{Answer, Family};
use litemap::LiteMap;
use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Instant;

impl CachedName {
    /// A server answered after its round was over: its addresses are added, and nothing else changes.
    pub fn answered_late(
        &mut self,
        family: Family,
        server: SocketAddr,
        answer: &Answer,
        judge: Judge<'_>,
        bounds: &Bounds,
        now: Instant,
    ) -> Vec<RefusedAddress> {
        let mut refusals = Vec::new();
        if let Answer::Addresses { addresses, ttl } = answer {
            let round = self.family(family).rounds;
            let (mut room, level) = bounds.room;
            // Who answers chooses the TTL. One lie with a long TTL must not be cached for longer than queries are apart.
            let ttl = bounds.max_ttl.min(*ttl);
            for &address in addresses {
                if !self.cached.contains_key(&address) {
                    if room == 0 {
                        self.family(family).round.left_out = Some(bounds.addresses_in_all.full(level));
                        continue;
                    }
                    room -= 1;
                }
                let seen = self.cached.entry(address).or_insert_with(|| CachedAddress::new(server, round, now));
                // Of several servers in one round, the first stays the address's server, and the longest TTL counts.
                if seen.round == round {
                    seen.ttl = seen.ttl.max(ttl);
                } else {
                    (seen.server, seen.ttl, seen.round) = (server, ttl, round);
                }
                (seen.last_seen, seen.missing_since) = (now, None);
                seen.refused = judge(address);
                refusals.extend(seen.refused.clone().map(|reason| RefusedAddress { address, server, reason }));
            }
        }
        self.evict(bounds.addresses);
        refusals
    }

    /// What the addresses grew by and do not need is given back: most names never grow again.
    pub(super) fn give_back_room(&mut self) {
        let mut cached = std::mem::take(&mut self.cached).into_tuple_vec();
        cached.shrink_to_fit();
        self.cached = LiteMap::from_sorted_store_unchecked(cached);
    }

    /// Evicts addresses beyond the bounds: the least recently answered first, counted in rounds of their family, and of those
    /// answered together the newest. So a name with too many addresses keeps the same ones from query to query. Of refused
    /// addresses the newest are evicted: a server with another lie in each answer must not have each reported.
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
