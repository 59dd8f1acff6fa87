//! A YAML document as a tree, from the events of the parser library. Pure.

use super::Unreadable;
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

/// The most levels of nesting, as for JSON documents.
pub(crate) const MOST_LEVELS: usize = 127;

/// A node, and the line that it starts on, counted from 1.
#[derive(Debug)]
pub(crate) struct Node {
    pub line: usize,
    pub content: Content,
}

/// What a node is. Nodes are named by their place in [`Tree::nodes`].
#[derive(Debug)]
pub(crate) enum Content {
    Scalar(Written),
    Sequence(Vec<usize>),
    Mapping(Vec<(usize, usize)>),
    Alias(usize),
}

/// A scalar as written.
#[derive(Debug)]
pub(crate) struct Written {
    pub text: String,
    /// Its tag in full, empty for none.
    pub tag: String,
    /// Whether it has neither quotes nor a tag, or the tag `!`.
    pub is_implicit: bool,
}

/// A document.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub nodes: Vec<Node>,
    /// The outermost node; `None` in an empty document.
    pub root: Option<usize>,
}

/// A sequence or mapping whose end has not come yet.
enum Open {
    Sequence(usize),
    /// With the key whose value comes next.
    Mapping(usize, Option<usize>),
}

impl Tree {
    /// Reads the only document of a text.
    ///
    /// # Errors
    /// The text is not YAML, nests too deep, or goes on after its first document, which kubectl ignores.
    pub fn read(text: &str) -> Result<Self, Unreadable> {
        let mut options = granit_parser::Options::default();
        options.set_emit_comments(false);
        let mut builder = Builder::default();
        let mut documents = 0;
        for event in Parser::new_from_str_with_options(text, options) {
            let (event, span) = event.map_err(|error| unreadable(&error))?;
            if matches!(event, Event::DocumentStart(..)) {
                documents += 1;
                if documents > 1 {
                    let message = "a document ends above: another one needs a line `---` before it";
                    return Err(Unreadable::new(span.start.line(), message));
                }
            }
            builder.take(event, &span)?;
        }
        Ok(builder.tree)
    }
}

fn unreadable(error: &ScanError) -> Unreadable {
    let message = error.info();
    Unreadable::new(error.marker().line().max(1), message.lines().next().unwrap_or_default())
}

#[derive(Default)]
struct Builder {
    tree: Tree,
    open: Vec<Open>,
    anchors: HashMap<usize, usize>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Unreadable> {
        let line = span.start.line();
        let (content, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => (Content::Scalar(written(text, style, tag.as_deref())), anchor),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some(node) => (Content::Alias(*node), 0),
                None => return Err(Unreadable::new(line, "an alias without its anchor")),
            },
            Event::SequenceStart(_, anchor, _) => (Content::Sequence(Vec::new()), anchor),
            Event::MappingStart(_, anchor, _) => (Content::Mapping(Vec::new()), anchor),
            Event::SequenceEnd | Event::MappingEnd => {
                self.open.pop();
                return Ok(());
            }
            _ => return Ok(()),
        };
        let node = self.tree.nodes.len();
        let opens = match &content {
            Content::Sequence(_) => Some(Open::Sequence(node)),
            Content::Mapping(_) => Some(Open::Mapping(node, None)),
            _ => None,
        };
        self.tree.nodes.push(Node { line, content });
        if anchor != 0 {
            self.anchors.insert(anchor, node);
        }
        self.place(node);
        if opens.is_some() && self.open.len() >= MOST_LEVELS {
            return Err(Unreadable::new(line, format!("it nests deeper than the {MOST_LEVELS} levels that are read")));
        }
        self.open.extend(opens);
        Ok(())
    }

    /// Adds a node to its parent.
    fn place(&mut self, node: usize) {
        match self.open.last_mut() {
            None => self.tree.root = Some(node),
            Some(Open::Sequence(of)) => {
                if let Content::Sequence(items) = &mut self.tree.nodes[*of].content {
                    items.push(node);
                }
            }
            Some(Open::Mapping(of, key)) => match key.take() {
                None => *key = Some(node),
                Some(key) => {
                    if let Content::Mapping(entries) = &mut self.tree.nodes[*of].content {
                        entries.push((key, node));
                    }
                }
            },
        }
    }
}

fn written(text: Cow<'_, str>, style: ScalarStyle, tag: Option<&Tag>) -> Written {
    let tag = tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix())).unwrap_or_default();
    let is_implicit = tag == "!" || tag.is_empty() && style == ScalarStyle::Plain;
    Written { text: text.into_owned(), tag, is_implicit }
}
