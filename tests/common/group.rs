//! A real memory cgroup, of version 1 or 2, whichever the machine has. Needs root.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use test_support::left_out;
use test_support::operator::OperatorConfig;

/// The chart's default, `resources.limits.memory: 256Mi`.
pub const LIMIT: u64 = 256 << 20;

/// Starts a program in a group.
const LAUNCHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/in-group.sh");

/// How many groups this process has made, for names of their own.
static MADE: AtomicUsize = AtomicUsize::new(0);

/// A group of a test's own, gone with it.
pub struct Group {
    folder: PathBuf,
}

impl Group {
    /// A group limited to [`LIMIT`]; `None` where the machine lets a test make none.
    pub fn make() -> Option<Self> {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("citrix-allowlist-{}-{number}", std::process::id());
        for (mount, limit) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let folder = Path::new(mount).join(&name);
            if fs::create_dir(&folder).is_err() {
                continue;
            }
            let group = Self { folder };
            if fs::write(group.folder.join(limit), LIMIT.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }

    /// As [`Self::make`]; where there is none, the test is reported as left out.
    pub fn for_test(test: &str) -> Option<Self> {
        let group = Self::make();
        if group.is_none() {
            left_out(test, "no memory cgroup can be made: root and a memory controller are needed");
        }
        group
    }

    /// The operator started so that all it ever uses is counted in the group.
    pub fn around(&self, config: OperatorConfig) -> OperatorConfig {
        let binary = config.binary.display().to_string();
        let config = config.variable("TEST_BINARY", binary).variable("TEST_GROUP", self.folder.display());
        OperatorConfig { binary: LAUNCHER.into(), ..config }
    }

    /// A process that runs already is counted in the group for what it uses from now on.
    fn take_in(&self, process: u32) {
        fs::write(self.folder.join("cgroup.procs"), process.to_string()).expect("a process of the group");
    }

    /// The most that was used at a time, in bytes, where the kernel counts it.
    pub fn peak(&self) -> Option<u64> {
        let files = ["memory.max_usage_in_bytes", "memory.peak"].into_iter();
        let texts = files.filter_map(|file| fs::read_to_string(self.folder.join(file)).ok());
        texts.filter_map(|text| text.trim().parse().ok()).next()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The processes of the group have been killed; the kernel may need a moment to see them go.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Something in the group that holds so much memory until it is dropped.
pub struct Filler(Child);

impl Filler {
    /// So many bytes, taken as soon as the machine gives them.
    pub fn new(group: &Group, bytes: u64) -> Self {
        // `tail` keeps a line for as long as it does not end. Nothing begins before the shell is in the group.
        let script = format!("read go; (head -c {bytes} /dev/zero; sleep 300) | tail -n 1 >/dev/null");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).stdin(Stdio::piped()).process_group(0);
        let mut child = shell.spawn().expect("a shell");
        group.take_in(child.id());
        drop(child.stdin.take());
        Self(child)
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}
