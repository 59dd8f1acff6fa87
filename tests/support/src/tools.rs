//! Where the programs are that tests and the demo start.

use std::path::{Path, PathBuf};

use anyhow::Context;

/// The folder of the workspace's root.
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// The folder that cargo builds to, where the programs of a benchmark leave their results for its report.
#[must_use]
pub fn target_folder() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").filter(|set| !set.is_empty());
    set.map_or_else(|| workspace_root().join("target"), PathBuf::from)
}

/// The program called `name`: in `KUBEBUILDER_ASSETS`, in the folder that `tests/build-tools.sh` builds into
/// (`CITRIX_ALLOWLIST_TOOLS`, or `.build/bin` of the workspace), or on `PATH`, looked for in that order.
///
/// # Errors
///
/// When there is none; the error says how to build it.
pub fn tool(name: &str) -> anyhow::Result<PathBuf> {
    let built = std::env::var_os("CITRIX_ALLOWLIST_TOOLS")
        .filter(|folder| !folder.is_empty())
        .map_or_else(|| workspace_root().join(".build/bin"), PathBuf::from);
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = assets.into_iter().chain([built.clone()]).chain(std::env::split_paths(&path));
    find(name, folders).with_context(|| {
        format!(
            "{name} is neither in {} nor on PATH: run `make tools`, or `tests/build-tools.sh {name}`",
            built.display()
        )
    })
}

/// The first file called `name` in `folders`, as an absolute path.
fn find(name: &str, folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    let file = folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())?;
    std::path::absolute(file).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_folder_that_holds_the_program_wins() {
        let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().expect("a folder")).collect();
        std::fs::create_dir(folders[0].path().join("judge")).expect("a folder in the way");
        std::fs::write(folders[1].path().join("judge"), "").expect("a program");
        std::fs::write(folders[2].path().join("judge"), "").expect("a program");
        let paths: Vec<_> = folders.iter().map(|folder| folder.path().to_path_buf()).collect();

        assert_eq!(find("judge", paths.clone()), Some(paths[1].join("judge")));
        assert_eq!(find("jury", paths), None);
    }

    #[test]
    fn a_missing_program_says_how_to_get_it() {
        let error = tool("no-such-program").expect_err("there is none");
        assert!(error.to_string().contains("make tools"), "{error}");
    }

    #[test]
    fn the_workspace_root_holds_the_lock_file() {
        assert!(workspace_root().join("Cargo.lock").is_file());
    }
}
