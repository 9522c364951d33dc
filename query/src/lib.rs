//! Which programs are attached at a cgroup or at a network device, as the kernel tells whoever has CAP_NET_ADMIN: aya (0.14)
//! asks that of devices only, and then more of each program, for which it takes CAP_SYS_ADMIN.
//!
//! One command of bpf(2), and the only `unsafe` of this crate.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _},
    ptr,
};

use nix::{errno::Errno, libc};

/// `BPF_PROG_QUERY` (include/uapi/linux/bpf.h).
const PROG_QUERY: libc::c_int = 16;

/// The most programs that the kernel attaches at one place (`BPF_CGROUP_MAX_PROGS`, `BPF_MPROG_MAX`).
const MOST: usize = 64;

/// A place at a cgroup where programs are attached; the numbers of `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Place {
    /// Packets that a socket receives.
    Ingress = 0,
    /// Packets that a socket sends.
    Egress = 1,
    /// `connect` of IPv4.
    Connect4 = 10,
    /// `connect` of IPv6.
    Connect6 = 11,
}

/// A side of a network device where programs are attached by tcx; the numbers of `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum Side {
    /// What comes from the device.
    Ingress = 46,
    /// What goes to it.
    Egress = 47,
}

/// The part of `union bpf_attr` that is about this command, in the kernel's layout. What a later kernel adds, and may write,
/// has room behind it; what an earlier one does not know is zero.
#[repr(C)]
#[derive(Default)]
struct Query {
    target: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    padding: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
    room: [u64; 24],
}

/// The numbers of the programs that are attached to this very cgroup, in the order in which they run; those of the cgroups
/// below it run before, those of the ones above after them.
///
/// # Errors
/// When the kernel refuses: it is no cgroup, or the caller is not privileged.
pub fn attached(cgroup: impl AsFd, place: Place) -> io::Result<Vec<u32>> {
    let cgroup = cgroup.as_fd();
    query(cgroup.as_raw_fd().cast_unsigned(), place as u32)
}

/// The numbers of the programs that are attached to a side of a network device by tcx, in the order in which they run. The device
/// is called by its index.
///
/// # Errors
/// When the kernel refuses: there is no such device, it knows no tcx (before 6.6), or the caller is not privileged.
pub fn attached_to_device(index: u32, side: Side) -> io::Result<Vec<u32>> {
    match query(index, side as u32) {
        // None ever was, or none is any more.
        Err(error) if error.raw_os_error() == Some(Errno::ENOENT as i32) => Ok(Vec::new()),
        answer => answer,
    }
}

fn query(target: u32, attach_type: u32) -> io::Result<Vec<u32>> {
    let mut programs = [0_u32; MOST];
    let mut query = Query {
        target,
        attach_type,
        programs: programs.as_mut_ptr().expose_provenance() as u64,
        count: MOST as u32,
        ..Query::default()
    };
    // SAFETY: the kernel reads and writes `query` within the size that it is told, and no more than `count` numbers where
    // `programs` says; both live until it is done. What `target` means, the kernel looks up.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, PROG_QUERY, ptr::from_mut(&mut query), size_of::<Query>()) };
    Errno::result(result)?;
    Ok(programs.into_iter().take(query.count as usize).collect())
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn the_layout_is_the_kernels() {
        assert_eq!(std::mem::offset_of!(Query, programs), 16);
        assert_eq!(std::mem::offset_of!(Query, count), 24);
        assert_eq!(std::mem::offset_of!(Query, revision), 56);
        assert_eq!(size_of::<Query>(), 256);
    }

    #[test]
    fn what_is_no_cgroup_is_refused() {
        assert!(attached(File::open("/proc/self/status").unwrap(), Place::Egress).is_err());
    }

    #[test]
    fn what_is_no_device_is_refused() {
        assert!(attached_to_device(u32::MAX, Side::Ingress).is_err());
    }
}
