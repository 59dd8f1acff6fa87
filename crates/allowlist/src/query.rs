//! Requests to the API. Pure.

use crate::list::EntryGeo;
use crate::net::Direction;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the vendor's clouds, each with an API of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Cloud {
    /// `api.cloud.com`: United States, European Union, Asia Pacific South.
    Global,
    /// `api.citrixcloud.jp`
    Japan,
}

impl Cloud {
    /// `Global` or `Japan`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Global => "Global",
            Self::Japan => "Japan",
        }
    }

    /// The base of the cloud's API, without `/v2/allowlist`.
    #[must_use]
    pub const fn base_url(self) -> &'static str {
        match self {
            Self::Global => "https://api.cloud.com/connectivity",
            Self::Japan => "https://api.citrixcloud.jp/connectivity",
        }
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A region in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Geo {
    /// United States
    Us,
    /// European Union
    Eu,
    /// Asia Pacific South
    ApS,
    /// Japan
    Jp,
    /// Every region
    All,
}

impl Geo {
    /// The regions that the vendor documents, besides `all`.
    pub const REGIONS: [Self; 4] = [Self::Us, Self::Eu, Self::ApS, Self::Jp];

    /// The region as the API writes it: `us`, `eu`, `ap-s`, `jp` or `all`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Eu => "eu",
            Self::ApS => "ap-s",
            Self::Jp => "jp",
            Self::All => "all",
        }
    }

    /// Whether an entry of region `entry` serves the requested region. An entry for every region always does. One for an unknown region
    /// serves only a request for every region.
    #[must_use]
    pub fn is_served_by(self, entry: &EntryGeo) -> bool {
        match entry {
            EntryGeo::All => true,
            EntryGeo::Region(region) => self == Self::All || &**region == self.as_str(),
        }
    }
}

/// The directions in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Directions {
    /// From the vendor's cloud to the customer.
    Inbound,
    /// From the customer to the vendor's cloud.
    Outbound,
    /// Both
    All,
}

impl Directions {
    /// Each of them.
    #[must_use]
    pub const fn each(self) -> &'static [Direction] {
        match self {
            Self::Outbound => &[Direction::Outbound],
            Self::Inbound => &[Direction::Inbound],
            Self::All => &Direction::ALL,
        }
    }

    /// The directions as the API writes them: `inbound`, `outbound` or `all`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::All => "all",
        }
    }
}

/// One request to the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// `format=json`: every region and direction at once.
    Json {
        /// The customer's id; see [`is_customer_id`].
        customer: &'a str,
    },
    /// `format=zscaler`: one region and direction.
    Zscaler {
        /// The customer's id; see [`is_customer_id`].
        customer: &'a str,
        /// The region.
        geo: Geo,
        /// The directions.
        directions: Directions,
    },
}

impl Query<'_> {
    /// Its address, for the base of an API such as [`Cloud::base_url`].
    #[must_use]
    pub fn url(self, base: &str) -> String {
        // The customer's id is letters and digits: nothing here needs escaping.
        let (customer, format, geo, directions) = match self {
            Self::Json { customer } => (customer, "json", Geo::All, Directions::All),
            Self::Zscaler { customer, geo, directions } => (customer, "zscaler", geo, directions),
        };
        let (base, geo, directions) = (base.trim_end_matches('/'), geo.as_str(), directions.as_str());
        format!("{base}/v2/allowlist?customerId={customer}&format={format}&geo={geo}&direction={directions}")
    }
}

/// Whether a text is a customer's id to the API: 1 to 12 letters and digits. Check it before it becomes part of a [`Query`].
#[must_use]
pub fn is_customer_id(text: &str) -> bool {
    (1..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_those_of_the_apis_overview() {
        let url = "https://api.cloud.com/connectivity/v2/allowlist?customerId=acme&format=json&geo=all&direction=all";
        assert_eq!(Query::Json { customer: "acme" }.url(Cloud::Global.base_url()), url);
        let query = Query::Zscaler { customer: "acme", geo: Geo::ApS, directions: Directions::Inbound };
        let url = "http://localhost/v2/allowlist?customerId=acme&format=zscaler&geo=ap-s&direction=inbound";
        assert_eq!(query.url("http://localhost/"), url);
    }

    #[test]
    fn saved_words_are_those_of_the_api() {
        for geo in Geo::REGIONS.into_iter().chain([Geo::All]) {
            assert_eq!(serde_json::to_value(geo).expect("JSON"), geo.as_str());
        }
        for directions in [Directions::Inbound, Directions::Outbound, Directions::All] {
            assert_eq!(serde_json::to_value(directions).expect("JSON"), directions.as_str());
        }
    }

    #[test]
    fn only_letters_and_digits_are_a_customers_id() {
        assert!(is_customer_id("Acme1") && is_customer_id("abcdefghijkl"));
        assert!(["", "abcdefghijklm", "a/b", "a b", "ä"].iter().all(|text| !is_customer_id(text)));
    }
}
