//! Which events a reader wants.

use crate::event::{Event, EventKind};

/// The kinds of events, as JSON and `--kind` name them.
pub const KINDS: [&str; 10] = [
    "process_fork",
    "process_exec",
    "process_exit",
    "flow_open",
    "flow_close",
    "dns_answer",
    "cgroup",
    "denial",
    "alert",
    "lost",
];

/// What to let through. Empty lets all through; `lost` events always pass, for they say what is missing.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Filter {
    /// Only events of a workload that is called so ([`crate::event::Workload::is_called`]).
    pub of: Option<String>,
    /// Only events of these kinds.
    pub kinds: Vec<String>,
}

impl Filter {
    /// Whether the reader wants this event.
    #[must_use]
    pub fn accepts(&self, event: &Event) -> bool {
        if matches!(event.kind, EventKind::Lost(_)) {
            return true;
        }
        let kind = self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == event.kind.name());
        kind && self.of.as_ref().is_none_or(|of| event.kind.workloads().into_iter().any(|w| w.is_called(of)))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::samples, *};

    fn of(name: &str) -> Filter {
        Filter { of: Some(name.to_owned()), kinds: Vec::new() }
    }

    #[test]
    fn the_list_of_kinds_is_complete() {
        let names: Vec<_> = samples::all().iter().map(|event| event.kind.name()).collect();
        assert_eq!(names, KINDS);
    }

    #[test]
    fn without_a_filter_everything_passes() {
        assert!(samples::all().iter().all(|event| Filter::default().accepts(event)));
    }

    #[test]
    fn a_workload_is_found_by_each_of_its_names() {
        for name in ["shop/web", "shop-web-1", "shop", "3f2a9c"] {
            assert!(of(name).accepts(&samples::exec()), "{name}");
        }
        for name in ["shop/api", "web", "3f2a", ""] {
            assert!(!of(name).accepts(&samples::exec()), "{name}");
        }
    }

    #[test]
    fn a_flow_is_found_by_either_end() {
        assert!(of("shop/web").accepts(&samples::flow_open()));
        assert!(of("shop/api").accepts(&samples::flow_open()));
        assert!(!of("shop/db").accepts(&samples::flow_open()));
    }

    #[test]
    fn a_loss_is_always_told() {
        let filter = Filter { of: Some("shop/web".to_owned()), kinds: vec!["flow_open".to_owned()] };
        assert!(filter.accepts(&samples::lost()));
        assert!(!filter.accepts(&samples::exec()));
        assert!(filter.accepts(&samples::flow_open()));
    }
}
