//! One generation of policies after the other, of ten thousand rules each.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::{IpAddr, SocketAddr},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use cofferdam::event::{Denial, EventKind, Reason};
use cofferdam_tests::{
    Container, Docker, Options, rounds,
    scenes::{
        actor::{Actor, Ask, Try},
        protocol::TCP,
    },
};

use super::{Stage, clients::Clients, member};
use crate::{alone, docker};

/// One of so many rules is about the database, each of these with a port of its own.
const ABOUT_DB: u32 = 10;
/// What a generation lets one of two clients reach at the database; the other generation lets the other.
const FIRST: u16 = 6432;
const SECOND: u16 = 6433;
/// What no generation lets anybody reach.
const NEITHER: u16 = 6434;
/// Milliseconds to wait for answers: of two on the same host, with a packet that was lost.
const SILENCE: u64 = 3_000;
/// Milliseconds that what must not arrive gets between two swaps, or what may or may not; before the first and after the last
/// one it is [`SILENCE`].
const PATIENCE: u64 = 300;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Generation {
    A,
    B,
}

impl Generation {
    const BOTH: [Self; 2] = [Self::A, Self::B];

    fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }

    /// What the two clients may reach.
    fn ports(self) -> [u16; 2] {
        match self {
            Self::A => [FIRST, SECOND],
            Self::B => [SECOND, FIRST],
        }
    }

    /// In one generation all that matters stands before the many rules, in the other behind them, so that nothing has the
    /// same number or place in both. Ports that the many rules let anybody reach are others in each.
    fn text(self, rules: u32) -> String {
        let [one, two] = self.ports();
        let matters = format!(
            "  - {{name: db, to: shop/db, allow: [{{from: shop/one, port: tcp/{one}}}, {{from: shop/two, port: tcp/{two}}}]}}
  - {{name: vault, to: shop/vault}}
  - {{name: files, to: shop/files, allow: [{{from: shop/api, port: tcp/5432}}]}}\n"
        );
        let mut many = String::new();
        for number in 3..rules {
            let port = 20_000 + 2 * number + u32::from(self == Self::B);
            // Writing to a string does not fail.
            let _ = if number % ABOUT_DB == 0 {
                writeln!(many, "  - {{to: shop/db, allow: [{{from: any, port: tcp/{port}}}]}}")
            } else {
                let from = (number * 7 + port) % rules;
                writeln!(many, "  - {{to: many/{number}, allow: [{{from: many/{from}, port: tcp/{port}}}]}}")
            };
        }
        let head = format!("policy: {}\nmode: enforce\nrules:\n", self.name());
        match self {
            Self::A => head + &matters + &many,
            Self::B => head + &many + &matters,
        }
    }
}

/// Whom somebody tries to reach.
#[derive(Clone, Copy, Debug)]
struct Cell {
    /// Which of the clients: the first two are let somewhere, the third nowhere.
    client: usize,
    /// Which of the servers: the database, or what nobody is let reach.
    server: usize,
    port: u16,
}

impl Cell {
    fn all() -> impl Iterator<Item = Self> {
        let of = |client| {
            let db = [FIRST, SECOND, NEITHER].map(|port| Self { client, server: 0, port });
            db.into_iter().chain([Self { client, server: 1, port: FIRST }])
        };
        (0..CLIENTS.len()).flat_map(of)
    }

    fn is_allowed_by(self, generation: Generation) -> bool {
        self.server == 0 && generation.ports().get(self.client) == Some(&self.port)
    }
}

/// Project and service.
const CLIENTS: [(&str, &str); 3] = [("shop", "one"), ("shop", "two"), ("ci", "stranger")];
const SERVERS: [&str; 2] = ["db", "vault"];

/// Those who play, apart from who connects without a pause.
struct Cast {
    clients: Vec<Actor>,
    servers: Vec<Actor>,
    addresses: Vec<IpAddr>,
    /// What was tried, by number.
    tried: Vec<Cell>,
    answered: u64,
}

impl Cast {
    fn start(docker: &Docker) -> Result<Self> {
        let act = |container: &Container, arguments: &[&str]| {
            let mut command = docker.docker();
            command.args(["exec", "--interactive", container.name(), "traffic", "act"]);
            Actor::start(command.args(arguments))
        };
        let serve = format!("tcp/{FIRST},tcp/{SECOND},tcp/{NEITHER}");
        let (mut servers, mut addresses, mut clients) = (Vec::new(), Vec::new(), Vec::new());
        for service in SERVERS {
            let container = member(docker, "shop", service, Options::new())?;
            servers.push(act(&container, &["--serve", &serve])?);
            addresses.push(container.address("shop")?);
        }
        for (project, service) in CLIENTS {
            clients.push(act(&member(docker, project, service, Options::new())?, &[])?);
        }
        Ok(Self { clients, servers, addresses, tried: Vec::new(), answered: 0 })
    }

    /// Tries all cells while one of these generations is in force: each is as one of them says.
    fn try_all(&mut self, generations: &[Generation], patience: u64) -> Result<()> {
        let first = self.tried.len();
        self.tried.extend(Cell::all());
        let number = |at: usize| u64::try_from(at);
        for (client, actor) in self.clients.iter_mut().enumerate() {
            let own = self.tried.iter().enumerate().skip(first).filter(|(_, cell)| cell.client == client);
            let tries = own.map(|(at, cell)| {
                let to = SocketAddr::new(self.addresses[cell.server], cell.port);
                // Where two may be in force, nobody knows which will be answered.
                let awaited = matches!(generations, [only] if cell.is_allowed_by(*only));
                anyhow::Ok(Try { number: number(at)?, to, protocol: TCP, connected: true, awaited })
            });
            let tries = tries.collect::<Result<_>>()?;
            actor.ask(&Ask::Try { tries, silence: SILENCE, patience })?;
        }
        let mut answered = BTreeSet::new();
        for actor in &mut self.clients {
            answered.extend(actor.answer()?);
        }
        self.answered += number(answered.len())?;
        for (server, actor) in self.servers.iter_mut().enumerate() {
            actor.ask(&Ask::Arrived)?;
            for arrived in actor.answer()? {
                let at = usize::try_from(arrived)?;
                let cell = self.tried.get(at).with_context(|| format!("{arrived} arrived, what is that?"))?;
                // What was cut goes on when a generation allows it again.
                let by: &[_] = if at < first { &Generation::BOTH } else { generations };
                let may = cell.server == server && by.iter().any(|one| cell.is_allowed_by(*one));
                ensure!(may, "{cell:?} arrived under {by:?}");
            }
        }
        for (at, cell) in self.tried.iter().enumerate().skip(first) {
            let as_answered = |one: &Generation| cell.is_allowed_by(*one) == answered.contains(&(at as u64));
            ensure!(
                generations.iter().any(as_answered),
                "{cell:?} under {generations:?}: {answered:?} of {first}.."
            );
        }
        Ok(())
    }
}

/// Has another generation in force. Meanwhile all is tried, and then once more.
fn swap(stage: &Stage, cast: &mut Cast, [from, to]: [Generation; 2], text: &str) -> Result<()> {
    let beside = stage.policies.join(".scene");
    fs::write(&beside, text)?;
    fs::rename(beside, stage.policies.join("scene.yaml"))?;
    let mut reload = stage.daemon.client(&["policy", "reload"]).stdout(Stdio::null()).spawn()?;
    while reload.try_wait()?.is_none() {
        cast.try_all(&[from, to], PATIENCE)?;
    }
    ensure!(reload.wait()?.success(), "{}", stage.daemon.log());
    cast.try_all(&[to], PATIENCE)
}

/// What is wrong with a denial that was told: its rule must be of a generation that denies this.
fn wrong(denial: &Denial) -> Option<String> {
    let Denial { source, target, .. } = denial;
    let (name, of_target) = (&source.workload.name, target.workload.name.strip_prefix("shop/")?);
    let client = CLIENTS.iter().position(|(project, service)| *name == format!("{project}/{service}"));
    let server = SERVERS.iter().position(|server| *server == of_target);
    let denied_by = |generation: &Generation| match (client, server) {
        (Some(client), Some(server)) => {
            !Cell { client, server, port: target.port }.is_allowed_by(*generation)
        }
        // Whoever is let nowhere, and who connects without a pause.
        _ => name != "shop/api",
    };
    let rule = denial.rule.as_ref().map(|rule| rule.name.as_str()).unwrap_or_default();
    let of_generation = |one: &&Generation| rule.starts_with(&format!("{}#", one.name()));
    let tried = [FIRST, SECOND, NEITHER, 5432].contains(&target.port);
    let right = tried && Generation::BOTH.iter().find(of_generation).is_some_and(denied_by);
    (!right || denial.reason != Reason::NotAllowed).then(|| denial.to_string())
}

#[test]
fn each_verdict_is_of_one_of_two_generations_that_take_turns() -> Result<()> {
    let (swaps, rules) = (rounds(1000), rounds(10_000));
    let _turn = alone()?;
    let (node, docker) = docker()?;
    docker.network("shop", &[])?;
    let files = member(&docker, "shop", "files", Options::new().tcp("5432"))?;
    let api = member(&docker, "shop", "api", Options::new().many_ports())?;
    let runner = member(&docker, "ci", "runner", Options::new())?;
    let mut cast = Cast::start(&docker)?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    let texts = Generation::BOTH.map(|generation| generation.text(rules));
    stage.enforce(&texts[0])?;
    cast.try_all(&[Generation::A], SILENCE)?;
    let events = stage.daemon.events_of_kinds("denial")?;
    let to = format!("{}:5432", files.address("shop")?);
    let clients = Clients { db: &files, api: &api, runner: &runner, to };
    let ((), outcome) = clients.meanwhile(|| {
        let turns = [[Generation::A, Generation::B], [Generation::B, Generation::A]];
        (0..swaps).zip(turns.iter().cycle()).try_for_each(|(number, turn)| {
            let text = &texts[usize::from(turn[1] == Generation::B)];
            swap(&stage, &mut cast, *turn, text).with_context(|| format!("swap {number}"))
        })?;
        cast.try_all(&[Generation::BOTH[usize::from(!swaps.is_multiple_of(2))]], SILENCE)
    })?;
    let generation = stage.daemon.status()?["policies"]["generation"].clone();
    let denials: Vec<_> = events
        .seen()
        .into_iter()
        .filter_map(|event| match event.kind {
            EventKind::Denial(denial) => Some(denial),
            _ => None,
        })
        .collect();
    println!(
        "{swaps} swaps of {rules} rules, generation {generation}: {outcome}; {} tries, {} of them answered; {} denials told",
        cast.tried.len(),
        cast.answered,
        denials.len()
    );
    let wrong: BTreeSet<_> = denials.iter().filter_map(wrong).collect();
    ensure!(wrong.is_empty() && !denials.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), denials.len());
    for edge in stage.daemon.map()? {
        let ends = [&edge.source, &edge.target].map(|end| end.name.as_str());
        let (passed, denied) = (edge.attempts + edge.flows + edge.bytes_sent, edge.verdicts.deny);
        match ends {
            ["shop/api", "shop/files"] => ensure!(denied == 0 && passed > 0, "{edge:?}"),
            ["ci/runner" | "ci/stranger", _] | [_, "shop/vault"] => ensure!(passed == 0, "{edge:?}"),
            _ => {}
        }
    }
    Ok(())
}
