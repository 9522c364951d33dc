//! Docker in Docker: what a container's own Docker runs is that container, on the map and for policies.

use std::time::Duration;

use anyhow::{Result, ensure};
use cofferdam_tests::{Container, Docker, Options, check, command::wait_for, edge};

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
