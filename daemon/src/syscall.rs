//! System calls by workload: what the kernel counted, with names. Pure: counts in, sums out.

pub mod accounts;

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_common::{
    ids::CgroupId,
    syscall::{CallKey, OTHER, UNKNOWN_NUMBER, abi},
};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use syscalls::{x86, x86_64};

use crate::event::{Workload, WorkloadKind};

/// Calls of one kind that a workload made, as `cofferdam syscalls --json` prints them.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Syscall {
    /// Who called.
    pub workload: Arc<Workload>,
    /// The call's name; `number-N` where this version knows none, `unknown` for numbers that no kernel has, `other` for
    /// calls that found no room of their own.
    pub syscall: String,
    /// Whose numbers the call was made by.
    pub abi: Abi,
    /// Calls that returned.
    pub calls: u64,
    /// Those of them that returned an error.
    pub errors: u64,
    /// Errors by name (`ENOENT`); `ERESTART` for calls that a signal interrupted, `other` for those without a name.
    pub errnos: BTreeMap<String, u64>,
}

/// Tables of numbers.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Abi {
    /// The 64-bit one.
    #[serde(rename = "x86_64")]
    X86_64,
    /// The 32-bit one.
    I386,
}

impl Abi {
    /// As JSON and labels have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::I386 => "i386",
        }
    }

    fn from_number(number: u32) -> Self {
        if number == abi::COMPAT { Self::I386 } else { Self::X86_64 }
    }
}

/// Counts, added up by workload and call.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    sums: BTreeMap<(Arc<Workload>, String, Abi), Syscall>,
}

impl Sums {
    /// Adds what the kernel counted, for accounts of which `whose` knows the workload.
    pub fn add<'a>(
        &mut self,
        counts: impl IntoIterator<Item = (&'a CallKey, &'a u64)>,
        whose: impl Fn(CgroupId) -> Option<Arc<Workload>>,
    ) {
        for (key, count) in counts.into_iter().filter(|(_, count)| **count > 0) {
            let Some(workload) = whose(key.account) else { continue };
            let mut errnos = BTreeMap::new();
            let errors = if key.errno == 0 { 0 } else { *count };
            if errors > 0 {
                errnos.insert(error(key.errno), errors);
            }
            let abi = Abi::from_number(key.abi);
            let syscall = name(key.number, abi);
            self.merge(Syscall { workload, syscall, abi, calls: *count, errors, errnos });
        }
    }

    fn merge(&mut self, more: Syscall) {
        let key = (Arc::clone(&more.workload), more.syscall.clone(), more.abi);
        match self.sums.get_mut(&key) {
            Some(known) => {
                known.calls += more.calls;
                known.errors += more.errors;
                for (name, count) in more.errnos {
                    *known.errnos.entry(name).or_default() += count;
                }
            }
            None => {
                self.sums.insert(key, more);
            }
        }
    }

    /// The sums, by workload and name.
    #[must_use]
    pub fn into_list(self) -> Vec<Syscall> {
        self.sums.into_values().collect()
    }
}

/// Sums of workloads that are gone or no longer selected: what the kernel no longer holds. Bounded.
#[derive(Debug, Default)]
pub struct Archive {
    sums: Sums,
    folded: u64,
}

impl Archive {
    /// Most calls of workloads that are kept apart; more are one sum.
    pub const LIMIT: usize = 10_000;

    /// Takes over sums.
    pub fn add(&mut self, sums: Sums) {
        for sum in sums.into_list() {
            let known = |sum: &Syscall| {
                let key = (Arc::clone(&sum.workload), sum.syscall.clone(), sum.abi);
                self.sums.sums.contains_key(&key)
            };
            if self.sums.sums.len() < Self::LIMIT || known(&sum) {
                self.sums.merge(sum);
            } else {
                self.folded += 1;
                let other = Arc::new(Workload::named(WorkloadKind::Other, "other"));
                let syscall = "other".to_owned();
                self.sums.merge(Syscall { workload: other, syscall, abi: Abi::X86_64, ..sum });
            }
        }
    }

    /// Sums that were folded because there was no room.
    #[must_use]
    pub fn folded(&self) -> u64 {
        self.folded
    }

    /// What is kept, to add what is counted now to it.
    #[must_use]
    pub fn sums(&self) -> Sums {
        self.sums.clone()
    }
}

fn name(number: u16, abi: Abi) -> String {
    let known = match (number, abi) {
        (OTHER, _) => Some("other"),
        (UNKNOWN_NUMBER, _) => Some("unknown"),
        (number, Abi::X86_64) => x86_64::Sysno::new(number.into()).map(|call| call.name()),
        (number, Abi::I386) => x86::Sysno::new(number.into()).map(|call| call.name()),
    };
    known.map_or_else(|| format!("number-{number}"), str::to_owned)
}

fn error(errno: u16) -> String {
    match Errno::from_raw(errno.into()) {
        Errno::UnknownErrno => "other".to_owned(),
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_common::syscall::{ERESTART, FIRST_UNKNOWN, FORKS, LARGEST_ERRNO, SIGNAL_RETURN};

    use super::*;
    use crate::sink::samples;

    fn key(number: u16, errno: u16, abi: u32) -> CallKey {
        CallKey { account: CgroupId(7), number, errno, abi }
    }

    fn web(account: CgroupId) -> Option<Arc<Workload>> {
        (account == CgroupId(7)).then(samples::web)
    }

    fn sums(counts: &[(CallKey, u64)]) -> Sums {
        let mut sums = Sums::default();
        sums.add(counts.iter().map(|(key, count)| (key, count)), web);
        sums
    }

    #[test]
    fn outcomes_of_a_call_are_one_sum_with_its_errors_by_name() {
        let list = sums(&[(key(257, 0, 0), 5), (key(257, 2, 0), 3), (key(257, 13, 0), 1)]).into_list();
        let [open] = &list[..] else { panic!("{list:?}") };
        assert_eq!((open.syscall.as_str(), open.calls, open.errors), ("openat", 9, 4));
        assert_eq!(open.errnos, BTreeMap::from([("ENOENT".into(), 3), ("EACCES".into(), 1)]));
    }

    #[test]
    fn the_same_number_is_another_call_in_the_32_bit_table() {
        let list = sums(&[(key(39, 0, 0), 1), (key(39, 0, 1), 2)]).into_list();
        let names: Vec<_> =
            list.iter().map(|sum| (sum.syscall.as_str(), sum.abi.name(), sum.calls)).collect();
        assert_eq!(names, [("getpid", "x86_64", 1), ("mkdir", "i386", 2)]);
    }

    #[test]
    fn what_has_no_name_is_still_shown() {
        let list = sums(&[(key(OTHER, OTHER, 0), 1), (key(UNKNOWN_NUMBER, 38, 0), 2), (key(1023, 0, 0), 3)]);
        let list = list.into_list();
        let names: Vec<_> = list.iter().map(|sum| sum.syscall.as_str()).collect();
        assert_eq!(names, ["number-1023", "other", "unknown"]);
        assert_eq!(list[1].errnos, BTreeMap::from([("other".into(), 1)]));
    }

    #[test]
    fn accounts_that_are_nobodys_and_empty_rows_are_left_out() {
        let mut sums = sums(&[(key(39, 0, 0), 0)]);
        sums.add([(&CallKey { account: CgroupId(8), ..key(39, 0, 0) }, &5)], web);
        assert_eq!(sums.into_list(), []);
    }

    #[test]
    fn the_archive_folds_what_does_not_fit_and_loses_no_call() {
        let mut archive = Archive::default();
        for at in 0..=Archive::LIMIT {
            let who = Arc::new(Workload::named(WorkloadKind::Container, at.to_string()));
            let mut one = Sums::default();
            one.add([(&key(39, 0, 0), &2)], |_| Some(Arc::clone(&who)));
            archive.add(one);
        }
        let list = archive.sums().into_list();
        assert_eq!(list.iter().map(|sum| sum.calls).sum::<u64>(), 2 * (Archive::LIMIT as u64 + 1));
        assert_eq!((list.len(), archive.folded()), (Archive::LIMIT + 1, 1));
    }

    #[test]
    fn numbers_that_the_kernels_program_treats_apart_are_the_right_calls() {
        for (at, abi) in [Abi::X86_64, Abi::I386].into_iter().enumerate() {
            let names = FORKS[at].map(|number| name(number, abi));
            assert_eq!(names, ["clone", "fork", "vfork", "clone3"]);
            assert_eq!(name(SIGNAL_RETURN[at], abi), "rt_sigreturn");
        }
        let last = x86_64::Sysno::iter().map(|call| call.id()).max().expect("some");
        let last = last.max(x86::Sysno::iter().map(|call| call.id()).max().expect("some"));
        assert!(u64::try_from(last).expect("positive") < FIRST_UNKNOWN / 2);
    }

    #[test]
    fn the_largest_errno_is_the_last_that_has_a_name() {
        let name = |errno: u64| error(errno.try_into().expect("small"));
        assert_eq!((name(LARGEST_ERRNO).as_str(), name(LARGEST_ERRNO + 1).as_str()), ("EHWPOISON", "other"));
        assert_eq!(error(ERESTART), "ERESTART");
    }
}
