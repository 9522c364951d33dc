//! The matrix of all scenes (`tests/scenes`) on real containers.

use std::{fs, net::IpAddr, process::Command, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use cofferdam_tests::{
    Container, Daemon, Docker, Node, Options, Outside, Unit, built, cgroup_root,
    command::{run, wait_for},
    scenes::{
        self, Scene,
        actor::Actor,
        cast::{CAST, IMAGE, Member, NETWORKS, OTHER_IMAGE, PUBLISHED, Place, SERVED, SERVED_HERE},
        matrix::{self, Matrix},
    },
};
use jiff::Timestamp;
use serde_json::json;

use super::SOON;
use crate::alone;

/// Published ports are translated for IPv6 as well, as they are since version 27 unless told otherwise.
const SETTINGS: &str = r#"{"experimental": true, "ip6tables": true}"#;

/// Where all who play are.
struct Stage {
    daemon: Daemon,
    node: Arc<Node>,
    docker: Docker,
    outside: Outside,
    containers: Vec<Container>,
    units: Vec<Unit>,
    matrix: Matrix,
}

impl Stage {
    fn set() -> Result<Self> {
        let node = Arc::new(Node::start()?);
        let docker = Docker::start_with(&node, SETTINGS)?;
        // Its proxies are the host.
        let pid = fs::read_to_string(node.directory().join("dockerd.pid"))?;
        fs::write(cgroup_root()?.join("cgroup.procs"), pid.trim())?;
        for (number, network) in NETWORKS.iter().enumerate() {
            docker.network(network, &["--ipv6", "--subnet", &format!("fd00:c0ff:d:{}::/64", number + 1)])?;
        }
        run(docker.docker().args(["tag", IMAGE, OTHER_IMAGE]))?;
        let outside = Outside::plug_in(&node)?;
        let ip = |line: &str| run(node.command("ip").args(line.split_whitespace()));
        ip("addr add fd00:c0ff:7::1/64 dev beyond nodad")?;
        fs::create_dir_all(node.directory().join("policies"))?;
        let config = node.directory().join("config.yaml");
        fs::write(&config, configuration(&node, &Scene::default())?)?;
        let daemon = Daemon::start_with(&docker, &["--config", config.to_str().context("a path in UTF-8")?])?;
        let mut stage = Self {
            daemon,
            node: Arc::clone(&node),
            docker,
            outside,
            containers: Vec::new(),
            units: Vec::new(),
            matrix: Matrix::default(),
        };
        stage.matrix.places.facade = addresses(["198.19.7.1", "fd00:c0ff:7::1"])?;
        stage.matrix.places.proxy = addresses(["127.0.0.1", "::1"])?;
        for (number, member) in CAST.iter().enumerate() {
            if member.is_on_host() {
                let own = addresses([
                    &format!("198.19.8.{}", number + 1),
                    &format!("fd00:c0ff:8::{}", number + 1),
                ])?;
                for address in &own {
                    let nodad = if address.is_ipv6() { " nodad" } else { "" };
                    ip(&format!("addr add {address} dev lo{nodad}"))?;
                }
                stage.matrix.places.host.insert(member.name, own);
            }
            if let Place::Outside(address) = member.place {
                ip(&format!("route add {address} dev beyond"))?;
            }
            stage.start(member).with_context(|| member.name)?;
        }
        Ok(stage)
    }

    /// Starts one who plays.
    fn start(&mut self, member: &'static Member) -> Result<()> {
        let served = format!("{SERVED},{SERVED_HERE}");
        let own = self.matrix.places.host.get(member.name).map(|own| list(own));
        let mut act = vec!["act", "--serve", &served];
        act.extend(own.iter().flat_map(|own| ["--at", own]));
        let traffic = built("traffic")?.display().to_string();
        let mut command = match member.place {
            Place::Networks(_) | Place::Hosts => {
                let container = self.start_container(member)?;
                let mut command = self.docker.docker();
                command.args(["exec", "--interactive", container.name(), "traffic"]);
                self.containers.push(container);
                command
            }
            Place::Unit => {
                let unit = Unit::make(&self.node, &format!("{}/{}", self.node.slice(), member.name))?;
                let command = unit.command(&[&traffic]);
                self.units.push(unit);
                command
            }
            Place::Host => self.on_host(&traffic)?,
            Place::Outside(address) => {
                let program = built("outside")?.display().to_string();
                let mut command =
                    self.outside.command(&[&program, "act", &address.to_string(), "--serve", SERVED]);
                return self.acts(member, &mut command);
            }
        };
        self.acts(member, command.args(act))
    }

    fn acts(&mut self, member: &Member, command: &mut Command) -> Result<()> {
        self.matrix.actors.insert(member.name, Actor::start(command)?);
        Ok(())
    }

    /// A program of the host's own cgroup.
    fn on_host(&self, program: &str) -> Result<Command> {
        let mut command = self.node.command("sh");
        let enter = "echo $$ > \"$0\" && exec \"$@\"";
        command.args(["-ec", enter]).arg(cgroup_root()?.join("cgroup.procs")).arg(program);
        Ok(command)
    }

    fn start_container(&mut self, member: &Member) -> Result<Container> {
        let networks = match member.place {
            Place::Networks(networks) => networks,
            _ => &["host"],
        };
        let mut options = Options::new().on(networks[0]);
        for (key, value) in member.labels {
            options = options.with(&["--label", &format!("{key}={value}")]);
        }
        for (_, service, port) in PUBLISHED.iter().filter(|(name, ..)| *name == member.name) {
            let (protocol, own) = service.split_once('/').context("a service")?;
            options = options.with(&["--publish", &format!("{port}:{own}/{protocol}")]);
        }
        let container = self.docker.container_of(member.image, member.container_name(), &options)?;
        for network in networks.iter().skip(1) {
            self.docker.join(network, &container)?;
        }
        if let Place::Networks(networks) = member.place {
            for network in networks {
                let own = vec![container.address(network)?, container.address6(network)?];
                self.matrix.places.networks.insert((member.name, network), own);
            }
        }
        Ok(container)
    }
}

impl matrix::Stage for Stage {
    fn matrix(&mut self) -> &mut Matrix {
        &mut self.matrix
    }

    fn enforce(&mut self, scene: &Scene) -> Result<()> {
        let since = |part: &str| -> Result<Timestamp> {
            let status = self.daemon.status()?;
            let report = &status[part];
            ensure!(report["problem"].is_null(), "{}: {}", scene.name, report["problem"]);
            Ok(report["since"].as_str().context("no time")?.parse()?)
        };
        let before = since("config")?;
        fs::write(self.node.directory().join("config.yaml"), configuration(&self.node, scene)?)?;
        fs::write(self.node.directory().join("policies/scene.yaml"), &scene.policies)?;
        run(Command::new("kill").args(["-HUP", &self.daemon.pid().to_string()]))?;
        // The configuration is read first.
        wait_for("the policies to be in force", SOON, || {
            let (config, policies) = (since("config").ok()?, since("policies").ok()?);
            (config != before && policies > config).then_some(())
        })
        .with_context(|| format!("{}: {}", scene.name, self.daemon.log()))
    }

    fn start_anew(&mut self, member: &'static Member) -> Result<()> {
        self.matrix.actors.remove(member.name);
        let place = self.containers.iter().position(|container| container.name() == member.container_name());
        self.containers.swap_remove(place.context("no container")?).remove()?;
        self.start(member)
    }
}

fn addresses<const N: usize>(texts: [&str; N]) -> Result<Vec<IpAddr>> {
    texts.iter().map(|text| text.parse().with_context(|| (*text).to_owned())).collect()
}

fn list(addresses: &[IpAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn configuration(node: &Node, scene: &Scene) -> Result<String> {
    let mut policies: serde_json::Map<_, _> = scene.settings()?.into_iter().collect();
    policies.insert("folder".to_owned(), json!(node.directory().join("policies")));
    policies.insert("at_stop".to_owned(), json!("clear"));
    Ok(json!({ "policies": policies }).to_string())
}

#[test]
fn every_cell_of_every_scene_is_as_it_is_written() -> Result<()> {
    let _turn = alone()?;
    println!("{}", matrix::play(&mut Stage::set()?, &scenes::all()?)?);
    Ok(())
}
