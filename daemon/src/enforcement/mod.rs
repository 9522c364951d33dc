//! The policies that are in force, and what became of the last attempt to change them.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    attribution::Attribution,
    config::{AtStop, ByDefault, Policies},
    policy::{
        Plan, explain,
        explain::{End, Explanation},
        folder::{File, Set},
        model::Mode,
    },
};

mod sync;

pub use self::sync::Sync;

/// The policies that are in force. A broken file changes nothing of them.
pub struct InForce {
    state: Mutex<State>,
}

struct State {
    config: Policies,
    /// Where there is no kernel to judge, as for tests.
    sync: Option<Sync>,
    /// What the folder was like when it was last read.
    seen: Option<Vec<Seen>>,
    /// What stands in the files of the policies in force.
    files: Vec<File>,
    report: Report,
}

/// A file as it was when it was read.
#[derive(Debug, Eq, PartialEq)]
struct Seen {
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
}

/// How the policies stand: a part of `GET /v1/status`.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The folder.
    pub folder: String,
    /// The generation in force; zero while nothing is judged.
    pub generation: u32,
    /// When it was put in force.
    pub since: Timestamp,
    /// Policies whose denials are enforced.
    pub enforced: usize,
    /// Policies whose denials are only reported.
    pub audited: usize,
    /// Whether what no policy is about is denied, in either direction.
    #[serde(default)]
    pub denies_by_default: bool,
    /// Rules of all.
    pub rules: usize,
    /// Groups of workloads and networks that rules tell apart.
    pub identities: usize,
    /// Cgroups that count as unresolved: it is not known yet who lives there, or there is no room.
    pub unresolved: usize,
    /// How often that was not known in time.
    pub unresolved_timeouts: u64,
    /// How often not all that lives here could be put into the kernel's maps.
    #[serde(default)]
    pub errors: u64,
    /// What was wrong when they were last read; what was in force before stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Report {
    /// What the daemon does about interactions: `observing`, or `enforcing 3 policies`.
    #[must_use]
    pub fn word(&self) -> String {
        match (self.generation, self.enforced) {
            (1.., 1) => "enforcing 1 policy".to_owned(),
            (1.., 2..) => format!("enforcing {} policies", self.enforced),
            // No policy need be there for that.
            (1.., 0) if self.denies_by_default => "enforcing what is denied by default".to_owned(),
            _ => "observing".to_owned(),
        }
    }
}

impl InForce {
    /// Nothing is in force yet.
    #[must_use]
    pub fn new(config: Policies, sync: Option<Sync>) -> Self {
        let report = Report {
            folder: config.folder.path().display().to_string(),
            generation: 0,
            since: Timestamp::now(),
            ..Report::default()
        };
        Self { state: Mutex::new(State { config, sync, seen: None, files: Vec::new(), report }) }
    }

    /// How they stand.
    #[must_use]
    pub fn report(&self) -> Report {
        let state = self.lock();
        let mut report = state.report.clone();
        if let Some(sync) = &state.sync {
            let size = sync.plan().map(Plan::size).unwrap_or_default();
            report.generation = sync.generation();
            (report.rules, report.identities) = (size.rules, size.identities);
            (report.unresolved, report.unresolved_timeouts) = sync.unresolved();
        }
        report
    }

    /// What the policies take of the kernel's room, by name, and how much there is.
    #[must_use]
    pub fn fill(&self) -> Vec<(&'static str, usize, u32)> {
        self.lock().sync.as_ref().map(|sync| sync.fill().to_vec()).unwrap_or_default()
    }

    /// What holds where no policy says anything, from the next reading on.
    pub fn configure(&self, config: Policies) {
        let mut state = self.lock();
        if state.config != config {
            state.report.folder = config.folder.path().display().to_string();
            state.config = config;
            state.seen = None;
        }
    }

    /// What becomes of what is enforced when the daemon is stopped.
    #[must_use]
    pub fn at_stop(&self) -> AtStop {
        self.lock().config.at_stop
    }

    /// Whether the folder is not as it was when it was last read. Blocks.
    #[must_use]
    pub fn changed(&self) -> bool {
        let folder = self.lock().config.folder.path().to_owned();
        let now = seen(&folder);
        self.lock().seen.as_ref() != Some(&now)
    }

    /// Reads the folder and puts its policies in force. Blocks.
    ///
    /// # Errors
    /// What is wrong with them. Then nothing changes.
    pub fn reload(&self, attribution: &Attribution) -> Result<(), String> {
        let config = self.lock().config.clone();
        let folder = config.folder.path();
        let now = seen(folder);
        let loaded = Set::load(folder).map_err(|problem| problem.line().to_owned());
        let mut state = self.lock();
        state.seen = Some(now);
        let applied = loaded.and_then(|set| state.apply(set, &config, attribution));
        state.report.problem = applied.as_ref().err().cloned();
        applied
    }

    /// Takes in who lives on this host now.
    ///
    /// # Errors
    /// When the kernel's maps cannot be written.
    pub fn turn(&self, attribution: &Attribution) -> anyhow::Result<()> {
        self.lock().turn(attribution)
    }

    /// Why one may, or may not, interact with another, and that in words, with lines of the policies as they were when
    /// they were read; `None` while nothing is judged.
    #[must_use]
    pub fn explain(
        &self,
        source: End<'_>,
        target: End<'_>,
        protocol: u8,
        port: u16,
    ) -> Option<(Explanation, String)> {
        let state = self.lock();
        let explanation = explain::explain(state.sync.as_ref()?.plan()?, source, target, protocol, port);
        let texts: HashMap<_, _> = state.files.iter().map(|file| (&*file.path, file.text.as_str())).collect();
        let text = explanation.text(&texts);
        Some((explanation, text))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, set: Set, config: &Policies, attribution: &Attribution) -> Result<(), String> {
        let Some(sync) = &mut self.sync else { return Ok(()) };
        let (policies, files) = set.into_parts();
        let policies: Vec<_> = policies.into_iter().map(Arc::new).collect();
        let enforced = policies.iter().filter(|policy| policy.mode == Mode::Enforce).count();
        let audited = policies.len() - enforced;
        let names = sync
            .apply(policies, config.into(), &attribution.placed())
            .map_err(|error| format!("{error:#}"))?;
        attribution.name_rules(names);
        self.files = files;
        let denies_by_default = [config.default_egress, config.default_ingress].contains(&ByDefault::Deny);
        self.report =
            Report { enforced, audited, denies_by_default, since: Timestamp::now(), ..self.report.clone() };
        // They are in force. What of this fails is tried again, and said then.
        let _ = self.turn(attribution);
        Ok(())
    }

    fn turn(&mut self, attribution: &Attribution) -> anyhow::Result<()> {
        let turned = match &mut self.sync {
            Some(sync) if sync.plan().is_some() => {
                sync.turn(&attribution.placed(), &attribution.owners_of_addresses())
            }
            _ => Ok(()),
        };
        self.report.errors += u64::from(turned.is_err());
        turned
    }
}

/// What a folder is like: whoever writes a file changes it.
fn seen(folder: &Path) -> Vec<Seen> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut seen: Vec<Seen> = files
        .filter_map(|entry| {
            let (path, meta) = (entry.path(), fs::metadata(entry.path()).ok()?);
            Some(Seen { path, size: meta.len(), modified: meta.modified().ok() })
        })
        .collect();
    seen.sort_by(|one, two| one.path.cmp(&two.path));
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::FullPath;

    #[test]
    fn a_broken_file_is_told_until_it_is_mended_or_gone() {
        let folder = std::env::temp_dir().join(format!("cofferdam-in-force-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join("shop.yaml");
        let config = Policies { folder: FullPath::of(folder.to_str().unwrap()), ..Policies::default() };
        let in_force = InForce::new(config, None);
        let attribution = Attribution::new("/nonexistent".into());
        in_force.reload(&attribution).unwrap();
        assert!(!in_force.changed());

        fs::write(&file, "policy: shop\nrules:\n  - {too: shop/db}\n").unwrap();
        assert!(in_force.changed());
        let problem = in_force.reload(&attribution).unwrap_err();
        assert!(problem.contains("shop.yaml:3:"), "{problem}");
        assert_eq!(in_force.report().problem, Some(problem));
        assert!(!in_force.changed(), "what is broken is not read again until it changes");

        fs::remove_file(&file).unwrap();
        in_force.reload(&attribution).unwrap();
        assert_eq!(in_force.report().problem, None);
        fs::remove_dir(&folder).unwrap();
    }
}
