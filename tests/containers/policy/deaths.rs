//! What is enforced outlives the daemon: killed, replaced by another build, and killed while it starts.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    process::Command,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use cofferdam::sensor::hooks::HOOKS;
use cofferdam_tests::{
    Container, Docker, Node, built,
    command::{output, run, wait_for},
    rounds,
    socket::{Manner, Socket},
};
use serde_json::Value;

use super::{
    ONLY_API, SOON, Stage, among_security_modules,
    clients::{Clients, Outcome},
    shop,
};
use crate::{alone, docker};

/// Four hooks at the root of all cgroups, two at the link of each container and of both canaries, and what they were told by
/// name. Beside those among the security modules, where there are such.
const PINNED: usize = 4 + 2 * (3 + 2) + 1;
/// Hooks of earlier builds, which upgrades may take turns with.
const RETIRED: [&str; 2] = ["sendmsg4", "sendmsg6"];

/// `shop/api` may talk to the database and to nobody else, and nobody else to the database.
const ONLY_THESE: &str = "
policy: shop
mode: enforce
rules:
  - from: shop/api
    allow: [{to: shop/db, port: tcp/5432}]
  - to: shop/db
    allow: [{from: shop/api, port: tcp/5432}]
";

const CLEAR: &str = ", at_stop: clear";

/// A shop whose policies are in force, and what of the kernel's was there before.
struct Scene {
    node: Arc<Node>,
    docker: Docker,
    db: Container,
    api: Container,
    runner: Container,
    foreign: BTreeSet<u32>,
}

impl Scene {
    fn set(settings: &str) -> Result<(Self, Stage)> {
        let scene = Self::new()?;
        let stage = Stage::start(&scene.node, &scene.docker, settings)?;
        let stage = scene.enforce(ONLY_API, stage)?;
        Ok((scene, stage))
    }

    fn new() -> Result<Self> {
        let (node, docker) = docker()?;
        let [db, api, runner] = shop(&docker)?;
        Ok(Self { node, docker, db, api, runner, foreign: called_as_ours()? })
    }

    /// The daemon hears Docker through a socket that behaves as it is told.
    fn behind_socket(more: &[&str]) -> Result<(Self, Socket, Stage)> {
        let scene = Self::new()?;
        let path = scene.node.directory().join("slow.sock");
        let mut socket = Socket::new(path.clone(), scene.docker.socket().to_owned());
        socket.behave(Manner::Behaves)?;
        let through = [&["--docker-socket", path.to_str().context("a path in UTF-8")?], more].concat();
        let stage = Stage::start_with(&scene.node, &scene.docker, CLEAR, &through)?;
        let stage = scene.enforce(ONLY_THESE, stage)?;
        Ok((scene, socket, stage))
    }

    fn enforce(&self, policies: &str, mut stage: Stage) -> Result<Stage> {
        stage.enforce(policies)?;
        self.is_whole(&stage)?;
        Ok(stage)
    }

    /// Does something while clients connect, until the last daemon has seen a denial.
    fn meanwhile(&self, act: impl FnOnce() -> Result<Stage>) -> Result<(Stage, Outcome)> {
        let to = format!("{}:5432", self.db.address("shop")?);
        let clients = Clients { db: &self.db, api: &self.api, runner: &self.runner, to };
        let seen = || {
            let stage = act()?;
            // Whoever is denied rests between two goes.
            wait_for("the last daemon to have seen a denial", SOON, || {
                let map = stage.daemon.map().ok()?;
                map.iter().any(|edge| edge.verdicts.deny > 0).then_some(())
            })?;
            Ok(stage)
        };
        clients.meanwhile(seen).with_context(|| {
            let directories = fs::read_dir(self.node.directory()).into_iter().flatten().flatten();
            let logs = directories.filter_map(|it| fs::read_to_string(it.path().join("log")).ok());
            format!("the daemon said: {}", logs.collect::<String>())
        })
    }

    /// All that judges is pinned, and of what is in the kernel the daemon has everything: nobody else's is left.
    fn is_whole(&self, stage: &Stage) -> Result<()> {
        let whole = || {
            let left: BTreeSet<_> = called_as_ours().ok()?.difference(&self.foreign).copied().collect();
            (self.all_is_pinned().ok()? && left == stage.daemon.programs().ok()?).then_some(())
        };
        wait_for("what judges to be the daemon's alone", SOON, whole).with_context(|| {
            let (pinned, programs, own) = (self.pinned(), called_as_ours(), stage.daemon.programs());
            format!("pinned {pinned:?}, in the kernel {programs:?}, its own {own:?}: {}", stage.daemon.log())
        })
    }

    /// Whether all is pinned that judges, whichever build has pinned it.
    fn all_is_pinned(&self) -> Result<bool> {
        let is_retired = |pin: &&String| RETIRED.iter().any(|hook| pin.starts_with(hook));
        Ok(self.pinned()?.iter().filter(|pin| !is_retired(pin)).count() == PINNED + among_security_modules())
    }

    /// The names of links that are pinned.
    fn pinned(&self) -> Result<Vec<String>> {
        let listed = self.node.command("ls").arg("/sys/fs/bpf/cofferdam-enforce").output()?;
        Ok(String::from_utf8(listed.stdout)?.lines().map(str::to_owned).collect())
    }

    /// A stop in order leaves nothing.
    fn end(&self, stage: Stage, outcome: &Outcome) -> Result<()> {
        ensure!(outcome.denied > 0 && outcome.lasting > 0, "{outcome}");
        let status = stage.daemon.stop()?;
        ensure!(status.success(), "{status}");
        ensure!(self.pinned()?.is_empty(), "pins are left behind: {:?}", self.pinned());
        let all = run(self.node.command("find").args(["/sys/fs/bpf", "-path", "*cofferdam*"]))?;
        ensure!(all.is_empty(), "left behind: {all}");
        // The kernel frees them when it is sure that nobody runs them any more.
        wait_for("all programs to be gone", SOON, || (called_as_ours().ok()? == self.foreign).then_some(()))
    }
}

/// The kernel's numbers of programs that are called as ours. Without a program there is no link.
fn called_as_ours() -> Result<BTreeSet<u32>> {
    let said = run(Command::new("bpftool").args(["--json", "prog", "show"]))?;
    let programs: Vec<Value> = serde_json::from_str(&said)?;
    let names: Vec<_> = HOOKS.iter().map(|hook| hook.name).chain(RETIRED).collect();
    let ours = programs.iter().filter(|it| names.iter().any(|name| it["name"] == *name));
    Ok(ours.filter_map(|it| u32::try_from(it["id"].as_u64()?).ok()).collect())
}

/// The build that upgrades take turns with; the same where there is no other (docs/development.md).
fn other_build() -> Result<PathBuf> {
    built("cofferdam_other").or_else(|_| built("cofferdam"))
}

#[test]
fn what_is_enforced_outlives_a_daemon_that_is_killed_until_the_next_takes_over() -> Result<()> {
    let deaths = rounds(100);
    let _turn = alone()?;
    let (scene, stage) = Scene::set(CLEAR)?;
    let program = built("cofferdam")?;
    let (stage, outcome) = scene.meanwhile(|| {
        (0..deaths).try_fold(stage, |mut stage, death| {
            stage.daemon.die()?;
            let told = output(&mut stage.daemon.client(&["doctor"]))?.stdout;
            let told = String::from_utf8_lossy(&told);
            ensure!(told.contains(" of a daemon that does not answer judge on by its policies"), "{told}");
            let next = stage.with_another_daemon(&scene.docker, &program)?;
            scene.is_whole(&next).with_context(|| format!("death {death}"))?;
            Ok(next)
        })
    })?;
    println!("{deaths} deaths: {outcome}");
    scene.end(stage, &outcome)
}

#[test]
fn a_daemon_that_takes_over_while_docker_hangs_knows_whose_each_address_is() -> Result<()> {
    /// What is denied for two seconds is cut.
    const HANGS: Duration = Duration::from_secs(6);
    let _turn = alone()?;
    let (scene, mut socket, stage) = Scene::behind_socket(&[])?;
    let (stage, outcome) = scene.meanwhile(|| {
        let mut stage = stage;
        stage.daemon.die()?;
        socket.behave(Manner::Hangs)?;
        let next = stage.with_another_daemon(&scene.docker, &built("cofferdam")?)?;
        scene.is_whole(&next)?;
        thread::sleep(HANGS);
        socket.behave(Manner::Behaves)?;
        Ok(next)
    })?;
    println!("{outcome}");
    scene.end(stage, &outcome)
}

#[test]
fn a_daemon_that_takes_over_judges_nobody_before_it_knows_him() -> Result<()> {
    /// How long it hangs when readiness no longer waits for it: shorter than those who follow wait.
    const HANGS: Duration = Duration::from_secs(1);
    let _turn = alone()?;
    // Names come from the socket alone.
    let (scene, mut socket, stage) = Scene::behind_socket(&["--docker-root", "/nonexistent"])?;
    let (stage, outcome) = scene.meanwhile(|| {
        let mut stage = stage;
        stage.daemon.die()?;
        socket.behave(Manner::Hangs)?;
        let log = stage.daemon.run_directory().join("log");
        fs::write(&log, "")?;
        let recovers = thread::spawn(move || {
            let waited = || fs::read_to_string(&log).is_ok_and(|log| log.contains("has not answered yet"));
            wait_for("the daemon to have waited for names", SOON, || waited().then_some(()))?;
            thread::sleep(HANGS);
            socket.behave(Manner::Behaves)?;
            anyhow::Ok(socket)
        });
        let next = stage.with_another_daemon(&scene.docker, &built("cofferdam")?)?;
        let _socket = recovers.join().map_err(|_| anyhow!("the socket's thread panicked"))??;
        scene.is_whole(&next)?;
        Ok(next)
    })?;
    println!("{outcome}");
    let held = stage.daemon.metric("cofferdam_hook_failures_total", &[r#"reason="held""#])?;
    ensure!(held == 0, "{held} packets were held of those whom the daemon before knew");
    scene.end(stage, &outcome)
}

#[test]
fn another_build_with_other_maps_takes_over_without_a_gap() -> Result<()> {
    // Of every map of policies and most others another size, and programs with another constant.
    const ROOM: &str =
        "identities: 2048, pairs: 4096, intervals: 8192, networks: 1024, cgroups: 8192, addresses: 4096";
    const LIMITS: &str =
        "flows: 16384, ledger_rows: 4096, flow_ring_bytes: 1048576, record_ring_bytes: 65536";
    let other = (format!(", room: {{{ROOM}}}"), format!("dns_names: false\nlimits: {{{LIMITS}}}\n"));
    let upgrades = rounds(100);
    let _turn = alone()?;
    let (scene, stage) = Scene::set(", at_stop: keep")?;
    let builds = [(other_build()?, other), (built("cofferdam")?, Default::default())];
    let (stage, outcome) = scene.meanwhile(|| {
        (0..upgrades).zip(builds.iter().cycle()).try_fold(stage, |mut stage, (upgrade, (program, other))| {
            // The last ends in order, and nothing stays.
            let at_stop = if upgrade + 1 == upgrades { "clear" } else { "keep" };
            stage.configure(&format!(", at_stop: {at_stop}{}", other.0), &other.1)?;
            // Some are stopped in order, others not.
            if upgrade % 3 == 0 {
                stage.daemon.die()?;
            } else {
                ensure!(stage.daemon.terminate()?.success());
            }
            ensure!(scene.all_is_pinned()?, "not all stays: {:?}", scene.pinned());
            let next = stage.with_another_daemon(&scene.docker, program)?;
            scene.is_whole(&next).with_context(|| format!("upgrade {upgrade}"))?;
            Ok(next)
        })
    })?;
    println!("{upgrades} upgrades to {}: {outcome}", builds[0].0.display());
    scene.end(stage, &outcome)
}

#[test]
fn a_daemon_that_is_killed_anywhere_in_its_start_is_healed_by_the_next() -> Result<()> {
    /// What is enforced must not hang on how often that happens in a row.
    const IN_A_ROW: u32 = 3;
    let heals = rounds(50);
    let _turn = alone()?;
    let (scene, stage) = Scene::set(CLEAR)?;
    let program = built("cofferdam")?;
    let mut ready = 0;
    let (stage, outcome) = scene.meanwhile(|| {
        let mut longest = Duration::from_secs(1);
        (0..heals).try_fold(stage, |mut stage, heal| {
            stage.daemon.die()?;
            for crash in 0..=heal % IN_A_ROW {
                // Any number of them is spread evenly over the time that a start takes, and a bit more.
                let at = f64::from(heal * IN_A_ROW + crash) * 0.618_034 % 1.1;
                ready += u32::from(stage.daemon.killed_while_it_starts(&scene.docker, longest.mul_f64(at))?);
            }
            let begun = Instant::now();
            let next = stage.with_another_daemon(&scene.docker, &program)?;
            longest = begun.elapsed();
            scene.is_whole(&next).with_context(|| format!("heal {heal}"))?;
            Ok(next)
        })
    })?;
    println!("{heals} starts after crashes, {ready} of which came when it was ready: {outcome}");
    scene.end(stage, &outcome)
}
