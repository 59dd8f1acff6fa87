//! The operator's flags for the feed.

use super::request::{FeedKey, Format};
use crate::bound::Bound;
use connectivity_allowlist::document::StaticListDefaults;
use connectivity_allowlist::{ClientSettings, Cloud, FetchError, Query};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// The customer of a shared template: a valid id that no name of the list contains by chance.
pub const TEMPLATE_CUSTOMER: &str = "xq7zk2vw9jt4";

/// How many redirects in a row are followed.
pub(crate) const MOST_REDIRECTS: u32 = 3;

/// How the operator and its commands reach the API, with these trusted certificates besides the system's (`--extra-ca-file`).
#[must_use]
pub fn client_settings(extra_ca: Option<Vec<u8>>) -> ClientSettings {
    let user_agent = concat!("citrix-allowlist-operator/", env!("CARGO_PKG_VERSION"));
    ClientSettings { extra_ca, user_agent, ..ClientSettings::default() }
}

/// Why a request failed, with the flag that helps if there is one.
#[must_use]
pub fn in_words(error: &FetchError) -> String {
    match error {
        FetchError::UnknownAuthority { .. } => format!("{error}: trust it with --extra-ca-file if it is yours"),
        _ => error.to_string(),
    }
}

/// The operator's flags for the feed. The defaults are the flags' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedSettings {
    /// The base of the global cloud's API (`--global-url`), without `/v2/allowlist`.
    pub global_url: String,
    /// The base of Japan's API (`--japan-url`), without `/v2/allowlist`.
    pub japan_url: String,
    /// The requested format (`--format`).
    pub format: Format,
    /// Static lists that replace the API's, by cloud (`--static-list-url`). One document serves every customer.
    pub static_list_urls: BTreeMap<Cloud, String>,
    /// The ports and lifetime of static lists.
    pub static_list: StaticListDefaults,
    /// Whether one document per cloud, requested for [`TEMPLATE_CUSTOMER`], serves every customer (`--shared-template`). It
    /// assumes that the customer's id changes only placeholders; off by default.
    pub shared_template: bool,
    /// A directory of documents that replaces the vendor (`--feed-dir`): `<cloud>-<customer>.json`, else `<cloud>.json`, the
    /// cloud in lower case.
    pub feed_dir: Option<PathBuf>,
    /// How often that directory is read: every 10 seconds.
    pub feed_dir_interval: Duration,
    /// How many requests one host gets in any minute (`--requests-per-minute`): 5, as the vendor's API allows from one address.
    pub requests_per_minute: NonZeroU32,
    /// How much longer a minute is taken to be, so that requests of different speeds keep the vendor's rate
    /// (`--request-margin`): a second.
    pub request_margin: Duration,
    /// The shortest time between two fetches, whatever resources want (`--min-refresh`): a minute.
    pub min_refresh: Duration,
    /// How long an unused list is kept: 10 minutes, longer than a restart takes to see every resource again.
    pub forget_after: Duration,
    /// How many lists a namespace (`--max-lists-per-namespace`) and all together (`--max-lists`) may use.
    pub lists: Bound,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            global_url: Cloud::Global.base_url().to_owned(),
            japan_url: Cloud::Japan.base_url().to_owned(),
            format: Format::default(),
            static_list_urls: BTreeMap::new(),
            static_list: StaticListDefaults::default(),
            shared_template: false,
            feed_dir: None,
            feed_dir_interval: Duration::from_secs(10),
            requests_per_minute: NonZeroU32::MIN.saturating_add(4),
            request_margin: Duration::from_secs(1),
            min_refresh: Duration::from_secs(60),
            forget_after: Duration::from_secs(600),
            lists: Bound { resource: 1, namespace: 100, process: 500 },
        }
    }
}

impl FeedSettings {
    /// The address of an entry's requests.
    #[must_use]
    pub fn url(&self, key: &FeedKey) -> String {
        if let Some(url) = self.static_list_urls.get(&key.cloud) {
            return url.clone();
        }
        let base = match key.cloud {
            Cloud::Global => &self.global_url,
            Cloud::Japan => &self.japan_url,
        };
        let customer = key.customer.as_deref().unwrap_or(TEMPLATE_CUSTOMER);
        let query = match key.scope {
            Some((geo, directions)) => Query::Zscaler { customer, geo, directions },
            None => Query::Json { customer },
        };
        query.url(base)
    }
}
