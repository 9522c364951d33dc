//! Whether what is in force is really enforced: what is taken away behind the daemon's back is seen, mended and told.

use std::{fs, path::PathBuf, process::Command, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, ensure};
use cofferdam::sensor::features;
use cofferdam_tests::{
    Container, Daemon, Docker, Node, built,
    command::{output, run, wait_for},
    foreign,
};
use serde_json::Value;

use super::{ONLY_API, SOON, Stage, among_security_modules, shop};
use crate::{alone, docker};

/// Longest that it may take to be seen: a period, and whatever else the machine does.
const SEEN: Duration = Duration::from_secs(60);
/// The hooks that judge at the root of all cgroups, and what the kernel calls the place.
const HOOKS: [(&str, &str); 4] = [
    ("cgroup_skb_ingress", "cgroup_inet_ingress"),
    ("cgroup_skb_egress", "cgroup_inet_egress"),
    ("connect4", "cgroup_inet4_connect"),
    ("connect6", "cgroup_inet6_connect"),
];
const VETHS: [&str; 2] = ["veth_ingress", "veth_egress"];
/// Links that are covered: three containers', and the canaries'.
const LINKS: usize = 3 + 2;

/// It is looked more often than by default, for there is much to be taken away.
const SETTINGS: &str = ", at_stop: clear, verify_every_seconds: 2";

/// A shop whose policies are in force, and found to be.
struct Scene {
    node: Arc<Node>,
    docker: Docker,
    db: Container,
    api: Container,
    runner: Container,
    stage: Stage,
}

impl Scene {
    fn set() -> Result<Self> {
        let (node, docker) = docker()?;
        let [db, api, runner] = shop(&docker)?;
        let mut stage = Stage::start(&node, &docker, SETTINGS)?;
        stage.enforce(ONLY_API)?;
        let scene = Self { node, docker, db, api, runner, stage };
        scene.is_verified()?;
        scene.is_enforced()?;
        Ok(scene)
    }

    /// Takes something away, and waits until that was seen and mended.
    fn mends(&self, what: &str, take: impl FnOnce(&Self) -> Result<()>) -> Result<()> {
        let label = format!("what=\"{what}\"");
        let mended = || self.stage.daemon.metric("cofferdam_enforcement_mended_total", &[&label]);
        let before = mended()?;
        take(self).with_context(|| format!("taking away: {what}"))?;
        wait_for("it to be mended", SEEN, || (mended().ok()? > before).then_some(()))
            .with_context(|| format!("{what}: {}", self.stage.daemon.log()))?;
        self.is_verified()?;
        self.is_enforced().with_context(|| format!("{what} was taken away: {}", self.stage.daemon.log()))?;
        self.is_attached_once().with_context(|| format!("{what} was taken away"))?;
        let status = self.stage.daemon.ask(&["status"])?;
        ensure!(status.contains("mended: ") && status.contains(&format!(" {what}")), "{status}");
        let counted = &self.stage.daemon.status()?["policies"]["mended"]["counts"][what];
        ensure!(counted.as_u64() == Some(mended()?), "{counted}");
        Ok(())
    }

    fn is_verified(&self) -> Result<()> {
        let daemon = &self.stage.daemon;
        let verified = || daemon.metric("cofferdam_enforcement_verified", &[]).ok().filter(|it| *it == 1);
        wait_for("all to be verified", SEEN, verified).with_context(|| daemon.log())?;
        ensure!(daemon.metric("cofferdam_enforcement_verified_timestamp_seconds", &[])? > 0);
        ensure!(daemon.page("/readyz")?.starts_with("ready"));
        let status = daemon.ask(&["status"])?;
        ensure!(status.contains("verified at ") && !status.contains("not enforced"), "{status}");
        Ok(())
    }

    /// Who may reach the database does, and of who may not it gets nothing.
    fn is_enforced(&self) -> Result<()> {
        let to = format!("{}:5432", self.db.address("shop")?);
        let before = self.db.counts()?;
        let denied = self.runner.connect(&format!("{to} --timeout 500"))?;
        ensure!((denied.connections, denied.failed) == (0, 1), "it was let through: {denied:?}");
        let after = self.db.counts()?;
        ensure!(after == before, "of who may not it got {after:?}, before {before:?}");
        let allowed = self.api.connect(&to)?;
        ensure!((allowed.connections, allowed.failed) == (1, 0), "it was denied: {allowed:?}");
        let received = || self.db.counts().ok().filter(|now| now.bytes_received > before.bytes_received);
        wait_for("what is allowed to arrive", SOON, received).map(drop)
    }

    /// Each hook is there, and none twice.
    fn is_attached_once(&self) -> Result<()> {
        let at_root = told("cgroup", &["show", &cgroups()?])?;
        for (name, place) in HOOKS {
            let here = at_root.iter().filter(|it| it["attach_type"] == place);
            let ours = here.filter(|it| self.programs(&[name]).is_ok_and(|ours| ours.contains(&it["id"])));
            ensure!(ours.count() == 1, "{name} is not attached once: {at_root:?}");
        }
        let attached = self.attached_to_links()?;
        ensure!(attached == VETHS.len() * LINKS, "{attached} hooks are attached to links");
        Ok(())
    }

    /// How many of the daemon's hooks are attached to a network link now, as the kernel tells: a link that was detached has no
    /// number any more.
    fn attached_to_links(&self) -> Result<usize> {
        let mut attached = 0;
        for file in fs::read_dir(format!("/proc/{}/fdinfo", self.stage.daemon.pid()))? {
            let told = fs::read_to_string(file?.path()).unwrap_or_default();
            let index = told.lines().find_map(|line| line.strip_prefix("ifindex:"));
            attached += usize::from(index.is_some_and(|index| index.trim() != "0"));
        }
        Ok(attached)
    }

    /// The kernel's numbers of the daemon's programs of these names.
    fn programs(&self, names: &[&str]) -> Result<Vec<Value>> {
        programs(&self.stage.daemon, names)
    }

    fn links(&self, names: &[&str]) -> Result<Vec<Value>> {
        let programs = self.programs(names)?;
        let mut links = told("link", &["show"])?;
        links.retain(|link| programs.contains(&link["prog_id"]));
        Ok(links)
    }

    fn detach(&self, names: &[&str]) -> Result<()> {
        let links = self.links(names)?;
        ensure!(!links.is_empty(), "there are no links of {names:?}");
        links.iter().try_for_each(|link| bpftool(&["link", "detach", "id", &link["id"].to_string()]))
    }

    fn map(&self, name: &str) -> Result<String> {
        map(&self.stage.daemon, name)
    }

    /// Removes all entries of one of the daemon's maps, and says how many there were.
    fn flush(&self, name: &str) -> Result<usize> {
        let map = self.map(name)?;
        let entries = told("map", &["dump", "id", &map])?;
        for entry in &entries {
            let key = entry["key"].as_array().context("no key")?.iter().filter_map(Value::as_str);
            bpftool(&["map", "delete", "id", &map, "key"].into_iter().chain(key).collect::<Vec<_>>())?;
        }
        Ok(entries.len())
    }

    /// What is pinned of all that judges.
    fn pins(&self) -> Result<Vec<PathBuf>> {
        let listed = run(self.node.command("find").args(["/sys/fs/bpf/cofferdam-enforce", "-type", "f"]))?;
        let mut pins: Vec<_> = listed.lines().map(PathBuf::from).collect();
        pins.sort();
        Ok(pins)
    }

    fn unpin(&self, name: &str) -> Result<()> {
        let pins = self.pins()?;
        let pin = pins.iter().find(|pin| pin.to_string_lossy().contains(&format!("/{name}-")));
        let pin = pin.with_context(|| format!("{name} is not pinned: {pins:?}"))?;
        run(self.node.command("rm").arg(pin)).map(drop)
    }
}

/// The kernel's numbers of a daemon's programs of these names.
fn programs(daemon: &Daemon, names: &[&str]) -> Result<Vec<Value>> {
    let own = daemon.programs()?;
    let is_own =
        |it: &Value| it["id"].as_u64().and_then(|id| id.try_into().ok()).is_some_and(|id| own.contains(&id));
    let is_named = |it: &Value| names.iter().any(|name| it["name"] == *name);
    let all = told("prog", &["show"])?.into_iter();
    Ok(all.filter(|it| is_named(it) && is_own(it)).map(|it| it["id"].clone()).collect())
}

/// The number of one of a daemon's maps.
pub(super) fn map(daemon: &Daemon, name: &str) -> Result<String> {
    let ours = programs(daemon, &["cgroup_skb_egress", "veth_ingress"])?;
    let programs = told("prog", &["show"])?;
    let used: Vec<&Value> = programs
        .iter()
        .filter(|program| ours.contains(&program["id"]))
        .filter_map(|program| program["map_ids"].as_array())
        .flatten()
        .collect();
    let maps = told("map", &["show"])?;
    let map = maps.iter().find(|map| map["name"] == name && used.contains(&&map["id"]));
    Ok(map.with_context(|| format!("there is no map {name}"))?["id"].to_string())
}

/// Where the tree of cgroups is.
fn cgroups() -> Result<String> {
    let root = features::detect().cgroup_root.context("no cgroup v2 tree")?;
    Ok(root.to_str().context("a path in UTF-8")?.to_owned())
}

/// What `bpftool` tells as a list.
fn told(of: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    let said = run(Command::new("bpftool").args(["--json", of]).args(arguments))?;
    serde_json::from_str(&said).with_context(|| format!("bpftool {of} {arguments:?} printed {said:.300}"))
}

fn bpftool(arguments: &[&str]) -> Result<()> {
    run(Command::new("bpftool").args(arguments)).map(drop)
}

#[test]
fn a_hook_that_is_detached_is_attached_again_and_once() -> Result<()> {
    let _turn = alone()?;
    let scene = Scene::set()?;
    scene.mends("hook", |scene| scene.detach(&["connect4"]))?;
    scene.mends("hook", |scene| scene.detach(&["cgroup_skb_egress", "cgroup_skb_ingress"]))?;
    scene.mends("hook", |scene| scene.detach(&HOOKS.map(|(name, _)| name)))?;
    scene.mends("link", |scene| scene.detach(&["veth_ingress"]))?;
    scene.mends("link", |scene| scene.detach(&VETHS))
}

#[test]
fn what_is_removed_from_the_maps_is_written_again() -> Result<()> {
    let _turn = alone()?;
    let scene = Scene::set()?;
    // What judges by no generation lets everything pass.
    let zero = ["key", "0", "0", "0", "0", "value", "0", "0", "0", "0"];
    scene.mends("generation", |scene| {
        let map = scene.map("GENERATION")?;
        bpftool(&[&["map", "update", "id", &map][..], &zero].concat())
    })?;
    for (name, what) in
        [("RESIDENTS", "residents"), ("ADDRESSES", "addresses"), ("PAIRS", "pairs"), ("LINKS", "owners")]
    {
        scene.mends(what, |scene| {
            let removed = scene.flush(name)?;
            ensure!(removed > 0, "{name} had no entries");
            Ok(())
        })?;
    }
    let log = scene.stage.daemon.log();
    ensure!(
        log.contains("tampered with") && log.contains("residents were not as they were written"),
        "{log}"
    );
    Ok(())
}

#[test]
fn a_pin_that_is_removed_is_there_again_when_the_daemon_is_killed() -> Result<()> {
    let _turn = alone()?;
    let mut scene = Scene::set()?;
    let pins = scene.pins()?;
    for name in ["connect4", "cgroup_skb_ingress", "cgroup_skb_egress", "veth_ingress"] {
        scene.mends("pin", |scene| scene.unpin(name))?;
    }
    assert_eq!(scene.pins()?, pins);
    scene.stage.daemon.die()?;
    scene.is_enforced()?;
    scene.stage = scene.stage.with_another_daemon(&scene.docker, &built("cofferdam")?)?;
    Ok(())
}

#[test]
fn what_cannot_be_mended_is_told_until_it_can_be() -> Result<()> {
    let _turn = alone()?;
    let scene = Scene::set()?;
    let daemon = &scene.stage.daemon;
    let remount = |how: &str| {
        run(scene.node.command("mount").args(["-o", &format!("remount,bind,{how}"), "/sys/fs/bpf"]))
    };
    remount("ro")?;
    scene.detach(&["connect4"])?;
    wait_for("it to be told", SEEN, || {
        daemon.metric("cofferdam_enforcement_verified", &[]).ok().filter(|verified| *verified == 0)
    })?;
    ensure!(daemon.page("/readyz").is_err(), "it is ready: {}", daemon.log());
    let status = daemon.ask(&["status"])?;
    ensure!(status.contains("not enforced as they say") && status.contains("connect4"), "{status}");
    let doctor = String::from_utf8(output(&mut daemon.client(&["doctor"]))?.stdout)?;
    ensure!(doctor.contains("connect4 was not attached any more, and cannot be mended"), "{doctor}");
    // The hook is back; it is only that it would end with the daemon.
    scene.is_enforced()?;
    remount("rw")?;
    scene.is_verified()?;
    scene.is_attached_once()?;
    assert_eq!(scene.pins()?.len(), HOOKS.len() + among_security_modules() + VETHS.len() * LINKS + 1);
    Ok(())
}

#[test]
fn a_program_of_somebody_else_is_told_and_so_is_that_it_runs_before_ours() -> Result<()> {
    const NAME: &str = "somebody_elses";
    let _turn = alone()?;
    let scene = Scene::set()?;
    let daemon = &scene.stage.daemon;
    let object = scene.node.directory().join("foreign.o");
    fs::write(&object, foreign::passes_all(NAME)?)?;
    let on_node = |arguments: &[&str]| run(scene.node.command("bpftool").args(arguments));
    let path = object.to_str().context("a path in UTF-8")?;
    on_node(&["prog", "load", path, "/sys/fs/bpf/foreign", "type", "cgroup/skb"])?;
    // Names the kernel tells to CAP_SYS_ADMIN only, which the daemon has not.
    let program: Value =
        serde_json::from_str(&on_node(&["--json", "prog", "show", "pinned", "/sys/fs/bpf/foreign"])?)?;
    let id = &program["id"];
    let foreign = format!("program {id} (bpftool prog show id {id}), which is not ours, ");
    let root = cgroups()?;
    let at = [root.as_str(), "egress", "pinned", "/sys/fs/bpf/foreign"];
    on_node(&[&["cgroup", "attach"][..], &at, &["multi"]].concat())?;
    let seen = |how: &str| {
        wait_for("it to be told", SEEN, || {
            let status = daemon.ask(&["status"]).ok()?;
            status.contains(&format!("{foreign}{how}")).then_some(())
        })
        .with_context(|| daemon.log())
    };
    let result = seen("is attached as well").and_then(|()| {
        assert_eq!(daemon.metric("cofferdam_enforcement_foreign_programs", &[])?, 1);
        // Nothing of ours is wrong.
        scene.is_verified()?;
        let told = &daemon.status()?["policies"]["verified"];
        ensure!(told["findings"][0]["what"] == "foreign" && told["foreign"] == 1, "{told}");
        let doctor = daemon.ask(&["doctor"])?;
        ensure!(doctor.contains(&foreign), "{doctor}");
        scene.mends("hook", |scene| scene.detach(&["cgroup_skb_egress"]))?;
        seen("runs before ours")
    });
    on_node(&[&["cgroup", "detach"][..], &at].concat())?;
    result?;
    wait_for("it to be gone", SEEN, || {
        daemon.metric("cofferdam_enforcement_foreign_programs", &[]).ok().filter(|count| *count == 0)
    })?;
    Ok(())
}
