//! Where manifests come from: files, folders, standard input.

use anyhow::{Context as _, bail};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

/// An input of manifests: what people call it, and its text.
pub(super) type Input = (String, Box<dyn BufRead>);

/// The inputs that `-f` names: standard input, files, and of folders every `.yaml`, `.yml` and `.json`, in order.
pub(super) fn listed(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut inputs = Vec::new();
    for path in paths {
        if path.as_os_str() == "-" || !path.is_dir() {
            inputs.push(path.clone());
            continue;
        }
        let before = inputs.len();
        walk(path, &mut inputs)?;
        if inputs.len() == before {
            bail!("-f {}: the folder holds no .yaml, .yml or .json", path.display());
        }
    }
    Ok(inputs)
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let cannot = || format!("-f {}: the folder cannot be read", folder.display());
    let entries: Result<Vec<_>, _> = std::fs::read_dir(folder).with_context(cannot)?.collect();
    let mut paths: Vec<PathBuf> = entries.with_context(cannot)?.iter().map(std::fs::DirEntry::path).collect();
    paths.sort_unstable();
    for path in paths {
        if path.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known)) {
            found.push(path);
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
}
