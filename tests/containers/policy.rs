//! Policies on real containers: what is written passes or does not, for TCP and UDP, IPv4 and IPv6. The oracle is what the
//! server has received.

mod scenes;

use std::{collections::BTreeMap, fs, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, ensure};
use cofferdam_tests::{Container, Daemon, Docker, Node, Options, command::wait_for};

use self::scenes::SCENES;
use crate::{alone, docker};

/// Longest that a policy may take to be in force.
const SOON: Duration = Duration::from_secs(10);
/// How long a packet gets that shall not arrive.
const WHILE: &str = "--timeout 250";

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

/// Whether anything of an attempt has arrived.
fn arrives(source: &Container, target: &Container, to: &str, service: &str) -> Result<bool> {
    let (protocol, port) = service.split_once('/').context("a service")?;
    let udp = if protocol == "udp" { "--udp" } else { "" };
    let before = target.counts()?;
    let tried = source.connect(&format!("{to}:{port} {udp} {WHILE}"))?;
    let after = target.counts()?;
    let arrived = after.bytes_received > before.bytes_received;
    ensure!(
        arrived == (tried.bytes_received > 0) && arrived == (tried.failed == 0),
        "{} -> {} {service}: the server got {} bytes, the client says {tried:?}",
        source.name(),
        target.name(),
        after.bytes_received - before.bytes_received
    );
    Ok(arrived)
}

#[test]
fn every_verdict_is_as_written() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    docker.network("shop", &["--ipv6", "--subnet", "fd00:c0ff:d:1::/64"])?;
    let serve = |project: &str, service: &str| {
        let labels = [("com.docker.compose.project", project), ("com.docker.compose.service", service)];
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let options = Options::new().on("shop").tcp("80,5432").udp("53,8125");
        let options = options.with(&[
            "--label",
            &labels[0],
            "--label",
            &labels[1],
            "--label",
            &format!("tier={service}"),
        ]);
        docker.container(service, &options)
    };
    let mut cast = BTreeMap::new();
    for (project, service) in [("shop", "web"), ("shop", "api"), ("shop", "db"), ("ci", "runner")] {
        cast.insert(service, serve(project, service)?);
    }
    let mut stage = Stage::start(&node, &docker, "")?;
    let (mut cells, mut wrong) = (0, Vec::new());
    for scene in SCENES {
        stage.enforce(scene.policies)?;
        for line in scene.cells.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let [source, target, service, verdict] = line
                .split_whitespace()
                .collect::<Vec<_>>()
                .try_into()
                .map_err(|_| anyhow::anyhow!("{line}"))?;
            let (source, target) = (&cast[source], &cast[target]);
            for to in [target.address("shop")?.to_string(), format!("[{}]", target.address6("shop")?)] {
                cells += 1;
                let arrived = arrives(source, target, &to, service)?;
                if arrived != (verdict == "passes") {
                    wrong.push(format!("{}: {line} ({to})", scene.about));
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{} of {cells} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
