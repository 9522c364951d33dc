//! Policies on real containers. The oracle is what the server has received.

mod canaries;
mod clients;
mod cut;
mod deaths;
mod flood;
mod learned;
mod matrix;
mod names;
mod nested;
mod published;
mod shadow;
mod starts;
mod stop;
mod swaps;
mod untold;
mod verified;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use cofferdam::{
    event::{EventKind, Verdict},
    sensor::{
        features,
        hooks::{Attach, HOOKS},
    },
};
use cofferdam_tests::{
    Container, Daemon, Docker, Node, Options,
    command::wait_for,
    prometheus::{Panel, Prometheus, panels},
};

use crate::{alone, docker};

/// Longest that a policy may take to be in force.
const SOON: Duration = Duration::from_secs(10);

/// How many of the daemon's hooks judge among the security modules, by what this kernel has.
fn among_security_modules() -> usize {
    let has = features::detect().lsms.iter().any(|module| module == "bpf");
    HOOKS.iter().filter(|hook| has && hook.attach == Attach::Lsm).count()
}

/// A Docker with a daemon whose policies come from a folder of the test's own.
struct Stage {
    config: PathBuf,
    policies: PathBuf,
    /// How many times policies were put in force.
    loads: usize,
    daemon: Daemon,
}

impl Stage {
    fn start(node: &Node, docker: &Docker, settings: &str) -> Result<Self> {
        Self::start_with(node, docker, settings, &[])
    }

    /// [`Stage::start`] with more arguments of `cofferdam run`.
    fn start_with(node: &Node, docker: &Docker, settings: &str, arguments: &[&str]) -> Result<Self> {
        Self::begin(node, docker, settings, "", arguments)
    }

    /// [`Stage::start`] with these lines in the configuration.
    fn start_configured(node: &Node, docker: &Docker, settings: &str, lines: &str) -> Result<Self> {
        Self::begin(node, docker, settings, lines, &[])
    }

    fn begin(node: &Node, docker: &Docker, settings: &str, lines: &str, arguments: &[&str]) -> Result<Self> {
        let policies = node.directory().join("policies");
        fs::create_dir_all(&policies)?;
        let config = node.directory().join("config.yaml");
        configure(&config, &policies, settings, lines)?;
        let arguments = [&["--config", config.to_str().context("a path in UTF-8")?], arguments].concat();
        let daemon = Daemon::start_with(docker, &arguments)?;
        Ok(Self { config, policies, loads: loads(&daemon.log()), daemon })
    }

    /// Writes the configuration anew: more settings of policies, and the lines after them.
    fn configure(&self, settings: &str, lines: &str) -> Result<()> {
        configure(&self.config, &self.policies, settings, lines)
    }

    /// Starts a daemon, maybe of another build, in the place of one that is killed unless it has ended.
    fn with_another_daemon(self, docker: &Docker, program: &Path) -> Result<Self> {
        let Self { config, policies, daemon, .. } = self;
        let daemon = daemon.killed_and_replaced(docker, program)?;
        Ok(Self { config, policies, loads: loads(&daemon.log()), daemon })
    }

    /// Has these policies and no others in force.
    fn enforce(&mut self, text: &str) -> Result<()> {
        fs::write(self.policies.join("scene.yaml"), text)?;
        self.loads += 1;
        let (daemon, wanted) = (&self.daemon, self.loads);
        let up =
            wait_for("the policy to be in force", SOON, || (loads(&daemon.log()) >= wanted).then_some(()));
        up.with_context(|| format!("{text}\n{}", daemon.log()))
    }
}

fn configure(config: &Path, policies: &Path, settings: &str, lines: &str) -> Result<()> {
    Ok(fs::write(config, format!("policies: {{folder: {}{settings}}}\n{lines}", policies.display()))?)
}

/// How often policies were put in force, by the daemon's log.
fn loads(log: &str) -> usize {
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
    Ok([
        member(docker, "shop", "db", Options::new().tcp("5432").udp("5432"))?,
        member(docker, "shop", "api", Options::new().many_ports())?,
        member(docker, "ci", "runner", Options::new())?,
    ])
}

/// A container on the network of the shop, known by its project and service.
fn member(docker: &Docker, project: &str, service: &str, options: Options) -> Result<Container> {
    docker.container(service, &known_as(project, service, options))
}

fn known_as(project: &str, service: &str, options: Options) -> Options {
    let project = format!("com.docker.compose.project={project}");
    let service = format!("com.docker.compose.service={service}");
    options.on("shop").with(&["--label", &project, "--label", &service])
}

#[test]
fn what_is_denied_is_an_alert_that_fires_in_prometheus() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, _, runner] = shop(&docker)?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    stage.enforce(ONLY_API)?;
    let prometheus = Prometheus::start(&node, &stage.daemon)?;
    let alert = r#"ALERTS{alertname="CofferdamDenied", source="ci/runner", target="shop/db"}"#;
    let to = format!("{}:5432", db.address("shop")?);
    // Again and again: what happens once counts only where Prometheus has watched for five minutes.
    wait_for("the alert", Duration::from_secs(30), || {
        runner.connect(&to).ok()?;
        (prometheus.query(alert).ok()?.len() == 1).then_some(())
    })?;
    let others = prometheus.query(r#"ALERTS{severity="critical"}"#)?;
    ensure!(others.is_empty(), "nothing else is wrong: {others:?}");
    Ok(())
}

#[test]
fn each_panel_of_each_dashboard_shows_something() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    docker.network("shop", &[])?;
    let start = |name| docker.container(name, &Options::new().on("shop").tcp("80"));
    let (web, api, db) = (start("web")?, start("api")?, start("db")?);
    let at = |container: &Container, port: u16| -> Result<String> {
        Ok(format!("{}:{port}", container.address("shop")?))
    };
    let [to_web, to_api, refused, denied] = [at(&web, 80)?, at(&api, 80)?, at(&api, 81)?, at(&db, 80)?];
    // What is new is told at once, and to somebody.
    let file = node.directory().join("alerts.json");
    let lines = format!("anomalies: {{learn_hours: 0}}\nalerts: {{file: {}}}", file.display());
    let mut stage = Stage::start_configured(&node, &docker, ", at_stop: clear", &lines)?;
    stage.enforce("policy: shop\nmode: enforce\nrules: [{to: db, deny: [{from: web}]}]\n")?;
    let prometheus = Prometheus::start(&node, &stage.daemon)?;
    let mut dark = panels("web")?;
    ensure!(dark.len() > 30, "only {} panels", dark.len());
    let shows = |panel: &Panel| {
        panel.queries.iter().all(|query| prometheus.query(query).is_ok_and(|answer| !answer.is_empty()))
    };
    let all = wait_for("data", Duration::from_secs(60), || {
        for to in [&to_api, &refused, &denied] {
            web.connect(to).ok()?;
        }
        api.connect(&to_web).ok()?;
        dark.retain(|panel| !shows(panel));
        dark.is_empty().then_some(())
    });
    all.with_context(|| format!("these show nothing: {dark:#?}"))
}

#[test]
fn a_denial_is_explained_counted_and_told_with_its_rule() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, api, runner] = shop(&docker)?;
    let history = "history: {flush_seconds: 1}";
    let mut stage = Stage::start_configured(&node, &docker, ", at_stop: clear", history)?;
    stage.enforce(ONLY_API)?;
    let daemon = &stage.daemon;
    let to = format!("{}:5432", db.address("shop")?);
    let events = daemon.events()?;
    runner.connect(&to)?;
    api.connect(&to)?;
    let told = events.wait_for("a denial", |event| matches!(event.kind, EventKind::Denial(_)))?;
    let EventKind::Denial(denial) = told.kind else { anyhow::bail!("{told:?}") };
    let caller = denial.caller.as_ref().context("whose call it was")?;
    let executable = caller.process.executable.as_deref();
    ensure!(executable.is_some_and(|path| path.ends_with(&caller.command)), "{caller:?}");
    ensure!(!caller.ancestors.is_empty(), "{caller:?}");
    let told = daemon.ask(&["why", &denial.id[..8]])?;
    for part in
        [&denial.to_string(), "at connect: the caller was told EPERM", "\nNOW\n✖ DENIED", "scene.yaml:5"]
    {
        ensure!(told.contains(part), "{part} is missing: {told}");
    }
    let ends = [denial.source, denial.target].map(|end| end.workload.name.clone());
    assert_eq!(ends, ["ci/runner", "shop/db"]);
    assert_eq!((denial.verdict, denial.layer.as_str()), (Verdict::Deny, "connect"));
    assert_eq!(denial.rule.map(|rule| (rule.name.clone(), rule.line)), Some(("shop#1".to_owned(), 5)));
    let why = |source: &str| daemon.ask(&["why", source, "shop/db", "--port", "tcp/5432"]);
    let denied = why("ci/runner")?;
    let who = format!("  who      {caller}, ");
    for part in ["DENIED", "ci/runner", "shop/db", "tcp/5432", "scene.yaml:5", &who] {
        ensure!(denied.contains(part), "{part} is missing: {denied}");
    }
    let allowed = why("shop/api")?;
    ensure!(allowed.contains("ALLOWED") && allowed.contains("matches shop/api and the port"), "{allowed}");
    ensure!(daemon.ask(&["why", "denied"])?.contains("ci/runner"));
    wait_for("the history to have it", SOON, || {
        daemon.ask(&["why", "denied", "--since", "1h"]).ok()?.contains("ci/runner").then_some(())
    })?;
    let labels = [r#"source="ci/runner""#, r#"target="shop/db""#, r#"verdict="deny""#];
    assert_eq!(daemon.metric("cofferdam_denials_total", &labels)?, 1);
    assert_eq!(daemon.metric("cofferdam_rule_denials_total", &[r#"rule="shop#1""#])?, 1);
    ensure!(daemon.ask(&["status"])?.contains("enforcing 1"), "{}", daemon.ask(&["status"])?);

    // A name that is misspelt selects nobody.
    let misspelt = node.directory().join("misspelt.yaml");
    fs::write(&misspelt, "policy: p\nrules: [{to: shop/bd, allow: [{from: [shop/api, ci/runer]}]}]\n")?;
    let said = daemon.ask(&["policy", "check", &misspelt.to_string_lossy()])?;
    for part in
        ["p#1: selects nobody who is here now", "`ci/runer` selects nobody who is here now", ": 2 warnings"]
    {
        ensure!(said.contains(part), "{part} is missing: {said}");
    }

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
