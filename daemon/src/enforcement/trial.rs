//! Policies on trial: in force in memory only, until somebody confirms them. Unless that comes in time, what was in force
//! before comes back by itself, so that nobody locks himself out for good.
//!
//! Nothing is written for it. The folder is not read meanwhile; afterwards it counts again.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{
    Content, InForce,
    guard::{Guard, Harm},
};
use crate::{
    attribution::Attribution,
    config::Problem,
    interaction::Edge,
    policy::folder::{FileName, NamedText, Set},
};

/// Longest that something is on trial.
pub const LONGEST_TRIAL: Duration = Duration::from_hours(24);
/// How long there is to write the files of policies that are kept.
pub const WRITTEN_WITHIN: Duration = Duration::from_mins(1);
/// When it is tried again to go back, should that fail.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What is on trial.
pub(super) struct OnTrial {
    id: u64,
    files: Vec<NamedText>,
    until: Instant,
    /// What is watched meanwhile.
    guard: Option<Guard>,
    /// What was in force before.
    before: Content,
}

/// When policies on trial go back by themselves.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// After so long, unless somebody confirms them.
    pub within: Duration,
    /// At once, when they have denied more than this of what was normal before.
    pub most_denials: Option<u64>,
}

/// What is on trial, for reports.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Waiting {
    /// Which trial it is.
    pub id: u64,
    /// Files that are not in the folder yet, or not as they are there.
    pub files: Vec<FileName>,
    /// Until what was in force before comes back.
    pub seconds_left: u64,
    /// Whether denials of what was normal before are watched, to go back at once.
    #[serde(default)]
    pub guarded: bool,
}

/// What is on trial, with its texts.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Trial {
    /// Which it is.
    pub id: u64,
    /// The folder in which the files are to be.
    pub folder: PathBuf,
    /// The files.
    pub files: Vec<NamedText>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The policies are broken.
    #[error("{}", .0.line())]
    Broken(Problem),
    /// They cannot be put in force.
    #[error("{0}")]
    Unfit(String),
    /// The daemon stops: nobody could take anything back any more.
    #[error("the daemon is stopping")]
    Ending,
    /// Others are on trial.
    #[error("policies wait to be confirmed: `cofferdam policy confirm` or `cofferdam policy revert` first")]
    Waiting,
    /// No such are on trial.
    #[error(
        "no policies wait to be confirmed; those in force are of the folder, or others went on trial meanwhile"
    )]
    NothingWaits,
    /// Nothing is in the shadow.
    #[error("no policies are in the shadow: `cofferdam policy shadow PATH` puts some there")]
    NothingInShadow,
    /// There is nothing that could come back.
    #[error(
        "there is nothing to go back to: since the daemon started, the policies of the folder were never in force. \
         Mend the folder first (`cofferdam policy check`)"
    )]
    NoWayBack,
}

impl InForce {
    /// Puts the folder's policies in force as they would be with these files, until `now + terms.within` or until somebody
    /// confirms them; `seen` is the map, by which it is told what was normal before. Blocks.
    ///
    /// # Errors
    /// Why not. Then nothing changes.
    pub fn try_out(
        &self,
        files: Vec<NamedText>,
        terms: Terms,
        seen: &[Edge],
        now: Instant,
        attribution: &Attribution,
    ) -> Result<Trial, Refused> {
        let _changing = self.changing();
        let (config, before) = {
            let state = self.lock();
            if state.ending {
                return Err(Refused::Ending);
            }
            if state.trial.is_some() {
                return Err(Refused::Waiting);
            }
            (state.config.clone(), state.content.clone().ok_or(Refused::NoWayBack)?)
        };
        let folder = config.folder.path().to_owned();
        let set = Set::load_with(&folder, &files).map_err(Refused::Broken)?;
        let mut state = self.lock();
        state.apply(set.into(), &config, attribution).map_err(Refused::Unfit)?;
        state.trials += 1;
        let id = state.trials;
        let Terms { within, most_denials } = terms;
        let until = now + within.min(LONGEST_TRIAL);
        let guard = most_denials.map(|most| Guard::new(most, seen));
        state.trial = Some(OnTrial { id, files: files.clone(), until, guard, before });
        self.settle(state, attribution);
        let names: Vec<&str> = files.iter().map(|file| &*file.name).collect();
        tracing::warn!(?names, seconds = within.as_secs(), "policies are in force until they are confirmed");
        Ok(Trial { id, folder, files })
    }

    /// What is on trial.
    #[must_use]
    pub fn trial(&self) -> Option<Trial> {
        let state = self.lock();
        let folder = state.config.folder.path().to_owned();
        state.trial.as_ref().map(|trial| Trial { id: trial.id, folder, files: trial.files.clone() })
    }

    /// Leaves those of that number in force while their files are written: they go back only if that takes too long
    /// ([`WRITTEN_WITHIN`]), whatever they deny. Waits for others who change something.
    ///
    /// # Errors
    /// There is no such trial; then nothing changes.
    pub fn keep(&self, id: u64, now: Instant) -> Result<(), Refused> {
        let _changing = self.changing();
        let mut state = self.lock();
        let trial = state.trial.as_mut().filter(|trial| trial.id == id).ok_or(Refused::NothingWaits)?;
        trial.guard = None;
        trial.until = now + WRITTEN_WITHIN;
        Ok(())
    }

    /// Ends the trial of that number and reads the folder, where its files are now. Blocks.
    ///
    /// # Errors
    /// There is no such trial; then nothing changes. Or the folder cannot be taken; then what was on trial stays in force.
    pub fn confirm(&self, id: u64, attribution: &Attribution) -> Result<(), Refused> {
        let changing = self.changing();
        self.lock().trial.take_if(|trial| trial.id == id).ok_or(Refused::NothingWaits)?;
        tracing::info!("policies were confirmed");
        self.read(attribution, &changing).map_err(Refused::Unfit)
    }

    /// Ends the trial at once: what was in force before comes back. Blocks.
    ///
    /// # Errors
    /// There is none, or what was before cannot be put in force; then it is tried again, until it can.
    pub fn revert(&self, now: Instant, attribution: &Attribution) -> Result<(), Refused> {
        let _changing = self.changing();
        self.go_back(now, attribution)?;
        tracing::warn!("policies were taken back: those before are in force");
        Ok(())
    }

    /// What is on trial for too long is taken back; says whether it was. Blocks.
    ///
    /// # Errors
    /// What was before cannot be put in force; it is tried again after a while.
    pub fn take_back_overdue(&self, now: Instant, attribution: &Attribution) -> Result<bool, Refused> {
        // Nearly always there is nothing to do, and nobody is waited for.
        if self.lock().trial.as_ref().is_none_or(|trial| trial.until > now) {
            return Ok(false);
        }
        let _changing = self.changing();
        if self.lock().trial.as_ref().is_none_or(|trial| trial.until > now) {
            return Ok(false);
        }
        self.go_back(now, attribution)?;
        self.lock().report.went_back += 1;
        Ok(true)
    }

    /// Whether it is watched what policies on trial deny.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.lock().trial.as_ref().is_some_and(|trial| trial.guard.is_some())
    }

    /// What is on trial and has denied too much of what was normal before is taken back; says what that was. `seen` is the
    /// map as it is now. Blocks.
    ///
    /// # Errors
    /// As [`InForce::take_back_overdue`].
    pub fn take_back_harmful(
        &self,
        seen: &[Edge],
        now: Instant,
        attribution: &Attribution,
    ) -> Result<Option<Harm>, Refused> {
        let _changing = self.changing();
        let harm = self.lock().trial.as_ref().and_then(|trial| trial.guard.as_ref()?.harm(seen));
        if harm.is_some() {
            self.go_back(now, attribution)?;
            self.lock().report.went_back += 1;
        }
        Ok(harm)
    }

    /// The daemon stops, and what is enforced stays: what is on trial is taken back, and nothing is tried any more. Blocks.
    ///
    /// # Errors
    /// What was before cannot be put in force; what was on trial stays.
    pub fn end(&self, now: Instant, attribution: &Attribution) -> Result<(), Refused> {
        let _changing = self.changing();
        self.lock().ending = true;
        match self.go_back(now, attribution) {
            Err(Refused::NothingWaits) => Ok(()),
            result => result,
        }
    }

    fn go_back(&self, now: Instant, attribution: &Attribution) -> Result<(), Refused> {
        let mut state = self.lock();
        let Some(trial) = state.trial.take() else { return Err(Refused::NothingWaits) };
        let config = state.config.clone();
        let result = state.apply(trial.before.clone(), &config, attribution);
        if let Err(error) = result {
            state.trial = Some(OnTrial { until: now + RETRY_AFTER, ..trial });
            return Err(Refused::Unfit(error));
        }
        self.settle(state, attribution);
        Ok(())
    }
}

impl OnTrial {
    pub(super) fn waiting(&self) -> Waiting {
        let left = self.until.saturating_duration_since(Instant::now());
        let files = self.files.iter().map(|file| file.name.clone()).collect();
        Waiting { id: self.id, files, seconds_left: left.as_secs(), guarded: self.guard.is_some() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{FullPath, Policies};

    /// A folder of its own, what is in force of it, and nobody who lives here.
    struct Scene {
        folder: PathBuf,
        in_force: InForce,
        attribution: Attribution,
        begun: Instant,
    }

    impl Scene {
        /// With a policy `old`, which is in force.
        fn new(name: &str) -> Self {
            let scene = Self::with(name, &[("old.yaml", &text("old"))]);
            scene.in_force.reload(&scene.attribution).unwrap();
            scene
        }

        fn with(name: &str, files: &[(&str, &str)]) -> Self {
            let folder = std::env::temp_dir().join(format!("cofferdam-trial-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).unwrap();
            for (name, text) in files {
                fs::write(folder.join(name), text).unwrap();
            }
            let config = Policies { folder: FullPath::of(folder.to_str().unwrap()), ..Policies::default() };
            Self {
                folder,
                in_force: InForce::new(config, None),
                attribution: Attribution::new("/nonexistent".into()),
                begun: Instant::now(),
            }
        }

        fn names(&self) -> Vec<String> {
            self.in_force.policies().0.iter().map(|policy| policy.name.to_string()).collect()
        }

        /// Five minutes for a file with one policy of its name.
        fn try_out(&self, name: &str) -> Result<Trial, Refused> {
            self.try_text(name, &text(name))
        }

        fn try_text(&self, name: &str, text: &str) -> Result<Trial, Refused> {
            self.try_guarded(name, text, None)
        }

        fn try_guarded(&self, name: &str, text: &str, most_denials: Option<u64>) -> Result<Trial, Refused> {
            let name = format!("{name}.yaml").try_into().unwrap();
            let files = vec![NamedText { name, text: text.to_owned() }];
            let terms = Terms { within: Duration::from_mins(5), most_denials };
            self.in_force.try_out(files, terms, &[], self.begun, &self.attribution)
        }

        fn overdue_after(&self, minutes: u64) -> bool {
            let now = self.begun + Duration::from_mins(minutes);
            self.in_force.take_back_overdue(now, &self.attribution).unwrap()
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }

    fn text(name: &str) -> String {
        format!("policy: {name}\nrules: []\n")
    }

    #[test]
    fn what_nobody_confirms_goes_back_by_itself_when_its_time_is_over() {
        let scene = Scene::new("overdue");
        scene.try_out("new").unwrap();
        assert_eq!(scene.names(), ["new", "old"]);
        let waiting = scene.in_force.report().trial.unwrap();
        assert_eq!((waiting.files.len(), &*waiting.files[0]), (1, "new.yaml"));
        assert!((290..=300).contains(&waiting.seconds_left), "{waiting:?}");

        assert!(!scene.overdue_after(4));
        assert_eq!(scene.names(), ["new", "old"]);
        assert!(scene.overdue_after(5));
        assert_eq!(scene.names(), ["old"]);
        let report = scene.in_force.report();
        assert_eq!((report.trial, report.went_back), (None, 1));
        assert!(!scene.overdue_after(6));
        assert_eq!(fs::read_dir(&scene.folder).unwrap().count(), 1, "nothing was written");
    }

    #[test]
    fn the_folder_is_not_read_while_something_is_on_trial_and_counts_afterwards() {
        let scene = Scene::new("folder");
        scene.try_out("new").unwrap();
        fs::write(scene.folder.join("other.yaml"), text("other")).unwrap();
        assert!(!scene.in_force.changed());
        let refused = scene.in_force.reload(&scene.attribution).unwrap_err();
        assert!(matches!(refused, Refused::Waiting), "{refused}");
        assert_eq!(scene.names(), ["new", "old"]);
        assert!(scene.overdue_after(5));
        assert_eq!(scene.names(), ["old"]);
        assert!(scene.in_force.changed());
        scene.in_force.reload(&scene.attribution).unwrap();
        assert_eq!(scene.names(), ["old", "other"]);
    }

    #[test]
    fn it_goes_back_also_when_the_folder_is_broken_by_then() {
        let scene = Scene::new("broken");
        scene.try_out("new").unwrap();
        fs::write(scene.folder.join("old.yaml"), "no policy").unwrap();
        assert!(scene.overdue_after(5));
        assert_eq!(scene.names(), ["old"]);
        scene.in_force.reload(&scene.attribution).unwrap_err();
        assert_eq!(scene.names(), ["old"]);
    }

    #[test]
    fn what_is_confirmed_stays_and_only_by_the_right_number() {
        let scene = Scene::new("confirm");
        let trial = scene.try_out("new").unwrap();
        assert_eq!(scene.in_force.trial(), Some(trial.clone()));
        assert_eq!(trial.folder, scene.folder);
        let wrong = scene.in_force.confirm(trial.id + 1, &scene.attribution);
        assert!(matches!(wrong, Err(Refused::NothingWaits)), "{wrong:?}");
        for file in trial.files {
            fs::write(scene.folder.join(&*file.name), file.text).unwrap();
        }
        scene.in_force.confirm(trial.id, &scene.attribution).unwrap();
        assert!(!scene.overdue_after(5) && !scene.in_force.changed());
        assert_eq!(scene.names(), ["new", "old"]);
        let again = scene.in_force.confirm(trial.id, &scene.attribution);
        assert!(matches!(again, Err(Refused::NothingWaits)), "{again:?}");
    }

    #[test]
    fn what_is_kept_is_not_taken_back_while_it_is_written_unless_that_takes_too_long() {
        let scene = Scene::new("keep");
        let trial = scene.try_guarded("new", &text("new"), Some(0)).unwrap();
        assert!(scene.in_force.is_guarded());
        let keep = |id| scene.in_force.keep(id, scene.begun + Duration::from_mins(5));
        assert!(matches!(keep(trial.id + 1), Err(Refused::NothingWaits)));
        keep(trial.id).unwrap();
        assert!(!scene.in_force.is_guarded() && !scene.overdue_after(5));
        assert!(scene.overdue_after(6));
        assert_eq!(scene.names(), ["old"]);
        assert!(matches!(keep(trial.id), Err(Refused::NothingWaits)));
    }

    #[test]
    fn it_can_be_taken_back_at_once_and_only_one_is_on_trial() {
        let scene = Scene::new("revert");
        let revert = || scene.in_force.revert(scene.begun, &scene.attribution);
        assert!(matches!(revert(), Err(Refused::NothingWaits)));
        let first = scene.try_out("new").unwrap();
        assert!(matches!(scene.try_out("newer"), Err(Refused::Waiting)));
        revert().unwrap();
        assert_eq!((scene.names(), scene.in_force.report().went_back), (vec!["old".to_owned()], 0));
        assert_ne!(scene.try_out("newer").unwrap().id, first.id);
    }

    #[test]
    fn a_daemon_that_stops_takes_back_what_waits_and_tries_nothing_more() {
        let scene = Scene::new("end");
        scene.try_out("new").unwrap();
        scene.in_force.end(scene.begun, &scene.attribution).unwrap();
        assert_eq!(scene.names(), ["old"]);
        assert!(matches!(scene.try_out("new"), Err(Refused::Ending)));
        scene.in_force.end(scene.begun, &scene.attribution).unwrap();
    }

    #[test]
    fn what_is_broken_is_not_tried() {
        let scene = Scene::new("unfit");
        let refused = scene.try_text("new", "policy: new\n").unwrap_err();
        assert!(refused.to_string().contains("new.yaml:1:1: "), "{refused}");
        let refused = scene.try_text("new", &text("old")).unwrap_err();
        assert!(refused.to_string().contains("is also the policy at"), "{refused}");
        assert_eq!((scene.names(), scene.in_force.report().trial), (vec!["old".to_owned()], None));
    }

    #[test]
    fn nothing_is_tried_where_there_is_no_way_back() {
        let scene = Scene::with("no-way-back", &[("old.yaml", "no policy")]);
        scene.in_force.reload(&scene.attribution).unwrap_err();
        assert!(matches!(scene.try_out("old"), Err(Refused::NoWayBack)));
    }
}
