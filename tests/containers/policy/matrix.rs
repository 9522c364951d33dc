//! The matrix of all scenes (`tests/scenes`) on real containers.

use std::{fs, process::Command, sync::Arc};

use anyhow::{Context as _, Result};
use cofferdam_tests::{
    Container, Daemon, Docker, Node, Options, cgroup_root,
    command::{run, wait_for},
    scenes::{
        self, Scene,
        actor::Actor,
        cast::{CAST, IMAGE, Member, NETWORKS, OTHER_IMAGE, PUBLISHED, Place},
        ground::{Ground, arguments},
        matrix::{self, Matrix, Pace},
    },
};
use serde_json::json;

use super::{SOON, loads};
use crate::alone;

/// Published ports are translated for IPv6 as well, as they are since version 27 unless told otherwise.
const SETTINGS: &str = r#"{"experimental": true, "ip6tables": true}"#;

/// Where all who play are.
struct Stage {
    daemon: Daemon,
    node: Arc<Node>,
    docker: Docker,
    ground: Ground,
    containers: Vec<Container>,
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
        let mut matrix = Matrix::new(Pace::WHOLE);
        let ground = Ground::lay(&node, &mut matrix.places)?;
        fs::create_dir_all(node.directory().join("policies"))?;
        let config = node.directory().join("config.yaml");
        fs::write(&config, configuration(&node, &Scene::default())?)?;
        let daemon = Daemon::start_with(&docker, &["--config", config.to_str().context("a path in UTF-8")?])?;
        let mut stage =
            Self { daemon, node: Arc::clone(&node), docker, ground, containers: Vec::new(), matrix };
        for member in CAST {
            stage.start(member).with_context(|| member.name)?;
        }
        Ok(stage)
    }

    /// How often the configuration was read anew, and policies after it.
    fn reloads(&self) -> usize {
        let log = self.daemon.log();
        let mut parts = log.split("configuration reloaded");
        // What was in force at the start.
        parts.next();
        parts.filter(|part| loads(part) > 0).count()
    }

    /// Starts one who plays.
    fn start(&mut self, member: &'static Member) -> Result<()> {
        let actor = if member.is_container() {
            let container = self.start_container(member)?;
            let mut command = self.docker.docker();
            command.args(["exec", "--interactive", container.name(), "traffic"]);
            self.containers.push(container);
            Actor::start(command.args(arguments(member, &self.matrix.places)))?
        } else {
            self.ground.start(member, &self.matrix.places)?
        };
        self.matrix.actors.insert(member.name, actor);
        Ok(())
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
        let before = self.reloads();
        fs::write(self.node.directory().join("config.yaml"), configuration(&self.node, scene)?)?;
        fs::write(self.node.directory().join("policies/scene.yaml"), &scene.policies)?;
        run(Command::new("kill").args(["-HUP", &self.daemon.pid().to_string()]))?;
        wait_for("the policies to be in force", SOON, || (self.reloads() > before).then_some(()))
            .with_context(|| format!("{}: {}", scene.name, self.daemon.log()))
    }

    fn start_anew(&mut self, member: &'static Member) -> Result<()> {
        self.matrix.actors.remove(member.name);
        let place = self.containers.iter().position(|container| container.name() == member.container_name());
        self.containers.swap_remove(place.context("no container")?).remove()?;
        self.start(member)
    }
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
    matrix::play(&mut Stage::set()?, &scenes::all()?, |line| println!("{line}"))
}
