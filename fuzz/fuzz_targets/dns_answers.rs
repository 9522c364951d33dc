//! Answers of the DNS: what they name, and for whom.
#![no_main]

use cofferdam::{event::EventKind, sensor::record::Record};
use cofferdam_common::{
    dns::DnsRecord,
    ids::{Address, CgroupId},
    network::Party,
};
use cofferdam_fuzz::{cgroup, host, plain, told};
use libfuzzer_sys::fuzz_target;
use zerocopy::FromZeros;

fuzz_target!(|message: &[u8]| {
    let host = host();
    let _ = told(&host, &Record::CgroupMade(cgroup(CgroupId(7), b"/system.slice/asker.service")));
    let mut record = DnsRecord::new_zeroed();
    let length = message.len().min(record.message.len());
    record.header.cgroup = CgroupId(7);
    record.message[..length].copy_from_slice(&message[..length]);
    record.length = length as u16;
    record.total = message.len() as u32;
    let event = told(&host, &Record::DnsAnswer(Box::new(record)));
    let EventKind::DnsAnswer(answer) = event.kind else { panic!("{event:?} is of another kind") };
    assert_eq!(host.dns_answers().iter().sum::<u64>(), 1);
    assert!(host.dns_names() <= answer.addresses.len());
    for address in answer.addresses {
        let peer = Party::new(CgroupId::NONE, &Address::from(address));
        let named = |cgroup| host.parties(&Party::new(CgroupId(cgroup), &Address::NONE), &peer).1;
        plain(&named(7).to_string());
        // What one was told is nobody else's.
        assert_eq!(named(8).dns_name, None);
    }
});
