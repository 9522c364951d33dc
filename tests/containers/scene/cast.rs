//! Who takes part: how each is to be shown, and how it is made to act.

use std::{collections::BTreeMap, fmt::Display};

use anyhow::{Context as _, Result, bail};
use cofferdam::event::{Runtime, Workload, WorkloadKind};
use cofferdam_tests::{Counts, counts};

/// Runs a program where the actor is.
type Run = Box<dyn Fn(&[&str]) -> Result<String> + Send>;

/// All who take part, and the addresses that the table speaks of.
#[derive(Default)]
pub(super) struct Cast {
    members: Vec<Workload>,
    actors: BTreeMap<&'static str, (Vec<String>, Run)>,
    places: BTreeMap<String, String>,
}

/// What must be right of a workload, apart from its name.
#[derive(Debug, PartialEq)]
pub(super) struct Identity<'a> {
    kind: WorkloadKind,
    runtime: Option<Runtime>,
    id: Option<&'a str>,
    image: Option<&'a str>,
}

pub(super) fn identity(workload: &Workload) -> Identity<'_> {
    Identity {
        kind: workload.kind,
        runtime: workload.runtime,
        id: workload.id.as_deref(),
        image: workload.image.as_deref(),
    }
}

impl Cast {
    /// A workload that the map must show so.
    pub(super) fn member(&self, workload: &Workload) -> Option<&Workload> {
        self.members.iter().find(|member| member.to_string() == workload.to_string())
    }

    /// A workload of this kind and name.
    pub(super) fn show(&mut self, kind: WorkloadKind, name: &str) {
        let runtime = (kind == WorkloadKind::Unit).then_some(Runtime::Systemd);
        self.members.push(Workload { runtime, ..Workload::named(kind, name) });
    }

    /// A container.
    pub(super) fn show_container(&mut self, name: &str, runtime: Runtime, id: &str, image: Option<&str>) {
        let (id, image) = (Some(id.to_owned()), image.map(str::to_owned));
        let workload = Workload::named(WorkloadKind::Container, name);
        self.members.push(Workload { runtime: Some(runtime), id, image, ..workload });
    }

    /// Who acts under this name, with `traffic` (its path and what comes before the table's arguments) and by `run`.
    pub(super) fn actor(
        &mut self,
        name: &'static str,
        traffic: &[&str],
        run: impl Fn(&[&str]) -> Result<String> + Send + 'static,
    ) {
        let traffic = traffic.iter().map(|word| (*word).to_owned()).collect();
        self.actors.insert(name, (traffic, Box::new(run)));
    }

    /// What `{name}` stands for.
    pub(super) fn place(&mut self, name: impl Display, is: impl Display) {
        self.places.insert(format!("{{{name}}}"), is.to_string());
    }

    pub(super) fn join(&mut self, other: Self) {
        self.members.extend(other.members);
        self.actors.extend(other.actors);
        self.places.extend(other.places);
    }

    /// Puts in what the braces stand for.
    pub(super) fn fill(&self, text: &str) -> Result<String> {
        let filled = self.places.iter().fold(text.to_owned(), |text, (place, is)| text.replace(place, is));
        if filled.contains('{') {
            bail!("nobody says what it stands for: {filled}");
        }
        Ok(filled)
    }

    /// Does what the table says; what `traffic` counted, if it was that.
    pub(super) fn act(&self, who: &str, what: &str) -> Result<Option<Counts>> {
        let (traffic, run) = self.actors.get(who).with_context(|| format!("nobody is called {who}"))?;
        let words: Vec<_> = what.split_whitespace().collect();
        if words.first().is_some_and(|word| word.starts_with(|first: char| first.is_ascii_alphabetic())) {
            return run(&words).map(|_| None);
        }
        let words: Vec<_> = traffic.iter().map(String::as_str).chain(words).collect();
        counts(&run(&words)?).map(Some)
    }
}
