//! The two ends of a flow, and the key that both of its directions have.

use cofferdam_common::{
    ids::Address,
    network::{FlowKey, is_echo},
};

/// One end of a flow.
pub(crate) type End = (Address, u16);

/// Any fixed order will do, as long as both directions use it.
#[inline(always)]
pub(crate) fn is_low(one: &End, two: &End) -> bool {
    let (a, b) = (one.0.words(), two.0.words());
    if a[0] != b[0] {
        a[0] < b[0]
    } else if a[1] != b[1] {
        a[1] < b[1]
    } else {
        one.1 < two.1
    }
}

/// The key of the flow between two ends, whichever of them sends. Of echoes `one` is who asks.
#[inline(always)]
pub(crate) fn key_between(one: End, two: End, protocol: u8, namespace: u64) -> FlowKey {
    let asker = asker(protocol, is_low(&one, &two));
    key_with(one, two, protocol, namespace, asker)
}

/// [`FlowKey::asker`].
#[inline(always)]
pub(crate) fn asker(protocol: u8, is_low: bool) -> u8 {
    if is_echo(protocol) { 2 - u8::from(is_low) } else { 0 }
}

/// [`key_between`], where it is known who asks.
#[inline(always)]
pub(crate) fn key_with(one: End, two: End, protocol: u8, namespace: u64, asker: u8) -> FlowKey {
    let (low, high) = if is_low(&one, &two) { (one, two) } else { (two, one) };
    FlowKey {
        low: low.0,
        high: high.0,
        namespace,
        low_port: low.1,
        high_port: high.1,
        protocol,
        asker,
        padding: [0; 2],
    }
}

/// The low end of a flow.
#[inline(always)]
pub(crate) fn low(key: &FlowKey) -> End {
    (key.low, key.low_port)
}

/// The high end of a flow.
#[inline(always)]
pub(crate) fn high(key: &FlowKey) -> End {
    (key.high, key.high_port)
}
