//! The policies that are in force, and what became of the last attempt to change them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::SystemTime,
};

use cofferdam_common::{
    name::PatternId,
    network::{Flow, FlowKey},
};
use jiff::Timestamp;

use crate::{
    attribution::Attribution,
    config::{AtStop, ByDefault, Policies},
    policy::{
        Plan, Settings,
        folder::{File, Set},
        model::{Mode, Policy},
    },
    sensor::clock::Clock,
};

mod canaries;

mod cover;

mod cuts;

mod deviation;

mod guard;

mod names;

mod reason;

mod report;

mod shadow;

mod simulation;

mod sync;

mod trial;

mod verified;

mod verify;

pub use self::{
    canaries::{Tried, TriedOutcome},
    cuts::{Cuts, Uncut},
    deviation::{Deviation, MOST_FINDINGS},
    guard::Harm,
    report::{Partial, Report},
    shadow::{Shadowed, Shadowing},
    simulation::{Affected, Simulated},
    sync::Sync,
    trial::{LONGEST_TRIAL, Refused, Terms, Trial, WRITTEN_WITHIN, Waiting},
    verified::{Look, Mended, Verified},
};
use self::{shadow::Shadow, trial::OnTrial};
pub use crate::sensor::standing::{Finding, Outcome, What};

/// The policies that are in force. A broken file changes nothing of them.
pub struct InForce {
    state: Mutex<State>,
    /// Held while they are changed: one change at a time.
    changing: Mutex<()>,
    /// Policies that are only watched.
    shadow: Mutex<Option<Shadow>>,
    /// Attaches what judges, or lets it go.
    switch: OnceLock<Switch>,
    /// Whether they are really enforced.
    verified: Mutex<verify::Kept>,
}

/// Told after each change whether anything is judged.
type Switch = Box<dyn Fn(bool) + Send + std::marker::Sync>;

struct State {
    config: Policies,
    /// Where there is no kernel to judge, as for tests.
    sync: Option<Sync>,
    /// What the folder was like when it was last read.
    seen: Option<Vec<Seen>>,
    /// What is in force; nothing until policies were put in force for the first time.
    content: Option<Content>,
    /// What is in force for a while only.
    trial: Option<OnTrial>,
    /// How many there have been.
    trials: u64,
    /// The daemon stops.
    ending: bool,
    report: Report,
}

/// Policies, and what stands in their files.
#[derive(Clone, Default)]
struct Content {
    policies: Vec<Arc<Policy>>,
    files: Arc<Vec<File>>,
    settings: Option<Settings>,
}

impl From<Set> for Content {
    fn from(set: Set) -> Self {
        let (policies, files) = set.into_parts();
        Self { policies, files: Arc::new(files), settings: None }
    }
}

/// A file as it was when it was read.
#[derive(Debug, Eq, PartialEq)]
struct Seen {
    path: PathBuf,
    size: u64,
    modified: Option<SystemTime>,
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
        let state =
            State { config, sync, seen: None, content: None, trial: None, trials: 0, ending: false, report };
        Self {
            state: Mutex::new(state),
            changing: Mutex::default(),
            shadow: Mutex::default(),
            switch: OnceLock::new(),
            verified: Mutex::default(),
        }
    }

    /// After each change `switch` is told whether anything is judged. The first that is given counts.
    pub fn switch_with(&self, switch: impl Fn(bool) + Send + std::marker::Sync + 'static) {
        let _ = self.switch.set(Box::new(switch));
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
            (report.names, report.named_addresses, report.names_missed) = sync.names();
        }
        report.trial = state.trial.as_ref().map(OnTrial::waiting);
        drop(state);
        report.shadow = self.in_shadow();
        (report.verified, report.mended) = self.kept();
        report
    }

    /// The policies in force, and what holds where they say nothing.
    #[must_use]
    pub fn policies(&self) -> (Vec<Arc<Policy>>, Settings) {
        let state = self.lock();
        let content = state.content.clone().unwrap_or_default();
        (content.policies, content.settings.unwrap_or_else(|| (&state.config).into()))
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

    /// What will hold where policies say nothing, from the next reading on.
    #[must_use]
    pub fn settings(&self) -> Settings {
        (&self.lock().config).into()
    }

    /// What becomes of what is enforced when the daemon is stopped.
    #[must_use]
    pub fn at_stop(&self) -> AtStop {
        self.lock().config.at_stop
    }

    /// Has that become of it, whatever the configuration says.
    pub fn leave(&self, at_stop: AtStop) {
        self.lock().config.at_stop = at_stop;
    }

    /// Whether the folder is not as it was when it was last read; while something is on trial it is not looked at. Blocks.
    #[must_use]
    pub fn changed(&self) -> bool {
        let folder = {
            let state = self.lock();
            if state.trial.is_some() {
                return false;
            }
            state.config.folder.path().to_owned()
        };
        let now = seen(&folder);
        let state = self.lock();
        state.trial.is_none() && state.seen.as_ref() != Some(&now)
    }

    /// Reads the folder and puts its policies in force. Blocks.
    ///
    /// # Errors
    /// What is wrong with them, or that others are on trial. Then nothing changes.
    pub fn reload(&self, attribution: &Attribution) -> Result<(), Refused> {
        let changing = self.changing();
        if self.lock().trial.is_some() {
            return Err(Refused::Waiting);
        }
        self.read(attribution, &changing).map_err(Refused::Unfit)
    }

    /// Reads the folder and puts its policies in force.
    fn read(&self, attribution: &Attribution, _changing: &MutexGuard<'_, ()>) -> Result<(), String> {
        let config = self.lock().config.clone();
        let folder = config.folder.path();
        let now = seen(folder);
        let loaded = Set::load(folder).map_err(|problem| problem.line().to_owned());
        let mut state = self.lock();
        state.seen = Some(now);
        let applied = loaded.and_then(|set| state.apply(set.into(), &config, attribution));
        state.report.problem = applied.as_ref().err().cloned();
        self.settle(state, attribution);
        applied
    }

    /// After a change: takes in who lives here, and attaches what judges or lets it go. Of what fails nothing is lost: it
    /// is tried again with each turn, and said then.
    fn settle(&self, mut state: MutexGuard<'_, State>, attribution: &Attribution) {
        let _ = state.turn(attribution);
        drop(state);
        self.switch();
    }

    /// Attaches what judges, or lets it go. Where nothing was put in force yet, what an earlier daemon has left stays.
    fn switch(&self) {
        let judges = {
            let state = self.lock();
            state.content.as_ref().map(|_| state.sync.as_ref().is_some_and(|sync| sync.generation() != 0))
        };
        if let (Some(judges), Some(switch)) = (judges, self.switch.get()) {
            switch(judges);
        }
    }

    /// By which generation open connections that it denies are to be cut, and since when its policies are in force; `None`
    /// while none are.
    #[must_use]
    pub fn cuts_by(&self) -> Option<(u32, Timestamp)> {
        let state = self.lock();
        let generation = state.sync.as_ref().map_or(0, Sync::generation);
        (state.config.cut_open_connections && generation != 0).then_some((generation, state.report.since))
    }

    /// Of these flows, open connections that the policies in force deny.
    #[must_use]
    pub fn denied(&self, flows: impl IntoIterator<Item = (FlowKey, Flow)>) -> Vec<(FlowKey, Flow)> {
        let state = self.lock();
        let Some(sync) = &state.sync else { return Vec::new() };
        flows.into_iter().filter(|(key, flow)| sync.denies(key, flow)).collect()
    }

    /// Counts what became of connections that were denied.
    pub fn count_cuts(&self, outcomes: &[Result<(), Uncut>]) {
        let mut state = self.lock();
        outcomes.iter().for_each(|outcome| state.report.cuts.count(*outcome));
    }

    /// Takes in who lives on this host now.
    ///
    /// # Errors
    /// When the kernel's maps cannot be written.
    pub fn turn(&self, attribution: &Attribution) -> anyhow::Result<()> {
        self.lock().turn(attribution)
    }

    /// Whether the policies in force speak of a DNS name.
    #[must_use]
    pub fn have_name(&self, name: &str) -> bool {
        let state = self.lock();
        let plan = state.sync.as_ref().and_then(Sync::plan);
        plan.is_some_and(|plan| plan.pattern_of(name) != PatternId::NONE)
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn shadowing(&self) -> MutexGuard<'_, Option<Shadow>> {
        self.shadow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Puts policies in force.
    fn apply(
        &mut self,
        content: Content,
        config: &Policies,
        attribution: &Attribution,
    ) -> Result<(), String> {
        let settings = Settings::from(config);
        let enforced = content.policies.iter().filter(|policy| policy.mode == Mode::Enforce).count();
        let audited = content.policies.len() - enforced;
        if let Some(sync) = &mut self.sync {
            let name = |rules| attribution.name_rules(rules);
            // Before anything is judged: a connection that is there already would be a stranger's. The next turn tells of what
            // there is no room for.
            let _ = sync.set_addresses(&attribution.owners_of_addresses());
            sync.apply(content.policies.clone(), settings, &attribution.placed(), name)
                .map_err(|error| format!("{error:#}"))?;
        }
        self.content = Some(Content { settings: Some(settings), ..content });
        let denies_by_default = [config.default_egress, config.default_ingress].contains(&ByDefault::Deny);
        self.report =
            Report { enforced, audited, denies_by_default, since: Timestamp::now(), ..self.report.clone() };
        Ok(())
    }

    /// Takes in who lives on this host now.
    fn turn(&mut self, attribution: &Attribution) -> anyhow::Result<()> {
        let Some(sync) = &mut self.sync else { return Ok(()) };
        let (told, untold) = attribution.take_told();
        sync.hear(&told, Clock::now().monotonic());
        let turned = if sync.plan().is_some() {
            sync.turn(&attribution.placed(), &attribution.owners_of_addresses())
        } else {
            Ok(())
        };
        self.report.untold = untold;
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
        let problem = in_force.reload(&attribution).unwrap_err().to_string();
        assert!(problem.contains("shop.yaml:3:"), "{problem}");
        assert_eq!(in_force.report().problem, Some(problem));
        assert!(!in_force.changed(), "what is broken is not read again until it changes");

        fs::remove_file(&file).unwrap();
        in_force.reload(&attribution).unwrap();
        assert_eq!(in_force.report().problem, None);
        fs::remove_dir(&folder).unwrap();
    }
}
