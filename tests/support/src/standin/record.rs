//! What was asked, as tests read it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use jiff::Timestamp;

use super::Source;

/// One request and how it was answered.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When it arrived.
    pub at: Timestamp,
    /// When it arrived, on the monotonic clock.
    pub instant: Instant,
    /// The method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query's parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The headers.
    pub headers: HeaderMap,
    /// The list asked for; none for another path.
    pub source: Option<Source>,
    /// The status answered, none where there was no answer.
    pub status: Option<u16>,
    /// Whether a fault struck it.
    pub fault: bool,
    /// The address it came from.
    pub client: IpAddr,
    /// The `customerId` asked for.
    pub customer: Option<String>,
    /// The `Citrix-TransactionId` it carried.
    pub transaction_id: Option<String>,
}

impl Recorded {
    /// A parameter of the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A header's value, where it is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// The most requests in any stretch of this length: what a client with a limiter must keep under the limit.
#[must_use]
pub fn busiest(requests: &[Recorded], window: Duration) -> usize {
    let mut arrivals: Vec<Instant> = requests.iter().map(|request| request.instant).collect();
    arrivals.sort_unstable();
    let within =
        |first: Instant| arrivals.iter().filter(|at| **at >= first && at.duration_since(first) < window).count();
    arrivals.iter().map(|first| within(*first)).max().unwrap_or(0)
}
