//! Finds manifests: files, folders, standard input.

use anyhow::{Context as _, bail};
use std::fs::{DirEntry, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// An input of manifests: its name for people, and its text.
pub(crate) type Input = (String, Box<dyn BufRead>);

/// The most files in one folder, inner folders included.
const MOST_FILES: usize = 10_000;
/// The most entries of any kind in one folder, inner folders included.
const MOST_ENTRIES: usize = 100_000;
/// The most bytes of all files in one folder: 10,000 resources have some 10 MB.
const MOST_BYTES: u64 = 256 << 20;
/// The most levels of folders.
const MOST_LEVELS: usize = 32;

/// The inputs that `-f` names: standard input, files, and of folders every `.yaml`, `.yml` and `.json`, in order.
///
/// In a folder, names that start with a dot are ignored, and links to folders are not followed: a mounted ConfigMap or Secret
/// contains every file three times (`cr.yaml`, `..data/cr.yaml`, `..2026_01_01_00_00_00.1/cr.yaml`).
pub(crate) fn listed(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut inputs = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" || !path.is_dir() {
            inputs.push(path.clone());
            continue;
        }
        let mut found = Found::default();
        walk(path, 1, &mut found)?;
        if let Some(beyond) = found.beyond() {
            bail!("-f {}: the folder holds more than the {beyond} that are read", path.display());
        }
        if found.files.is_empty() {
            bail!("-f {}: the folder holds no .yaml, .yml or .json", path.display());
        }
        inputs.append(&mut found.files);
    }
    Ok(inputs)
}

/// The content of a folder, as far as it was walked.
#[derive(Default)]
struct Found {
    files: Vec<PathBuf>,
    entries: usize,
    bytes: u64,
}

impl Found {
    /// The exceeded bound, if there is one.
    fn beyond(&self) -> Option<String> {
        if self.files.len() > MOST_FILES {
            Some(format!("{MOST_FILES} files"))
        } else if self.entries > MOST_ENTRIES {
            Some(format!("{MOST_ENTRIES} entries"))
        } else if self.bytes > MOST_BYTES {
            Some(format!("{} MiB", MOST_BYTES >> 20))
        } else {
            None
        }
    }
}

fn walk(folder: &Path, level: usize, found: &mut Found) -> anyhow::Result<()> {
    let cannot = || format!("-f {}: the folder cannot be read", folder.display());
    if level > MOST_LEVELS {
        bail!("-f {}: folders lie in each other deeper than the {MOST_LEVELS} levels that are read", folder.display());
    }
    let left = MOST_ENTRIES.saturating_sub(found.entries) + 1;
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).with_context(cannot)?.take(left).collect();
    let mut entries = entries.with_context(cannot)?;
    found.entries += entries.len();
    entries.sort_unstable_by_key(DirEntry::file_name);
    for entry in entries {
        if found.beyond().is_some() {
            return Ok(());
        }
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        if entry.file_type().with_context(cannot)?.is_dir() {
            walk(&path, level + 1, found)?;
            continue;
        }
        let is_manifest =
            path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
        // The metadata of a link's target; if it does not exist, opening it reports that.
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if is_manifest && !metadata.is_file() => {
                bail!("-f {}: it is no file, and cannot be read as one", path.display());
            }
            metadata if is_manifest => {
                found.bytes = found.bytes.saturating_add(metadata.map_or(0, |metadata| metadata.len()));
                found.files.push(path);
            }
            _ => {}
        }
    }
    Ok(())
}

/// Opens an input.
pub(crate) fn open(path: &Path) -> anyhow::Result<Input> {
    if path.as_os_str() == "-" {
        return Ok(("<stdin>".to_owned(), Box::new(BufReader::new(std::io::stdin()))));
    }
    let file = File::open(path).with_context(|| format!("-f {} cannot be read", path.display()))?;
    Ok((path.display().to_string(), Box::new(BufReader::new(file))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["b.yaml", "a.json", "c.txt", "sub/d.yml"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, "").expect("a file");
        }
        let found = listed(&[folder.path().to_owned(), PathBuf::from("-")]).expect("inputs");
        let names: Vec<_> = found.iter().map(|path| path.file_name().expect("a name").to_string_lossy()).collect();
        assert_eq!(names, ["a.json", "b.yaml", "d.yml", "-"]);
        assert!(listed(&[folder.path().join("sub/..")]).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_mounted_config_map_is_read_once() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().expect("a folder");
        let (outside, mounted) = (folder.path().join("outside"), folder.path().join("mounted"));
        for path in [&outside, &mounted.join("..2026_01_01_00_00_00.1"), &mounted.join(".hidden")] {
            std::fs::create_dir_all(path).expect("a folder");
            std::fs::write(path.join("cr.yaml"), "").expect("a file");
        }
        symlink("..2026_01_01_00_00_00.1", mounted.join("..data")).expect("a link");
        symlink("..data/cr.yaml", mounted.join("cr.yaml")).expect("a link");
        symlink(&outside, mounted.join("elsewhere")).expect("a link");
        symlink(&outside, mounted.join("folder.yaml")).expect("a link");
        std::fs::write(mounted.join(".vimrc.yaml"), "").expect("a file");
        assert_eq!(listed(std::slice::from_ref(&mounted)).expect("inputs"), [mounted.join("cr.yaml")]);
        symlink("nowhere.yaml", mounted.join("lost.yaml")).expect("a link");
        let both = listed(std::slice::from_ref(&mounted)).expect("inputs");
        assert_eq!(both.len(), 2, "opening it says that it leads nowhere");

        let socket = mounted.join("socket.yaml");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        let error = listed(&[mounted]).expect_err("no file").to_string();
        assert_eq!(error, format!("-f {}: it is no file, and cannot be read as one", socket.display()));
    }

    #[test]
    fn folders_are_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep: PathBuf = (0..40).map(|_| "a").collect();
        std::fs::create_dir_all(folder.path().join(deep)).expect("folders");
        let error = listed(&[folder.path().to_owned()]).expect_err("too deep").to_string();
        assert!(error.ends_with("folders lie in each other deeper than the 32 levels that are read"), "{error}");

        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..3 {
            // Sparse: it has its length, and uses no space.
            let file = File::create(folder.path().join(format!("{number}.yaml"))).expect("a file");
            file.set_len(100 << 20).expect("a length");
        }
        let error = listed(&[folder.path().to_owned()]).expect_err("too large").to_string();
        assert!(error.ends_with("the folder holds more than the 256 MiB that are read"), "{error}");
    }

    /// Formerly a link to the folder itself listed each file 41 times, two such links took 400 MB, and a FIFO never ended.
    #[cfg(unix)]
    #[test]
    fn circular_links_and_special_files_end_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("cr.yaml"), "").expect("a file");
        for name in ["a", "b", "c.yaml"] {
            std::os::unix::fs::symlink(".", folder.path().join(name)).expect("a link");
        }
        assert_eq!(listed(&[folder.path().to_owned()]).expect("inputs"), [folder.path().join("cr.yaml")]);
        let fifo = folder.path().join("x.yaml");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is there");
        assert!(made.success());
        let error = listed(&[folder.path().to_owned()]).expect_err("no file").to_string();
        assert_eq!(error, format!("-f {}: it is no file, and cannot be read as one", fifo.display()));
        std::fs::remove_file(&fifo).expect("it goes");
        std::os::unix::fs::symlink("/dev/zero", &fifo).expect("a link");
        assert!(listed(&[folder.path().to_owned()]).is_err(), "it never ends");
    }
}
