//! Reads from the cgroup what the process may use and uses: version 2 and version 1, and whatever groups lie around its own.
//!
//! In a container the group's files stand at the root of the mount, or, where the container shares the machine's view of
//! groups, under the path that `/proc/self/cgroup` names. A group around it may have the narrower limit, as a pod's has beside
//! its containers'. So every group on the way from the path up to the root of the mount is read, and what leaves the least counts.

use super::{MemoryUsage, Pressure};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the memory controller of version 1 is mounted, and version 2.
const VERSION_1: &str = "sys/fs/cgroup/memory";
const VERSION_2: &str = "sys/fs/cgroup";
/// Which groups the process is in.
const GROUPS: &str = "proc/self/cgroup";
/// From this limit on version 1 means none: it writes the largest number that is a multiple of the page size.
const NO_LIMIT: u64 = 1 << 60;

/// How often the figures are read: a burst of answers takes seconds to fill what is left.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The files of one version.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// The field of `memory.stat` that says how much of it is file pages that are taken back before anything is killed.
    reclaimable: &'static str,
}

const FILES_1: Files =
    Files { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", reclaimable: "total_inactive_file" };
const FILES_2: Files = Files { limit: "memory.max", used: "memory.current", reclaimable: "inactive_file" };

/// What the process uses of what it may use; `None` where no group limits it, or none can be read.
#[must_use]
pub fn read() -> Option<MemoryUsage> {
    read_under(Path::new("/"))
}

/// The same under another root than the machine's.
#[must_use]
pub fn read_under(root: &Path) -> Option<MemoryUsage> {
    let groups = std::fs::read_to_string(root.join(GROUPS)).unwrap_or_default();
    let of_version_1 = path_of(&groups, is_memory).map(|path| (root.join(VERSION_1), path, &FILES_1));
    // Both may be mounted: then version 1 holds the memory controller, and version 2 nothing of it.
    let of_version_2 =
        path_of(&groups, |controllers| controllers.is_empty()).map(|path| (root.join(VERSION_2), path, &FILES_2));
    let usages = [of_version_1, of_version_2].into_iter().flatten();
    let usages = usages.flat_map(|(mount, path, files)| {
        folders(&mount, &path).into_iter().filter_map(|folder| usage_of(&folder, files)).collect::<Vec<_>>()
    });
    usages.min_by_key(|usage| usage.left())
}

fn is_memory(controllers: &str) -> bool {
    controllers.split(',').any(|controller| controller == "memory")
}

/// The path of the group whose controllers are those wanted, of lines `ID:CONTROLLERS:PATH`.
fn path_of(groups: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        wanted(controllers).then(|| path.to_owned())
    })
}

/// The folders of a group and of all around it, up to the mount. What leads out of the mount (`/../..`, a group that the
/// container does not see) is left out.
fn folders(mount: &Path, path: &str) -> Vec<PathBuf> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let parts = if parts.contains(&"..") { &[] } else { &parts[..] };
    (0..=parts.len())
        .map(|count| parts[..count].iter().fold(mount.to_owned(), |folder, part| folder.join(part)))
        .collect()
}

fn usage_of(folder: &Path, files: &Files) -> Option<MemoryUsage> {
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    // `max` is no number, and no limit.
    let limit: u64 = text(files.limit)?.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)?;
    let used: u64 = text(files.used)?.trim().parse().ok()?;
    let stat = text("memory.stat").unwrap_or_default();
    let reclaimable = stat.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        if name == files.reclaimable { value.trim().parse::<u64>().ok() } else { None }
    });
    Some(MemoryUsage { used: used.saturating_sub(reclaimable.unwrap_or(0)), limit })
}

/// Keeps `pressure` current, and says in the log when load is shed and when no more. Never ends.
pub async fn watch(pressure: Pressure) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    loop {
        ticks.tick().await;
        let usage = read();
        let said = usage.map_or_else(|| "without a limit".to_owned(), |usage| usage.to_string());
        match pressure.note(usage) {
            Some(true) => tracing::warn!(
                memory = said,
                "close to the memory limit: first policies of new resources and large lists wait; what is applied is kept"
            ),
            Some(false) => {
                tracing::info!(memory = said, "no longer close to the memory limit: nothing waits for that any more")
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    #[test]
    fn version_2_in_a_container_of_its_own() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "268435456\n"),
            ("sys/fs/cgroup/memory.current", "100000000\n"),
            ("sys/fs/cgroup/memory.stat", "anon 1\nfile 40000000\ninactive_file 30000000\nactive_file 10000000\n"),
        ]);
        assert_eq!(read_under(root.path()), Some(MemoryUsage { used: 70_000_000, limit: 268_435_456 }));
    }

    #[test]
    fn of_nested_groups_the_one_that_leaves_least_counts() {
        let group = "sys/fs/cgroup/kubepods/pod1";
        let [max, current] = ["memory.max", "memory.current"].map(|file| format!("{group}/{file}"));
        let [inner_max, inner_current] = ["memory.max", "memory.current"].map(|file| format!("{group}/c1/{file}"));
        let root = machine(&[
            ("proc/self/cgroup", "0::/kubepods/pod1/c1\n"),
            (&max, "1000\n"),
            (&current, "990\n"),
            (&inner_max, "900\n"),
            (&inner_current, "500\n"),
        ]);
        assert_eq!(
            read_under(root.path()),
            Some(MemoryUsage { used: 990, limit: 1000 }),
            "another container fills the pod's"
        );
        std::fs::write(root.path().join(&max), "max\n").expect("a file");
        assert_eq!(read_under(root.path()), Some(MemoryUsage { used: 500, limit: 900 }));
    }

    #[test]
    fn version_1_by_its_path_or_at_the_root_of_the_mount() {
        let groups = "12:cpuset:/x\n9:cpu,memory:/docker/abc\n1:name=systemd:/docker/abc\n0::/\n";
        let at_root = [
            ("proc/self/cgroup", groups),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1500\n"),
            ("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 300\n"),
        ];
        assert_eq!(read_under(machine(&at_root).path()), Some(MemoryUsage { used: 1200, limit: 2000 }));
        let none = "9223372036854771712\n";
        let by_path = [
            ("proc/self/cgroup", groups),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", none),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1500\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "3000\n"),
            ("sys/fs/cgroup/memory/docker/abc/memory.usage_in_bytes", "10\n"),
        ];
        assert_eq!(read_under(machine(&by_path).path()), Some(MemoryUsage { used: 10, limit: 3000 }));
        assert_eq!(read_under(machine(&by_path[..3]).path()), None, "no group limits it");
    }

    #[test]
    fn where_nothing_can_be_read_there_is_no_limit() {
        assert_eq!(read_under(machine(&[]).path()), None);
        let outside =
            [("proc/self/cgroup", "0::/../../other\n"), ("sys/fs/memory.max", "1\n"), ("sys/fs/memory.current", "1\n")];
        assert_eq!(read_under(machine(&outside).path()), None, "a group outside of what is seen is not read");
        let odd = [
            ("proc/self/cgroup", "0::/\nx\n"),
            ("sys/fs/cgroup/memory.max", "many\n"),
            ("sys/fs/cgroup/memory.current", "1\n"),
        ];
        assert_eq!(read_under(machine(&odd).path()), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        // Whether or not it has a limit: nothing panics, and a limit is not nothing.
        assert!(read().is_none_or(|usage| usage.limit > 0));
    }
}
