//! Relative links and anchors.

use super::{markdown, root};

#[test]
fn every_relative_link_leads_somewhere() {
    let files = markdown::files();
    assert!(files.iter().any(|file| file.ends_with("README.md")), "the README is among {files:?}");
    let (mut checked, mut dead) = (0, Vec::new());
    for file in files {
        let text = std::fs::read_to_string(&file).expect("a readable file");
        for link in markdown::links(&text) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (path, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { file.clone() } else { file.parent().expect("a folder").join(path) };
            let found = match std::fs::read_to_string(&target) {
                Ok(text) => anchor.is_empty() || markdown::anchors(&text).iter().any(|known| known == anchor),
                Err(_) => target.is_dir() && anchor.is_empty(),
            };
            if !found {
                dead.push(format!("{}: {link}", file.strip_prefix(root()).unwrap_or(&file).display()));
            }
        }
    }
    assert!(dead.is_empty(), "dead links:\n{}", dead.join("\n"));
    assert!(checked > 10, "only {checked} links were found");
}

#[test]
fn links_are_found_outside_code_only() {
    let text = "See [one](a.md#x) and ![two](b.svg \"title\"), not `[three](c.md)`.\n\n```sh\n[four](d.md)\n```\n";
    assert_eq!(markdown::links(text), ["a.md#x", "b.svg"]);
    assert_eq!(markdown::anchors("# A `b`: c, d\n\ntext\n## E-f\n"), ["a-b-c-d", "e-f"]);
}
