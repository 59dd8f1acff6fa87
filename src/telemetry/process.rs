//! The metrics of the process that every Prometheus client library has: processor, memory, open files, start.

use super::metrics::{Seconds, register};
use super::reference;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::{AtomicU64, Ordering};

/// The gauges.
#[derive(Debug)]
pub(super) struct ProcessMetrics {
    cpu: Counter<f64, AtomicU64>,
    resident: Gauge,
    virtual_memory: Gauge,
    open_files: Gauge,
    most_files: Gauge,
    threads: Gauge,
    start: Seconds,
}

impl ProcessMetrics {
    pub fn new(registry: &mut Registry) -> Self {
        Self {
            cpu: register(registry, &reference::PROCESS_CPU, Counter::default()),
            resident: register(registry, &reference::PROCESS_RESIDENT, Gauge::default()),
            virtual_memory: register(registry, &reference::PROCESS_VIRTUAL, Gauge::default()),
            open_files: register(registry, &reference::PROCESS_OPEN_FILES, Gauge::default()),
            most_files: register(registry, &reference::PROCESS_MOST_FILES, Gauge::default()),
            threads: register(registry, &reference::PROCESS_THREADS, Gauge::default()),
            start: register(registry, &reference::PROCESS_START, Seconds::default()),
        }
    }

    /// Reads them. What the system does not tell stays as it was.
    pub fn read(&self) {
        #[cfg(target_os = "linux")]
        self.read_procfs();
    }

    #[cfg(target_os = "linux")]
    fn read_procfs(&self) {
        use procfs::{CurrentSI as _, WithCurrentSystemInfo as _};
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let Ok(process) = procfs::process::Process::myself() else { return };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second() as f64;
            let seconds = (stat.utime + stat.stime) as f64 / ticks;
            self.cpu.inner().store(seconds.to_bits(), Ordering::Relaxed);
            self.resident.set(number(stat.rss_bytes().get()));
            self.virtual_memory.set(number(stat.vsize));
            self.threads.set(stat.num_threads);
            if let Ok(kernel) = procfs::KernelStats::current() {
                self.start.set(kernel.btime as f64 + stat.starttime as f64 / ticks);
            }
        }
        if let Ok(files) = process.fd_count() {
            self.open_files.set(i64::try_from(files).unwrap_or(i64::MAX));
        }
        if let Ok(limits) = process.limits() {
            let most = match limits.max_open_files.soft_limit {
                procfs::process::LimitValue::Value(most) => number(most),
                procfs::process::LimitValue::Unlimited => i64::MAX,
            };
            self.most_files.set(most);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_tells_of_itself() {
        let mut registry = Registry::default();
        let metrics = ProcessMetrics::new(&mut registry);
        metrics.read();
        assert!(metrics.resident.get() > 1 << 20 && metrics.virtual_memory.get() >= metrics.resident.get());
        assert!(metrics.open_files.get() >= 3 && metrics.most_files.get() >= metrics.open_files.get());
        assert!(metrics.threads.get() >= 1 && metrics.cpu.get() >= 0.0);
        let now = jiff::Timestamp::now().as_second() as f64;
        assert!((now - metrics.start.get()).abs() < 24.0 * 3600.0, "{} and {now}", metrics.start.get());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("text");
        assert!(text.contains("\nprocess_cpu_seconds_total ") && text.contains("\nprocess_max_fds "), "{text}");
    }
}
