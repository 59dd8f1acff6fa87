//! Finds the lines of fields. Used only for errors, and for where objects start.

use super::yaml::tree::{Content, Node, Tree};
use std::collections::HashMap;

/// The line, from 1, of the field at each JSON pointer in a YAML or JSON text; for a missing field, that of its parent. `None` if the
/// text cannot be read. The text is read once for all pointers: a text of thousands of wrong fields would otherwise be read
/// thousands of times.
#[must_use]
pub fn lines_of(text: &str, pointers: &[&str]) -> Vec<Option<usize>> {
    let wanted = pointers.iter().flat_map(|pointer| ancestors(pointer));
    let mut lines: HashMap<&str, Option<usize>> = wanted.map(|path| (path, None)).collect();
    let tree = Tree::beginning(text);
    if let Some(root) = tree.root {
        find(&tree, root, tree.nodes[root].line, &mut String::new(), &mut lines);
    }
    let nearest = |pointer: &&str| ancestors(pointer).find_map(|path| lines.get(path).copied().flatten());
    pointers.iter().map(nearest).collect()
}

/// A JSON pointer and its parents, from the inside out.
fn ancestors(pointer: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(pointer), |path| path.rfind('/').map(|at| &path[..at]))
}

/// Sets the lines of the places in `lines` that lie in a node, each to its first occurrence. `line` is the one that people look
/// for: that of the node's key, if it has one.
fn find(tree: &Tree, node: usize, line: usize, path: &mut String, lines: &mut HashMap<&str, Option<usize>>) {
    if let Some(found) = lines.get_mut(path.as_str()) {
        found.get_or_insert(line);
    }
    let length = path.len();
    match &tree.nodes[node].content {
        Content::Mapping(entries) => {
            for (key, value) in entries {
                let Node { line, content: Content::Scalar(name) } = &tree.nodes[*key] else { continue };
                path.push('/');
                path.push_str(&name.text.replace('~', "~0").replace('/', "~1"));
                find(tree, *value, *line, path, lines);
                path.truncate(length);
            }
        }
        Content::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("/{index}"));
                find(tree, *item, tree.nodes[*item].line, path, lines);
                path.truncate(length);
            }
        }
        Content::Scalar(_) | Content::Alias(_) => {}
    }
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
