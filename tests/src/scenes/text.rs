//! Reads scenes: `tests/scenes/*.md`.
//!
//! A scene is a section with code blocks: `yaml` has the policies (or `docs` the names of those that stand in
//! docs/policy.md), `settings` what the configuration has in `policies`, `starts` who is started anew once they are in
//! force, and `cells` what must come of it. A line of `cells` is `FROM -> TO SERVICES VERDICT`; of several that speak of a
//! cell the first counts.

use std::str::FromStr as _;

use anyhow::{Context as _, Result, bail, ensure};
use cofferdam::event::Verdict;

use super::{
    cast::{self, Member, Place},
    cells::{Cell, Service},
    protocol::ICMP,
};

/// What is tried in each scene.
const BASE: [&str; 4] = ["tcp/80", "tcp/5432", "udp/53", "udp/8125"];

macro_rules! files {
    ($($name:literal),*) => { [$(($name, include_str!(concat!("../../scenes/", $name)))),*] };
}

const FILES: [(&str, &str); 12] = files!(
    "open.md",
    "names.md",
    "directions.md",
    "ports.md",
    "deny.md",
    "audit.md",
    "groups.md",
    "several.md",
    "defaults.md",
    "outside.md",
    "host.md",
    "docs.md"
);

const DOCS: &str = include_str!("../../../docs/policy.md");

/// What is written, and what must come of it.
#[derive(Debug, Default)]
pub struct Scene {
    /// What it shows.
    pub name: String,
    /// The file of policies.
    pub policies: String,
    /// Keys of `policies` in the configuration, line by line.
    settings: Vec<String>,
    /// Who is started anew once the policies are in force.
    pub starts: Vec<&'static Member>,
    lines: Vec<Line>,
}

/// Everything is allowed, and looked up all the same.
const OPEN: &str = "
policy: open
mode: enforce
rules:
  - {to: any, allow: [{from: any}]}
  - {from: any, allow: [{to: any}]}
";

#[derive(Debug)]
struct Line {
    text: String,
    from: String,
    to: String,
    services: String,
    verdict: Verdict,
}

/// All scenes, or those whose names contain what the variable `SCENE` says, for who looks into one.
///
/// # Errors
/// What is wrong with one of them.
pub fn all() -> Result<Vec<Scene>> {
    let wanted = std::env::var("SCENE").unwrap_or_default();
    let mut scenes = Vec::new();
    for (file, text) in FILES {
        for section in text.split("\n## ").skip(1) {
            let name = section.lines().next().unwrap_or_default();
            scenes.push(read(name, section).with_context(|| format!("tests/scenes/{file}: {name}"))?);
        }
    }
    scenes.retain(|scene: &Scene| scene.name.contains(&wanted));
    ensure!(!scenes.is_empty(), "no scene is called so: {wanted}");
    Ok(scenes)
}

fn read(name: &str, section: &str) -> Result<Scene> {
    let mut scene = Scene { name: name.to_owned(), ..Scene::default() };
    for (kind, text) in blocks(section)? {
        let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty());
        match kind {
            "yaml" => scene.policies = text.to_owned(),
            "docs" => {
                let examples = lines().map(example).collect::<Result<Vec<_>>>()?;
                scene.policies = examples.join("\n---\n");
            }
            "settings" => scene.settings = lines().map(str::to_owned).collect(),
            "starts" => {
                let member = |name| cast::member(name).with_context(|| format!("nobody is called {name}"));
                scene.starts = lines().map(member).collect::<Result<_>>()?;
            }
            "cells" => scene.lines = lines().map(line).collect::<Result<_>>()?,
            other => bail!("nobody knows blocks of `{other}`"),
        }
    }
    ensure!(!scene.lines.is_empty(), "it has no cells");
    scene.each_line_counts()?;
    Ok(scene)
}

/// The code blocks of a text, with what kind each is.
fn blocks(text: &str) -> Result<Vec<(&str, &str)>> {
    let block = |part| -> Result<_> { str::split_once(part, '\n').context("a block without a line") };
    text.split("\n```").skip(1).step_by(2).map(block).collect()
}

/// The example of docs/policy.md that is the policy of this name.
fn example(name: &str) -> Result<&'static str> {
    let found = blocks(DOCS)?.into_iter().find(|(kind, text)| {
        *kind == "yaml" && text.lines().any(|line| line.strip_prefix("policy: ") == Some(name))
    });
    Ok(found.with_context(|| format!("docs/policy.md has no policy {name}"))?.1)
}

fn line(text: &str) -> Result<Line> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [from, "->", to, services, verdict] = words[..] else {
        bail!("`{text}`: not FROM -> TO SERVICES VERDICT")
    };
    let verdict = match verdict {
        "allow" => Verdict::Allow,
        "audit" => Verdict::Audit,
        "deny" => Verdict::Deny,
        _ => bail!("`{text}`: no verdict"),
    };
    let [from, to, services] = [from, to, services].map(str::to_owned);
    Ok(Line { text: text.to_owned(), from, to, services, verdict })
}

impl Scene {
    /// All is allowed.
    pub(super) fn open() -> Self {
        Self { name: "open".to_owned(), policies: OPEN.to_owned(), ..Self::default() }
    }

    /// What the configuration says in `policies`, by key.
    ///
    /// # Errors
    /// A line is no `key: value`.
    pub fn settings(&self) -> Result<Vec<(String, serde_json::Value)>> {
        let setting = |line: &String| {
            let (key, value) = line.split_once(": ").with_context(|| format!("`{line}`: no setting"))?;
            Ok((key.to_owned(), value.into()))
        };
        self.settings.iter().map(setting).collect()
    }

    /// The whole matrix: all that is tried, and what must come of it.
    ///
    /// # Errors
    /// Nothing is written of a cell.
    pub fn matrix(&self) -> Result<Vec<(Cell, Verdict)>> {
        let cells = self.cells()?.into_iter();
        let verdict = |cell: Cell| {
            let line =
                self.line_of(&cell).with_context(|| format!("{}: nothing is said of {cell}", self.name))?;
            Ok((cell, line.verdict))
        };
        cells.map(verdict).collect()
    }

    /// All that can be tried. What has no ports only where a line names it: nobody can tell an answer from what somebody
    /// sends of himself, so that it is tried one way only.
    fn cells(&self) -> Result<Vec<Cell>> {
        let mut cells = Cell::all(&self.services()?);
        let named = |cell: &Cell| {
            self.line_of(cell)
                .is_some_and(|line| line.services.split(',').any(|it| it == cell.service.to_string()))
        };
        cells.retain(|cell| cell.service.port != 0 || cell.service.protocol == ICMP || named(cell));
        Ok(cells)
    }

    fn line_of(&self, cell: &Cell) -> Option<&Line> {
        self.lines.iter().find(|line| line.speaks_of(cell))
    }

    /// What is tried in each scene, and what this one speaks of.
    fn services(&self) -> Result<Vec<Service>> {
        let own = self.lines.iter().flat_map(|line| line.services.split(','));
        let own = own.filter(|service| service.contains('/') || *service == "icmp");
        let mut services = BASE.into_iter().chain(own).map(Service::from_str).collect::<Result<Vec<_>>>()?;
        services.sort_unstable();
        services.dedup();
        Ok(services)
    }

    /// A line that decides nothing says something that is not so.
    fn each_line_counts(&self) -> Result<()> {
        let cells = self.cells()?;
        for line in &self.lines {
            let counts = cells.iter().any(|cell| self.line_of(cell).is_some_and(|it| std::ptr::eq(it, line)));
            ensure!(counts, "`{}` is about no cell", line.text);
        }
        Ok(())
    }
}

impl Line {
    fn speaks_of(&self, cell: &Cell) -> bool {
        let one_of = |list: &str, is: &dyn Fn(&str) -> bool| list.split(',').any(is);
        one_of(&self.from, &|whom| is_meant(whom, cell.source))
            && one_of(&self.to, &|whom| is_meant(whom, cell.target))
            && one_of(&self.services, &|what| {
                let service = cell.service.to_string();
                what == "*" || what == service || service.split('/').next() == Some(what)
            })
    }
}

/// Whether somebody is meant by a name, a beginning of names with a `*`, or a word for a kind.
fn is_meant(whom: &str, member: &Member) -> bool {
    match whom {
        "*" => true,
        "containers" => member.is_container(),
        "units" => member.place == Place::Unit,
        "outside" => matches!(member.place, Place::Outside(_)),
        _ => match whom.strip_suffix('*') {
            Some(start) => member.name.starts_with(start),
            None => whom == member.name,
        },
    }
}
