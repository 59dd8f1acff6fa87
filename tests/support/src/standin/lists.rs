//! What is published at the moment, and until when it is valid.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::{Document, Source};

/// Where a document's `validUntil` comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Validity {
    /// The document itself, even where that is long past.
    #[default]
    AsPublished,
    /// Windows of this length, one after the other, in whole seconds (at least one): `validUntil` is the current
    /// window's end, and each new window is a change (`Last-Modified`) though the list is the same.
    Rolling(Duration),
    /// The same windows, but no new one is a change: `Last-Modified` stays, as at a server that takes only the services
    /// for its content.
    RollingUnannounced(Duration),
}

/// A document with its times.
#[derive(Debug)]
pub(super) struct Published {
    document: Document,
    modified: Timestamp,
    validity: Validity,
    /// Where the rolling windows start.
    origin: Timestamp,
}

impl Published {
    pub(super) fn new(document: Document, validity: Validity, now: Timestamp) -> Self {
        let now = whole_seconds(now);
        let modified = document.meta.version.parse().map_or(now, whole_seconds).min(now);
        Self { document, modified, validity, origin: now }
    }

    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    /// What a client gets now, unfiltered, and its `Last-Modified`.
    pub(super) fn current(&self, now: Timestamp) -> (Document, Timestamp) {
        let mut document = self.document.clone();
        let (length, announced) = match self.validity {
            Validity::AsPublished => return (document, self.modified),
            Validity::Rolling(length) => (length, true),
            Validity::RollingUnannounced(length) => (length, false),
        };
        let length = i64::try_from(length.as_secs()).unwrap_or(i64::MAX).max(1);
        let passed = now.as_second().saturating_sub(self.origin.as_second()).div_euclid(length);
        let start = seconds_after(self.origin, passed.saturating_mul(length));
        document.meta.valid_until = Some(seconds_after(start, length).to_string());
        (document, if announced { self.modified.max(start) } else { self.modified })
    }

    /// Replaces the document. One that kept its predecessor's version gets a newer one; `Last-Modified` always moves.
    pub(super) fn publish(&mut self, mut document: Document, now: Timestamp) {
        // Last-Modified counts in seconds: two changes within one must still differ.
        let modified = whole_seconds(now).max(seconds_after(self.current(now).1, 1));
        if document.meta.version == self.document.meta.version {
            let last = document.meta.version.parse().map_or(modified, |last| seconds_after(whole_seconds(last), 1));
            document.meta.version = modified.max(last).to_string();
        }
        self.document = document;
        self.modified = modified;
    }

    /// Changes where `validUntil` comes from; rolling windows start now.
    pub(super) fn set_validity(&mut self, validity: Validity, now: Timestamp) {
        let modified = whole_seconds(now).max(seconds_after(self.current(now).1, 1));
        self.validity = validity;
        self.modified = modified;
        self.origin = whole_seconds(now);
    }
}

/// One of the older static lists with its time.
#[derive(Debug)]
pub(super) struct StaticList {
    pub(super) document: Value,
    pub(super) modified: Timestamp,
}

impl StaticList {
    pub(super) fn publish(&mut self, document: Value, now: Timestamp) {
        self.document = document;
        self.modified = whole_seconds(now).max(seconds_after(self.modified, 1));
    }
}

/// The path of a static list.
pub(super) fn static_path(source: Source) -> Option<&'static str> {
    match source {
        Source::StaticCommercial => Some("/fqdnallowlist-commercial/allowlist.json"),
        Source::StaticJapan => Some("/fqdnallowlist-japan/allowlist.json"),
        Source::Global | Source::Japan => None,
    }
}

pub(super) fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

fn seconds_after(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use crate::standin::StandinCloud;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).expect("a time")
    }

    #[test]
    fn windows_roll_and_each_is_a_change() {
        let published =
            Published::new(fixture::document(StandinCloud::Global), Validity::Rolling(Duration::from_secs(10)), at(0));
        let (first, modified) = published.current(at(9));
        assert_eq!((first.meta.valid_until, modified), (Some(at(10).to_string()), at(0)));
        let (second, modified) = published.current(at(10));
        assert_eq!((second.meta.valid_until, modified), (Some(at(20).to_string()), at(10)));
    }

    #[test]
    fn publishing_within_a_second_still_changes_the_version() {
        let mut published = Published::new(fixture::document(StandinCloud::Global), Validity::AsPublished, at(0));
        let (before, earlier) = published.current(at(5));
        assert_eq!(before, fixture::document(StandinCloud::Global));
        published.publish(before.clone(), at(5));
        let (first, between) = published.current(at(5));
        published.publish(first.clone(), at(5));
        let (second, later) = published.current(at(5));
        assert!(earlier < between && between < later);
        assert!(before.meta.version < first.meta.version && first.meta.version < second.meta.version);
    }

    #[test]
    fn a_version_the_document_brings_is_kept() {
        let mut published = Published::new(fixture::document(StandinCloud::Global), Validity::AsPublished, at(0));
        let mut document = published.document().clone();
        document.meta.version = "2031-01-02T03:04:05Z".to_owned();
        published.publish(document.clone(), at(5));
        assert_eq!(published.current(at(5)).0, document);
    }
}
