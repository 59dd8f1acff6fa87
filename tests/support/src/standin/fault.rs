//! What goes wrong on purpose: faults that tests switch on, for some requests or until cleared.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::Source;

/// How long to wait, as a `Retry-After` header says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// A number of seconds.
    Seconds(u64),
    /// An HTTP date this long from the answer.
    Date(Duration),
}

impl RetryAfter {
    /// The header's value for an answer given at `now`.
    #[must_use]
    pub fn value(self, now: Timestamp) -> String {
        match self {
            Self::Seconds(seconds) => seconds.to_string(),
            Self::Date(after) => http_date(now.saturating_add(after).unwrap_or(now)),
        }
    }
}

/// A time as HTTP headers write it, to the second (RFC 9110, section 5.6.7).
#[must_use]
pub fn http_date(at: Timestamp) -> String {
    rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at).unwrap_or_else(|_| at.to_string())
}

/// One way in which an answer goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This status with a JSON error, and a `Retry-After` where given.
    Status {
        /// Such as 500, 502, 503 or 429.
        status: u16,
        /// The header, if any.
        retry_after: Option<RetryAfter>,
    },
    /// No answer ever: the connection stays open.
    Silence,
    /// The right answer after a while.
    Delay(Duration),
    /// The right answer, one byte per interval.
    SlowBody {
        /// Between two bytes.
        interval: Duration,
    },
    /// Half of the right body under the whole one's `Content-Length`; then the connection is cut.
    TruncatedBody,
    /// An HTML page with status 200, as captive portals and block pages answer.
    HtmlPage,
    /// The first half of the right body as if it were all: JSON that ends in the middle.
    MalformedJson,
    /// The right document without any entry in `services`.
    EmptyServices,
    /// The right document behind this many spaces, sent in chunks without a `Content-Length`.
    OversizedBody {
        /// Spaces in front of the document.
        padding: usize,
    },
    /// The right document behind this many spaces, compressed: a few kilobytes on the wire.
    GzipBomb {
        /// Spaces in front of the document.
        padding: usize,
    },
    /// A 302 to a path on this host that gives the right answer.
    RedirectSameHost,
    /// A 302 to another host (`localhost`, where this one is named by its address) that gives the right answer.
    RedirectOtherHost,
    /// A 302 to this place.
    Redirect(String),
    /// `Content-Encoding: gzip` over a body that is not compressed.
    WrongContentEncoding,
    /// `Content-Encoding: br`, which nobody asked for.
    UnaskedEncoding,
    /// The connection is reset before any byte of an answer.
    Reset,
    /// Exactly this answer.
    Answer {
        /// The status code.
        status: u16,
        /// The `Content-Type`.
        content_type: String,
        /// The body.
        body: String,
    },
}

impl Fault {
    /// A bare status without `Retry-After`.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None }
    }

    /// This text with status 200 and JSON's content type.
    #[must_use]
    pub fn json(body: impl Into<String>) -> Self {
        Self::Answer { status: 200, content_type: "application/json".to_owned(), body: body.into() }
    }
}

/// A fault and which requests it strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injection {
    /// What goes wrong.
    pub fault: Fault,
    /// Only requests to this source; every one without.
    pub source: Option<Source>,
    /// Only requests of this customer; every one without.
    pub customer: Option<String>,
    /// How many requests yet; until cleared without.
    pub times: Option<usize>,
}

impl Injection {
    /// A fault that strikes every request until cleared.
    #[must_use]
    pub fn always(fault: Fault) -> Self {
        Self { fault, source: None, customer: None, times: None }
    }

    /// The same for requests to `source` only.
    #[must_use]
    pub fn on(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }

    /// The same for requests of one customer only.
    #[must_use]
    pub fn of(self, customer: impl Into<String>) -> Self {
        Self { customer: Some(customer.into()), ..self }
    }

    /// The same for the next `times` requests only.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times: Some(times), ..self }
    }
}

/// The faults that are switched on, in the order they were.
#[derive(Debug, Default)]
pub(super) struct Faults(Vec<Injection>);

impl Faults {
    pub(super) fn add(&mut self, injection: Injection) {
        self.0.push(injection);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// The first fault that strikes this request; it is counted.
    pub(super) fn take(&mut self, source: Source, customer: Option<&str>) -> Option<Fault> {
        self.0.retain(|injection| injection.times != Some(0));
        let injection = self.0.iter_mut().find(|injection| {
            injection.source.is_none_or(|only| only == source)
                && injection.customer.as_deref().is_none_or(|only| Some(only) == customer)
        })?;
        if let Some(times) = &mut injection.times {
            *times -= 1;
        }
        Some(injection.fault.clone())
    }
}
