//! Connections that are open when a policy comes into force that denies them. The oracle is what the server has received.

use std::{
    net::SocketAddr,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use cofferdam_tests::{Container, Daemon, command::wait_for};
use serde::Deserialize;

use super::{ONLY_API, Stage, shop};
use crate::{alone, docker};

/// How soon a connection is to be cut that is denied.
const AT_ONCE: Duration = Duration::from_secs(3);
/// Longer than the kernel waits before it sends again what was denied a few seconds ago.
const MUCH_LATER: Duration = Duration::from_secs(8);

/// What the client of a kept connection says.
#[derive(Debug, Deserialize)]
struct Kept {
    bytes_sent: u64,
    ended: String,
}

type Keeping = JoinHandle<Result<Kept>>;

/// Keeps a connection from a container, and sends all the time, or with `--every 0` waits for what will not come.
fn keep(client: &Container, server: SocketAddr, options: &str) -> Keeping {
    let (client, server) = (client.clone(), server.to_string());
    let options: Vec<String> = options.split_whitespace().map(str::to_owned).collect();
    thread::spawn(move || {
        let arguments = ["traffic", "keep", &server].into_iter().chain(options.iter().map(String::as_str));
        let said = client.exec(&arguments.collect::<Vec<_>>())?;
        serde_json::from_str(&said).with_context(|| format!("traffic said {said:?}"))
    })
}

fn ended(keeping: Keeping) -> Result<Kept> {
    keeping.join().map_err(|_| anyhow!("a client panicked"))?
}

fn wait_for_connections(db: &Container, count: u64) -> Result<()> {
    wait_for("the connections", Duration::from_secs(10), || {
        let counts = db.counts().ok()?;
        (counts.connections >= count && counts.bytes_received >= count * 64).then_some(())
    })
}

fn cut(daemon: &Daemon) -> Result<u64> {
    daemon.metric("cofferdam_policy_connections_cut_total", &[])
}

#[test]
fn an_open_connection_is_cut_when_a_policy_denies_it_and_nothing_of_it_arrives_later() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, api, runner] = shop(&docker)?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    let to = SocketAddr::new(db.address("shop")?, 5432);
    let (sends, waits) = (keep(&runner, to, ""), keep(&runner, to, "--every 0"));
    let allowed = thread::spawn(move || api.connect(&format!("{to} --exchanges 2 --hold 9000")));
    wait_for_connections(&db, 3)?;

    stage.enforce(ONLY_API)?;
    let since = Instant::now();
    let arrived = db.counts()?.bytes_received;
    let (sent, waited) = (ended(sends)?, ended(waits)?);
    ensure!(since.elapsed() < AT_ONCE, "it took {:?}", since.elapsed());
    ensure!(sent.ended == "reset" && waited.ended == "reset", "{sent:?}, {waited:?}: {}", stage.daemon.log());
    ensure!(sent.bytes_sent + waited.bytes_sent + 64 > arrived, "nothing was left to be sent: {sent:?}");
    assert_eq!(db.counts()?.bytes_received, arrived, "something arrived after it was denied");
    assert_eq!(cut(&stage.daemon)?, 2);
    let log = stage.daemon.log();
    ensure!(log.contains("open connections that are denied were cut"), "{log}");
    let status = stage.daemon.status()?;
    assert_eq!(status.pointer("/policies/cuts/cut").and_then(serde_json::Value::as_u64), Some(2), "{status}");

    stage.enforce("")?;
    thread::sleep(MUCH_LATER);
    let allowed = allowed.join().map_err(|_| anyhow!("the allowed client panicked"))??;
    ensure!((allowed.connections, allowed.failed) == (1, 0), "the allowed connection broke: {allowed:?}");
    assert_eq!(db.counts()?.bytes_received, arrived + 64, "something of a cut connection arrived later");
    // Whoever was cut may come again.
    ensure!(runner.connect(&to.to_string())?.failed == 0, "a new connection fails");
    Ok(())
}

#[test]
fn where_connections_are_not_to_be_cut_they_go_on_when_the_policy_is_taken_back() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, _, runner] = shop(&docker)?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear, cut_open_connections: false")?;
    let to = SocketAddr::new(db.address("shop")?, 5432);
    let sends = keep(&runner, to, "--longest 15000");
    wait_for_connections(&db, 1)?;

    stage.enforce(ONLY_API)?;
    let arrived = db.counts()?.bytes_received;
    thread::sleep(AT_ONCE);
    assert_eq!(db.counts()?.bytes_received, arrived, "something arrived after it was denied");
    ensure!(!sends.is_finished(), "it was cut: {:?}", ended(sends));
    stage.enforce("")?;
    let sent = ended(sends)?;
    assert_eq!(sent.ended, "time");
    wait_for("all that was sent", MUCH_LATER, || {
        db.counts().is_ok_and(|counts| counts.bytes_received == sent.bytes_sent).then_some(())
    })?;
    assert_eq!(cut(&stage.daemon)?, 0);
    Ok(())
}

#[test]
fn connections_that_were_open_before_the_daemon_are_cut_whether_they_send_or_wait() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, api, runner] = shop(&docker)?;
    let to = SocketAddr::new(db.address("shop")?, 5432);
    let (sends, waits) = (keep(&runner, to, "--every 200"), keep(&runner, to, "--every 0"));
    let allowed = thread::spawn(move || api.connect(&format!("{to} --exchanges 2 --hold 20000")));
    wait_for_connections(&db, 3)?;

    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    stage.enforce(ONLY_API)?;
    let since = Instant::now();
    let arrived = db.counts()?.bytes_received;
    let (sent, waited) = (ended(sends)?, ended(waits)?);
    // One that sends is seen anew; it is looked for those every few seconds.
    ensure!(since.elapsed() < 3 * AT_ONCE, "it took {:?}", since.elapsed());
    ensure!(sent.ended == "reset" && waited.ended == "reset", "{sent:?}, {waited:?}: {}", stage.daemon.log());
    assert_eq!(db.counts()?.bytes_received, arrived, "something arrived after it was denied");
    assert_eq!(cut(&stage.daemon)?, 2);
    let allowed = allowed.join().map_err(|_| anyhow!("the allowed client panicked"))??;
    ensure!((allowed.connections, allowed.failed) == (1, 0), "the allowed connection broke: {allowed:?}");
    Ok(())
}
