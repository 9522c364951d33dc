//! The daemon's own workloads: they find what is enforced right while it is, see what the look at what stands does not, and
//! nobody else hears of them.

use std::{fs, path::PathBuf, process::Command, sync::Arc, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use aya::{
    Ebpf,
    programs::{LinkOrder, SchedClassifier, TcAttachType, tc::TcAttachOptions},
};
use cofferdam::event::EventKind;
use cofferdam_tests::{
    Container, Daemon, Docker, Node, built, cgroup_root,
    command::{run, wait_for},
    foreign,
};
use nix::sched::{CloneFlags, setns};

use super::{ONLY_API, Stage, shop, verified};
use crate::{alone, docker};

/// Longest that it may take to be seen: what is seen once is tried three times, and whatever else the machine does.
const SEEN: Duration = Duration::from_secs(60);
/// Theirs, at the host.
const LINKS: [&str; 2] = ["cofferdam-send", "cofferdam-recv"];
/// What a program is called that is not the daemon's.
const NAME: &str = "somebody_elses";
const SETTINGS: &str = ", at_stop: clear, canaries_every_seconds: 1, verify_every_seconds: 1";

/// A shop whose policies are in force, and found right by canaries.
struct Scene {
    node: Arc<Node>,
    docker: Docker,
    db: Container,
    runner: Container,
    stage: Stage,
}

impl Scene {
    fn set() -> Result<Self> {
        let (node, docker) = docker()?;
        let [db, _api, runner] = shop(&docker)?;
        let mut stage = Stage::start(&node, &docker, SETTINGS)?;
        stage.enforce(ONLY_API)?;
        let scene = Self { node, docker, db, runner, stage };
        scene.is_right()?;
        Ok(scene)
    }

    /// Waits until they find all right, and what stands does as well.
    fn is_right(&self) -> Result<()> {
        let daemon = &self.stage.daemon;
        self.comes_to("right")?;
        let verified = || daemon.metric("cofferdam_enforcement_verified", &[]).ok().filter(|it| *it == 1);
        wait_for("it to be verified", SEEN, verified).with_context(|| daemon.log())?;
        ensure!(daemon.metric("cofferdam_enforcement_canaries_timestamp_seconds", &[])? > 0);
        ensure!(daemon.page("/readyz")?.starts_with("ready"));
        for told in [daemon.ask(&["status"])?, daemon.ask(&["doctor"])?] {
            ensure!(told.contains("canaries ") && told.contains("right at "), "{told}");
            ensure!(!told.contains("canary: "), "{told}");
        }
        Ok(())
    }

    /// Waits until what they try ends so.
    fn comes_to(&self, outcome: &str) -> Result<()> {
        let (daemon, label) = (&self.stage.daemon, format!("outcome=\"{outcome}\""));
        let came = || {
            daemon.metric("cofferdam_enforcement_canaries", &[&label]).ok().filter(|it| *it == 1).map(drop)
        };
        wait_for(&format!("canaries to find it {outcome}"), SEEN, came).with_context(|| daemon.log())
    }

    /// How many processes try: where the kernel has the layer `lsm`, one more does, without a link.
    fn processes(&self) -> Result<usize> {
        let doctor = self.stage.daemon.ask(&["doctor"])?;
        let is_missing = |line: &str| line.contains("socket_sendmsg") && line.contains("not attached");
        Ok(if doctor.lines().any(is_missing) { 2 } else { 3 })
    }

    /// Waits until it is told that something went wrong, and with what words.
    fn sees(&self, words: &[&str]) -> Result<()> {
        let daemon = &self.stage.daemon;
        self.comes_to("wrong")?;
        let told = || {
            let status = daemon.ask(&["status"]).ok()?;
            let all =
                words.iter().all(|word| status.contains(word)) && status.contains("not enforced as they say");
            all.then_some(())
        };
        wait_for(&format!("{words:?} to be told"), SEEN, told)
            .with_context(|| format!("{}{}", daemon.ask(&["status"]).unwrap_or_default(), daemon.log()))?;
        assert_eq!(daemon.metric("cofferdam_enforcement_verified", &[])?, 0);
        ensure!(daemon.page("/readyz").is_err(), "it is ready: {}", daemon.log());
        let label = "what=\"residents\"";
        assert_eq!(
            daemon.metric("cofferdam_enforcement_mended_total", &[label])?,
            0,
            "it was seen otherwise"
        );
        Ok(())
    }

    /// The links, cgroups and processes of canaries that are there.
    fn there(&self) -> Result<Vec<String>> {
        there(&self.node)
    }

    fn is_gone(&self) -> Result<()> {
        let gone = || self.there().ok().filter(Vec::is_empty).map(drop);
        wait_for("all of them to be gone", SEEN, gone)
            .with_context(|| format!("{:?}\n{}", self.there(), self.stage.daemon.log()))
    }
}

fn there(node: &Node) -> Result<Vec<String>> {
    let links = run(node.command("ip").args(["-brief", "link"]))?;
    let links = links.lines().filter(|line| LINKS.iter().any(|name| line.contains(name))).map(str::to_owned);
    let below = |directory: PathBuf| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path().display().to_string())
    };
    let cgroups = below(cgroup_root()?).filter(|path| path.contains("cofferdam-canary-"));
    let processes = below("/proc".into()).filter(|process| {
        let command = fs::read(format!("{process}/cmdline")).unwrap_or_default();
        command == b"cofferdam\0canary\0"
    });
    Ok(links.chain(cgroups).chain(processes).collect())
}

#[test]
fn canaries_find_it_right_and_are_in_no_count_map_metric_event_or_denial() -> Result<()> {
    let _turn = alone()?;
    let scene = Scene::set()?;
    let daemon = &scene.stage.daemon;
    let processes = scene.processes()?;
    assert_eq!(scene.there()?.len(), 2 + 2 * processes, "{:?}", scene.there()?);
    let policies = &daemon.status()?["policies"];
    assert_eq!((&policies["enforced"], &policies["rules"]), (&1.into(), &1.into()), "{policies}");
    assert_eq!(policies["verified"]["tried"]["outcome"], "right", "{policies}");
    assert_eq!(daemon.metric("cofferdam_policy_partial_workloads", &[])?, 0);

    // Some rounds more, and then something that others try.
    let events = daemon.events()?;
    let right_at = || daemon.metric("cofferdam_enforcement_canaries_timestamp_seconds", &[]);
    let before = right_at()?;
    wait_for("more rounds", SEEN, || right_at().ok().filter(|now| *now >= before + 3))?;
    scene.runner.connect(&format!("{}:5432", scene.db.address("shop")?))?;
    events.wait_for("the runner's denial", |event| matches!(event.kind, EventKind::Denial(_)))?;
    for event in events.seen() {
        let text = serde_json::to_string(&event)?;
        ensure!(!text.contains("canary") && !text.contains("169.254.255.24"), "{text}");
    }
    let (metrics, map) = (daemon.metrics()?, daemon.ask(&["map", "--json"])?);
    for (what, text) in [("metrics", &metrics), ("map", &map), ("ps", &daemon.ask(&["ps", "--json"])?)] {
        for name in ["cofferdam-canary", "169.254.255.24", "fdcb:7e15"] {
            ensure!(!text.contains(name), "{name} is in {what}: {text}");
        }
        // As numbers: as digits of an id or a time they are nothing.
        for port in ["7007", "7009", "7011"] {
            let mut words = text.split(|letter: char| !letter.is_ascii_alphanumeric());
            ensure!(!words.any(|word| word == port), "{port} is in {what}: {text}");
        }
    }
    assert_eq!(daemon.metric("cofferdam_denials_total", &[])?, 1, "{metrics}");
    assert_eq!(daemon.metric("cofferdam_rule_denials_total", &[])?, 1, "{metrics}");
    ensure!(daemon.ask(&["why", "cofferdam-canary-sender", "shop/db"]).is_err());
    ensure!(!daemon.log().contains("cannot be tried"), "{}", daemon.log());
    Ok(())
}

#[test]
fn what_passes_the_hooks_at_links_by_programs_before_them_is_seen_and_named() -> Result<()> {
    let _turn = alone()?;
    let scene = Scene::set()?;
    let daemon = &scene.stage.daemon;
    let index = index_of(&scene.node, LINKS[1])?;
    let network = fs::File::open(format!("/proc/{}/ns/net", daemon.pid()))?;
    // Past the one end as well as the other, for each judges what packet sockets send.
    let objects = [
        (foreign::passes_on(NAME, index)?, LINKS[0], TcAttachType::Ingress),
        (foreign::passes_at_link(NAME)?, LINKS[1], TcAttachType::Egress),
    ];
    // In a thread of its own, which stays in that network.
    let attached = thread::spawn(move || -> Result<[Ebpf; 2]> {
        setns(network, CloneFlags::CLONE_NEWNET)?;
        let [one, two] = objects.map(|(object, link, side)| attach_first(&object, link, side));
        Ok([one?, two?])
    });
    let attached = attached.join().map_err(|_| anyhow::anyhow!("it panicked"))??;
    let program = attached[0].program(NAME).context("no program")?;
    let id = <&SchedClassifier>::try_from(program)?.info()?.id();
    let foreign = format!(
        "veth_ingress of cofferdam-send: program {id} (bpftool prog show id {id}), which is not ours, runs before ours"
    );
    // Over both versions of IP; and nothing of ours is gone.
    scene.sees(&[
        "canary: udp/7009 over IPv4, sent by AF_PACKET, was to be denied at veth, and ",
        "canary: udp/7009 over IPv6, sent by AF_PACKET, was to be denied at veth, and ",
        &foreign,
    ])?;
    drop(attached);
    scene.is_right()
}

#[test]
fn an_entry_that_somebody_adds_to_a_map_is_seen_by_what_it_changes() -> Result<()> {
    let _turn = alone()?;
    let scene = Scene::set()?;
    let map = verified::map(&scene.stage.daemon, "ADDRESSES")?;
    // 169.254.255.243, as an address of IPv6, is the database's from now on.
    let key: Vec<u8> = [[0; 10].as_slice(), &[0xff, 0xff, 169, 254, 255, 243]].concat();
    let cgroup = scene.stage.daemon.containers()?;
    let cgroup = cgroup.as_array().context("a list")?.iter().find(|it| it["workload"]["name"] == "shop/db");
    let cgroup = cgroup.context("no database")?["cgroup_id"].as_u64().context("no cgroup")?;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:#04x}")).collect::<Vec<_>>();
    let key = hex(&key);
    let bpftool = |arguments: &[&str], key: &[String], rest: &[String]| {
        run(Command::new("bpftool").args(arguments).arg("key").args(key).args(rest))
    };
    let value = [vec!["value".to_owned()], hex(&cgroup.to_le_bytes())].concat();
    bpftool(&["map", "update", "id", &map], &key, &value)?;
    scene.sees(&["canary: udp/7007 over IPv4 was to arrive, and was refused"])?;
    bpftool(&["map", "delete", "id", &map], &key, &[])?;
    scene.is_right()
}

#[test]
fn nothing_of_them_is_left_by_a_daemon_that_stops_or_is_killed_or_has_nothing_to_enforce() -> Result<()> {
    let _turn = alone()?;
    let mut scene = Scene::set()?;
    let processes = scene.processes()?;
    scene.stage.daemon.die()?;
    let left: Vec<_> = scene.there()?.into_iter().filter(|it| it.contains("cofferdam-canary-")).collect();
    scene.stage = scene.stage.with_another_daemon(&scene.docker, &built("cofferdam")?)?;
    scene.is_right()?;
    let now = scene.there()?;
    ensure!(
        left.len() == processes && left.iter().all(|it| !now.contains(it)),
        "{left:?} were left, now there are {now:?}"
    );
    assert_eq!(now.len(), 2 + 2 * processes, "{now:?}");

    // Without policies there is nothing to try, and turned off they do not.
    scene.stage.enforce("")?;
    scene.is_gone()?;
    ensure!(!scene.stage.daemon.metrics()?.contains("cofferdam_enforcement_canaries{"));
    scene.stage.enforce(ONLY_API)?;
    scene.is_right()?;
    scene.stage.configure(&format!("{SETTINGS}, canaries: false"), "")?;
    run(Command::new("kill").args(["-HUP", &scene.stage.daemon.pid().to_string()]))?;
    scene.is_gone()?;
    scene.stage.configure(SETTINGS, "")?;
    run(Command::new("kill").args(["-HUP", &scene.stage.daemon.pid().to_string()]))?;
    scene.is_right()?;
    let status = scene.stage.daemon.terminate()?;
    ensure!(status.success(), "it ended with {status}: {}", scene.stage.daemon.log());
    assert_eq!(scene.there()?, [""; 0]);
    Ok(())
}

#[test]
fn that_they_cannot_be_made_is_noted_and_nothing_is_wrong() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    // Somebody else's, which is no virtual Ethernet link and so is not removed.
    let ip = |words: &[&str]| run(node.command("ip").args(words));
    ip(&["link", "add", LINKS[0], "type", "bridge"])?;
    let [db, _api, runner] = shop(&docker)?;
    let mut stage = Stage::start(&node, &docker, SETTINGS)?;
    stage.enforce(ONLY_API)?;
    let scene = Scene { node: Arc::clone(&node), docker, db, runner, stage };
    let daemon: &Daemon = &scene.stage.daemon;
    scene.comes_to("impossible")?;
    let noted =
        || daemon.ask(&["status"]).ok().filter(|it| it.contains("it cannot be tried what is enforced"));
    let status = wait_for("it to be noted", SEEN, noted)?;
    ensure!(status.contains("cannot lay the link cofferdam-send"), "{status}");
    assert_eq!(daemon.metric("cofferdam_enforcement_verified", &[])?, 1);
    ensure!(daemon.page("/readyz")?.starts_with("ready"));
    ensure!(daemon.ask(&["doctor"])?.contains("`policies.canaries: false` turns them off"));
    // Between two tries.
    let alone = || scene.there().ok().filter(|there| there.len() == 1).map(drop);
    wait_for("the bridge to be there alone", SEEN, alone).with_context(|| format!("{:?}", scene.there()))?;
    ip(&["link", "delete", LINKS[0]])?;
    scene.is_right()
}

/// Attaches a program to a link of this thread's network, before all that are there.
fn attach_first(object: &[u8], link: &str, side: TcAttachType) -> Result<Ebpf> {
    let mut ebpf = Ebpf::load(object)?;
    let program: &mut SchedClassifier = ebpf.program_mut(NAME).context("no program")?.try_into()?;
    program.load()?;
    program.attach_with_options(link, side, TcAttachOptions::TcxOrder(LinkOrder::first()))?;
    Ok(ebpf)
}

/// The index of a link on a node.
fn index_of(node: &Node, name: &str) -> Result<u32> {
    let told = run(node.command("ip").args(["-oneline", "link", "show", name]))?;
    Ok(told.split(':').next().context("no index")?.trim().parse()?)
}
