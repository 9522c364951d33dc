//! `cofferdam policy test`: tries expectations that lie beside policies. Asks no daemon.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use clap::{
    Args,
    builder::{PossibleValuesParser, TypedValueParser},
};
use serde::Serialize;

use super::{
    Format,
    check::{self, Line},
    sources::{self, Sources},
};
use crate::{
    cli::{
        Failure,
        output::{plural, print, print_json, printable},
    },
    config::{ByDefault, Given, Policies, Source},
    event::Verdict,
    policy::{
        Plan, RuleNumbers, Settings,
        expect::{self, Outcome},
        folder::File,
    },
};

/// What is tried.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Files and folders, with policies and with expectations (`*.test.yaml`). [default: /etc/cofferdam/policies]
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What containers may receive that no rule is about. [default: allow]
    #[arg(long, value_parser = defaults(), value_name = "VERDICT")]
    default_ingress: Option<ByDefault>,
    /// What containers may send that no rule is about. [default: allow]
    #[arg(long, value_parser = defaults(), value_name = "VERDICT")]
    default_egress: Option<ByDefault>,
    /// A configuration file that says these defaults; the options go before it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For whom the outcomes are written.
    #[arg(long, value_enum, default_value_t = Format::Text, value_name = "FORMAT")]
    format: Format,
}

fn defaults() -> impl TypedValueParser<Value = ByDefault> {
    PossibleValuesParser::new(["allow", "deny"]).map(|word| match &*word {
        "deny" => ByDefault::Deny,
        _ => ByDefault::Allow,
    })
}

/// What came of all, as JSON.
#[derive(Serialize)]
struct Report<'a> {
    met: usize,
    failed: usize,
    outcomes: Vec<Item<'a>>,
}

/// What came of one, as JSON.
#[derive(Serialize)]
struct Item<'a> {
    file: &'a Path,
    #[serde(flatten)]
    outcome: &'a Outcome,
}

/// What kept them from being tried, as JSON.
#[derive(Serialize)]
struct Broken<'a> {
    problem: Line<'a>,
}

/// The outcomes of each file of expectations.
type Outcomes = Vec<(PathBuf, Vec<Outcome>)>;

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (outcomes, files) = match (tried(arguments), arguments.format) {
        (Ok(tried), _) => tried,
        (Err(Failure::Policies(problem) | Failure::Expectations(problem)), Format::Json) => {
            print_json(&Broken { problem: check::of_problem(&problem) })?;
            return Err(Failure::Broken);
        }
        (Err(failure), _) => return Err(failure),
    };
    match arguments.format {
        Format::Text => print(&text(&outcomes, &files))?,
        Format::Json => print_json(&report(&outcomes))?,
    }
    if all(&outcomes).all(|(_, outcome)| outcome.met) { Ok(()) } else { Err(Failure::Unwell) }
}

/// Tries all that there are, and says in which files the policies are.
fn tried(arguments: &Arguments) -> Result<(Outcomes, Vec<File>), Failure> {
    let settings = settings(arguments)?;
    let Sources { set, expectations } = sources::load(&arguments.paths).map_err(Failure::Policies)?;
    let (policies, files) = set.into_parts();
    let refused = |error| Failure::Refused(format!("{error}"));
    let mut plan = Plan::new(policies, settings, &mut RuleNumbers::default()).map_err(refused)?;
    let mut outcomes = Outcomes::new();
    for (path, text) in expectations {
        let expectations = expect::parse(&path, &text).map_err(Failure::Expectations)?;
        outcomes.push((path, expect::run(&expectations, &mut plan, &[]).map_err(refused)?));
    }
    if all(&outcomes).next().is_none() {
        return Err(Failure::Failed(anyhow::anyhow!(
            "there are no expectations: they are in files that end in `.test.yaml` or `.test.yml`"
        )));
    }
    Ok((outcomes, files))
}

fn settings(arguments: &Arguments) -> Result<Settings, Failure> {
    let configured = match &arguments.config {
        Some(file) => Source { file: Some(file.clone()), given: Given::default() }.load()?.policies,
        None => Policies::default(),
    };
    let mut settings = Settings::from(&configured);
    settings.default_ingress = arguments.default_ingress.unwrap_or(settings.default_ingress);
    settings.default_egress = arguments.default_egress.unwrap_or(settings.default_egress);
    Ok(settings)
}

fn all(outcomes: &Outcomes) -> impl Iterator<Item = (&Path, &Outcome)> {
    outcomes.iter().flat_map(|(path, outcomes)| outcomes.iter().map(move |outcome| (path.as_path(), outcome)))
}

fn report(outcomes: &Outcomes) -> Report<'_> {
    let met = all(outcomes).filter(|(_, outcome)| outcome.met).count();
    let outcomes: Vec<_> = all(outcomes).map(|(file, outcome)| Item { file, outcome }).collect();
    Report { met, failed: outcomes.len() - met, outcomes }
}

/// Each that is not met, with why, and a line that says how it stands.
fn text(outcomes: &Outcomes, files: &[File]) -> String {
    let texts: HashMap<&Path, &str> = files.iter().map(|file| (&*file.path, file.text.as_str())).collect();
    let mut text = String::new();
    for (path, outcome) in all(outcomes).filter(|(_, outcome)| !outcome.met) {
        let Outcome { line, interaction, expected, expected_by, verdict, by, explanation, .. } = outcome;
        let expected = decided(*expected, expected_by.as_deref().as_slice());
        let came = decided(*verdict, &by.iter().map(|by| &**by).collect::<Vec<_>>());
        let head = format!("{}:{line}  {interaction}: expected {expected}, came {came}", path.display());
        text += &format!("✖ {}\n", printable(&head));
        text.extend(explanation.text(&texts).lines().map(|line| format!("  {}\n", printable(line))));
    }
    let Report { met, failed, .. } = report(outcomes);
    let tried = plural(met + failed, "expectation");
    let whole = plural(outcomes.len(), "file");
    text + &match failed {
        0 => format!("✔ {tried} in {whole}: all met\n"),
        _ => format!("{tried} in {whole}: {failed} not met\n"),
    }
}

/// `deny by shop#1`
fn decided(verdict: Verdict, by: &[&str]) -> String {
    if by.is_empty() { verdict.to_string() } else { format!("{verdict} by {}", by.join(" and ")) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::policy::samples::SHOP;

    /// What is asked for a folder of its own with `shop.yaml` and these expectations.
    fn folder(name: &str, expectations: &str) -> Arguments {
        let folder = std::env::temp_dir().join(format!("cofferdam-test-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("shop.yaml"), SHOP).unwrap();
        fs::write(folder.join("shop.test.yaml"), expectations).unwrap();
        Arguments {
            paths: vec![folder],
            default_ingress: None,
            default_egress: None,
            config: None,
            format: Format::Text,
        }
    }

    fn clear(arguments: &Arguments) {
        fs::remove_dir_all(&arguments.paths[0]).unwrap();
    }

    /// The text, with the folder called `policies`.
    fn shown(arguments: &Arguments) -> String {
        let (outcomes, files) = tried(arguments).unwrap();
        text(&outcomes, &files).replace(arguments.paths[0].to_str().unwrap(), "policies")
    }

    #[test]
    fn expectations_beside_the_policies_that_are_met_are_one_line() {
        let arguments = folder(
            "met",
            "- {from: shop/api, to: shop/db, port: tcp/5432, expect: allow, by: shop#1}\n\
             - {from: ci/runner, to: shop/db, port: tcp/5432, expect: deny}\n",
        );
        assert_eq!(shown(&arguments), "✔ 2 expectations in 1 file: all met\n");
        run(&arguments).unwrap();
        clear(&arguments);
    }

    #[test]
    fn what_is_not_met_is_told_with_why_as_the_documentation_has_it() {
        let arguments = folder(
            "failed",
            "- {from: shop/api, to: shop/db, port: tcp/5432, expect: allow}\n\
             - {from: ci/runner, to: shop/db, port: tcp/5432, expect: allow, by: 'shop#1'}\n",
        );
        let shown = shown(&arguments);
        insta::assert_snapshot!(shown, @r#"
        ✖ policies/shop.test.yaml:2  ci/runner -> shop/db tcp/5432: expected allow by shop#1, came deny by shop#1
          ✖ DENIED  ci/runner → shop/db  tcp/5432
            because  policy "shop"  policies/shop.yaml:4  rule shop#1: nothing lets shop/db receive from ci/runner
                    4 │   - to: shop/db
                      │     ^ is about shop/db: it may receive only from whom an entry allows
                    6 │       - {from: shop/api, port: tcp/5432}
                      │         ^ ci/runner does not match: name is "ci/runner" (the rule wants "shop/api")
        2 expectations in 1 file: 1 not met
        "#);
        assert!(include_str!("../../../../docs/policy.md").contains(&shown), "docs/policy.md lacks\n{shown}");
        assert_eq!(run(&arguments).unwrap_err().code(), 1);
        let (outcomes, _) = tried(&arguments).unwrap();
        let json = serde_json::to_value(report(&outcomes)).unwrap();
        assert_eq!((&json["met"], &json["failed"]), (&1.into(), &1.into()));
        let item = &json["outcomes"][1];
        assert_eq!(
            (&item["line"], &item["verdict"], &item["met"]),
            (&2.into(), &"deny".into(), &false.into())
        );
        clear(&arguments);
    }

    #[test]
    fn defaults_come_from_the_options_and_then_from_a_configuration() {
        let expectation = "- {from: shop/api, to: shop/web, port: tcp/80, expect: deny}\n";
        let mut arguments = folder("defaults", expectation);
        assert_eq!(run(&arguments).unwrap_err().code(), 1);
        let config = arguments.paths[0].join("config.conf");
        fs::write(&config, "policies: {default_ingress: deny}").unwrap();
        arguments.config = Some(config);
        run(&arguments).unwrap();
        arguments.default_ingress = Some(ByDefault::Allow);
        assert_eq!(run(&arguments).unwrap_err().code(), 1);
        arguments.default_egress = Some(ByDefault::Deny);
        run(&arguments).unwrap();
        clear(&arguments);
    }

    #[test]
    fn to_try_nothing_is_no_success() {
        let arguments = folder("none", "[]\n");
        let failure = run(&arguments).unwrap_err();
        assert_eq!(failure.code(), 1);
        assert!(failure.sentence().unwrap().contains("there are no expectations"), "{failure}");
        clear(&arguments);
    }

    #[test]
    fn what_cannot_be_read_is_exit_code_3() {
        let mut arguments = folder("broken", "- {from: a, to: b, port: tcp/1, expect: no}\n");
        for format in [Format::Text, Format::Json] {
            arguments.format = format;
            assert_eq!(run(&arguments).unwrap_err().code(), 3);
        }
        fs::write(arguments.paths[0].join("shop.yaml"), "policy: a\n").unwrap();
        assert_eq!(run(&arguments).unwrap_err().code(), 3);
        arguments.paths = vec![arguments.paths[0].join("absent.test.yaml")];
        assert_eq!(run(&arguments).unwrap_err().code(), 3);
        arguments.paths = vec![arguments.paths[0].parent().unwrap().to_owned()];
        clear(&arguments);
    }
}
