//! The vendor's list: fetched politely, read in every form, never lost.
//!
//! ```text
//! watch ─▶ table ─▶ limiter ─▶ client ─▶ document ─▶ entry (older, shrink, growth, schedule) ─▶ view
//!            ▲                                          │
//!            └───────────── store ◀─────────────────────┘
//! ```
//!
//! [`document`], [`schedule`], [`limiter`], [`shrink`], [`growth`], [`older`] and the entries are pure; [`client`] sends one request; the
//! table and what drives it keep one entry per list, however many resources need it.

mod allowlist;
pub mod client;
mod directory;
pub mod document;
mod entry;
pub mod growth;
pub mod limiter;
mod observer;
pub mod older;
pub mod request;
mod restore;
mod run;
pub mod schedule;
pub mod settings;
pub mod shrink;
pub mod store;
mod table;
mod validators;
mod view;

pub use allowlist::{Allowlist, Entry, EntryGeo, ListProblem};
pub use client::{ClientSettings, Fetch, HttpClient};
pub use observer::{CompletedFetch, FeedObserver, NoObserver};
pub use request::{Cloud, FeedKey, FeedRequest, Format};
pub use settings::FeedSettings;
pub use store::{ListStore, MemoryStore};
pub use table::Feeds;
pub use validators::Validators;
pub use view::{FeedSnapshot, FeedView};
