//! The programs that run in the kernel. One file per family of hooks; what they share comes first.
//!
//! While no policy is in force no program changes what the kernel does: each cgroup hook answers "pass", also when it
//! cannot follow a packet. Kernel structures are read only at offsets that the daemon took from the running kernel's BTF.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![allow(missing_docs, reason = "a binary that exports programs, not an interface")]

mod atomic;

mod maps;

mod offsets;

mod emit;

mod ancestors;

mod budget;
mod caller;

mod ends;

mod packet;

mod flow;

mod translation;

mod ledger;

mod policy;

mod verdict;

mod enforce;

mod failure;

mod dns;

mod names;

mod network;

mod connect;

mod link;

mod lsm;

mod process;

mod syscall;

mod container;

/// A panic cannot happen at run time: the verifier refuses a program in which this loop can be reached.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Lets the kernel's GPL-only helpers be called. The license of the source is the workspace's.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
