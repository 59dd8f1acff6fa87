//! What the operator's flags say about the feed.

use super::document::StaticListDefaults;
use super::request::{Cloud, FeedKey, Format, direction_text, geo_text};
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

/// The customer that a shared template is asked for: a valid id that no name of the list holds by chance.
pub const TEMPLATE_CUSTOMER: &str = "xq7zk2vw9jt4";

/// What the operator's flags say about the feed. The defaults are the flags' own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedSettings {
    /// The base of the global cloud's API (`--global-url`), without `/v2/allowlist`.
    pub global_url: String,
    /// The base of Japan's API (`--japan-url`), without `/v2/allowlist`.
    pub japan_url: String,
    /// What the API is asked for (`--format`).
    pub format: Format,
    /// Static lists that are fetched instead of the API's, by cloud (`--static-list-url`). One document serves every
    /// customer.
    pub static_list_urls: BTreeMap<Cloud, String>,
    /// The ports and lifetime of static lists.
    pub static_list: StaticListDefaults,
    /// Whether one document per cloud, asked for [`TEMPLATE_CUSTOMER`], serves every customer (`--shared-template`).
    /// Assumes that placeholders are the only thing the customer's id changes; off unless asked for.
    pub shared_template: bool,
    /// A directory of documents that stands in for the vendor (`--feed-dir`): `<cloud>-<customer>.json`, else
    /// `<cloud>.json`, the cloud in lower case.
    pub feed_dir: Option<PathBuf>,
    /// How often that directory is looked at: every 10 seconds.
    pub feed_dir_interval: Duration,
    /// How many requests one host gets in any minute (`--requests-per-minute`): 5, as the vendor's API allows from
    /// one address.
    pub requests_per_minute: NonZeroU32,
    /// What a minute is taken to be longer, so that requests that travel at different speeds still keep the vendor's
    /// rate (`--request-margin`): a second.
    pub request_margin: Duration,
    /// The shortest time between two fetches, whatever resources ask for (`--min-refresh`): a minute.
    pub min_refresh: Duration,
    /// How long a list that no resource needs any more is remembered: 10 minutes, longer than a restart takes until
    /// every resource has been seen again.
    pub forget_after: Duration,
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self {
            global_url: "https://api.cloud.com/connectivity".to_owned(),
            japan_url: "https://api.citrixcloud.jp/connectivity".to_owned(),
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
        }
    }
}

impl FeedSettings {
    /// The address that an entry is fetched from.
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
        // The customer's id is letters and digits: nothing here needs escaping.
        let (format, geo, direction) = match key.scope {
            Some((geo, direction)) => ("zscaler", geo_text(geo), direction_text(direction)),
            None => ("json", "all", "all"),
        };
        let base = base.trim_end_matches('/');
        format!("{base}/v2/allowlist?customerId={customer}&format={format}&geo={geo}&direction={direction}")
    }
}
