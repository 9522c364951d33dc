//! Cgroups inside a container's own, as Docker in Docker, crun and a systemd inside make them: whoever lives there is that
//! container, on the map and for policies.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use cofferdam_tests::{
    Container, Docker, Options, built, cgroup_root, check,
    command::{run, wait_for},
    edge,
};

use super::Stage;
use crate::{alone, docker};

/// What a Docker needs, and no more: not all machines let one be privileged.
const SETTINGS: &str = "--cap-add SYS_ADMIN --cap-add NET_ADMIN \
    --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined \
    --cgroupns private --volume /usr:/usr:ro --volume /var/lib/docker --tmpfs /run:exec --tmpfs /root";
/// Cgroups below its own are its to make.
const REMOUNT: &str = "grep -o ' /sys/fs/cgroup[^ ]*' /proc/mounts | xargs -n 1 mount -o remount,bind,rw";
/// The Docker inside is this machine's own, out of its `/usr`. Its containers have the network of the one that it is in.
const DOCKERD: &str = "dockerd --host unix:///run/docker.sock --storage-driver vfs --bridge none \
    --iptables=false --ip-masq=false --log-level warn >/run/dockerd.log 2>&1 &";
const CLIENT: [&str; 3] = ["docker", "--host", "unix:///run/docker.sock"];

/// A container with a Docker in it, which has the image.
fn builder(docker: &Docker) -> Result<Container> {
    let settings: Vec<_> = SETTINGS.split_whitespace().collect();
    let builder = docker.container("builder", &Options::new().with(&settings))?;
    builder.exec(&["sh", "-c", REMOUNT])?;
    builder.exec(&["sh", "-c", DOCKERD])?;
    let answers = || builder.exec(&[&CLIENT[..], &["version"]].concat()).ok();
    wait_for("the Docker inside", Duration::from_secs(60), answers)
        .map_err(|error| error.context(builder.exec(&["cat", "/run/dockerd.log"]).unwrap_or_default()))?;
    let import = format!("tar -C / -c bin lib lib64 | {} import - inner", CLIENT.join(" "));
    builder.exec(&["sh", "-c", &import])?;
    Ok(builder)
}

/// Has a container inside connect once.
fn connect(builder: &Container, name: &str, to: &str) -> Result<String> {
    let run = ["run", "--rm", "--network", "host", "--name", name, "inner"];
    let connect = ["traffic", "connect", to, "--timeout", "2500", "--strict"];
    builder.exec(&[&CLIENT[..], &run, &connect].concat())
}

#[test]
fn what_a_docker_in_a_container_runs_is_that_container() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let web = docker.container("web", &Options::new().tcp("80"))?;
    let to = format!("{}:80", web.address("bridge")?);
    let builder = builder(&docker)?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;

    // Whatever name it gives itself inside.
    connect(&builder, "web", &to)?;
    check(&stage.daemon, &["web", "builder"], &[edge("builder", "web", "tcp/80").flows(1)])?;

    stage.enforce(
        "
policy: shop
mode: enforce
rules:
  - {from: builder, deny: [{to: web}]}
",
    )?;
    let before = web.counts()?;
    let denied = connect(&builder, "inner", &to);
    ensure!(denied.as_ref().is_err_and(|why| format!("{why:#}").contains("connection 0 to")), "{denied:?}");
    ensure!(web.counts()? == before, "{}", stage.daemon.log());
    let told = stage.daemon.ask(&["why", "builder", "web"])?;
    ensure!(told.contains("shop#1"), "{told}");
    Ok(())
}

/// A cgroup inside a container's own; gone when dropped.
struct Inside(PathBuf);

impl Inside {
    fn make(container: &Container) -> Result<Self> {
        let told = fs::read_to_string(format!("/proc/{}/cgroup", container.pid()?))?;
        let path = told.lines().find_map(|line| line.strip_prefix("0::/")).context("no cgroup of v2")?;
        let inside = Self(cgroup_root()?.join(path).join("inside"));
        fs::create_dir(&inside.0)?;
        Ok(inside)
    }

    /// Has a process there connect in the network of its container.
    fn connect(&self, container: &Container, to: &str) -> Result<String> {
        let enter = "echo $$ >\"$0\"/cgroup.procs && exec nsenter --net=/proc/\"$1\"/ns/net \"$2\" connect \"$3\" --strict";
        let pid = container.pid()?.to_string();
        run(Command::new("sh").args(["-c", enter]).arg(&self.0).arg(pid).arg(built("traffic")?).arg(to))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn between_itself_and_a_cgroup_inside_it_no_policy_comes() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let web = docker.container("web", &Options::new().tcp("80"))?;
    let api = docker.container("api", &Options::new().tcp("80"))?;
    let [to_web, to_api] = [&web, &api].map(|it| it.address("bridge").map(|at| format!("{at}:80")));
    let (to_web, to_api) = (to_web?, to_api?);
    let inside = Inside::make(&web)?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    stage.enforce(
        "
policy: shop
mode: enforce
rules:
  - {to: web, allow: [{from: nobody}]}
  - {from: web, allow: [{to: nobody}]}
",
    )?;
    inside.connect(&web, &to_web).with_context(|| stage.daemon.log())?;
    ensure!(inside.connect(&web, &to_api).is_err(), "it is not held to the rules of its container");
    ensure!(api.connect(&to_web)?.failed == 1);
    let metrics = stage.daemon.settled_metrics()?;
    ensure!(!metrics.contains("cofferdam_denials_total{source=\"web\",target=\"web\""), "{metrics}");
    Ok(())
}
