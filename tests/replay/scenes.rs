//! Scenes of policies (`tests/scenes`), as `cofferdam policy test` would judge them: what is written is what the daemon
//! says, before any kernel is asked.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use anyhow::{Result, ensure};
use cofferdam::{
    config::Policies,
    policy::{
        Plan, RuleNumbers, Settings,
        expect::{self, Expectation},
        folder::Set,
    },
};
use cofferdam_tests::scenes::{
    self, Scene,
    cast::{CAST, Place},
    protocol::ICMP,
};

/// How many there must be.
const SCENES: usize = 60;

fn settings(scene: &Scene) -> Result<Settings> {
    let object = scene.settings()?.into_iter().collect::<serde_json::Map<_, _>>();
    Ok(Settings::from(&serde_json::from_value::<Policies>(object.into())?))
}

fn plan(scene: &Scene) -> Result<Plan> {
    let mut set = Set::default();
    let added = set.add_text(Path::new("scene.yaml"), scene.policies.clone());
    added.map_err(|problem| anyhow::anyhow!("{}", problem.line().to_owned()))?;
    let policies = set.into_parts().0;
    Plan::new(policies, settings(scene)?, &mut RuleNumbers::default()).map_err(anyhow::Error::from)
}

/// The matrix of a scene, as expectations are written.
fn expectations(scene: &Scene) -> Result<Vec<Expectation>> {
    let mut list = Vec::new();
    for (cell, verdict) in scene.matrix()? {
        // Policies write `ip/253`, events and expectations `ip-253`.
        let mut ports = vec![cell.service.to_string().replace("ip/", "ip-")];
        if cell.service.protocol == ICMP {
            ports.push("icmpv6".to_owned());
        }
        for port in ports {
            list.push(serde_json::json!({
                "from": cell.source.name, "to": cell.target.name, "port": port, "expect": verdict,
            }));
        }
    }
    Ok(serde_json::from_value(list.into())?)
}

#[test]
fn what_scenes_expect_is_what_the_policies_say() -> Result<()> {
    let here = CAST.iter().filter(|member| !matches!(member.place, Place::Outside(_)));
    let known: Vec<_> = here.map(|member| Arc::new(member.workload())).collect();
    let (scenes, mut cells, mut wrong) = (scenes::all()?, 0, Vec::new());
    for scene in &scenes {
        let mut plan = match plan(scene) {
            Ok(plan) => plan,
            Err(problem) => {
                wrong.push(format!("{}: {problem}", scene.name));
                continue;
            }
        };
        let outcomes = expect::run(&expectations(scene)?, &mut plan, &known)?;
        cells += outcomes.len();
        let unmet = outcomes.into_iter().filter(|outcome| !outcome.met);
        wrong.extend(unmet.map(|it| {
            format!(
                "{}: {} is to be {}, and is {} by {:?}",
                scene.name, it.interaction, it.expected, it.verdict, it.by
            )
        }));
    }
    ensure!(wrong.is_empty(), "{} of {cells} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    let names: BTreeSet<_> = scenes.iter().map(|scene| &scene.name).collect();
    ensure!(names.len() == scenes.len() && names.len() >= SCENES, "{} scenes", names.len());
    println!("{} scenes, {cells} cells", scenes.len());
    Ok(())
}
