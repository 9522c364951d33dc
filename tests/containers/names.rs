//! Containers have their names: those that ran before, those that lived for a moment, those of a project.

use std::{fs, thread, time::Duration};

use anyhow::Context;
use cofferdam::event::{CgroupChange, Event, EventKind, FlowEnd};
use cofferdam_tests::{
    Daemon, Options, built, cgroup_root, check,
    command::{run, wait_for},
    edge,
};

use crate::{alone, docker};

#[test]
fn a_container_that_ran_before_the_daemon_has_its_name() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let web = docker.container("web", &Options::new().tcp("80"))?;
    let probe = docker.container("probe", &Options::new())?;
    let daemon = Daemon::start(&docker)?;
    wait_for("ps to list them", Duration::from_secs(2), || {
        let listed = daemon.containers().ok()?.to_string();
        (listed.contains(web.id()) && listed.contains(r#""probe""#)).then_some(())
    })?;
    let made = probe.connect(&format!("{}:80", web.address("bridge")?))?;
    check(&daemon, &["web", "probe"], &[edge("probe", "web", "tcp/80").counted(made)])?;
    Ok(())
}

#[test]
fn a_connection_that_was_open_before_the_daemon_shows_with_its_direction() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let web = docker.container("web", &Options::new().tcp("80"))?;
    let probe = docker.container("probe", &Options::new())?;
    let arguments =
        format!("{}:80 --exchanges 40 --hold 250 --send 100 --receive 1000", web.address("bridge")?);
    let open = thread::spawn(move || probe.connect(&arguments));
    wait_for("the connection", Duration::from_secs(10), || {
        (web.counts().ok()?.connections > 0).then_some(())
    })?;
    let daemon = Daemon::start(&docker)?;
    // Not begun under our eyes: its bytes count, but it is no new flow.
    wait_for("bytes in both directions", Duration::from_secs(5), || {
        let map = check(&daemon, &["web", "probe"], &[edge("probe", "web", "tcp/80").refused(0)]).ok()?;
        let edge = map.iter().find(|edge| edge.target.name == "web")?;
        (edge.bytes_sent >= 200 && edge.bytes_received >= 2000).then_some(())
    })?;
    open.join().expect("the client ends")?;
    Ok(())
}

#[test]
fn a_container_that_comes_and_goes_is_told_and_counted() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let _before = docker.container("before", &Options::new())?;
    let daemon = Daemon::start(&docker)?;
    let events = daemon.events()?;
    let web = docker.container("web", &Options::new().tcp("80"))?;
    let id = web.id().to_owned();
    let happened = |event: &Event, change: CgroupChange| match &event.kind {
        EventKind::Cgroup(cgroup) => cgroup.change == change && cgroup.workload.id.as_ref() == Some(&id),
        _ => false,
    };
    events.wait_for("the start of web", |event| happened(event, CgroupChange::Made))?;
    let docker_only = [r#"runtime="docker""#];
    let count = |metric: &str, value: u64| {
        let mut is = None;
        wait_for(&format!("{metric} to be {value}"), Duration::from_secs(5), || {
            is = daemon.metric(metric, &docker_only).ok();
            (is? == value).then_some(())
        })
        .with_context(|| format!("it is {is:?}"))
    };
    count("cofferdam_containers", 2)?;
    web.remove()?;
    events.wait_for("the end of web", |event| happened(event, CgroupChange::Removed))?;
    count("cofferdam_container_starts_total", 1)?;
    count("cofferdam_container_stops_total", 1)?;
    count("cofferdam_containers", 1)?;
    assert!(!daemon.containers()?.to_string().contains(&id), "ps still lists what is gone");
    Ok(())
}

#[test]
fn a_container_that_lived_for_a_moment_has_its_name_in_the_map_and_in_events() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let web = docker.container("web", &Options::new().tcp("80"))?;
    let address = web.address("bridge")?;
    let daemon = Daemon::start(&docker)?;
    let events = daemon.events()?;
    let mut expected = Vec::new();
    for number in 0..5 {
        let name = format!("blink{number}");
        docker.once(
            &name,
            &Options::new(),
            &["traffic", "connect", &format!("{address}:80"), "--count", "2"],
        )?;
        expected.push(edge(&name, "web", "tcp/80").flows(2).bytes(128, 128));
    }
    check(&daemon, &["web", "blink0", "blink1", "blink2", "blink3", "blink4"], &expected)?;
    events.wait_for("an exec in blink4", |event| match &event.kind {
        EventKind::ProcessExec(exec) => {
            exec.workload.name == "blink4" && exec.args.iter().any(|arg| arg == "connect")
        }
        _ => false,
    })?;
    let closed = events.wait_for("the end of a flow from blink4", |event| match &event.kind {
        EventKind::FlowClose(flow) => flow.source.workload.name == "blink4",
        _ => false,
    })?;
    let EventKind::FlowClose(flow) = closed.kind else { unreachable!("it was asked for") };
    assert_eq!((flow.end, flow.bytes_sent, flow.bytes_received), (Some(FlowEnd::Closed), 64, 64));
    assert_eq!(flow.target.workload.name, "web");
    assert_eq!((flow.target.address, flow.target.port), (address, 80));
    Ok(())
}

#[test]
fn a_container_has_its_name_although_docker_never_answers() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let before = docker.container("before", &Options::new().tcp("80"))?;
    let address = before.address("bridge")?;
    let silent = node.directory().join("silent.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&silent)?;
    let silent = silent.display().to_string();
    let daemon = Daemon::start_with(&docker, &["--docker-socket", &silent])?;
    let events = daemon.events()?;
    docker.once("blink", &Options::new(), &["traffic", "connect", &format!("{address}:80")])?;
    check(&daemon, &["before", "blink"], &[edge("blink", "before", "tcp/80").flows(1)])?;
    let opened = events.wait_for("the flow", |event| matches!(event.kind, EventKind::FlowOpen(_)))?;
    assert_eq!(opened.message, "blink -> before tcp/80 opened");
    Ok(())
}

#[test]
fn a_container_of_compose_is_called_by_project_and_service() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    let labels = |service: &str| {
        let service = format!("com.docker.compose.service={service}");
        Options::new().with(&["--label", "com.docker.compose.project=shop", "--label", &service])
    };
    let daemon = Daemon::start(&docker)?;
    let web = docker.container("shop-web-1", &labels("web").tcp("80"))?;
    let worker = docker.container("shop-worker-1", &labels("worker"))?;
    let made = worker.connect(&format!("{}:80 --count 3", web.address("bridge")?))?;
    let expected = edge("shop/worker", "shop/web", "tcp/80").counted(made);
    let map = check(&daemon, &["shop-web-1", "shop-worker-1"], &[expected])?;
    let web = &map.iter().find(|edge| edge.target.name == "shop/web").context("it was just there")?.target;
    assert_eq!(web.project.as_deref(), Some("shop"));
    assert_eq!(web.service.as_deref(), Some("web"));
    assert_eq!(web.container_name.as_deref(), Some("shop-web-1"));
    Ok(())
}

#[test]
fn a_cgroup_inside_a_container_belongs_to_the_container() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let web = docker.container("web", &Options::new().tcp("80"))?;
    let probe = docker.container("probe", &Options::new())?;
    let daemon = Daemon::start(&docker)?;

    let inner = cgroup_root()?.join("docker").join(probe.id()).join("inner");
    fs::create_dir(&inner)?;
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec nsenter --target {} --net -- {} connect {}:80 --count 3",
        inner.display(),
        probe.pid()?,
        built("traffic")?.display(),
        web.address("bridge")?,
    );
    let made = cofferdam_tests::counts(&run(node.command("sh").args(["-c", &script]))?)?;
    fs::remove_dir(&inner)?;
    check(&daemon, &["web", "probe"], &[edge("probe", "web", "tcp/80").counted(made)])?;
    Ok(())
}

#[test]
fn what_came_through_dockers_proxy_stays_the_clients_also_when_the_container_is_gone() -> anyhow::Result<()> {
    let _turn = alone()?;
    let (_node, docker) = docker()?;
    docker.network("shop", &[])?;
    let published = Options::new().on("shop").with(&["--publish", "8080:80"]).tcp("80");
    let web = docker.container("web", &published)?;
    let client = docker.container("client", &Options::new().on("host"))?;
    let daemon = Daemon::start(&docker)?;
    let made = client.connect("127.0.0.1:8080 --count 3")?;
    let expected = [edge("client", "web", "tcp/80 via docker-proxy").counted(made)];
    check(&daemon, &["web", "client"], &expected)?;
    web.remove()?;
    wait_for("ps without web", Duration::from_secs(5), || {
        (!daemon.ask(&["ps", "--all"]).ok()?.contains("web")).then_some(())
    })?;
    check(&daemon, &["web", "client"], &expected)?;
    Ok(())
}
