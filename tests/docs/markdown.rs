//! Just enough of Markdown: fenced blocks, links, headings.

use super::root;
use std::path::{Path, PathBuf};

/// Every Markdown file that people read: at the root, and under `docs/`, `charts/` and `crates/`.
pub fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = markdown_in(&root());
    for folder in ["docs", "charts", "crates"] {
        collect(&root().join(folder), &mut files);
    }
    files.sort();
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    files.extend(markdown_in(folder));
    for path in entries(folder) {
        if path.is_dir() {
            collect(&path, files);
        }
    }
}

fn markdown_in(folder: &Path) -> Vec<PathBuf> {
    entries(folder).into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = std::fs::read_dir(folder).into_iter().flatten();
    listed.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

/// A fenced block.
pub struct Block {
    /// What stands behind the opening fence, such as `yaml`.
    pub language: String,
    /// The line of its opening fence, from 1.
    pub line: usize,
    /// What is in it.
    pub text: String,
}

/// The fenced blocks of a document, and the document without them.
pub fn blocks(text: &str) -> (Vec<Block>, String) {
    let (mut blocks, mut prose) = (Vec::new(), String::new());
    let mut open: Option<(Block, usize)> = None;
    for (index, line) in text.lines().enumerate() {
        let fence = line.trim_start().strip_prefix("```");
        match (&mut open, fence) {
            (None, Some(language)) => {
                let block = Block { language: language.trim().to_owned(), line: index + 1, text: String::new() };
                open = Some((block, line.len() - line.trim_start().len()));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
            (Some((block, indent)), None) => {
                // A block in a list is indented with it.
                let cut = line.len() - line.trim_start().len();
                block.text.push_str(&line[cut.min(*indent)..]);
                block.text.push('\n');
            }
            (None, None) => {
                prose.push_str(line);
                prose.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a fenced block is not closed");
    (blocks, prose)
}

/// The targets of a document's links and images, code left out.
pub fn links(text: &str) -> Vec<String> {
    let (_, prose) = blocks(text);
    let plain: String = prose.split('`').step_by(2).collect::<Vec<_>>().join("code");
    let targets = plain.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0));
    targets.map(|target| target.split_whitespace().next().unwrap_or_default().to_owned()).collect()
}

/// The anchors that GitHub gives a document's headings.
pub fn anchors(text: &str) -> Vec<String> {
    let (_, prose) = blocks(text);
    let headings = prose.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    headings
        .map(|heading| {
            let kept = heading.to_lowercase().replace(' ', "-");
            kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect()
}
