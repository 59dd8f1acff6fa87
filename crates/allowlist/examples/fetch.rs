//! Prints what a customer's firewall has to let through: `cargo run --example fetch -- CUSTOMER_ID`.

use connectivity_allowlist::{Allowlist, ClientSettings, Cloud, Fetch, FetchRequest, Fetched, HttpClient};
use connectivity_allowlist::{Query, Reading, limiter::RateLimiter, parse};
use std::{error::Error, time::Duration, time::Instant};

/// The list of one customer, from the API at `base`.
pub async fn fetch(base: &str, customer: &str) -> Result<Allowlist, Box<dyn Error>> {
    let client = HttpClient::new(&ClientSettings::default())?;
    // Five requests a minute and address. Keep it beside the client.
    let mut limiter = RateLimiter::new(5, Duration::from_secs(61));
    assert!(limiter.is_open(Instant::now()), "wait until `opens_at`");
    let ticket = limiter.send();
    let request = FetchRequest::new(Query::Json { customer }.url(base), uuid::Uuid::new_v4().to_string());
    let answer = client.fetch(request).await;
    limiter.complete(ticket, Instant::now());
    let Fetched::Document { body, .. } = answer? else { return Err("no list".into()) };
    Ok(parse(&body, &Reading::for_customer(customer))?.received_at(jiff::Timestamp::now()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let list = fetch(Cloud::Global.base_url(), &std::env::args().nth(1).ok_or("whose list?")?).await?;
    for entry in &list.entries {
        println!("{} {}: {:?} {:?}", entry.service, entry.direction, entry.names, entry.networks);
    }
    Ok(())
}
