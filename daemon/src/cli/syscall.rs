//! `cofferdam syscalls`: which system calls the selected workloads make, and which of them fail.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    Client, Failure,
    output::{number, print, print_json, printable, table},
    question,
};
use crate::{
    api::{Syscalls, SyscallsQuery},
    syscall::{Abi, Syscall},
};

/// What can be asked.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Only those of this workload: its name, its container's name, its project, or the beginning of its id.
    workload: Option<String>,
    /// As JSON, replicas apart (docs/api.md, /v1/syscalls).
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, client: &Client) -> Result<(), Failure> {
    let query = SyscallsQuery { of: arguments.workload.clone() };
    let syscalls: Syscalls = client.get(&question("/v1/syscalls", &query)?)?;
    if arguments.json { print_json(&syscalls) } else { print(&text(&syscalls)) }
}

/// Sums of a call; replicas of a service are one.
#[derive(Default)]
struct Sums<'a> {
    calls: u64,
    errors: u64,
    errnos: BTreeMap<&'a str, u64>,
}

fn text(syscalls: &Syscalls) -> String {
    let mut text = String::new();
    if !syscalls.counting {
        let reason = syscalls.reason.as_deref().unwrap_or("the hook is not attached");
        text = format!("No system calls are counted: {}.\n", printable(reason));
        if syscalls.calls.is_empty() {
            return text + "Select workloads under `syscalls` in the configuration (docs/config.md).\n";
        }
    }
    let header = ["WORKLOAD", "SYSCALL", "CALLS", "ERRORS", "MOST"];
    let mut rows: Vec<_> = sums(&syscalls.calls).into_iter().collect();
    // The busiest first, workload by workload.
    rows.sort_by(|(one, sums), (other, more)| (&one.0, more.calls, one).cmp(&(&other.0, sums.calls, other)));
    let rows = rows.into_iter().map(|((workload, syscall), sums)| {
        let most = sums.errnos.iter().max_by_key(|(_, count)| **count);
        let most = most.map_or_else(|| "-".to_owned(), |(name, count)| format!("{name} {}", number(*count)));
        [workload, syscall, number(sums.calls), number(sums.errors), most]
    });
    text + &table(header, &[2, 3], rows)
}

fn sums(calls: &[Syscall]) -> BTreeMap<(String, String), Sums<'_>> {
    let mut lines = BTreeMap::<_, Sums<'_>>::new();
    for call in calls {
        let name = match call.abi {
            Abi::X86_64 => call.syscall.clone(),
            abi => format!("{} ({})", call.syscall, abi.name()),
        };
        let line = lines.entry((call.workload.to_string(), name)).or_default();
        line.calls += call.calls;
        line.errors += call.errors;
        for (name, count) in &call.errnos {
            *line.errnos.entry(name).or_default() += count;
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::samples::syscall;

    fn counted(calls: Vec<Syscall>) -> Syscalls {
        Syscalls { counting: true, reason: None, workloads: 1, calls }
    }

    #[test]
    fn the_table_tells_calls_errors_and_the_commonest_error() {
        let read = Syscall {
            syscall: "read".to_owned(),
            calls: 98_011,
            errors: 0,
            errnos: BTreeMap::new(),
            ..syscall()
        };
        let old = Syscall { syscall: "getpid".to_owned(), abi: Abi::I386, calls: 2, ..read.clone() };
        let text = text(&counted(vec![syscall(), read, old]));
        insta::assert_snapshot!(text, @"
        WORKLOAD  SYSCALL         CALLS  ERRORS  MOST
        shop/web  read           98,011       0  -
        shop/web  openat          1,204      17  ENOENT 15
        shop/web  getpid (i386)       2       0  -
        ");
        assert!(include_str!("../../../docs/cli.md").contains(&text), "docs/cli.md shows another table");
    }

    #[test]
    fn replicas_are_one_row() {
        let text = text(&counted(vec![syscall(), syscall()]));
        assert!(text.contains("2,408      34  ENOENT 30"), "{text}");
    }

    #[test]
    fn without_a_selection_it_says_what_to_do() {
        let off = Some("nothing selects it".to_owned());
        let mut syscalls = Syscalls { counting: false, reason: off, ..counted(Vec::new()) };
        let said = text(&syscalls);
        assert!(
            said.starts_with("No system calls are counted: nothing selects it.\nSelect workloads"),
            "{said}"
        );
        syscalls.calls.push(syscall());
        assert!(text(&syscalls).contains("openat"), "what was counted before stays visible");
    }
}
