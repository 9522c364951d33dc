//! An explanation for people, with the lines of the policy that it is about.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    path::Path,
};

use super::{Explanation, Miss, Part, Side, Why, nearest::DNS_NAME};
use crate::{
    config::Mismatch,
    event::{Verdict, is_hostile},
    policy::model::{Direction, Place},
};

/// Digits of a line's number that have room.
const DIGITS: usize = 5;

impl Explanation {
    /// What comes of it, between whom, in a line. Safe to show.
    #[must_use]
    pub fn heading(&self) -> String {
        let Self { source, target, service, verdict, .. } = self;
        let word = match verdict {
            Verdict::Allow => "✔ ALLOWED",
            Verdict::Audit => "▲ REPORTED",
            Verdict::Deny => "✖ DENIED",
        };
        harmless(&format!("{word}  {source} → {target}  {service}"))
    }

    /// In lines. `texts` are the policies' files, as far as they are at hand; without one its lines are not shown. Safe to
    /// show.
    #[must_use]
    pub fn text(&self, texts: &HashMap<&Path, &str>) -> String {
        let mut page = Page { texts, text: String::new() };
        // Writing into a text cannot fail.
        let _ = page.write(self);
        harmless(&page.text)
    }
}

fn harmless(text: &str) -> String {
    text.chars().map(|it| if it != '\n' && is_hostile(it) { '\u{fffd}' } else { it }).collect()
}

struct Page<'a> {
    texts: &'a HashMap<&'a Path, &'a str>,
    text: String,
}

impl Page<'_> {
    fn write(&mut self, explanation: &Explanation) -> fmt::Result {
        let Explanation { verdict, egress, ingress, .. } = explanation;
        writeln!(self.text, "{}", explanation.heading())?;
        let mut label = match verdict {
            Verdict::Allow => "",
            Verdict::Audit | Verdict::Deny => "because",
        };
        for side in [egress, ingress].into_iter().filter(|side| side.verdict == *verdict) {
            let shown = if label.is_empty() { direction(side) } else { label };
            self.side(shown, side)?;
            label = if label.is_empty() { "" } else { "also" };
        }
        Ok(())
    }

    fn side(&mut self, label: &str, side: &Side) -> fmt::Result {
        write!(self.text, "  {label:<7}  ")?;
        let Some(rule) = &side.rule else {
            self.default(side)?;
            return self.nearest(side);
        };
        let (subject, peer) = (&side.subject, &side.peer);
        let Place { file, line, .. } = &rule.place;
        write!(self.text, "policy \"{}\"  {}:{line}  rule {}", rule.policy, file.display(), rule.label)?;
        let may = match side.direction {
            Direction::Egress => "send to",
            Direction::Ingress => "receive from",
        };
        let selects = match (side.why, side.direction) {
            (Why::NotAllowed, Direction::Egress) => ": it may send only to whom an entry allows",
            (Why::NotAllowed, Direction::Ingress) => ": it may receive only from whom an entry allows",
            _ => "",
        };
        let list = side.entry.as_ref().map(|entry| entry.list);
        match (side.why, list) {
            (Why::NotAllowed, _) => writeln!(self.text, ": nothing lets {subject} {may} {peer}")?,
            (_, Some(Verdict::Deny)) => writeln!(self.text, ": {subject} may not {may} {peer}")?,
            (_, Some(Verdict::Audit)) => {
                writeln!(self.text, ": {subject} may {may} {peer}, and it is reported")?;
            }
            _ => writeln!(self.text, ": {subject} may {may} {peer}")?,
        }
        if side.verdict == Verdict::Audit && list != Some(Verdict::Audit) {
            writeln!(self.text, "           The policy is in mode audit: it passes, and is reported.")?;
        }
        self.quote(&rule.place, &format!("is about {subject}{selects}"))?;
        if let Some(entry) = &side.entry {
            self.quote(&entry.place, &format!("matches {peer} and the port: `{}`", entry.list))?;
        }
        self.nearest(side)
    }

    fn default(&mut self, side: &Side) -> fmt::Result {
        let (direction, subject) = (direction(side), &side.subject);
        if side.verdict == Verdict::Allow {
            return writeln!(self.text, "no rule for {direction} is about {subject}: it is allowed");
        }
        let enforced = if side.selecting_count == 0 { "rule" } else { "enforced rule" };
        writeln!(self.text, "no {enforced} for {direction} is about {subject}: the default is deny")
    }

    fn nearest(&mut self, side: &Side) -> fmt::Result {
        let Some(nearest) = &side.nearest else { return Ok(()) };
        let remark = told(&nearest.misses, side);
        // What an entry would allow, its rule may keep from this subject.
        let about_rule = nearest.misses.iter().all(|miss| miss.part == Part::Subject);
        let place = if about_rule { &nearest.rule.place } else { &nearest.entry.place };
        if self.line(place).is_none() {
            return writeln!(self.text, "  nearest  {}:{}  {remark}", place.file.display(), place.line);
        }
        self.quote(place, &remark)
    }

    /// A line of a policy, with a remark below the place.
    fn quote(&mut self, place: &Place, remark: &str) -> fmt::Result {
        let Some(line) = self.line(place).map(|line| line.replace('\t', " ")) else { return Ok(()) };
        let before = " ".repeat((place.column as usize).saturating_sub(1).min(line.chars().count()));
        writeln!(self.text, "      {:>DIGITS$} │ {}", place.line, line.trim_end())?;
        writeln!(self.text, "      {:>DIGITS$} │ {before}^ {remark}", "")
    }

    fn line(&self, place: &Place) -> Option<&str> {
        let text = self.texts.get(&*place.file)?;
        text.lines().nth((place.line as usize).checked_sub(1)?)
    }
}

/// What is not so, in words.
fn told(misses: &[Miss], side: &Side) -> String {
    let mut text = String::new();
    let mut last = None;
    for Miss { part, mismatch: Mismatch { field, wanted, found } } in misses {
        text += match last {
            None => "",
            Some(last) if last == part => ", ",
            Some(_) => "; ",
        };
        match (part, last == Some(part)) {
            (_, true) => (),
            (Part::Subject, _) => text += &format!("{} does not match: ", side.subject),
            (Part::Peer, _) => text += &format!("{} does not match: ", side.peer),
            (Part::Service, _) => text += "the port does not match: ",
        }
        text += &match (part, found) {
            (Part::Service, Some(found)) => format!("it is {found} (the rule wants {wanted})"),
            (_, Some(found)) if field == DNS_NAME => {
                format!("name is \"{found}\" (the rule wants \"{wanted}\")")
            }
            (_, None) if field == DNS_NAME => {
                format!("no name is known for it (the rule wants \"{wanted}\")")
            }
            (_, Some(found)) => format!("{field} is \"{found}\" (the rule wants \"{wanted}\")"),
            (_, None) => format!("it has no {field} (the rule wants \"{wanted}\")"),
        };
        last = Some(part);
    }
    text
}

fn direction(side: &Side) -> &'static str {
    match side.direction {
        Direction::Egress => "egress",
        Direction::Ingress => "ingress",
    }
}
