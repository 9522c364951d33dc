//! Strict readers of two outputs: what is not exactly as promised is an error.

use std::str::Chars;

/// A series of the text format 0.0.4: its name and its labels.
pub(super) type Series = (String, Vec<(String, String)>);

/// The series of a page, in order.
pub(super) fn exposition(page: &str) -> Vec<Series> {
    let lines = page.strip_suffix('\n').expect("a page ends with a newline").split('\n');
    lines.filter(|line| !line.starts_with("# HELP ") && !line.starts_with("# TYPE ")).map(series).collect()
}

fn series(line: &str) -> Series {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("no series: {line:?}"));
    let (name, rest) = line.split_at(end);
    assert!(is_word(name), "{line:?}");
    let mut rest = rest.chars();
    let mut labels = Vec::new();
    if rest.as_str().starts_with('{') {
        while matches!(rest.next(), Some('{' | ',')) {
            let (label, after) = rest.as_str().split_once('=').unwrap_or_else(|| panic!("{line:?}"));
            assert!(is_word(label), "{line:?}");
            rest = after.chars();
            labels.push((label.to_owned(), quoted(&mut rest)));
            if rest.as_str().starts_with('}') {
                rest.next();
                break;
            }
        }
    }
    let value = rest.as_str().strip_prefix(' ').unwrap_or_else(|| panic!("no value: {line:?}"));
    assert!(value.parse::<f64>().is_ok(), "{line:?}");
    (name.to_owned(), labels)
}

/// The arrows of a graph in the DOT language as `map --dot` writes it: source, target, label.
pub(super) fn graph(dot: &str) -> Vec<[String; 3]> {
    let mut lines = dot.lines();
    for head in ["digraph cofferdam {", "  rankdir=LR;", "  node [shape=box];"] {
        assert_eq!(lines.next(), Some(head));
    }
    assert_eq!(lines.next_back(), Some("}"));
    lines.map(arrow).collect()
}

fn arrow(line: &str) -> [String; 3] {
    let mut rest = line.chars();
    ["  ", " -> ", " [label="].map(|before| {
        let after = rest.as_str().strip_prefix(before).unwrap_or_else(|| panic!("{line:?}"));
        rest = after.chars();
        let string = quoted(&mut rest);
        if before == " [label=" {
            assert_eq!(rest.as_str(), "];", "{line:?}");
        }
        string
    })
}

/// A string in double quotes, in which a backslash escapes itself, the quote, and the newline as `\n`.
fn quoted(rest: &mut Chars<'_>) -> String {
    assert_eq!(rest.next(), Some('"'), "no string: {:?}", rest.as_str());
    let mut string = String::new();
    loop {
        match rest.next().expect("a string ends") {
            '"' => return string,
            '\\' => match rest.next() {
                Some('n') => string.push('\n'),
                Some(escaped @ ('\\' | '"')) => string.push(escaped),
                other => panic!("\\{other:?} is no escape"),
            },
            character => string.push(character),
        }
    }
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
