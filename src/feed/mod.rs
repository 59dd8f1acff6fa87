//! The vendor's lists, shared by every resource that needs them.
//!
//! ```text
//! watch ─▶ table ─▶ limiter ─▶ client ─▶ document ─▶ entry (older, shrink, growth, schedule) ─▶ view
//!            ▲                                          │
//!            └───────────── store ◀─────────────────────┘
//! ```
//!
//! The library [`connectivity_allowlist`] knows lists and when to request them. This room has the table with one entry per list,
//! however many resources need it, and the loop that drives it. The entries are pure.

mod directory;
mod entry;
mod observer;
pub mod request;
mod restore;
mod room;
mod run;
pub mod settings;
pub mod store;
mod subscriptions;
mod table;
mod view;

pub use observer::{CompletedFetch, FeedObserver};
pub use request::{FeedKey, FeedRequest, Format};
pub use settings::FeedSettings;
pub use store::{ListStore, MemoryStore};
pub use table::Feeds;
pub use view::{FeedSnapshot, FeedView};
