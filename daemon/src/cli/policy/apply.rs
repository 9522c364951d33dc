//! `cofferdam policy apply`, `confirm`, `revert` and `reload`: brings policies in force.
//!
//! The folder stays the truth. The daemon tries policies out first, in memory; only what is in force already is written.

use std::{
    io::Write as _,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::anyhow;
use clap::Args;
use jiff::{SignedDuration, Timestamp};

use super::{candidate, check, diff, store};
use crate::{
    api::{Candidate, Changed, Compared, Confirmed, Status, Tried},
    cli::{
        Client, Failure,
        output::{is_terminal, plural, print, printable, span},
    },
    enforcement::{LONGEST_TRIAL, Report, Trial, WRITTEN_WITHIN},
};

/// How often it is looked whether policies are still in force that are to stay by themselves.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is brought in force, and how.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Files and folders whose policies are put into the daemon's folder, in place of files that are called so.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Only say what would change.
    #[arg(long)]
    dry_run: bool,
    /// Go back by itself after this time (as `5m`), unless `cofferdam policy confirm` comes before.
    #[arg(long, value_parser = time, value_name = "TIME", conflicts_with = "dry_run", group = "trial")]
    confirm_within: Option<Duration>,
    /// Wait for this time (as `10m`) whether it goes back by itself, and stay if not: nobody needs to confirm it.
    #[arg(
        long,
        value_parser = time_before_keeping,
        value_name = "TIME",
        conflicts_with = "dry_run",
        group = "trial",
        requires = "take_back_above"
    )]
    keep_after: Option<Duration>,
    /// Until it is confirmed, or stays, go back at once when more than this many attempts are denied of interactions that were
    /// allowed before.
    #[arg(long, value_name = "DENIALS", requires = "trial")]
    take_back_above: Option<u64>,
}

/// A time as people write it, in whole seconds.
fn time(text: &str) -> Result<Duration, String> {
    within(text, LONGEST_TRIAL)
}

/// [`time`], after which there is still time to write the files.
fn time_before_keeping(text: &str) -> Result<Duration, String> {
    within(text, LONGEST_TRIAL - WRITTEN_WITHIN)
}

fn within(text: &str, longest: Duration) -> Result<Duration, String> {
    let time: SignedDuration =
        text.parse().map_err(|_| format!("`{text}` is no time such as `90s` or `5m`"))?;
    let seconds = u64::try_from(time.as_secs()).unwrap_or(0);
    if (1..=longest.as_secs()).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err(format!("must be from 1 s to {}", span(longest.as_secs())))
    }
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let mut candidate = candidate::load(&arguments.paths)?;
    if candidate.files.is_empty() {
        return Err(Failure::Failed(anyhow!("there are no files of policies")));
    }
    let compared: Compared = client.post("/v1/policy/diff", &candidate)?;
    let warnings = check::warnings(&compared.folder, &candidate.files, client);
    // That nobody reads them is no reason to do half of what was asked.
    let _ = anstream::stderr().lock().write_all(warnings.as_bytes());
    tell(&diff::text(&compared, Timestamp::now(), is_terminal()))?;
    if arguments.dry_run {
        return print("Nothing was written, and nothing has changed.\n");
    }
    store::check(&compared.folder, candidate.files.iter().map(|file| &file.name))?;
    let kept_after = || arguments.keep_after.unwrap_or_default() + WRITTEN_WITHIN;
    let within = arguments.confirm_within.unwrap_or_else(kept_after);
    candidate.seconds = Some(within.as_secs());
    candidate.most_denials = arguments.take_back_above;
    let tried: Tried = client.post("/v1/policy/try", &candidate)?;
    if arguments.confirm_within.is_some() {
        return print(&waits(&tried, &compared, within));
    }
    if let Some(time) = arguments.keep_after {
        let stays = format!("It stays if nothing takes it back within {}.\n", span(time.as_secs()));
        tell(&format!("{}{stays}", standing(&tried.policies)))?;
        outlast(&tried, time, client)?;
    }
    let Candidate { files, .. } = candidate;
    keep(&Trial { id: tried.id, folder: compared.folder, files }, client)
}

/// Waits for so long while the daemon has them on trial.
fn outlast(tried: &Tried, time: Duration, client: &Client) -> Result<(), Failure> {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::sleep(left.min(LOOK_EVERY));
        // Whoever does not answer now is asked again, and at last whether they can be kept.
        let Ok(Status { policies, .. }) = client.get("/v1/status") else { continue };
        if policies.trial.is_none_or(|trial| trial.id != tried.id) {
            return Err(Failure::Failed(if policies.went_back > tried.policies.went_back {
                anyhow!(
                    "the policies were taken back, as they denied what was allowed before; nothing was written"
                )
            } else {
                anyhow!("the policies are on trial no more: somebody has confirmed them, or taken them back")
            }));
        }
    }
    Ok(())
}

/// Writes to stdout. That nobody reads it is no reason to do half of what was asked.
fn tell(text: &str) -> Result<(), Failure> {
    match print(text) {
        Err(Failure::ReaderLeft) => Ok(()),
        other => other,
    }
}

/// Writes what is on trial into the folder.
pub(super) fn confirm(client: &Client) -> Result<(), Failure> {
    let trial: Trial = client.get("/v1/policy/trial")?;
    keep(&trial, client)
}

pub(super) fn revert(client: &Client) -> Result<(), Failure> {
    let Changed { policies, .. } = client.post("/v1/policy/revert", &())?;
    print(&format!("taken back; {}", standing(&policies)))
}

pub(super) fn reload(client: &Client) -> Result<(), Failure> {
    let Changed { policies, .. } = client.post("/v1/policy/reload", &())?;
    print(&standing(&policies))
}

/// Writes the files and tells the daemon, which then reads its folder. Nothing takes them back meanwhile.
fn keep(trial: &Trial, client: &Client) -> Result<(), Failure> {
    let of = Confirmed { id: trial.id };
    let _: Changed = client.post("/v1/policy/keep", &of)?;
    if let Err(error) = store::write(&trial.folder, &trial.files) {
        // What cannot be kept is not to stay in force either; should that fail, it goes back by itself.
        let _ = client.post::<Changed>("/v1/policy/revert", &());
        return Err(Failure::Failed(error.context("the policies were taken back")));
    }
    let Changed { policies, .. } = client.post("/v1/policy/confirm", &of)?;
    print(&format!(
        "{} written to {}\n{}",
        plural(trial.files.len(), "file"),
        shown(&trial.folder),
        standing(&policies)
    ))
}

fn waits(tried: &Tried, compared: &Compared, within: Duration) -> String {
    let before = match compared.generation {
        0 => "to nothing being judged".to_owned(),
        generation => format!("to what generation {generation} was"),
    };
    format!(
        "{}Confirm: cofferdam policy confirm — else it goes back {before} in {}.\n",
        standing(&tried.policies),
        span(within.as_secs())
    )
}

/// `in force (generation 18): 3 enforced, 1 in audit, 14 rules`
fn standing(report: &Report) -> String {
    let Report { generation, enforced, audited, rules, .. } = report;
    match generation {
        0 => "no policy is in force\n".to_owned(),
        _ => format!(
            "in force (generation {generation}): {enforced} enforced, {audited} in audit, {}\n",
            plural(*rules, "rule")
        ),
    }
}

fn shown(path: &std::path::Path) -> String {
    printable(&path.to_string_lossy()).into_owned()
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use tokio::net::UnixListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        api,
        config::{FullPath, Policies},
        enforcement::InForce,
        view::View,
    };

    /// A daemon without a kernel, whose folder is `policies`, and a file `shop.yaml` that is not in it.
    struct Scene {
        directory: PathBuf,
        view: View,
        cancel: CancellationToken,
        _tasks: tokio::runtime::Runtime,
    }

    impl Scene {
        fn new(name: &str) -> Self {
            let directory =
                std::env::temp_dir().join(format!("cofferdam-apply-{}-{name}", std::process::id()));
            let _ = fs::remove_dir_all(&directory);
            fs::create_dir_all(directory.join("policies")).unwrap();
            fs::write(directory.join("policies/old.yaml"), "policy: old\nrules: []\n").unwrap();
            fs::write(directory.join("shop.yaml"), "policy: shop\nrules: []\n").unwrap();
            let folder = FullPath::of(directory.join("policies").to_str().unwrap());
            let in_force = InForce::new(Policies { folder, ..Policies::default() }, None);
            let view = View { policies: in_force.into(), ..api::samples::view(Vec::new()) };
            view.policies.reload(&view.attribution).unwrap();
            let tasks =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let cancel = CancellationToken::new();
            let listener = {
                let _entered = tasks.enter();
                UnixListener::bind(directory.join(api::SOCKET_NAME)).unwrap()
            };
            tasks.spawn(api::serve_unix(view.clone(), listener, cancel.clone()));
            Self { directory, view, cancel, _tasks: tasks }
        }

        fn client(&self) -> Client {
            Client::new(&self.directory)
        }

        fn apply(&self, dry_run: bool, confirm_within: Option<Duration>) -> Result<(), Failure> {
            let paths = vec![self.directory.join("shop.yaml")];
            let arguments = Arguments { dry_run, confirm_within, ..of(paths) };
            run(&arguments, &self.client())
        }

        /// Applies it, to stay after so long.
        fn apply_to_stay(&self, after: Duration) -> Result<(), Failure> {
            let paths = vec![self.directory.join("shop.yaml")];
            let arguments = Arguments { keep_after: Some(after), take_back_above: Some(0), ..of(paths) };
            run(&arguments, &self.client())
        }

        fn in_force(&self) -> Vec<String> {
            self.view.policies.policies().0.iter().map(|policy| policy.name.to_string()).collect()
        }

        fn written(&self) -> bool {
            self.directory.join("policies/shop.yaml").exists()
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            self.cancel.cancel();
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    fn of(paths: Vec<PathBuf>) -> Arguments {
        Arguments { paths, dry_run: false, confirm_within: None, keep_after: None, take_back_above: None }
    }

    const FIVE_MINUTES: Option<Duration> = Some(Duration::from_mins(5));

    #[test]
    fn what_is_applied_is_in_force_and_in_the_folder() {
        let scene = Scene::new("plain");
        scene.apply(true, None).unwrap();
        assert_eq!((scene.in_force(), scene.written()), (vec!["old".to_owned()], false));
        scene.apply(false, None).unwrap();
        assert_eq!((scene.in_force(), scene.written()), (vec!["old".to_owned(), "shop".to_owned()], true));
        let report = scene.view.policies.report();
        assert_eq!((report.trial, report.problem, scene.view.policies.changed()), (None, None, false));
    }

    #[test]
    fn with_a_deadline_it_is_written_only_once_it_is_confirmed() {
        let scene = Scene::new("confirm");
        assert_eq!(confirm(&scene.client()).unwrap_err().code(), 1);
        scene.apply(false, FIVE_MINUTES).unwrap();
        assert_eq!((scene.in_force().len(), scene.written()), (2, false));
        assert_eq!(scene.apply(false, FIVE_MINUTES).unwrap_err().code(), 1);
        assert_eq!(reload(&scene.client()).unwrap_err().code(), 1);
        confirm(&scene.client()).unwrap();
        assert_eq!((scene.in_force().len(), scene.written()), (2, true));
        reload(&scene.client()).unwrap();
        assert_eq!(scene.in_force().len(), 2);
    }

    #[test]
    fn it_is_taken_back_by_word_and_when_it_cannot_be_written() {
        let scene = Scene::new("revert");
        scene.apply(false, FIVE_MINUTES).unwrap();
        revert(&scene.client()).unwrap();
        assert_eq!((scene.in_force(), scene.written()), (vec!["old".to_owned()], false));
        scene.apply(false, FIVE_MINUTES).unwrap();
        // In its place there is something that is no file.
        fs::create_dir(scene.directory.join("policies/shop.yaml")).unwrap();
        let failure = confirm(&scene.client()).unwrap_err();
        assert!(failure.to_string().contains("taken back"), "{failure}");
        assert_eq!(scene.in_force(), ["old"]);
    }

    #[test]
    fn it_stays_without_being_confirmed_unless_it_is_taken_back_before() {
        let scene = Scene::new("stay");
        scene.apply_to_stay(Duration::from_secs(1)).unwrap();
        assert_eq!((scene.in_force().len(), scene.written()), (2, true));
        assert_eq!(scene.view.policies.report().trial, None);

        fs::remove_file(scene.directory.join("policies/shop.yaml")).unwrap();
        reload(&scene.client()).unwrap();
        let failure = thread::scope(|scope| {
            let applied = scope.spawn(|| scene.apply_to_stay(Duration::from_hours(1)));
            while !applied.is_finished() && revert(&scene.client()).is_err() {
                thread::sleep(Duration::from_millis(10));
            }
            applied.join().unwrap().unwrap_err()
        });
        assert!(failure.to_string().contains("somebody has confirmed them, or taken them back"), "{failure}");
        assert_eq!((failure.code(), scene.in_force(), scene.written()), (1, vec!["old".to_owned()], false));
    }

    #[test]
    fn what_is_broken_alone_or_with_the_others_changes_nothing_and_is_exit_code_3() {
        let scene = Scene::new("broken");
        for text in ["policy: shop\n", "policy: old\nrules: []\n"] {
            fs::write(scene.directory.join("shop.yaml"), text).unwrap();
            assert_eq!(scene.apply(false, None).unwrap_err().code(), 3);
            assert_eq!((scene.in_force(), scene.written()), (vec!["old".to_owned()], false));
        }
        fs::write(scene.directory.join("policies/old.yaml"), "policy: old\n").unwrap();
        assert_eq!(reload(&scene.client()).unwrap_err().code(), 3);
        assert_eq!(run(&of(vec![empty(&scene.directory)]), &scene.client()).unwrap_err().code(), 1);
    }

    fn empty(directory: &Path) -> PathBuf {
        let empty = directory.join("empty");
        fs::create_dir(&empty).unwrap();
        empty
    }

    #[test]
    fn a_time_is_written_as_people_do_and_has_bounds() {
        let seconds = |text| time(text).map(|time| time.as_secs());
        assert_eq!((seconds("5m"), seconds("90s"), seconds("1h30m")), (Ok(300), Ok(90), Ok(5_400)));
        for text in ["0s", "-5m", "25h"] {
            assert_eq!(seconds(text), Err("must be from 1 s to 1 d".to_owned()), "{text}");
        }
        assert!(seconds("5").unwrap_err().contains("is no time"));
        assert_eq!(time_before_keeping("23h59m"), Ok(Duration::from_secs(86_340)));
        assert!(time_before_keeping("24h").unwrap_err().starts_with("must be from 1 s to 23 h"));
    }

    #[test]
    fn what_waits_says_how_to_confirm_it_as_the_documentation_has_it() {
        let policies = Report { generation: 18, enforced: 3, audited: 1, rules: 14, ..Report::default() };
        let compared = Compared {
            schema_version: 1,
            generation: 17,
            folder: "/etc/cofferdam/policies".into(),
            problem: None,
            comparison: Default::default(),
        };
        let text = waits(&Tried { schema_version: 1, id: 1, policies }, &compared, Duration::from_mins(5));
        insta::assert_snapshot!(text, @r#"
        in force (generation 18): 3 enforced, 1 in audit, 14 rules
        Confirm: cofferdam policy confirm — else it goes back to what generation 17 was in 5 m.
        "#);
        assert!(include_str!("../../../../docs/policy.md").contains(&text), "docs/policy.md lacks\n{text}");
    }
}
