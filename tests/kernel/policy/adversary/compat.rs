//! The system calls of 32-bit programs.

use std::{arch::asm, net::SocketAddr, num::NonZeroUsize, os::fd::AsRawFd as _, ptr};

use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous, munmap};
use socket2::{Protocol, SockAddr};

use super::{
    Prepared, Scene, Version, Way,
    server::PAYLOAD,
    sockets::{datagrams, to},
};

pub(super) const WAYS: &[Way] = &[Way::new("a 32-bit call", sends)];

fn sends<'a>(scene: &'a Scene<'a>, version: Version) -> Prepared<'a> {
    let to = to(scene, version);
    Prepared::ready(move || scene.as_web(move || send(to)))
}

/// `sendto` by the gate of 32-bit programs (arch/x86/entry/syscalls/syscall_32.tbl, include/uapi/linux/net.h).
fn send(to: SocketAddr) {
    const SOCKETCALL: u64 = 102;
    const SYS_SENDTO: u64 = 11;
    const PAGE: usize = 4_096;
    /// Where in the page the payload and the address are; at its start are the arguments.
    const PAYLOAD_AT: u32 = 1_024;
    const ADDRESS_AT: u32 = 2_048;
    let socket = datagrams(to, Protocol::UDP).expect("a socket");
    let address = SockAddr::from(to);
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let length = NonZeroUsize::new(PAGE).expect("a page");
    // SAFETY: it is memory of its own, where a 32-bit program could have it.
    let page =
        unsafe { mmap_anonymous(None, length, protection, MapFlags::MAP_PRIVATE | MapFlags::MAP_32BIT) };
    let page = page.expect("a page").cast::<u8>();
    let low = u32::try_from(page.as_ptr().addr()).expect("it is low");
    let payload = u32::try_from(PAYLOAD.len()).expect("it is short");
    let fd = socket.as_raw_fd().cast_unsigned();
    let arguments = [fd, low + PAYLOAD_AT, payload, 0, low + ADDRESS_AT, address.len()];
    // SAFETY: no part is longer than its place in the page, and the call reads these and nothing else.
    unsafe {
        let place = |at: u32| page.add(at as usize).as_ptr();
        ptr::copy_nonoverlapping(arguments.as_ptr().cast(), place(0), size_of_val(&arguments));
        ptr::copy_nonoverlapping(PAYLOAD.as_ptr(), place(PAYLOAD_AT), PAYLOAD.len());
        ptr::copy_nonoverlapping(address.as_ptr().cast(), place(ADDRESS_AT), address.len() as usize);
        asm!(
            "xchg rbx, {call}",
            "int 0x80",
            "xchg rbx, {call}",
            call = inout(reg) SYS_SENDTO => _,
            inlateout("rax") SOCKETCALL => _,
            in("rcx") u64::from(low),
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
        munmap(page.cast(), PAGE).expect("it is given back");
    }
}
