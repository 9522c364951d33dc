//! `cofferdam policy learn`: what was seen, as policies.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::{
    api::{Recorded, Span},
    baseline::learn::{Learned, Options, learn},
    cli::{
        ChosenMode, Client, Failure,
        output::{number, plural, print},
        question,
        since::since,
    },
    config::Selector,
    history::Interactions,
};

/// What a label is written with: `labels.tier=front`.
const LABEL: &str = "labels.";

/// From what, about whom, and where to.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Learn from what was seen since then: `15m`, `2h`, `7d`, or a time as RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = since, default_value = "7d")]
    since: Timestamp,
    /// And until then. [default: now]
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<Timestamp>,
    /// Only about these workloads: a pattern of names, or keys as in policies (`project=shop,labels.tier=front`).
    #[arg(long = "for", value_name = "SELECTOR", value_parser = selector)]
    of: Vec<Selector>,
    /// Leave out what was seen on fewer days.
    #[arg(long, value_name = "DAYS", default_value_t = 1)]
    min_days: u64,
    /// The mode of the policies.
    #[arg(long, value_enum, default_value_t = ChosenMode::Audit, value_name = "MODE")]
    mode: ChosenMode,
    /// Where the policies are written to. [default: stdout]
    #[arg(long, short = 'O', value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Reads a selector as it is written on a command line.
fn selector(text: &str) -> Result<Selector, String> {
    if !text.contains('=') {
        return serde_json::from_value(text.into()).map_err(|error| error.to_string());
    }
    let (mut keys, mut labels) = (Map::new(), Map::new());
    for pair in text.split(',') {
        let (key, value) = pair.split_once('=').ok_or_else(|| format!("`{pair}` lacks its `=VALUE`"))?;
        let (keys, key) = match key.strip_prefix(LABEL) {
            Some(label) => (&mut labels, label),
            None => (&mut keys, key),
        };
        if keys.insert(key.to_owned(), value.into()).is_some() {
            return Err(format!("`{key}` stands there twice"));
        }
    }
    if !labels.is_empty() {
        keys.insert("labels".to_owned(), labels.into());
    }
    serde_json::from_value(Value::Object(keys)).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: Arguments, client: &Client) -> Result<(), Failure> {
    let Arguments { since, until, of, min_days, mode, output } = arguments;
    let path = question("/v1/history", &Span::new(since, until))?;
    let Recorded { since, until, past, left_out } = client.get_slowly(&path)?;
    // Of a part of what was seen comes a policy that denies the rest.
    let past = Interactions { past, left_out }.whole()?;
    let options = Options { mode: mode.into(), of, min_days, since, until };
    let learned = learn(&past, &options).map_err(Failure::Policies)?;
    write(&learned, output.as_deref(), &mut anstream::stderr().lock())
}

/// Policies go to where they shall, talk to `talk`.
fn write(learned: &Learned, output: Option<&Path>, talk: &mut impl Write) -> Result<(), Failure> {
    match output {
        Some(path) => {
            fs::write(path, &learned.text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => print(&learned.text)?,
    }
    // Nobody is left to tell where stderr is closed.
    let _ = talk.write_all(said(learned).as_bytes());
    Ok(())
}

/// `wrote 6 rules for 5 workloads from 41,208 flows (99.98 % explained; 9 flows left out: see comments)`
fn said(learned: &Learned) -> String {
    let Learned { rules, workloads, flows, explained, .. } = learned;
    let what = format!(
        "wrote {} for {} from {}",
        plural(*rules, "rule"),
        plural(*workloads, "workload"),
        plural(*flows, "flow")
    );
    match flows - explained {
        0 => format!("{what} (all explained)\n"),
        left => {
            let left = plural(left, "flow");
            format!("{what} ({} % explained; {left} left out: see comments)\n", share(*explained, *flows))
        }
    }
}

/// `99.98`, in hundred parts; never rounded up to all.
pub(super) fn share(part: u64, whole: u64) -> String {
    let share = u128::from(part) * 10_000 / u128::from(whole.max(1));
    let share = u64::try_from(share).unwrap_or(u64::MAX);
    format!("{}.{:02}", number(share / 100), share % 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::samples::{api, web};

    #[test]
    fn what_was_learned_is_said_in_one_line() {
        let learned = Learned {
            text: String::new(),
            rules: 6,
            workloads: 5,
            flows: 41_208,
            explained: 41_199,
            left_out: Vec::new(),
        };
        insta::assert_snapshot!(said(&learned), @"wrote 6 rules for 5 workloads from 41,208 flows (99.97 % explained; 9 flows left out: see comments)");
        let all = Learned { explained: 41_208, ..learned };
        insta::assert_snapshot!(said(&all), @"wrote 6 rules for 5 workloads from 41,208 flows (all explained)");
    }

    #[test]
    fn the_share_is_never_rounded_up_to_all() {
        assert_eq!(share(999_999, 1_000_000), "99.99");
        assert_eq!(share(1, 3), "33.33");
        assert_eq!(share(0, 0), "0.00");
    }

    #[test]
    fn a_selector_is_a_name_or_keys() {
        let selects = |text: &str| {
            let selector = selector(text).unwrap();
            (selector.selects(&web()), selector.selects(&api()))
        };
        assert_eq!(selects("shop/*"), (true, true));
        assert_eq!(selects("project=shop,service=web"), (true, false));
        assert_eq!(selects("labels.tier=front"), (true, true));
        assert_eq!(selects("labels.tier=back"), (false, false));
        for (odd, why) in [
            ("projekt=shop", "unknown field"),
            ("project=shop,web", "lacks its"),
            ("project=a,project=b", "twice"),
        ] {
            assert!(selector(odd).unwrap_err().contains(why), "{odd}");
        }
    }

    #[test]
    fn the_text_goes_where_it_shall() {
        let path = std::env::temp_dir().join(format!("cofferdam-learn-{}.yaml", std::process::id()));
        let text = "policy: shop\nrules: []\n".to_owned();
        let learned = Learned {
            text: text.clone(),
            rules: 0,
            workloads: 0,
            flows: 0,
            explained: 0,
            left_out: Vec::new(),
        };
        let mut talk = Vec::new();
        write(&learned, Some(&path), &mut talk).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert!(String::from_utf8(talk).unwrap().starts_with("wrote 0 rules"));
        fs::remove_file(path).unwrap();
    }
}
