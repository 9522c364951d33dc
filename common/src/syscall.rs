//! Family syscall: how often the selected workloads made which call, and how the calls ended.
//!
//! There are no records: the kernel counts, the daemon reads.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::ids::CgroupId;

/// One count: calls of one kind that ended one way.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
pub struct CallKey {
    /// Under whom it is counted: what the table of selected cgroups says of the caller's.
    pub account: CgroupId,
    /// The call's number in its ABI, [`UNKNOWN_NUMBER`], or [`OTHER`].
    pub number: u16,
    /// How it ended: 0, or the error (1 to [`LARGEST_ERRNO`]), or [`OTHER`].
    pub errno: u16,
    /// Whose numbers: one of [`abi`].
    pub abi: u32,
}

/// The tables of numbers that calls are made by.
pub mod abi {
    /// The 64-bit one (x86-64).
    pub const NATIVE: u32 = 0;
    /// The 32-bit one (i386: `int 0x80`, `sysenter`, 32-bit programs): the same numbers mean other calls.
    pub const COMPAT: u32 = 1;
}

/// Stands for numbers and errors that are folded.
pub const OTHER: u16 = u16::MAX;

/// Stands for numbers from [`FIRST_UNKNOWN`] on and for negative ones: the kernel has no such call. x32's, which carry
/// a bit of their own, are among them.
pub const UNKNOWN_NUMBER: u16 = u16::MAX - 1;

/// From here on a number is nobody's. Linux 6.18 ends below 600; a caller that makes numbers up must not fill the table.
pub const FIRST_UNKNOWN: u64 = 1024;

/// The largest error that Linux has (`EHWPOISON`, include/uapi/asm-generic/errno.h).
pub const LARGEST_ERRNO: u64 = 133;

/// `ERESTART`: a signal interrupted the call; it began anew, or the program was told `EINTR`. For the kernel's own four
/// codes 512 to 516 (include/linux/errno.h), which no program ever sees.
pub const ERESTART: u16 = 85;

/// The kernel's own codes for [`ERESTART`].
pub const RESTART_CODES: core::ops::RangeInclusive<u64> = 512..=516;

/// Calls that return twice, once of them in the new task with 0: `clone`, `fork`, `vfork`, `clone3`, by ABI.
pub const FORKS: [[u16; 4]; 2] = [[56, 57, 58, 435], [120, 2, 190, 435]];

/// `rt_sigreturn`, by ABI. It leaves -1 where its number was, and restores a return value that is another call's.
pub const SIGNAL_RETURN: [u16; 2] = [15, 173];

/// The key of the table of selected cgroups whose presence means: new cgroups are counted from their first call on,
/// until the daemon has decided.
pub const NEW_CGROUPS: CgroupId = CgroupId::NONE;

impl CallKey {
    /// Where calls of an account are counted that found no room of their own.
    #[inline(always)]
    #[must_use]
    pub const fn other(account: CgroupId, failed: bool) -> Self {
        Self { account, number: OTHER, errno: if failed { OTHER } else { 0 }, abi: abi::NATIVE }
    }
}
