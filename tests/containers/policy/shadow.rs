//! What policies would do before they are in force, and that they go back when they do harm.

use anyhow::{Result, ensure};
use cofferdam_tests::command::{run, wait_for};
use serde_json::Value;

use super::{SOON, Stage, shop};
use crate::{alone, docker};

/// Nobody may talk to the database but who does not.
const NOBODY: &str = "
policy: shop
mode: enforce
rules:
  - to: shop/db
    allow: [{from: shop/other, port: tcp/5432}]
";

const NOTHING: &str = "policy: shop\nrules: []\n";

#[test]
fn what_policies_in_the_shadow_would_deny_passes_and_is_counted_by_edge_and_rule() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, api, runner] = shop(&docker)?;
    let stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    let daemon = &stage.daemon;
    let to = format!("{}:5432", db.address("shop")?);
    ensure!(api.connect(&format!("{to} --count 7"))?.connections == 7);
    let file = node.directory().join("shop.yaml");
    std::fs::write(&file, NOBODY)?;
    let file = file.display().to_string();
    daemon.ask(&["policy", "shadow", &file, "--of", "shop/api"])?;

    ensure!(api.connect(&format!("{to} --count 3"))?.connections == 3, "nothing is judged by it");
    ensure!(runner.connect(&format!("{to} --count 2"))?.connections == 2);
    let found: Value = serde_json::from_str(&daemon.ask(&["policy", "shadow", "--format", "json"])?)?;
    let [finding] = found["findings"].as_array().map_or(&[][..], Vec::as_slice) else {
        anyhow::bail!("{found}");
    };
    assert_eq!(
        [&finding["source"]["name"], &finding["target"]["name"], &finding["would_be"]["rule"]["label"]],
        ["shop/api", "shop/db", "shop#1"]
    );
    assert_eq!((&finding["attempts"], &finding["port"]), (&3.into(), &5432.into()));
    let said = daemon.ask(&["policy", "shadow"])?;
    ensure!(said.contains("shop/api -> shop/db  tcp/5432: allow -> deny (shop#1"), "{said}");
    let labels = [r#"source="shop/api""#, r#"port="5432""#, r#"verdict="deny""#, r#"rule="shop#1""#];
    assert_eq!(daemon.metric("cofferdam_shadow_attempts_total", &labels)?, 3);
    ensure!(daemon.ask(&["status"])?.contains("in the shadow: shop.yaml"));

    daemon.ask(&["policy", "shadow", "--end"])?;
    assert_eq!(daemon.metric("cofferdam_policy_shadow", &[])?, 0);
    ensure!(run(&mut daemon.client(&["policy", "shadow"])).is_err(), "there is nothing to tell any more");
    Ok(())
}

#[test]
fn policies_on_trial_that_deny_what_was_normal_are_taken_back_at_once() -> Result<()> {
    let _turn = alone()?;
    let (node, docker) = docker()?;
    let [db, api, runner] = shop(&docker)?;
    let mut stage = Stage::start(&node, &docker, ", at_stop: clear")?;
    stage.enforce(NOTHING)?;
    let daemon = &stage.daemon;
    let to = format!("{}:5432", db.address("shop")?);
    ensure!(api.connect(&to)?.connections == 1);
    let file = node.directory().join("scene.yaml");
    std::fs::write(&file, NOBODY)?;
    let file = file.display().to_string();
    daemon.ask(&["policy", "apply", &file, "--confirm-within", "1h", "--take-back-above", "4"])?;

    // It was not there before: that it is denied is no harm.
    ensure!(runner.connect(&format!("{to} --count 20"))?.failed == 20);
    ensure!(api.connect(&format!("{to} --count 4"))?.failed == 4);
    std::thread::sleep(std::time::Duration::from_secs(3));
    ensure!(daemon.ask(&["status"])?.contains("not confirmed: scene.yaml"), "{}", daemon.log());
    ensure!(api.connect(&to)?.failed == 1);
    wait_for("it to be taken back", SOON, || {
        (daemon.metric("cofferdam_policy_taken_back_total", &[]).ok()? == 1).then_some(())
    })?;
    ensure!(api.connect(&to)?.connections == 1, "{}", daemon.log());
    ensure!(daemon.log().contains("shop/api -> shop/db tcp/5432"), "{}", daemon.log());

    // Nobody is there to confirm: they stay where they harm nobody, and are taken back where they do.
    let keep =
        |time: &str| daemon.ask(&["policy", "apply", &file, "--keep-after", time, "--take-back-above", "4"]);
    let harmed = std::thread::scope(|scope| {
        let applied = scope.spawn(|| keep("2m"));
        let harm = || api.connect(&format!("{to} --count 5")).ok().filter(|made| made.failed == 5);
        wait_for("the policy to do harm", SOON, harm)?;
        applied.join().map_err(|_| anyhow::anyhow!("a panic"))
    })?;
    ensure!(
        harmed.is_err_and(|why| format!("{why:#}").contains("the policies were taken back")),
        "{}",
        daemon.log()
    );
    ensure!(api.connect(&to)?.connections == 1, "{}", daemon.log());
    keep("1s")?;
    ensure!(api.connect(&to)?.failed == 1, "{}", daemon.log());
    Ok(())
}
