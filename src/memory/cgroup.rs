//! Reads the process's memory limit and use from its cgroups, of version 2 and version 1.
//!
//! In a container, the group's files are at the root of the mount. If the container shares the machine's view of groups, they are
//! under the path in `/proc/self/cgroup`. An outer group may have the narrower limit, like a pod around its containers. So every
//! group from the path up to the root of the mount is read, and the one with the least left counts.

use super::{MemoryUsage, Pressure};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The mounts of the memory controller of version 1, and of version 2.
const VERSION_1: &str = "sys/fs/cgroup/memory";
const VERSION_2: &str = "sys/fs/cgroup";
/// The process's groups.
const GROUPS: &str = "proc/self/cgroup";
/// From this limit on version 1 means none: it writes the largest number that is a multiple of the page size.
const NO_LIMIT: u64 = 1 << 60;

/// How often memory is read: a burst of answers takes seconds to fill what is left.
const READ_EVERY: Duration = Duration::from_secs(1);

/// The files of one version.
struct Files {
    limit: &'static str,
    used: &'static str,
    /// The field of `memory.stat` with the file pages that are reclaimed before anything is killed.
    reclaimable: &'static str,
}

const FILES_1: Files =
    Files { limit: "memory.limit_in_bytes", used: "memory.usage_in_bytes", reclaimable: "total_inactive_file" };
const FILES_2: Files = Files { limit: "memory.max", used: "memory.current", reclaimable: "inactive_file" };

/// The process's use of memory and its limit; `None` if no group limits it, or none can be read.
#[must_use]
pub fn read() -> Option<MemoryUsage> {
    read_under(Path::new("/"))
}

/// The same under another root than the machine's.
#[must_use]
pub fn read_under(root: &Path) -> Option<MemoryUsage> {
    let groups = std::fs::read_to_string(root.join(GROUPS)).unwrap_or_default();
    let has_memory = |controllers: &str| controllers.split(',').any(|controller| controller == "memory");
    let of_version_1 = path_of(&groups, has_memory).map(|path| (root.join(VERSION_1), path, &FILES_1));
    // Both may be mounted: then only version 1 has the memory controller.
    let of_version_2 =
        path_of(&groups, |controllers| controllers.is_empty()).map(|path| (root.join(VERSION_2), path, &FILES_2));
    let usages = [of_version_1, of_version_2].into_iter().flatten();
    let usages = usages.flat_map(|(mount, path, files)| {
        folders(&mount, &path).into_iter().filter_map(|folder| usage_of(&folder, files)).collect::<Vec<_>>()
    });
    usages.min_by_key(|usage| usage.left())
}

/// The path of the group with the wanted controllers, from lines `ID:CONTROLLERS:PATH`.
fn path_of(groups: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        wanted(controllers).then(|| path.to_owned())
    })
}

/// The folders of a group and of all outer ones, up to the mount. A path out of the mount (`/../..`, a group that the container
/// does not see) is left out.
fn folders(mount: &Path, path: &str) -> Vec<PathBuf> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let parts = if parts.contains(&"..") { &[] } else { &parts[..] };
    let folder = |count: usize| parts[..count].iter().fold(mount.to_owned(), |folder, part| folder.join(part));
    (0..=parts.len()).map(folder).collect()
}

fn usage_of(folder: &Path, files: &Files) -> Option<MemoryUsage> {
    let text = |name: &str| std::fs::read_to_string(folder.join(name)).ok();
    // `max` is no number: no limit.
    let limit: u64 = text(files.limit)?.trim().parse().ok().filter(|limit| *limit < NO_LIMIT)?;
    let used: u64 = text(files.used)?.trim().parse().ok()?;
    let stat = text("memory.stat").unwrap_or_default();
    let reclaimable = stat.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == files.reclaimable).then(|| value.trim().parse::<u64>().ok())?
    });
    Some(MemoryUsage { used: used.saturating_sub(reclaimable.unwrap_or(0)), limit })
}

/// Keeps `pressure` current by what `read` finds, and logs when shedding load starts and ends. Never ends.
pub async fn watch(pressure: Pressure, read: fn() -> Option<MemoryUsage>) {
    let mut ticks = tokio::time::interval(READ_EVERY);
    loop {
        ticks.tick().await;
        let usage = read();
        let memory = usage.map_or_else(|| "without a limit".to_owned(), |usage| usage.to_string());
        match pressure.note(usage) {
            Some(true) => tracing::warn!(
                memory,
                "close to the memory limit: first policies of new resources and large lists wait; what is applied is kept"
            ),
            Some(false) => {
                tracing::info!(memory, "no longer close to the memory limit: nothing waits for that any more")
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
    fn the_nested_group_with_the_least_left_counts() {
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
        let usage = read_under(root.path());
        assert_eq!(usage, Some(MemoryUsage { used: 990, limit: 1000 }), "another container fills the pod's");
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
    fn without_readable_files_there_is_no_limit() {
        assert_eq!(read_under(machine(&[]).path()), None);
        let outside =
            [("proc/self/cgroup", "0::/../../other\n"), ("sys/fs/memory.max", "1\n"), ("sys/fs/memory.current", "1\n")];
        assert_eq!(read_under(machine(&outside).path()), None, "a group outside the mount is not read");
        let odd = [
            ("proc/self/cgroup", "0::/\nx\n"),
            ("sys/fs/cgroup/memory.max", "many\n"),
            ("sys/fs/cgroup/memory.current", "1\n"),
        ];
        assert_eq!(read_under(machine(&odd).path()), None);
    }

    #[test]
    fn this_machine_can_be_read() {
        // With or without a limit: nothing panics, and a limit is not zero.
        assert!(read().is_none_or(|usage| usage.limit > 0));
    }
}
