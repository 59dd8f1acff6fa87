//! The operator's log lines, metrics and traces.

pub mod logging;
pub mod metrics;
mod observers;
mod process;
pub mod reference;
mod resources;
pub mod traces;

pub use logging::{LogFormat, LoggingError};
pub use metrics::{Counted, Metrics};
pub use reference::{MetricDoc, MetricKind};
pub use traces::Traces;
