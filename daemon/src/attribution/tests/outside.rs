//! Peers outside, and the names that the configuration gives to their networks.

use super::*;

#[test]
fn peers_outside_are_called_by_the_name_of_their_network_and_others_are_not() {
    let host = Host::shop();
    let networks = ["203.0.113.0/24", "198.18.0.0/15", "127.0.0.0/8"];
    host.0.name_outside(Networks::new(networks.map(|net| ("stripe", net.parse().unwrap()))));
    let to = |address: &str| {
        let event =
            host.event(&Record::FlowOpen(flow(WEB_CGROUP, "198.18.1.2", CgroupId::NONE, address, 443)));
        let EventKind::FlowOpen(flow) = event.kind else { panic!("{event:?}") };
        assert_eq!(flow.target.address.to_string(), address);
        flow.target.workload
    };
    assert_eq!(to("203.0.113.7").to_string(), "outside stripe");
    assert_eq!(to("203.0.113.7"), to("203.0.113.8"));
    assert_eq!(to("203.0.114.7").to_string(), "outside 203.0.114.7");
    assert_eq!(to("198.18.1.3").to_string(), "shop/db");
    host.0.name_outside(Networks::default());
    assert_eq!(to("203.0.113.7").to_string(), "outside 203.0.113.7");
}
