//! Where manifests come from: files, folders, standard input.

use anyhow::{Context as _, bail};
use std::fs::{DirEntry, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// An input of manifests: what people call it, and its text.
pub(super) type Input = (String, Box<dyn BufRead>);

/// The most files that one folder may hold, those in folders within counted.
const MOST_FILES: usize = 10_000;
/// How deep folders may lie in each other.
const MOST_LEVELS: usize = 32;

/// The inputs that `-f` names: standard input, files, and of folders every `.yaml`, `.yml` and `.json`, in order.
///
/// In a folder, what starts with a dot is left out, and a link to a folder is not followed: a mounted ConfigMap or Secret
/// holds every file three times (`cr.yaml`, `..data/cr.yaml`, `..2026_01_01_00_00_00.1/cr.yaml`).
pub(super) fn listed(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut inputs = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" || !path.is_dir() {
            inputs.push(path.clone());
            continue;
        }
        let mut found = Vec::new();
        walk(path, 1, &mut found)?;
        match found.len() {
            0 => bail!("-f {}: the folder holds no .yaml, .yml or .json", path.display()),
            1..=MOST_FILES => inputs.append(&mut found),
            _ => bail!("-f {}: the folder holds more than the {MOST_FILES} files that are read", path.display()),
        }
    }
    Ok(inputs)
}

fn walk(folder: &Path, level: usize, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let cannot = || format!("-f {}: the folder cannot be read", folder.display());
    if level > MOST_LEVELS {
        bail!("-f {}: folders lie in each other deeper than the {MOST_LEVELS} levels that are read", folder.display());
    }
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).with_context(cannot)?.collect();
    let mut entries = entries.with_context(cannot)?;
    entries.sort_unstable_by_key(DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if is_hidden || found.len() > MOST_FILES {
            continue;
        }
        if entry.file_type().with_context(cannot)?.is_dir() {
            walk(&path, level + 1, found)?;
            continue;
        }
        let is_manifest =
            path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
        // Of a link, what it leads to; where that is nothing, opening it says so.
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(metadata) if is_manifest && !metadata.is_file() => {
                bail!("-f {}: it is no file, and cannot be read as one", path.display());
            }
            _ if is_manifest => found.push(path),
            _ => {}
        }
    }
    Ok(())
}

/// Opens an input.
pub(super) fn open(path: &Path) -> anyhow::Result<Input> {
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
        assert_eq!(
            listed(std::slice::from_ref(&mounted)).expect("inputs").len(),
            2,
            "opening it says that it leads nowhere"
        );

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
    }
}
