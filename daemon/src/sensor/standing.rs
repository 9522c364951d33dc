//! Whether what judges still stands as it was put up: what is compared, and what was found. Whoever asks the kernel is
//! below; [`Finding`]s of other origin may be added to theirs.

mod hooks;
mod links;

use std::{collections::HashMap, fmt};

use aya::programs::loaded_programs;
use serde::{Deserialize, Serialize};

/// What a finding is about.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// A hook at the root of the cgroup tree.
    Hook,
    /// A hook at the host's end of a container's link.
    Link,
    /// What keeps a hook should the daemon end.
    Pin,
    /// Which generation of the policies is in force.
    Generation,
    /// Which identity each cgroup has.
    Residents,
    /// Whose each address is.
    Addresses,
    /// Whose each link is.
    Owners,
    /// What holds for an identity.
    Subjects,
    /// What holds between two.
    Pairs,
    /// What holds from which port on.
    Intervals,
    /// Which identity a network of peers outside has.
    Networks,
    /// A program that is not ours, where one of ours is.
    Foreign,
    /// Cgroups that have no identity for longer than they may.
    Identity,
    /// What the daemon's own workloads tried.
    Canary,
}

impl What {
    /// All of them that can be mended.
    pub const MENDABLE: [Self; 11] = [
        Self::Hook,
        Self::Link,
        Self::Pin,
        Self::Generation,
        Self::Residents,
        Self::Addresses,
        Self::Owners,
        Self::Subjects,
        Self::Pairs,
        Self::Intervals,
        Self::Networks,
    ];

    /// As in JSON and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Link => "link",
            Self::Pin => "pin",
            Self::Generation => "generation",
            Self::Residents => "residents",
            Self::Addresses => "addresses",
            Self::Owners => "owners",
            Self::Subjects => "subjects",
            Self::Pairs => "pairs",
            Self::Intervals => "intervals",
            Self::Networks => "networks",
            Self::Foreign => "foreign",
            Self::Identity => "identity",
            Self::Canary => "canary",
        }
    }
}

/// What became of a finding.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is as it was put up again.
    Mended,
    /// It could not be mended: what the policies say may not hold.
    Open,
    /// Nothing that is ours is wrong, but somebody should know.
    Noted,
}

/// Something that is not as it was put up.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub what: What,
    /// What became of it.
    pub outcome: Outcome,
    /// How many there are: entries of a map, else one.
    pub count: u64,
    /// What was found, in words, and why it could not be mended.
    pub text: String,
}

impl Finding {
    /// What was found, and how it went to mend it.
    #[must_use]
    pub fn mended(what: What, count: u64, text: impl Into<String>, mending: anyhow::Result<()>) -> Self {
        let (text, outcome) = match mending {
            Ok(()) => (text.into(), Outcome::Mended),
            Err(error) => (format!("{}, and cannot be mended: {error:#}", text.into()), Outcome::Open),
        };
        Self { what, outcome, count, text }
    }

    /// What is no fault of ours, or of which nobody knows whether it is one.
    #[must_use]
    pub fn noted(what: What, text: String) -> Self {
        Self { what, outcome: Outcome::Noted, count: 1, text }
    }

    /// What nobody here can mend.
    #[must_use]
    pub fn open(what: What, text: String) -> Self {
        Self { what, outcome: Outcome::Open, count: 1, text }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One of our programs among those that are attached at a place, in the order in which they run.
#[derive(Debug, Default, Eq, PartialEq)]
struct Order {
    /// Whether it is attached.
    is_here: bool,
    /// Those that run before it, or would if it were attached.
    before: Vec<u32>,
    after: Vec<u32>,
}

impl Order {
    fn of(ours: u32, attached: &[u32]) -> Self {
        let mut order = Self::default();
        for program in attached {
            if *program == ours {
                order.is_here = true;
            } else if order.is_here {
                order.after.push(*program);
            } else {
                order.before.push(*program);
            }
        }
        if !order.is_here {
            // Where ours is put when it is mended, the kernel says.
            (order.before, order.after) = (Vec::new(), order.before);
        }
        order
    }

    /// What is to be said of programs that are not ours. `place` says where.
    fn foreign(&self, place: &str) -> Vec<Finding> {
        let names = names(&[self.before.as_slice(), &self.after].concat());
        self.told(place, |program| called(&names, program)).collect()
    }

    fn told<'a>(
        &'a self,
        place: &'a str,
        called: impl Fn(u32) -> String + 'a,
    ) -> impl Iterator<Item = Finding> + 'a {
        let before = self.before.iter().map(|program| (program, "runs before ours"));
        let after = self.after.iter().map(|program| (program, "is attached as well"));
        before.chain(after).map(move |(program, how)| {
            let called = called(*program);
            Finding::noted(
                What::Foreign,
                format!("{place}: program {program} ({called}), which is not ours, {how}"),
            )
        })
    }
}

/// What these programs are called, as far as the kernel tells: only to CAP_SYS_ADMIN, which the unit does without. Walks through
/// all of the kernel's, so only where there are some.
fn names(programs: &[u32]) -> HashMap<u32, String> {
    if programs.is_empty() {
        return HashMap::new();
    }
    let all = loaded_programs().filter_map(Result::ok);
    all.filter(|program| programs.contains(&program.id()))
        .map(|program| (program.id(), program.name_as_str().unwrap_or_default().to_owned()))
        .collect()
}

/// The name of a program if it has one, or who tells it.
fn called(names: &HashMap<u32, String>, program: u32) -> String {
    match names.get(&program).map(String::as_str) {
        Some("") => "without a name".to_owned(),
        Some(name) => name.to_owned(),
        None => format!("bpftool prog show id {program}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_programs_tells_who_runs_before_ours_and_who_after() {
        assert_eq!(Order::of(7, &[7]), Order { is_here: true, ..Order::default() });
        let order = Order::of(7, &[3, 7, 9]);
        assert_eq!(order, Order { is_here: true, before: vec![3], after: vec![9] });
        let told: Vec<_> = order.told("connect4", |id| format!("p{id}")).map(|it| it.text).collect();
        assert_eq!(
            told,
            [
                "connect4: program 3 (p3), which is not ours, runs before ours",
                "connect4: program 9 (p9), which is not ours, is attached as well"
            ]
        );
    }

    #[test]
    fn a_program_whose_name_the_kernel_does_not_tell_can_be_asked_for() {
        let names = [(3, "watch".to_owned()), (4, String::new())].into();
        let called = [3, 4, 5].map(|program| called(&names, program));
        assert_eq!(called, ["watch", "without a name", "bpftool prog show id 5"]);
    }

    #[test]
    fn a_program_that_is_not_attached_is_missing_whoever_else_is_there() {
        assert_eq!(Order::of(7, &[]), Order::default());
        assert_eq!(Order::of(7, &[3]), Order { is_here: false, before: Vec::new(), after: vec![3] });
    }

    #[test]
    fn what_could_not_be_mended_is_open_and_says_why() {
        let lost = |mending| Finding::mended(What::Pin, 1, "the pin of connect4 is gone", mending);
        assert_eq!(lost(Ok(())).outcome, Outcome::Mended);
        let open = lost(Err(anyhow::anyhow!("bpffs is read-only")));
        assert_eq!(open.outcome, Outcome::Open);
        assert_eq!(open.text, "the pin of connect4 is gone, and cannot be mended: bpffs is read-only");
    }

    #[test]
    fn each_kind_goes_by_one_name() {
        for what in What::MENDABLE.into_iter().chain([What::Foreign, What::Identity, What::Canary]) {
            assert_eq!(serde_json::to_value(what).unwrap(), what.name());
        }
    }
}
