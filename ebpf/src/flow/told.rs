//! What is told of flows: that one has opened, and how it ended.

use cofferdam_common::{
    ids::CgroupId,
    network::{Flow, FlowKey, FlowRecord, flag, service_port},
    record::family,
};

use crate::{
    budget::account,
    emit::{emit, header},
    maps::FLOW_RECORDS,
};

/// Reports that a flow has opened, or how it ended.
#[inline(always)]
pub(crate) fn report(kind: u32, key: &FlowKey, flow: &Flow, end: u8) {
    emit_flow(kind, key, flow, end.into());
}

/// [`report`]. Global, so that the verifier looks at it once and not on each way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn emit_flow(kind: u32, key: *const FlowKey, flow: *const Flow, end: u32) -> u32 {
    // SAFETY: the verifier has both checked for null, and knows their sizes.
    let (Some(key), Some(flow)) = (unsafe { (key.as_ref(), flow.as_ref()) }) else { return 0 };
    let (client, server) = key.ends(flow.flags);
    let target_is_local = flow.flags & flag::SERVER_IS_LOCAL != 0;
    let here = if target_is_local { flow.server } else { flow.client };
    // Who began it pays, where it is of this host: nobody can use up the budget of those that it talks to.
    let payer = account(if flow.client == CgroupId::NONE { here } else { flow.client });
    emit::<FlowRecord>(&FLOW_RECORDS, family::NETWORK, payer, |entry, now| {
        let record = entry.as_mut_ptr();
        // SAFETY: the ring handed out memory for one record, of which every field is written here, in place.
        unsafe {
            (*record).header = header(kind, here, now);
            (*record).client = flow.client;
            (*record).server = if target_is_local { flow.server } else { CgroupId::NONE };
            (*record).client_address = *client.0;
            (*record).server_address = *server.0;
            (*record).dialled = flow.other_end;
            (*record).client_port = client.1;
            (*record).server_port = service_port(server);
            (*record).dialled_port = flow.other_end_port;
            (*record).protocol = key.protocol;
            (*record).end = end as u8;
            (*record).opened_at = flow.opened_at;
            (*record).volume = flow.volume;
            (*record).judgement = flow.judgement;
        }
    });
    0
}
