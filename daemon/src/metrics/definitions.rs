//! Every metric on one page. `docs/metrics.md` shows the same list; a test holds the two together.

use prometheus::proto::MetricType;

/// Most label sets that a metric keeps apart when nothing else bounds them; the rest is folded into `other`.
const LIMIT: usize = 2_000;

/// The same for system calls, of which each workload makes many kinds.
const SYSCALL_LIMIT: usize = 5_000;

/// What a metric is.
#[derive(Debug)]
pub(super) struct Definition {
    pub(super) name: &'static str,
    pub(super) kind: MetricType,
    pub(super) help: &'static str,
    pub(super) labels: &'static [&'static str],
    /// Most label sets; zero where the labels are a fixed set.
    pub(super) limit: usize,
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident $name:literal [$($label:literal),*] $(limit $limit:expr)?; $help:literal)+) => {
        $(
            pub(super) const $constant: Definition = Definition {
                name: $name,
                kind: MetricType::$kind,
                help: $help,
                labels: &[$($label),*],
                limit: 0 $(+ $limit)?,
            };
        )+
        /// All of them.
        #[cfg(test)]
        pub(super) const ALL: &[&Definition] = &[$(&$constant),+];
    };
}

metrics! {
    FLOWS: COUNTER "cofferdam_flows_total" ["source", "target", "protocol", "port"] limit LIMIT;
        "Flows that opened, by client and server. Read from the kernel's ledger: exact even when records are lost."
    FLOW_ATTEMPTS: COUNTER "cofferdam_flow_attempts_total" ["source", "target", "protocol", "port"] limit LIMIT;
        "Flows begun, by client and server, whether they opened or not."
    FLOW_FAILURES: COUNTER "cofferdam_flow_failures_total" ["source", "target", "protocol", "port", "reason"]
        limit 4 * LIMIT;
        "Flows that never opened: refused, unreachable, aborted (as by a half-open scan), unanswered."
    FLOW_BYTES: COUNTER "cofferdam_flow_bytes_total" ["source", "target", "protocol", "port", "direction"]
        limit 2 * LIMIT;
        "Payload bytes of flows: sent is from source to target, received is from target to source."
    DENIALS: COUNTER "cofferdam_denials_total" ["source", "target", "protocol", "port", "verdict"] limit 2 * LIMIT;
        "Packets and calls that policies denied (deny), flows that passed and would have been denied (audit)."
    RULE_DENIALS: COUNTER "cofferdam_rule_denials_total" ["policy", "rule", "verdict"] limit LIMIT;
        "The same by the rule that decided; none where it was a default, or not known yet who somebody is."
    SHADOW: COUNTER "cofferdam_shadow_attempts_total" ["source", "target", "protocol", "port", "verdict", "rule"]
        limit LIMIT;
        "Attempts that policies in the shadow would have decided otherwise, by what they would have decided, and by which rule."
    SYSCALLS: COUNTER "cofferdam_syscalls_total" ["workload", "syscall", "abi"] limit SYSCALL_LIMIT;
        "System calls that returned, of the workloads that the configuration selects."
    SYSCALL_ERRORS: COUNTER "cofferdam_syscall_errors_total" ["workload", "syscall", "abi", "errno"]
        limit SYSCALL_LIMIT;
        "System calls that returned an error, by its name."
    CONTAINERS: GAUGE "cofferdam_containers" ["runtime"];
        "Containers on this host."
    CONTAINER_STARTS: COUNTER "cofferdam_container_starts_total" ["runtime"];
        "Cgroups of containers that were made."
    CONTAINER_STOPS: COUNTER "cofferdam_container_stops_total" ["runtime"];
        "Cgroups of containers that were removed."
    PROCESS_EXECS: COUNTER "cofferdam_process_execs_total" ["workload"] limit LIMIT;
        "Programs that processes began (execve), by workload."
    WORKLOAD_INFO: GAUGE "cofferdam_workload_info" ["workload", "kind", "runtime", "image"] limit LIMIT;
        "Containers on this host, one per name; always 1."
    UNATTRIBUTED: COUNTER "cofferdam_unattributed_total" [];
        "Events with a workload of this host that nothing could be learned about."
    UNCLAIMED_CGROUPS: GAUGE "cofferdam_unclaimed_cgroups" [];
        "Cgroups that neither a runtime nor systemd claims; they go by their paths."
    ATTRIBUTION_OVERFLOWS: COUNTER "cofferdam_attribution_overflows_total" ["table"];
        "What found no room in a table of names: workloads, processes, labels of containers, DNS names."
    DNS_ANSWERS: COUNTER "cofferdam_dns_answers_total" ["outcome"];
        "Answers of the DNS that workloads received, by what came of them."
    DNS_NAMES: GAUGE "cofferdam_dns_names" [];
        "DNS names that are known for addresses, of all workloads."
    ARCHIVE_FOLDED: COUNTER "cofferdam_archive_folded_total" [];
        "Interactions and system calls of removed containers that were folded into other, because the archive was full."
    RUNTIME_UP: GAUGE "cofferdam_runtime_up" ["runtime"];
        "Whether the container runtime answers: 1 or 0."
    EVENTS: COUNTER "cofferdam_events_total" ["kind"];
        "Events that the pipeline made."
    EVENTS_DROPPED: COUNTER "cofferdam_events_dropped_total" ["sink"];
        "Events that a sink was too slow for."
    ALERTS_SENT: COUNTER "cofferdam_alerts_sent_total" ["receiver"];
        "Alerts that a receiver took, those that it was told again included."
    ALERT_FAILURES: COUNTER "cofferdam_alerts_send_failures_total" ["receiver"];
        "Tries to send alerts that failed; they are tried again."
    ALERTS_DROPPED: COUNTER "cofferdam_alerts_dropped_total" ["receiver"];
        "Alerts that a receiver will never be told: too many waited for it, or it refused them for good."
    RECORDS_ISSUED: COUNTER "cofferdam_records_issued_total" ["family"];
        "Records that hooks wanted to send to the daemon."
    RECORDS_DELIVERED: COUNTER "cofferdam_records_delivered_total" ["family"];
        "Records that came out of the ring: issued = delivered + shed + lost, once the ring is empty."
    RECORDS_SHED: COUNTER "cofferdam_records_shed_total" ["family"];
        "Records over the budget of the cgroup that has to pay for them, which were not sent."
    RECORDS_LOST: COUNTER "cofferdam_records_lost_total" ["family"];
        "Records that found no room in the ring."
    RECORDS_MISSING: COUNTER "cofferdam_workload_records_missing_total" ["workload", "family", "reason"] limit LIMIT;
        "Records that were shed or lost, by the workload that had to pay for them."
    RECORDS_UNDECODED: COUNTER "cofferdam_records_undecoded_total" [];
        "Records that the daemon could not read."
    RING_USED: GAUGE "cofferdam_ring_used_bytes" ["ring"];
        "Bytes that were waiting in the ring when the daemon last looked."
    RING_CAPACITY: GAUGE "cofferdam_ring_capacity_bytes" ["ring"];
        "Bytes that fit into the ring."
    MAP_ENTRIES: GAUGE "cofferdam_map_entries" ["map"];
        "Entries of a kernel map."
    MAP_CAPACITY: GAUGE "cofferdam_map_capacity" ["map"];
        "Entries that fit into a kernel map."
    HOOK_ATTACHED: GAUGE "cofferdam_hook_attached" ["hook"];
        "Whether the hook is attached: 1 or 0."
    HOOK_FAILURES: COUNTER "cofferdam_hook_failures_total" ["reason"];
        "What hooks could not do."
    ANOMALY: GAUGE "cofferdam_anomaly" ["anomaly", "severity", "source", "target"] limit LIMIT;
        "Alerts that are open: what is unusual, how bad it is, who does it and to whom; target is empty where it is about many."
    HISTORY_WRITTEN: COUNTER "cofferdam_history_rows_written_total" [];
        "Rows that were written into the history: interactions by the minute, and events."
    HISTORY_FAILURES: COUNTER "cofferdam_history_write_failures_total" [];
        "Times that the history could not be written; what is to be written waits and is tried again."
    HISTORY_LOST: COUNTER "cofferdam_history_lost_total" ["what"];
        "What is missing in the history, for there was no room to wait: interactions of a minute, and events."
    HISTORY_BYTES: GAUGE "cofferdam_history_bytes" [];
        "Bytes of the history's file that are in use."
    HISTORY_TIME: GAUGE "cofferdam_history_last_write_timestamp_seconds" [];
        "Until when all is in the history, seconds since 1970; 0 if nothing was written yet."
    HEARTBEAT_AGE: GAUGE "cofferdam_heartbeat_age_seconds" [];
        "How long ago the pipeline last turned."
    CONFIG_RELOADED: GAUGE "cofferdam_config_last_reload_successful" [];
        "Whether the configuration file was fine when it was last read: 1 or 0."
    CONFIG_RELOAD_TIME: GAUGE "cofferdam_config_last_reload_success_timestamp_seconds" [];
        "When the configuration that is in force was read, seconds since 1970."
    POLICY_GENERATION: GAUGE "cofferdam_policy_generation" [];
        "The generation of the policies in force; 0 while nothing is judged."
    POLICIES: GAUGE "cofferdam_policies" ["mode"];
        "Policies in force: those whose denials are enforced, and those whose denials are only reported."
    POLICY_RULES: GAUGE "cofferdam_policy_rules" [];
        "Rules of the policies in force."
    POLICY_IDENTITIES: GAUGE "cofferdam_policy_identities" [];
        "Groups of workloads and networks that the rules in force tell apart."
    POLICY_UNRESOLVED: GAUGE "cofferdam_policy_unresolved_cgroups" [];
        "Cgroups that count as unresolved: it is not known yet who lives there, or there is no room."
    POLICY_TIMEOUTS: COUNTER "cofferdam_policy_unresolved_timeouts_total" [];
        "Cgroups of which that was not known in time; what they may from then on is `policies.never_told`."
    POLICY_NAMED: GAUGE "cofferdam_policy_named_addresses" [];
        "Addresses that workloads were told under a DNS name of the policies in force, counted every 30 seconds."
    POLICY_NAMES_MISSED: COUNTER "cofferdam_policy_names_missed_total" [];
        "Addresses and answers of resolvers that there was no room for: what is sent there by name may be denied."
    POLICY_PARTIAL: GAUGE "cofferdam_policy_partial_workloads" [];
        "Workloads for which a layer is missing that their traffic may need, so that not all of it is judged."
    POLICY_ERRORS: COUNTER "cofferdam_policy_errors_total" [];
        "Times that not all that lives here could be put into the kernel's maps of policies; it is tried again at once."
    POLICY_RELOADED: GAUGE "cofferdam_policy_last_reload_successful" [];
        "Whether the policies were fine when they were last read: 1 or 0."
    POLICY_RELOAD_TIME: GAUGE "cofferdam_policy_last_reload_success_timestamp_seconds" [];
        "When the policies that are in force were read, seconds since 1970."
    POLICY_TRIAL: GAUGE "cofferdam_policy_unconfirmed" [];
        "Whether policies are in force that are taken back unless somebody confirms them: 1 or 0."
    POLICY_SHADOW: GAUGE "cofferdam_policy_shadow" [];
        "Whether policies are in the shadow of those in force: 1 or 0."
    POLICY_WENT_BACK: COUNTER "cofferdam_policy_taken_back_total" [];
        "Times that these were taken back: nobody had confirmed them in time, or they denied what was normal before."
    POLICY_CUT: COUNTER "cofferdam_policy_connections_cut_total" [];
        "Open connections that policies deny and whose sockets were destroyed."
    POLICY_UNCUT: COUNTER "cofferdam_policy_connections_uncut_total" ["reason"];
        "Open connections that policies deny and that could not be cut at first; their packets are denied all the same."
    VERIFIED: GAUGE "cofferdam_enforcement_verified" [];
        "Whether all that enforces the policies in force was found right, or mended: 1 or 0; absent while nothing is judged."
    VERIFIED_TIME: GAUGE "cofferdam_enforcement_verified_timestamp_seconds" [];
        "When it was last found right, seconds since 1970; 0 if it never was since policies came into force."
    MENDED: COUNTER "cofferdam_enforcement_mended_total" ["what"];
        "What was not there any more, or not as it was put up, and is again."
    FOREIGN: GAUGE "cofferdam_enforcement_foreign_programs" [];
        "Programs that are not ours and are attached where ours judge; absent while nothing is judged."
    CANARIES: GAUGE "cofferdam_enforcement_canaries" ["outcome"];
        "How it went when the daemon's own workloads last tried what is enforced: 1 for that outcome; absent while they do not."
    CANARIES_TIME: GAUGE "cofferdam_enforcement_canaries_timestamp_seconds" [];
        "When all that they tried last went as it must, seconds since 1970; 0 if it never did since policies came into force."
    SERIES_FOLDED: COUNTER "cofferdam_metric_series_folded_total" ["metric"];
        "Times that a label set found no series of its own and was counted under other."
    SCRAPE_FAILURES: COUNTER "cofferdam_scrape_failures_total" ["part"];
        "Scrapes in which a part could not be read; its counters then stand still."
    SCRAPE_DURATION: GAUGE "cofferdam_scrape_duration_seconds" [];
        "How long this scrape took to collect."
    BUILD_INFO: GAUGE "cofferdam_build_info" ["version", "revision", "rustc"];
        "The running version; always 1."
    PROCESS_CPU: COUNTER "process_cpu_seconds_total" [];
        "User and system CPU time of the daemon."
    PROCESS_OPEN_FDS: GAUGE "process_open_fds" [];
        "File descriptors that the daemon has open."
    PROCESS_MAX_FDS: GAUGE "process_max_fds" [];
        "File descriptors that the daemon may open."
    PROCESS_VIRTUAL: GAUGE "process_virtual_memory_bytes" [];
        "Virtual memory of the daemon."
    PROCESS_RESIDENT: GAUGE "process_resident_memory_bytes" [];
        "Resident memory of the daemon."
    PROCESS_START: GAUGE "process_start_time_seconds" [];
        "When the daemon started, seconds since 1970."
    PROCESS_THREADS: GAUGE "process_threads" [];
        "Threads of the daemon."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_metric_as_the_code_has_it() {
        let page = include_str!("../../../docs/metrics.md");
        for metric in ALL {
            let labels =
                metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            let labels = if labels.is_empty() { "–".to_owned() } else { labels };
            let limit = if metric.limit == 0 { "fixed".to_owned() } else { metric.limit.to_string() };
            let kind = format!("{:?}", metric.kind).to_lowercase();
            let row = format!("| `{}` | {kind} | {labels} | {limit} | {} |", metric.name, metric.help);
            assert!(page.contains(&row), "docs/metrics.md lacks this row:\n{row}");
        }
        let rows =
            page.lines().filter(|l| l.starts_with("| `cofferdam_") || l.starts_with("| `process_")).count();
        assert_eq!(rows, ALL.len(), "docs/metrics.md has rows of metrics that are no more");
    }

    #[test]
    fn no_label_collides_with_those_of_a_scrape() {
        let taken = ["job", "instance", "pod", "namespace", "container", "node", "endpoint"];
        for metric in ALL {
            assert!(metric.labels.iter().all(|label| !taken.contains(label)), "{}", metric.name);
        }
    }

    #[test]
    fn the_rules_for_prometheus_are_about_metrics_that_there_are_and_each_alert_has_its_runbook() {
        let rules = include_str!("../../../dist/prometheus/cofferdam.rules.yaml");
        let runbooks = include_str!("../../../docs/alerts.md");
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let words = || rules.split(|c| !is_name(c));
        for name in words().filter(|word| word.starts_with("cofferdam_")) {
            assert!(ALL.iter().any(|definition| definition.name == name), "there is no {name}");
        }
        let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
        for alert in &alerts {
            assert!(runbooks.contains(&format!("\n### {alert}\n")), "docs/alerts.md lacks {alert}");
            let link = format!("docs/alerts.md#{}\n", alert.to_lowercase());
            assert!(rules.contains(&link), "{alert} does not lead to its runbook");
        }
        assert_eq!(
            runbooks.matches("\n### ").count(),
            alerts.len(),
            "docs/alerts.md has alerts that are no more"
        );
    }
}
