#![doc = include_str!("../README.md")]

pub mod client;
pub mod document;
pub mod growth;
pub mod gzip;
pub mod limiter;
pub mod list;
pub mod net;
pub mod older;
pub mod query;
pub mod schedule;
pub mod shrink;
pub mod validators;
pub mod visible;

pub use client::{ClientSettings, Fetch, FetchError, FetchRequest, Fetched, HttpClient};
pub use document::{ListForm, ParsedDocument, Reading, parse};
pub use list::{Allowlist, Entry, EntryGeo, ListProblem, ListProblemKind};
pub use query::{Cloud, Directions, Geo, Query};
pub use validators::Validators;
