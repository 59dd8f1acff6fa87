//! What the operator says about itself: log lines and metrics.

pub mod logging;
pub mod metrics;
mod observers;
pub mod reference;
mod resources;

pub use logging::{LogFormat, LoggingError};
pub use metrics::Metrics;
pub use reference::{MetricDoc, MetricKind};
