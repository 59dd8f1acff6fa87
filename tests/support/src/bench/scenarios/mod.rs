//! What is measured, a file for each question.

mod answer;
mod crowd;
mod forwarder;
mod growth;
mod large;
mod program;
mod single;

pub use answer::answer;
pub use crowd::crowd;
pub use forwarder::{ForwarderExtent, forwarder};
pub use growth::growth;
pub use large::large;
pub use program::program;
pub use single::single;

use std::time::Duration;

const POLICY: &str = "NetworkPolicy";
const CONFIG_MAP: &str = "ConfigMap";
/// The longest that anything may take.
const LIMIT: Duration = Duration::from_secs(600);

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
