//! Policies on real containers. The oracle is what the server has received.

mod cut;

mod matrix;
mod published;

use std::{fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use cofferdam::event::{EventKind, Verdict};
use cofferdam_tests::{Container, Daemon, Docker, Node, Options, command::wait_for, counts};

use crate::{alone, docker};

/// Longest that a policy may take to be in force.
const SOON: Duration = Duration::from_secs(10);

/// A Docker with a daemon whose policies come from a folder of the test's own.
struct Stage {
    policies: PathBuf,
    /// How many times policies were put in force.
    loads: usize,
    daemon: Daemon,
}

impl Stage {
    fn start(node: &Node, docker: &Docker, settings: &str) -> Result<Self> {
        let policies = node.directory().join("policies");
        fs::create_dir_all(&policies)?;
        let config = node.directory().join("config.yaml");
        fs::write(&config, format!("policies: {{folder: {}{settings}}}\n", policies.display()))?;
        let daemon = Daemon::start_with(docker, &["--config", config.to_str().context("a path in UTF-8")?])?;
        Ok(Self { policies, loads: loads(&daemon), daemon })
    }

    /// Starts a daemon in the place of one that was killed.
    fn with_another_daemon(self, docker: &Docker) -> Result<Self> {
        let Self { policies, daemon, .. } = self;
        let daemon = daemon.killed_and_started_again(docker)?;
        Ok(Self { policies, loads: loads(&daemon), daemon })
    }

    /// Has these policies and no others in force.
    fn enforce(&mut self, text: &str) -> Result<()> {
        fs::write(self.policies.join("scene.yaml"), text)?;
        self.loads += 1;
        let (daemon, wanted) = (&self.daemon, self.loads);
        let up = wait_for("the policy to be in force", SOON, || (loads(daemon) >= wanted).then_some(()));
        up.with_context(|| format!("{text}\n{}", daemon.log()))
    }
}

fn loads(daemon: &Daemon) -> usize {
    let log = daemon.log();
    log.matches("policies are in force").count() + log.matches("no policy is in force").count()
}

/// Only `shop/api` may talk to the database.
const ONLY_API: &str = "
policy: shop
mode: enforce
rules:
  - to: shop/db
    allow: [{from: shop/api, port: tcp/5432}]
";

/// A database, and two who want to talk to it.
fn shop(docker: &Docker) -> Result<[Container; 3]> {
    docker.network("shop", &[])?;
    let compose = |project: &str, service: &str, options: Options| {
        let project = format!("com.docker.compose.project={project}");
        let service_label = format!("com.docker.compose.service={service}");
        let options = options.on("shop").with(&["--label", &project, "--label", &service_label]);
        docker.container(service, &options)
    };
    Ok([
        compose("shop", "db", Options::new().tcp("5432"))?,
        compose("shop", "api", Options::new())?,
        compose("ci", "runner", Options::new())?,
    ])
}

#[test]
fn what_is_enforced_outlives_a_daemon_that_is_killed_until_the_next_takes_over() -> Result<()> {
    const DEATHS: u64 = 5;
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, api, runner] = shop(&docker)?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    stage.enforce(ONLY_API)?;
    let to = format!("{}:5432", db.address("shop")?);
    let pinned = || -> Result<usize> {
        let listed = node.command("ls").arg("/sys/fs/bpf/cofferdam-enforce").output()?;
        Ok(String::from_utf8(listed.stdout)?.lines().count())
    };
    // Six hooks at the root of all cgroups, and two at the link of each container.
    let hooks = 6 + 2 * 3;
    wait_for("all hooks to be pinned", SOON, || (pinned().ok()? == hooks).then_some(()))?;
    let live_and_die = |mut stage: Stage| -> Result<(u64, Stage)> {
        let mut allowed = 0;
        for _ in 0..DEATHS {
            stage.daemon.die()?;
            // Nobody watches, and the kernel goes on.
            allowed += api.connect(&format!("{to} --count 5"))?.connections;
            stage = stage.with_another_daemon(&docker)?;
            allowed += api.connect(&format!("{to} --count 5"))?.connections;
            ensure!(pinned()? == hooks, "{} links are pinned, not {hooks}", pinned()?);
        }
        Ok((allowed, stage))
    };
    let (allowed, stage) = thread::scope(|scope| -> Result<(u64, Stage)> {
        let flood =
            scope.spawn(|| runner.connect(&format!("{to} --count 100000000 --parallel 2 --timeout 20")));
        let allowed = live_and_die(stage);
        // In any case, for the flood ends with it alone.
        runner.clone().remove()?;
        let _ = flood.join();
        allowed
    })?;
    ensure!(allowed == DEATHS * 10, "{allowed} allowed connections of {}", DEATHS * 10);
    assert_eq!(db.counts()?.connections, allowed, "what the database got");
    let tried = stage.daemon.map()?.iter().map(|edge| edge.verdicts.deny).sum::<u64>();
    ensure!(tried > 0, "the flood was not denied anything");
    stage.daemon.stop()?;
    assert_eq!(pinned()?, 0, "links are left behind");
    Ok(())
}

#[test]
fn the_first_packet_of_a_container_is_judged_and_an_allowed_start_does_not_fail() -> Result<()> {
    const STARTS: u32 = 30;
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, ..] = shop(&docker)?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    stage.enforce(ONLY_API)?;
    let to = format!("{}:5432", db.address("shop")?);
    let start = |name: &str, project: &str, service: &str| {
        let project = format!("com.docker.compose.project={project}");
        let service = format!("com.docker.compose.service={service}");
        let options = Options::new().on("shop").with(&["--label", &project, "--label", &service]);
        let said = docker.once(name, &options, &["traffic", "connect", &to, "--timeout", "4000"])?;
        counts(&said)
    };
    for number in 0..STARTS {
        let denied = start(&format!("runner{number}"), "ci", "runner")?;
        ensure!(denied.bytes_received == 0, "{denied:?}");
        if number % 5 == 0 {
            let allowed = start(&format!("api{number}"), "shop", "api")?;
            ensure!(allowed.connections == 1 && allowed.failed == 0, "{allowed:?}");
        }
    }
    assert_eq!(db.counts()?.connections, u64::from(STARTS.div_ceil(5)), "what the database got");
    Ok(())
}

#[test]
fn a_denial_is_explained_counted_and_told_with_its_rule() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, api, runner] = shop(&docker)?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    stage.enforce(ONLY_API)?;
    let daemon = &stage.daemon;
    let to = format!("{}:5432", db.address("shop")?);
    let events = daemon.events()?;
    runner.connect(&to)?;
    api.connect(&to)?;
    let told = events.wait_for("a denial", |event| matches!(event.kind, EventKind::Denial(_)))?;
    let EventKind::Denial(denial) = told.kind else { anyhow::bail!("{told:?}") };
    let ends = [denial.source, denial.target].map(|end| end.workload.name.clone());
    assert_eq!(ends, ["ci/runner", "shop/db"]);
    assert_eq!((denial.verdict, denial.layer.as_str()), (Verdict::Deny, "connect"));
    assert_eq!(denial.rule.map(|rule| (rule.name.clone(), rule.line)), Some(("shop#1".to_owned(), 5)));
    let why = |source: &str| daemon.ask(&["why", source, "shop/db", "--port", "tcp/5432"]);
    let denied = why("ci/runner")?;
    for part in ["DENIED", "ci/runner", "shop/db", "tcp/5432", "scene.yaml:5"] {
        ensure!(denied.contains(part), "{part} is missing: {denied}");
    }
    let allowed = why("shop/api")?;
    ensure!(allowed.contains("ALLOWED") && allowed.contains("matches shop/api and the port"), "{allowed}");
    ensure!(daemon.ask(&["why", "denied"])?.contains("ci/runner"));
    let labels = [r#"source="ci/runner""#, r#"target="shop/db""#, r#"verdict="deny""#];
    assert_eq!(daemon.metric("cofferdam_denials_total", &labels)?, 1);
    assert_eq!(daemon.metric("cofferdam_rule_denials_total", &[r#"rule="shop#1""#])?, 1);
    ensure!(daemon.ask(&["status"])?.contains("enforcing 1"), "{}", daemon.ask(&["status"])?);

    // What is broken changes nothing, and is said with its place.
    fs::write(stage.policies.join("scene.yaml"), "policy: shop\nrules: [{form: x}]\n")?;
    let told = wait_for("the broken policy to be told", SOON, || {
        let status = daemon.ask(&["status"]).ok()?;
        status.contains("scene.yaml:2").then_some(status)
    })?;
    ensure!(told.contains("enforcing 1"), "{told}");
    ensure!(runner.connect(&to)?.failed == 1, "the policy is not in force any more");
    assert_eq!(daemon.metric("cofferdam_policy_last_reload_successful", &[])?, 0);
    Ok(())
}
