//! A message with the lines of the text that it is about, and a caret. The only user of annotate-snippets.

use std::{borrow::Cow, path::Path};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet, renderer::DecorStyle};

use crate::event::is_hostile;

/// Lines that are shown before and after the one in question.
const AROUND: usize = 2;

/// A text that messages are about.
#[derive(Debug)]
pub(crate) struct Text<'a> {
    path: &'a Path,
    /// Its lines, so that thousands of messages about a long text do not look for them each time.
    lines: Vec<&'a str>,
}

/// A part of one line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    /// From 1.
    pub(crate) line: usize,
    /// From 1, in characters.
    pub(crate) column: usize,
    /// In characters. At least one is marked, and nothing beyond the end of the line.
    pub(crate) length: usize,
}

/// How grave a message is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Gravity {
    /// The text is not taken.
    Error,
    /// It is taken, but somebody should look.
    Warning,
}

impl<'a> Text<'a> {
    /// Of the file at `path`.
    pub(crate) fn new(path: &'a Path, text: &'a str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Self { path, lines: text.split('\n').map(|line| line.trim_end_matches('\r')).collect() }
    }

    /// Which file it is.
    pub(crate) fn path(&self) -> &'a Path {
        self.path
    }

    /// `title`, then the lines around the mark, below which `label` stands. Harmless.
    pub(crate) fn show(&self, gravity: Gravity, mark: Mark, title: &str, label: &str) -> String {
        let [title, label] = [title, label].map(|text| harmless(text).replace('\n', " "));
        let title = match gravity {
            Gravity::Error => Level::ERROR,
            Gravity::Warning => Level::WARNING,
        }
        .primary_title(title);
        let path = harmless(&self.path.to_string_lossy()).into_owned();
        let at = mark.line.saturating_sub(1).min(self.lines.len().saturating_sub(1));
        let first = at.saturating_sub(AROUND);
        let (mut source, mut marked) = (String::new(), 0..0);
        for (number, line) in self.lines.iter().enumerate().skip(first).take(at - first + AROUND + 1) {
            if number == at {
                let byte = |column: usize| {
                    let byte = line.char_indices().nth(column).map_or(line.len(), |(byte, _)| byte);
                    source.len() + harmless(line.get(..byte).unwrap_or_default()).len()
                };
                let column = mark.column.saturating_sub(1);
                marked = byte(column)..byte(column.saturating_add(mark.length.max(1)));
            }
            source.push_str(&harmless(line));
            source.push('\n');
        }
        // Empty lines at the end say nothing.
        source.truncate(source.trim_end_matches('\n').len().max(marked.end));
        let snippet = Snippet::source(source)
            .line_start(first + 1)
            .path(path)
            .fold(false)
            .annotation(AnnotationKind::Primary.span(marked).label(label));
        Renderer::plain().decor_style(DecorStyle::Ascii).render(&[title.element(snippet)]) + "\n"
    }
}

/// Without what a terminal would obey, character for character, so that carets stay below what they point at.
pub(super) fn harmless(text: &str) -> Cow<'_, str> {
    let hostile = |character: char| character != '\n' && is_hostile(character);
    if !text.contains(hostile) {
        return text.into();
    }
    text.chars().map(|character| if hostile(character) { '\u{fffd}' } else { character }).collect()
}
