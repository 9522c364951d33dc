//! When it is known who the two ends of a flow are: it enters the ledger.

use cofferdam_common::{
    ids::CgroupId,
    network::{Flow, FlowKey, LedgerKey, Party, VERDICT_ALLOW, VERDICT_AUDIT, flag, service_port},
};

use crate::{
    atomic::{add, set_bits},
    enforce::tell,
    flow::Hook,
    ledger,
    packet::Packet,
};

/// [`decide`], and reports a flow that would be denied.
#[inline(always)]
pub(super) fn decide_and_tell(packet: &Packet, hook: Hook, flow: &mut Flow) {
    decide(&packet.key, flow);
    if flow.judgement.verdict == VERDICT_AUDIT {
        tell(packet, hook == Hook::Egress, flow);
    }
}

/// Both ends are known, or the target is known to be outside: enters the flow into the ledger.
#[inline(always)]
pub(super) fn decide(key: &FlowKey, flow: &mut Flow) {
    enter_flow(key, flow);
}

/// [`decide`]. Global, so that the verifier looks at it once and not on each way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn enter_flow(key: *const FlowKey, flow: *mut Flow) -> u32 {
    // SAFETY: as in `follow_egress`.
    let (Some(key), Some(flow)) = (unsafe { (key.as_ref(), flow.as_mut()) }) else { return 0 };
    let (client, server) = key.ends(flow.flags);
    let target_is_local = flow.flags & flag::SERVER_IS_LOCAL != 0;
    flow.row = ledger::row(&mut LedgerKey {
        source: Party::new(flow.client, client.0),
        target: Party::new(if target_is_local { flow.server } else { CgroupId::NONE }, server.0),
        port: service_port(server),
        protocol: key.protocol,
        verdict: flow.judgement.verdict,
        dialled_port: if flow.flags & flag::TRANSLATED != 0 { flow.other_end_port } else { 0 },
        padding: 0,
        rule: if flow.judgement.verdict == VERDICT_ALLOW { 0 } else { flow.judgement.rule },
        padding_after: 0,
    });
    if set_bits(&mut flow.flags, flag::DECIDED) & flag::DECIDED != 0 {
        return 0;
    }
    let Some(row) = ledger::get(flow.row) else { return 0 };
    let is_audited = flow.judgement.verdict == VERDICT_AUDIT;
    if flow.flags & flag::ADOPTED == 0 {
        add(&mut row.attempts, 1);
    } else if is_audited {
        ledger::count_again(flow.row, true);
    }
    if is_audited {
        flow.audited = flow.audit();
    }
    add(&mut row.volume.bytes_sent, flow.volume.bytes_sent);
    add(&mut row.volume.bytes_received, flow.volume.bytes_received);
    add(&mut row.volume.packets_sent, flow.volume.packets_sent);
    add(&mut row.volume.packets_received, flow.volume.packets_received);
    0
}
