//! The rate limit: so many requests a minute from one address to one cloud.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::StandinCloud;

/// The window the vendor counts requests in.
const WINDOW: Duration = Duration::from_secs(60);

/// The requests let through lately, by cloud and client address. Refused ones do not count.
#[derive(Debug, Default)]
pub(super) struct Limiter(HashMap<(StandinCloud, IpAddr), VecDeque<Instant>>);

impl Limiter {
    /// Lets a request through, or says how long until the next one would be.
    pub(super) fn admit(
        &mut self,
        cloud: StandinCloud,
        client: IpAddr,
        limit: u32,
        now: Instant,
    ) -> Result<(), Duration> {
        let admitted = self.0.entry((cloud, client)).or_default();
        while admitted.front().is_some_and(|at| now.duration_since(*at) >= WINDOW) {
            admitted.pop_front();
        }
        if admitted.len() < limit as usize {
            admitted.push_back(now);
            return Ok(());
        }
        Err(admitted.front().map_or(WINDOW, |at| WINDOW.saturating_sub(now.duration_since(*at))))
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_a_minute_for_each_address_and_cloud() {
        let mut limiter = Limiter::default();
        let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([127, 0, 0, 2]));
        let start = Instant::now();
        for second in 0..5 {
            assert_eq!(limiter.admit(StandinCloud::Global, here, 5, start + Duration::from_secs(second)), Ok(()));
        }
        let at = start + Duration::from_secs(10);
        assert_eq!(limiter.admit(StandinCloud::Global, here, 5, at), Err(Duration::from_secs(50)));
        assert_eq!(limiter.admit(StandinCloud::Global, there, 5, at), Ok(()));
        assert_eq!(limiter.admit(StandinCloud::Japan, here, 5, at), Ok(()));
        assert_eq!(limiter.admit(StandinCloud::Global, here, 5, start + Duration::from_secs(60)), Ok(()));
        assert!(limiter.admit(StandinCloud::Global, here, 5, start + Duration::from_secs(60)).is_err());
    }
}
