//! Atomic read-modify-write: `core` has none for the BPF target, the kernel has (RFC 9669 section 5.3).

use core::arch::asm;

/// Adds to a counter that other CPUs, and hooks that interrupt this one, add to as well.
#[inline(always)]
pub(crate) fn add(counter: &mut u64, by: u64) {
    // SAFETY: an aligned u64 that is valid for as long as the borrow.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) by, options(nostack)) };
}

/// Sets bits and returns what was set before.
#[inline(always)]
pub(crate) fn set_bits(flags: &mut u64, bits: u64) -> u64 {
    let mut value = bits;
    // SAFETY: as in `add`.
    unsafe {
        asm!("{1} = atomic_fetch_or((u64 *)({0} + 0), {1})", in(reg) flags, inout(reg) value, options(nostack));
    }
    value
}

/// Sets a value if it is still what `expected` says. Returns what it was before.
#[inline(always)]
pub(crate) fn compare_exchange(value: &mut u64, expected: u64, new: u64) -> u64 {
    let before;
    // SAFETY: as in `add`; the instruction takes and returns the expected value in r0.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({0} + 0, r0, {1})",
            in(reg) value,
            in(reg) new,
            inout("r0") expected => before,
            options(nostack),
        );
    }
    before
}
