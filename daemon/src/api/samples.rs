//! A view without a kernel, for tests of the surface.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use cofferdam_common::{
    ids::CgroupId,
    network::{LedgerKey, LedgerRow, PROTOCOL_TCP, Party, VERDICT_ALLOW, Volume},
    syscall::CallKey,
};
use tokio_util::sync::CancellationToken;

use crate::{
    attribution::Attribution,
    baseline::{Alerts, anomaly::Settings},
    config::{Config, Given, InForce, Source},
    enforcement,
    metrics::{Metrics, samples},
    notify::Notify,
    sensor::{
        counts::{Calls, Counters, Counts, Family, HookStatus, Hooks},
        features::Features,
    },
    sink::EventStream,
    syscall::accounts::Accounts,
    view::{Heartbeat, View},
};

/// Counts that a test sets.
#[derive(Default)]
pub(crate) struct FakeCounts {
    pub(crate) rows: Mutex<Vec<(LedgerKey, LedgerRow)>>,
}

impl Counts for FakeCounts {
    fn ledger(&self) -> anyhow::Result<Vec<(LedgerKey, LedgerRow)>> {
        Ok(self.rows.lock().expect("no test panicked").clone())
    }

    fn families(&self) -> anyhow::Result<Vec<Family>> {
        Ok(samples::counters().families)
    }

    fn counters(&self) -> anyhow::Result<Counters> {
        Ok(samples::counters())
    }
}

/// A kernel that has counted five calls of the host.
struct FakeCalls;

impl Calls for FakeCalls {
    fn count_new_cgroups(&self, _: bool) -> anyhow::Result<()> {
        Ok(())
    }

    fn selected(&self) -> anyhow::Result<HashMap<CgroupId, CgroupId>> {
        Ok(HashMap::new())
    }

    fn select(&self, _: CgroupId, _: CgroupId) -> anyhow::Result<()> {
        Ok(())
    }

    fn leave(&self, _: CgroupId) -> anyhow::Result<()> {
        Ok(())
    }

    fn counts(&self) -> anyhow::Result<HashMap<CallKey, u64>> {
        let key = CallKey { account: CgroupId::ROOT, number: 39, errno: 0, abi: 0 };
        Ok([(key, 5)].into())
    }

    fn take(&self, _: &HashSet<CgroupId>) -> anyhow::Result<HashMap<CallKey, u64>> {
        Ok(HashMap::new())
    }
}

fn outside(address: [u8; 4]) -> Party {
    Party { cgroup: CgroupId::NONE, address: IpAddr::from(address).into() }
}

/// An edge between two peers outside, to tcp/443.
pub(crate) fn row(flows: u64) -> (LedgerKey, LedgerRow) {
    let key = LedgerKey {
        source: outside([198, 51, 100, 1]),
        target: outside([203, 0, 113, 7]),
        port: 443,
        protocol: PROTOCOL_TCP,
        verdict: VERDICT_ALLOW,
        dialled_port: 0,
        padding: 0,
        rule: 0,
        padding_after: 0,
    };
    let volume = Volume { bytes_sent: 10, bytes_received: 20, packets_sent: 1, packets_received: 2 };
    (key, LedgerRow { attempts: flows, flows, volume, first_seen: 1, last_seen: 2, ..LedgerRow::default() })
}

pub(crate) fn features() -> Features {
    Features {
        kernel: "6.12.8-amd64".to_owned(),
        btf: true,
        lsms: vec!["capability".to_owned(), "bpf".to_owned()],
        cgroup_mode: "v2".to_owned(),
        cgroup_root: Some("/sys/fs/cgroup".into()),
        bpffs: Some("/sys/fs/bpf".into()),
        missing_capabilities: Vec::new(),
    }
}

/// A view of a host with one interaction.
pub(crate) fn view(hooks: Vec<HookStatus>) -> View {
    let source = Source { file: Some("/nonexistent/config.yaml".into()), given: Given::default() };
    let counts = FakeCounts { rows: Mutex::new(vec![row(3)]) };
    View {
        attribution: Arc::new(Attribution::new("/nonexistent".into())),
        counts: Arc::new(counts),
        archive: Arc::default(),
        gains: Arc::default(),
        recent: Arc::default(),
        history: Arc::default(),
        alerts: Arc::new(Alerts::new(Settings::default())),
        syscalls: Arc::new(Accounts::new(Arc::new(FakeCalls))),
        hooks: Hooks::new(hooks),
        features: Arc::new(features()),
        metrics: Arc::new(Metrics::new()),
        events: EventStream::new(),
        notify: Notify::default(),
        started: Instant::now(),
        config: Arc::new(InForce::new(source, Config::default())),
        policies: Arc::new(enforcement::InForce::new(crate::config::Policies::default(), None)),
        heartbeat: Heartbeat::default(),
        stop: CancellationToken::new(),
    }
}
