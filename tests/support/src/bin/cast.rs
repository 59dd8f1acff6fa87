//! Draws what a program printed as a terminal that plays it: `demo | cast > docs/pictures/demo.svg`.

use std::io::Read as _;

fn main() -> std::io::Result<()> {
    let mut printed = String::new();
    std::io::stdin().read_to_string(&mut printed)?;
    print!("{}", test_support::picture::cast::draw("make demo", &without_folders(&printed)));
    Ok(())
}

/// The same text without the names of temporary folders, which are another machine's.
fn without_folders(text: &str) -> String {
    let mut parts = text.split("/tmp/.");
    let mut kept = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        kept.push_str("/tmp/demo");
        kept.push_str(part.find('/').map_or("", |at| &part[at..]));
    }
    kept
}
