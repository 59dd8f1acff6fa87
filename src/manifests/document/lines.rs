//! Finds the lines of fields. Used only for errors, and for where objects start.

use granit_parser::{Event, Parser};
use std::collections::HashMap;

/// One level of nesting on the way through a document.
enum Level {
    /// A mapping, with the last key (as a pointer's part) and its line; `None` before a key.
    Mapping(Option<(String, usize)>),
    /// A sequence, with the number of its next item.
    Sequence(usize),
}

/// The line, from 1, of the field at each JSON pointer in a YAML or JSON text; for a missing field, that of its parent. `None` if the
/// text cannot be read. The text is read once for all pointers: a text of thousands of wrong fields would otherwise be read
/// thousands of times.
#[must_use]
pub fn lines_of(text: &str, pointers: &[&str]) -> Vec<Option<usize>> {
    let wanted = pointers.iter().flat_map(|pointer| ancestors(pointer));
    let mut lines: HashMap<&str, Option<usize>> = wanted.map(|path| (path, None)).collect();
    find(text, &mut lines);
    let nearest = |pointer: &&str| ancestors(pointer).find_map(|path| lines.get(path).copied().flatten());
    pointers.iter().map(nearest).collect()
}

/// A JSON pointer and its parents, from the inside out.
fn ancestors(pointer: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(pointer), |path| path.rfind('/').map(|at| &path[..at]))
}

/// Sets the lines of the places in `lines`, each to its first occurrence.
fn find(text: &str, lines: &mut HashMap<&str, Option<usize>>) {
    let mut levels: Vec<Level> = Vec::new();
    for event in Parser::new_from_str(text) {
        let Ok((event, span)) = event else { break };
        match &event {
            Event::MappingEnd | Event::SequenceEnd => {
                levels.pop();
                arrived(&mut levels);
                continue;
            }
            Event::DocumentEnd => break,
            _ => {}
        }
        let (scalar, is_node) = match &event {
            Event::Scalar(text, ..) => (Some(text.to_string()), true),
            Event::Alias(_) => (Some(String::new()), true),
            Event::MappingStart(..) | Event::SequenceStart(..) => (None, true),
            _ => (None, false),
        };
        if !is_node {
            continue;
        }
        let line = span.start.line();
        if let (Some(Level::Mapping(key @ None)), Some(scalar)) = (levels.last_mut(), &scalar) {
            *key = Some((scalar.replace('~', "~0").replace('/', "~1"), line));
            continue;
        }
        let (path, line) = place(&levels, line);
        if let Some(found) = lines.get_mut(path.as_str()) {
            found.get_or_insert(line);
        }
        match event {
            Event::MappingStart(..) => levels.push(Level::Mapping(None)),
            Event::SequenceStart(..) => levels.push(Level::Sequence(0)),
            _ => arrived(&mut levels),
        }
    }
}

/// A value is complete: a mapping waits for its next key, a sequence for its next item.
fn arrived(levels: &mut [Level]) {
    match levels.last_mut() {
        Some(Level::Mapping(key)) => *key = None,
        Some(Level::Sequence(index)) => *index += 1,
        None => {}
    }
}

/// The pointer of the node that starts now, and the line that people look for: that of its key, if it has one.
fn place(levels: &[Level], own: usize) -> (String, usize) {
    let mut path = String::new();
    let mut line = own;
    for level in levels {
        match level {
            Level::Mapping(Some((key, of_key))) => {
                path.push('/');
                path.push_str(key);
                line = *of_key;
            }
            Level::Mapping(None) => {}
            Level::Sequence(index) => {
                path.push_str(&format!("/{index}"));
                line = own;
            }
        }
    }
    (path, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_on_the_line_of_their_key() {
        let text = "kind: A\nspec:\n  names:\n  - a\n  - {b: 1,\n     c: 2}\n  text: |\n    names: x\n  last:\n    1\n";
        let line = |pointer: &str| lines_of(text, &[pointer])[0];
        assert_eq!(line("/kind"), Some(1));
        assert_eq!(line("/spec"), Some(2));
        assert_eq!(line("/spec/names/0"), Some(4));
        assert_eq!(line("/spec/names/1/c"), Some(6));
        assert_eq!(line("/spec/last"), Some(9));
        assert_eq!(line("/spec/missing"), Some(2), "of what should hold it");
        assert_eq!(line(""), Some(1));
        assert_eq!(lines_of(text, &["/spec/text", "/kind", "/spec/missing/x"]), [Some(7), Some(1), Some(2)]);
        assert_eq!(lines_of("{\n\t\"a/b\": {\n\t\t\"c\": 1}}", &["/a~1b/c"]), [Some(3)]);
        assert_eq!(lines_of("", &["/a"]), [None]);
    }
}
