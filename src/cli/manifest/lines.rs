//! On which line of a text a field stands. Only asked for where something is wrong with it.

use granit_parser::{Event, Parser};

/// One level of nesting on the way through a document.
enum Level {
    /// In a mapping: the pointer's part for the key that was read last, and its line; `None` where a key comes next.
    Mapping(Option<(String, usize)>),
    /// In a sequence: the number of the item that comes next.
    Sequence(usize),
}

/// The line, counted from 1, on which the field at a JSON pointer stands in a YAML or JSON text; where it is missing,
/// that of what should hold it. `None` where the text cannot be read.
#[must_use]
pub fn line_of(text: &str, pointer: &str) -> Option<usize> {
    let mut levels: Vec<Level> = Vec::new();
    let mut nearest: Option<(usize, usize)> = None;
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
        if (pointer == path || pointer.starts_with(&format!("{path}/")))
            && nearest.is_none_or(|(length, _)| path.len() > length)
        {
            nearest = Some((path.len(), line));
        }
        match event {
            Event::MappingStart(..) => levels.push(Level::Mapping(None)),
            Event::SequenceStart(..) => levels.push(Level::Sequence(0)),
            _ => arrived(&mut levels),
        }
    }
    nearest.map(|(_, line)| line)
}

/// A value is complete: a mapping waits for its next key, a sequence for its next item.
fn arrived(levels: &mut [Level]) {
    match levels.last_mut() {
        Some(Level::Mapping(key)) => *key = None,
        Some(Level::Sequence(index)) => *index += 1,
        None => {}
    }
}

/// The pointer of the node that starts now, and the line people look for: that of its key, where it has one.
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
        let line = |pointer: &str| line_of(text, pointer);
        assert_eq!(line("/kind"), Some(1));
        assert_eq!(line("/spec"), Some(2));
        assert_eq!(line("/spec/names/0"), Some(4));
        assert_eq!(line("/spec/names/1/c"), Some(6));
        assert_eq!(line("/spec/last"), Some(9));
        assert_eq!(line("/spec/missing"), Some(2), "of what should hold it");
        assert_eq!(line(""), Some(1));
        assert_eq!(line_of("{\n\t\"a/b\": {\n\t\t\"c\": 1}}", "/a~1b/c"), Some(3));
        assert_eq!(line_of("", "/a"), None);
    }
}
